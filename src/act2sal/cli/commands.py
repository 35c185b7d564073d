"""The commands of `act2sal`: each parses, calls one function, prints."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import tyro

from act2sal.cli.contradictions import given_names, refuse_contradictions
from act2sal.cli.ending import OK, SOME_FAILED, ended_like_ctrl_c, failures
from act2sal.cli.meant import cluster_of, job_of, label_config_of, scorer_of, settings_of, wish_of, work_of
from act2sal.cli.options import (
    METHODS,
    CompareOptions,
    ConvertOptions,
    DataOptions,
    DemoOptions,
    EvaluateOptions,
    ExportOptions,
    LabelOptions,
    PredictOptions,
    ReproduceOptions,
    ServeOptions,
    TrainOptions,
)
from act2sal.cli.outputs import refuse_outputs
from act2sal.cli.parsing import parsed
from act2sal.cli.train_defaults import chosen_defaults
from act2sal.data.images import limit_pixels
from act2sal.data.origin import MASKS
from act2sal.errors import InputError
from act2sal.limits import broken_number, broken_pixels
from act2sal.runtime import cores
from act2sal.runtime.gpu import refuse_missing

Options = TypeVar("Options")


def train_command(arguments: Sequence[str]) -> int:
    """`act2sal train`."""
    chosen = chosen_defaults(arguments)
    options = parsed(TrainOptions, arguments, "train", TrainOptions(tyro.MISSING, tyro.MISSING, chosen))
    refuse_contradictions("train", arguments, options)
    refuse_outputs("train", options)
    refuse_missing(options.options.device, options.options.devices)
    _limit_pixels(options)
    from act2sal.runtime import parallel
    from act2sal.training.pipeline import train

    outcome = train(
        options.photos,
        options.out,
        options.options,
        resume=options.resume,
        overwrite=options.overwrite,
        quiet=options.quiet,
        profile=options.profile,
    )
    if parallel.leads():
        with_masks = "trained on MASKS, of " if options.options.masks is not None else "trained on "
        print(f"{with_masks}{outcome.photos} photos; report: {options.out / 'report.html'}")
    return failures(outcome.failures, named="in the report")


def label_command(arguments: Sequence[str]) -> int:
    """`act2sal label`."""
    options = _parse(LabelOptions, arguments, "label")
    if options.cluster.engine == "ray":
        return _label_on_cluster(options)
    from act2sal.training.labelling import label

    config = label_config_of(options)
    outcome = label(
        options.photos,
        options.out,
        config,
        run=options.run,
        overwrite=options.overwrite,
        quiet=options.quiet,
    )
    print(f"{outcome.photos} labels in {options.out}")
    return failures(outcome.failures)


def _label_on_cluster(options: LabelOptions) -> int:
    """`act2sal label --engine ray`."""
    from act2sal.cluster.job import Existing
    from act2sal.cluster.labelling import Fit, LabelWork, label_on_cluster
    from act2sal.shards.addresses import Place

    out = Place(options.out).address
    outcome = label_on_cluster(
        [str(options.photos)],
        LabelWork(out, options.cluster.store, label_config_of(options), options.max_pixels),
        cluster_of(options.cluster),
        Fit(options.run, options.cluster.fit_on),
        existing=Existing(options.overwrite, skip=True),
        shard_size=options.cluster.shard_size,
        quiet=options.quiet,
    )
    print(f"{outcome.photos} labels in {out}")
    return failures(outcome.failures)


def predict_command(arguments: Sequence[str]) -> int:
    """`act2sal predict`."""
    options = _parse(PredictOptions, arguments, "predict")
    if options.cluster.engine == "ray":
        return _predict_on_cluster(options)
    from act2sal.predict.job import PIPE, read_pipe

    job = job_of(options)
    piped = options.inputs == (PIPE,)
    if piped and (sys.stdin is None or sys.stdout is None):
        raise InputError("standard input or standard output is closed")
    _tell_device(job.maker.device, quiet=options.quiet or piped)
    if piped:
        to_file = "out" in given_names(arguments)
        made = job.piped(read_pipe(sys.stdin.buffer), options.out if to_file else None)
        job.save()
        if not to_file:
            sys.stdout.buffer.write(made)
        return OK
    with ended_like_ctrl_c():
        try:
            outcome = job.watch(options.inputs) if options.watch else job.run(options.inputs)
        finally:
            job.save()
    said = "stopped watching; " if options.watch else ""
    print(f"{said}{outcome.written} done, in {options.out}", flush=True)
    return failures(outcome.failures, of="file", what="done")


def _predict_on_cluster(options: PredictOptions) -> int:
    """`act2sal predict --engine ray`."""
    from act2sal.cluster.job import Existing
    from act2sal.cluster.predicting import predict_on_cluster
    from act2sal.predict.records import write_records
    from act2sal.shards.addresses import Place
    from act2sal.shards.ledger import Ledger

    work, model = work_of(options)

    def save() -> None:
        if options.json is not None:
            write_records(options.json, list(Ledger(Place(work.out)).records()), [])

    with ended_like_ctrl_c():
        try:
            outcome = predict_on_cluster(
                options.inputs,
                work,
                cluster_of(options.cluster),
                model=model,
                exclude=options.exclude,
                existing=Existing(options.overwrite, options.skip_existing),
                shard_size=options.cluster.shard_size,
                quiet=options.quiet,
            )
        except KeyboardInterrupt:
            save()
            raise
    save()
    print(f"{outcome.photos} done, in {work.out}", flush=True)
    return failures(outcome.failures, of="file", what="done")


def serve_command(arguments: Sequence[str]) -> int:
    """`act2sal serve`."""
    options = _parse(ServeOptions, arguments, "serve")
    limit_pixels(options.max_pixels)
    from act2sal.predict.detector import Detector
    from act2sal.serve import server

    server.require_serve()
    settings = settings_of(options)
    listener = server.listening(options.host, options.port)
    with ended_like_ctrl_c(), listener:
        detector = Detector.load(options.model, device=options.device, backend=options.backend)
        with suppress(KeyboardInterrupt):  # by which a service ends
            server.serve(detector, settings, listener, quiet=options.quiet)
    print("stopped", file=sys.stderr)
    return OK


def compare_command(arguments: Sequence[str]) -> int:
    """`act2sal compare`."""
    options = _parse(CompareOptions, arguments, "compare")
    from act2sal import classical
    from act2sal.evaluation.comparison import compare
    from act2sal.predict.detector import Detector

    names = options.methods.split(",")
    unknown = [name for name in names if name not in METHODS]
    if unknown or len(set(names)) < len(names):
        raise InputError(f"--methods {options.methods}: needs some of {','.join(METHODS)}, each once")
    methods = {name: classical.METHODS[name] for name in names if name in classical.METHODS}
    heads: dict[str, str] = {}
    if "a2s" in names:
        detector = Detector.load(options.model, device=options.device)
        _tell_device(detector.device, quiet=options.quiet)
        methods["a2s"] = detector
        if MASKS in detector.seen.split(", "):
            heads["a2s"] = "a2s, trained on masks"
    outcome = compare(
        options.inputs,
        options.out,
        {heads.get(name, name): methods[name] for name in names},
        masks=options.masks,
        limit=options.limit,
        workers=options.workers,
        overwrite=options.overwrite,
        quiet=options.quiet,
        exclude=options.exclude,
    )
    print(f"{outcome.written} photos in {options.out}")
    return failures(outcome.failures)


def evaluate_command(arguments: Sequence[str]) -> int:
    """`act2sal evaluate`."""
    options = _parse(EvaluateOptions, arguments, "evaluate")
    from act2sal.evaluation import scoring

    maps, masks = _what_to_score(options)
    map_sets = scoring.map_sets_of(maps, masks)
    scored = scoring.score(
        map_sets,
        ending=options.ending,
        workers=options.workers,
        quiet=options.quiet,
        scorer=scorer_of(options),
    )
    if options.json is not None:
        scoring.write_json(options.json, scored)
    if options.csv is not None:
        scoring.write_csv(options.csv, scored)
    if options.plot is not None:
        scoring.write_plots(options.plot, scored)
    if options.worst > 0:
        for one in scored:
            named = "-".join(
                part for part in (one.map_set.data_set, one.map_set.method) if part and len(scored) > 1
            )
            named = named.replace("/", "-")
            sheet = options.sheet.with_stem(f"{options.sheet.stem}-{named}") if named else options.sheet
            scoring.write_worst(sheet, one, options.worst, options.photos, ending=options.ending)
    code = options.convention == "a2s-code"
    if options.format == "terminal":
        print(scoring.header(code=code), end="\n\n")
    print(scoring.score_table(scored, options.format, code=code))
    print(scoring.difference_table(scored, options.format, code=code), end="")
    print(
        *scoring.count_lines(scored),
        sep="\n",
        file=sys.stdout if options.format == "terminal" else sys.stderr,
    )
    whole = all(not s.scores.counts.missing and not s.scores.counts.unreadable for s in scored)
    return OK if whole else SOME_FAILED


def export_command(arguments: Sequence[str]) -> int:
    """`act2sal export`."""
    options = _parse(ExportOptions, arguments, "export")
    from act2sal.predict.export import export

    done = export(
        options.model,
        options.out,
        size=options.size,
        int8=options.int8,
        photos=options.photos,
        overwrite=options.overwrite,
    )
    print(
        f"{options.out}: {done.bytes / 1e6:.1f} MB; on {done.photos} photos at most {done.largest_difference:.2g}, "
        f"on average {done.mean_difference:.2g} from the maps of PyTorch"
    )
    return SOME_FAILED if done.undone else OK


def convert_command(arguments: Sequence[str]) -> int:
    """`act2sal convert`."""
    options = _parse(ConvertOptions, arguments, "convert")
    from act2sal.networks.official import convert_official

    kind = convert_official(options.source, options.out, half=options.half)
    print(f"{options.out}: {kind}")
    return OK


def reproduce_command(arguments: Sequence[str]) -> int:
    """`act2sal reproduce`."""
    options = _parse(ReproduceOptions, arguments, "reproduce")
    from act2sal.reproduce import reproduction
    from act2sal.reproduce.rendering import rendered
    from act2sal.reproduce.results import Table

    wish = wish_of(options)
    if options.dry_run:
        for line in reproduction.planned(wish):
            print(line)
        return OK
    told = reproduction.told_command(arguments)
    for name, result in reproduction.reproduce(wish, told, quiet=options.quiet):
        if isinstance(result, Table):
            print(rendered(result, "terminal"))
        print(f"{options.out / name}.md", flush=True)
    return OK


def data_command(arguments: Sequence[str]) -> int:
    """`act2sal data`."""
    options = _parse(DataOptions, arguments, "data")
    from act2sal.data.set_check import check_sets, told_lines

    checked, missing = check_sets(options.folder, quiet=options.quiet)
    for line in told_lines(checked, missing):
        print(line)
    return SOME_FAILED if any(one.odd for one in checked) or not checked else OK


def demo_command(arguments: Sequence[str]) -> int:
    """`act2sal demo`."""
    options = _parse(DemoOptions, arguments, "demo")
    from act2sal.demo import demo

    print(demo(options.out, quiet=options.quiet))
    return OK


def _what_to_score(options: EvaluateOptions) -> tuple[dict[str, Path], Path]:
    """The folder of maps of each method, and the masks."""
    if options.table and options.masks is not None and not options.folders:
        named = [entry.partition("=") for entry in options.table]
        if all(name and folder for name, _, folder in named) and len({name for name, *_ in named}) == len(
            named
        ):
            return {name: Path(folder) for name, _, folder in named}, options.masks
        raise InputError("--table takes NAME=MAPS, each name once")
    if len(options.folders) == 2 and not options.table and options.masks is None:
        return {"": options.folders[0]}, options.folders[1]
    raise InputError("give MAPS and MASKS, or --table NAME=MAPS ... with --masks MASKS")


def _tell_device(device: str, *, quiet: bool) -> None:
    if device and not quiet:
        print(f"device: {device}", file=sys.stderr)


def _limit_pixels(options: Any) -> None:
    """Set the largest photo that is read, for commands that take `--max-pixels`."""
    if not hasattr(options, "max_pixels"):
        return
    if (broken := broken_pixels(options.max_pixels)) is not None:
        raise InputError(broken)
    limit_pixels(options.max_pixels)


def _parse(kind: type[Options], arguments: Sequence[str], command: str) -> Options:
    options = parsed(kind, arguments, command)
    _limit_pixels(options)
    if command != "label" and (broken := broken_number(options)) is not None:  # whose config says more
        raise InputError(broken)
    if getattr(options, "inputs", None) == ():
        pipe = ", or - for standard input" if command == "predict" else ""
        raise InputError(f"{command} has nothing to do; name a photo, a folder or a pattern{pipe}")
    if getattr(options, "kind", None) == ():
        raise InputError("--kind needs a kind, such as mask or cutout")
    refuse_contradictions(command, arguments, options)
    refuse_outputs(command, options)
    refuse_missing(getattr(options, "device", "auto"))
    cores.lower(getattr(options, "workers", 0))
    return options
