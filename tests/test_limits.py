"""Numbers that no command can take: status 2 and one line, before any work."""

import pytest

from act2sal.cli import main

HUGE = str(10**30)
BASE = {
    "train": "photos --out run",
    "label": "photos --out labels",
    "predict": "a.jpg",
    "compare": "a.jpg --out sheet.png --methods rbd",
    "evaluate": "maps masks",
    "export": "--out model.onnx",
}
WRONG = {
    **{
        f"{c} --workers": ("-1", "nan", "1e3", "x")
        for c in ("train", "label", "predict", "compare", "evaluate")
    },
    **{f"{c} --limit": ("-1", "0", "nan") for c in ("train", "label", "compare")},
    **{f"{c} --size": ("-1", "0", "31", "8193", HUGE, "nan", "64.0") for c in ("train", "label", "export")},
    **{f"{c} --seed": ("-1", str(2**63), HUGE, "nan") for c in ("train", "label")},
    **{f"{c} --cache-size": ("-1", "nan", "inf", "1e300") for c in ("train", "label")},
    **{f"{c} --stage1.lr": ("-1", "0", "nan", "inf", "1e300") for c in ("train", "label")},
    "predict --min-confidence": ("-0.1", "1.1", "nan", "inf", "x"),
    "predict --kind mask --threshold": ("-0.1", "1.1", "nan", "inf", HUGE, "x"),
    "evaluate --worst": ("-1", "nan", "x"),
    "train --devices": ("-1", "0", HUGE),
    "train --num-nodes": ("-1", "0", HUGE),
    "train --generations": ("-1", "0", HUGE),
    "train --stage1.size": ("0", HUGE),
    "train --stage1.channels": ("0", "-8", HUGE),
    "train --stage1.epochs": ("-1", HUGE),
    "train --stage1.batch-size": ("1", HUGE),
    "train --stage1.milestones": ("-1", HUGE),
    "train --stage1.second-sizes": (HUGE, f"-{HUGE}"),
    "train --stage1.alpha": ("-1", "nan", "inf"),
    "train --stage1.rounds": ("-1", HUGE),
    "train --labels.median": ("0", "2", "-3", "257", HUGE),
    "train --labels.iterations": ("-1", HUGE),
    "train --labels.gt-prob": ("nan", "0.5", "1"),
    "train --labels.gaussian-sxy": ("0", "nan", "inf"),
    "train --labels.bilateral-compat": ("-1", "nan", "inf"),
    "train --stage2.view": ("31", HUGE),
    "train --stage2.view-sides": ("31", HUGE),
    "train --stage2.weight-decay": ("-1", "nan", "inf"),
    "train --stage2.rectify-warmup": ("-1", HUGE),
    "train --stage2.crop": ("0", "1.1", "nan"),
}


@pytest.mark.parametrize("option", WRONG)
def test_a_number_out_of_its_limits_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = option.split()
    for number in WRONG[option]:
        assert main([command, *BASE[command].split(), *words, number]) == 2, number
        line = capsys.readouterr().err
        assert line.count("\n") == 1, line
        assert number.lstrip("-") in line or float(number) == float(line.split()[-1]), line
        assert "fault of this program" not in line
