"""What the log of a run tells while it is being written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from act2sal.config import TrainConfig


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of log.jsonl, oldest first; none where there is no such file yet, damaged ones are left out."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def progress_of(
    rows: Sequence[Mapping[str, Any]], config: TrainConfig, *, finished: bool
) -> dict[str, object]:
    """Where a training stands.

    Args:
        rows: of its log.
        config: its options.
        finished: whether its report is there.

    Returns:
        finished, generation, stage, epoch, and in `seconds_left` what the epochs of this stage that are left will
        take if they take as long as the last one; None where nothing tells.
    """
    learning = [row for row in rows if _epochs_of(str(row.get("stage")), config)]
    last = (learning if finished and learning else list(rows) or [{}])[-1]
    epochs, seconds = _epochs_of(str(last.get("stage")), config), last.get("seconds")
    left = None
    if epochs and seconds is not None and not finished:
        left = max(0, epochs - int(last["epoch"])) * float(seconds)
    return {
        "finished": finished,
        "generation": last.get("generation"),
        "stage": last.get("stage"),
        "epoch": last.get("epoch"),
        "seconds_left": left,
    }


def _epochs_of(stage: str, config: TrainConfig) -> int:
    """Epochs of a stage by its name in the log; 0: it has none."""
    if stage.startswith("stage1 round"):
        return config.stage1.round_epochs
    rival = config.method
    if rival != "a2s" and stage.startswith(rival):
        last = stage in (f"{rival} phase 2", f"{rival} round {config.rival.rounds_of(rival)}")
        return config.rival.last_epochs if last else config.rival.epochs
    return {"stage1": config.stage1.epochs, "stage2": config.stage2.epochs}.get(stage, 0)
