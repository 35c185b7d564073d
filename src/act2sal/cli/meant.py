"""What the options of a command mean in the words of the package: a job, the settings of a service, a wish."""

import difflib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from act2sal.cli.cluster_options import ClusterOptions
from act2sal.cli.options import (
    EvaluateOptions,
    LabelOptions,
    PredictOptions,
    ReproduceOptions,
    ServeOptions,
)
from act2sal.config import TrainConfig
from act2sal.errors import InputError

if TYPE_CHECKING:
    from act2sal.cluster.engine import Cluster
    from act2sal.cluster.predicting import PredictWork
    from act2sal.evaluation.folders import Scorer
    from act2sal.predict.job import Job
    from act2sal.predict.rendering import Rendering
    from act2sal.reproduce.reproduction import Wish
    from act2sal.serve.settings import Settings


def cluster_of(options: ClusterOptions) -> "Cluster":
    """Where a command on a cluster runs."""
    from act2sal.cluster.engine import Cluster

    return Cluster(options.address, options.num_cpus, options.num_gpus)


def work_of(options: PredictOptions) -> tuple["PredictWork", Path | None]:
    """What each process of `act2sal predict --engine ray` does, and the file of its model."""
    from act2sal.cluster.predicting import PredictWork, model_name, model_of
    from act2sal.shards.addresses import Place

    device = "cuda" if options.cluster.num_gpus and options.device == "auto" else options.device
    model = model_of(options.method, options.model, device, options.backend)
    work = PredictWork(
        out=Place(options.out).address,
        store=options.cluster.store,
        rendering=_rendering_of(options, rates=options.json is not None or options.cluster.store != "files"),
        method=options.method,
        model=model_name(model),
        device=device,
        backend=options.backend,
        max_pixels=options.max_pixels,
    )
    return work, model


def scorer_of(options: EvaluateOptions) -> "Scorer | None":
    """What scores pairs elsewhere; None: this process does."""
    if options.cluster.engine == "local":
        return None
    from act2sal.cluster.evaluating import scored_on

    return partial(scored_on, cluster_of(options.cluster), options.max_pixels)


def label_config_of(options: LabelOptions) -> TrainConfig:
    """The options of stage 1 and of the labels."""
    return TrainConfig(
        encoder=options.encoder,
        encoder_weights=options.encoder_weights,
        size=options.size,
        limit=options.limit,
        exclude=options.exclude,
        device=options.device,
        workers=options.workers,
        seed=options.seed,
        cache_size=options.cache_size,
        stage1=options.stage1,
        labels=options.labels,
    )


def job_of(options: PredictOptions) -> "Job":
    """Make the job of `act2sal predict`, which reads the model."""
    from act2sal.predict import job as prediction

    rendering = _rendering_of(options, rates=options.json is not None)
    return prediction.Job(
        maker=prediction.maker_of(
            options.method, options.model, rendering, device=options.device, backend=options.backend
        ),
        rendering=rendering,
        out=options.out,
        overwrite=options.overwrite,
        skip_existing=options.skip_existing or options.watch,
        workers=options.workers,
        quiet=options.quiet,
        exclude=options.exclude,
        json=options.json,
        smooth=options.smooth,
        format_named=options.format is not None,
    )


def _rendering_of(options: PredictOptions, *, rates: bool) -> "Rendering":
    """What is made of each photo; rates: whether confidences are wanted."""
    from act2sal.predict import job as prediction
    from act2sal.predict.selection import Selection
    from act2sal.predict.thresholds import parse_threshold

    threshold = None if options.threshold is None else parse_threshold(options.threshold)
    return prediction.rendering_of(
        options.kind,
        options.out,
        format=options.format,
        selection=Selection(threshold, options.grow, options.feather, ground=options.ground),
        crop=options.crop,
        annotations=options.annotations,
        matting=options.matting,
        refine=options.refine,
        min_confidence=options.min_confidence,
        rates=rates,
    )


def settings_of(options: ServeOptions) -> "Settings":
    """Say what a service is allowed; one that is open to others has to be meant so."""
    from act2sal.serve.gate import LOOPBACK, known_hosts
    from act2sal.serve.server import read_token
    from act2sal.serve.settings import Limits, Settings

    if options.host not in LOOPBACK and options.token_file is None and not options.public:
        raise InputError(
            f"--host {options.host} lets other machines in: --token-file FILE asks them for a token, "
            "--public does not"
        )
    return Settings(
        limits=Limits(
            bytes=options.max_bytes,
            pixels=options.max_pixels,
            seconds=options.timeout,
            queue=options.queue,
        ),
        hosts=known_hosts(options.host, options.name),
        token=None if options.token_file is None else read_token(options.token_file),
        origins=options.cors,
        allow_url=options.allow_url,
        workers=options.workers,
        run=options.run,
        photos=options.photos,
        review=options.review or (options.run and options.run.with_name(f"{options.run.name}-reviewed")),
    )


def wish_of(options: ReproduceOptions) -> "Wish":
    """What is asked for; a mistyped target is refused."""
    from act2sal.reproduce.reproduction import ALL, Wish, named
    from act2sal.reproduce.targets import TARGETS

    for name in options.targets:
        if name not in (*TARGETS, ALL):
            close = difflib.get_close_matches(name, [*TARGETS, ALL], n=1)
            hint = f"did you mean {close[0]}?" if close else f"possible: {', '.join(TARGETS)}, {ALL}"
            raise InputError(f"there is no target {name!r}; {hint}")
    if not options.targets:
        raise InputError(f"reproduce needs a TARGET; possible: {', '.join(TARGETS)}, {ALL}")
    if len(set(options.seeds)) < max(1, len(options.seeds)) or not options.seeds:
        raise InputError("--seeds needs at least one seed, each once")
    return Wish(
        targets=named(options.targets),
        out=options.out,
        scale=options.scale,
        data=options.data,
        seeds=options.seeds,
        photos=options.photos,
        tests=options.tests,
        encoder=options.encoder,
        encoder_weights=options.encoder_weights,
        device=options.device,
        workers=options.workers,
    )
