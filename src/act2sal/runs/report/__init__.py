"""The report of a training run: RUN/report.html, one page that needs nothing beside it."""

import json
from collections.abc import Mapping, Sequence

from act2sal.config import Stage1Config, Stage2Config, TrainConfig
from act2sal.config_files import to_toml
from act2sal.data.images import write_atomic
from act2sal.runs.report.page import Facts, by_stage, page
from act2sal.runs.report.time_spent import profile
from act2sal.runs.run_directory import RunDirectory
from act2sal.runs.samples import read_samples

__all__ = ["write_report"]

BUILTIN = " (fine-tuned on 3,000 photos of DUTS-TR, without masks)"
"""Remark on weights that are `builtin`: what they have seen besides ImageNet."""


def write_report(
    run: RunDirectory,
    config: TrainConfig,
    *,
    photos: int,
    failures: Sequence[str],
    supervision: Mapping[str, str],
) -> None:
    """Write RUN/report.html from the log, the samples and, where there is one, RUN/scores.json.

    Where the log says where the time went, RUN/profile.json gets the seconds of each stage by part.

    Args:
        run: its log may be unfinished and its samples missing.
        config: options of the run.
        photos: photos used.
        failures: one line for each photo that could not be read.
        supervision: what the weights of each encoder were trained with, "none" for no labels at all:
            {"stage 1 encoder": "ImageNet labels", "stage 2 encoder": ...}.
    """
    scores_file = run.path / "scores.json"
    facts = Facts(
        device=next((str(row["device"]) for row in run.rows() if "device" in row), config.device),
        photos=photos,
        failures=failures,
        encoders=encoder_names(config),
        supervision=supervision,
        rows=run.rows(),
        samples=read_samples(run.samples),
        scores=json.loads(scores_file.read_text(encoding="utf-8")) if scores_file.is_file() else {},
        options=to_toml(config),
        masks=config.masks,
        detector=config.detector,
        method=config.method,
        given_labels=config.given_labels,
        teacher=config.teacher,
    )
    write_atomic(run.report, page(facts).encode(errors="replace"))
    measured = profile(by_stage(facts.rows))
    if measured:
        write_atomic(run.profile, json.dumps(measured, indent=1).encode())


def encoder_names(config: TrainConfig) -> dict[str, str]:
    """Name and weights of the encoder of each stage, by the keys of `supervision`."""

    def described(stage: Stage1Config | Stage2Config) -> str:
        name, weights = stage.encoder or config.encoder, stage.encoder_weights or config.encoder_weights
        return f"{name}, {weights} weights{BUILTIN if weights == 'builtin' else ''}"

    return {"stage 1 encoder": described(config.stage1), "stage 2 encoder": described(config.stage2)}
