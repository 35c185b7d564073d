"""Write presets.md beside this file: where the presets differ, option by option, and what the paper leaves open.

python docs/make_presets.py
"""

import dataclasses
from pathlib import Path
from typing import Any

from act2sal.config import TrainConfig
from act2sal.presets import PRESETS

PAGE = Path(__file__).with_name("presets.md")

INTRODUCTION = """\
# What each preset takes

`paper` is the text of the paper, `official` the published code with its quirks, `default` the best recipe that was
measured. Where the text says nothing, `paper` takes what the published code does. Below are all options that differ
between the three. Made by `python docs/make_presets.py`.
"""

OPEN = {
    "stage1.side_weights": "the paper gives no weights for the losses of F_3, F_4, F_5; 1 each is the plain reading",
    "stage1.fusion_stride": "the paper does not say on which grid the features are joined; the code takes stride 2",
    "stage1.sign": "an exact tie: the text gives +1, the code an empty map",
    "stage1.batchnorm_drift": "a frozen encoder is meant; in the code its BatchNorm goes on counting",
    "stage1.random_gain": "not in the paper; in the code a gain that the checkpoint keeps",
    "stage1.loss_at_photo_size": "the paper does not say at which size Eq. 4 is taken",
    "stage1.cues_at_photo_size": "the paper does not say at which size the labels are made",
    "labels.threshold": "the text thresholds at theta = 0; the code stretches the map to [0, 1] and takes half",
    "labels.soft": "Eq. 6 gives sigmoid(theta) to the CRF; the code gives it a hard label trusted by 0.7",
    "stage2.binarise": "Eq. 12 takes the labels as they are; the code binarises them",
    "stage2.encoder_lr_factor": "the paper names one rate; in the code that of the encoder is a tenth",
    "stage2.milestones": "the code steps its scheduler at the start of an epoch, so that rates fall one epoch early",
    "stage2.flip_once": "the code draws the mirroring once, when it loads the data",
}
"""What the paper leaves open, or the published code reads otherwise, by option."""

ALIKE = """
Open in the paper, too, and the same in all three, as in the published code: the parameters of the dense CRF and the
side of the median filter (Eq. 6), the momentum of SGD, the weight decay of stage 1. The update of labels is Eq. 14;
the schedule of its lambda has no number.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    rows = ["| option | `default` | `paper` | `official` | remark |", "| --- | --- | --- | --- | --- |"]
    values = {name: flat(config) for name, config in PRESETS.items()}
    for option in values["default"]:
        told = [shown(values[name][option]) for name in ("default", "paper", "official")]
        if len(set(told)) > 1:
            rows.append(f"| `{option}` | {' | '.join(told)} | {OPEN.get(option, '')} |")
    return INTRODUCTION + "\n" + "\n".join(rows) + "\n" + ALIKE


def flat(config: TrainConfig) -> dict[str, Any]:
    """Every option by its name on the command line."""
    found: dict[str, Any] = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            found |= {f"{name}.{own}": of for own, of in value.items()}
        else:
            found[name] = value
    return found


def shown(value: Any) -> str:
    """A value as it stands on the command line."""
    if isinstance(value, tuple):
        return " ".join(f"{one:g}" for one in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
