"""Label-free methods on the same photos, with the same detector: A2S, SBF, MNL and USPS (Tables II and III).

    python recipes/methods.py DATA --weights mobilenetv2_100_imagenet.safetensors --out methods.json

DATA holds duts_tr_3000 and the test sets, each with images/ and masks/. Each method learns from the first `--count`
photos of duts_tr_3000, with one encoder, one size and one recipe of stage 2; no training opens a mask. The passes of
the rivals are `--epochs` for each network but the last one and `--last-epochs` for that; `--last-epochs` are also
those of A2S's detector. Afterwards the labels that each ends with are scored on the training photos, and the
detectors on the test sets. Seconds are told by stage; those of the hand-crafted maps, which Table III leaves out, are
counted once, apart.

A run that was stopped goes on: finished trainings in `--runs` are taken as they are.
"""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from detectors import (
    TEST_SETS,
    TRAINING_SET,
    act2sal,
    differences,
    photos_of,
    rounded,
    scores_of,
    shared,
    test_scores,
    with_intervals,
)

from act2sal.data.images import write_atomic
from act2sal.runs.run_directory import stage_title
from act2sal.runtime.hardware import hardware
from act2sal.version import __version__

METHODS = ("a2s", "sbf", "mnl", "usps")


def main() -> None:
    """Train, predict, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True, help="file of the encoder, or random")
    parser.add_argument("--encoder", default="mobilenetv2")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--count", type=int, default=300, help="training photos")
    parser.add_argument("--size", type=int, default=224, help="pixels, of all networks")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--last-epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--test-limit", type=int, help="only so many photos of each test set, to try the recipe"
    )
    parser.add_argument(
        "--train-options",
        type=shlex.split,
        default=[],
        help="further options of `act2sal train`, of all methods",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"), help="folder of the trainings")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    runs = {method: trained(method, options) for method in options.methods}
    scored = {method: test_scores(run, options) for method, run in runs.items()}
    names = ("encoder", "count", "size", "epochs", "last_epochs", "seed")
    figures = {
        "command": shlex.join(["python", "recipes/methods.py", "DATA", *told(options)]),
        "package": __version__,
        "hardware": hardware(),
        **{name: getattr(options, name) for name in names},
        "seconds of the hand-crafted maps": seconds_of_maps(options.runs, options.methods),
        "methods": {
            method: {
                "seconds": seconds(run),
                "labels": rounded(scores_of(run / "labels", options.data / TRAINING_SET / "masks")),
                **{name: with_intervals(scored[method][name]) for name in TEST_SETS},
                "less a2s": {
                    name: differences(scored[method][name], scored["a2s"][name])
                    for name in TEST_SETS
                    if method != "a2s" and "a2s" in scored
                },
            }
            for method, run in runs.items()
        },
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def told(options: argparse.Namespace) -> list[str]:
    """The options that say what was measured."""
    names = ("encoder", "count", "size", "epochs", "last-epochs", "seed")
    values = [str(getattr(options, name.replace("-", "_"))) for name in names]
    words = [word for name, value in zip(names, values, strict=True) for word in (f"--{name}", value)]
    more = ["--train-options", shlex.join(options.train_options)] if options.train_options else []
    return [*words, *more, "--weights", Path(options.weights).name, "--methods", *options.methods]


def trained(method: str, options: argparse.Namespace) -> Path:
    """The run of a method; goes on with one that was stopped."""
    run: Path = options.runs / method
    if (run / "detector.safetensors").is_file():
        return run
    command = ["train", str(photos_of(options)), "--out", str(run)]
    if (run / "config.toml").is_file():
        act2sal([*command, "--resume"])
        return run
    own = ["--stage2.epochs", str(options.last_epochs)]
    if method != "a2s":
        maps = ["--rival.maps", str(options.runs / "maps")]
        own = ["--rival.epochs", str(options.epochs), "--rival.last-epochs", str(options.last_epochs), *maps]
    size = ["--stage2.size", str(options.size)]
    act2sal([*command, "--method", method, *shared(options), *size, *own, *options.train_options])
    return run


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The log of a run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def seconds(run: Path) -> dict[str, float]:
    """Seconds of a run by stage, without those of hand-crafted maps, and their sum."""
    spent: dict[str, float] = {}
    for row in rows_of(run):
        if "seconds" in row and not row["stage"].startswith("maps of"):
            stage = stage_title(row)
            spent[stage] = round(spent.get(stage, 0.0) + float(row["seconds"]), 1)
    return {**spent, "all": round(sum(spent.values()), 1)}


def seconds_of_maps(runs: Path, methods: list[str]) -> dict[str, float]:
    """Seconds of the hand-crafted maps by method, whichever run computed them."""
    rows = [row for method in methods for row in rows_of(runs / method)]
    maps = [row for row in rows if row["stage"].startswith("maps of")]
    return {row["stage"].removeprefix("maps of "): round(float(row["seconds"]), 1) for row in maps}


if __name__ == "__main__":
    main()
