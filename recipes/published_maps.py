"""Score the published maps of HS and RBD by every convention, beside Table II of the paper.

    python recipes/published_maps.py DATA

DATA holds ecssd_dev, pascal_s_dev and sod_dev with masks/ and published_maps/. Writes
recipes/results/published_maps.json, and prints it as a Markdown table.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from act2sal.data.images import write_atomic
from act2sal.evaluation import SCORES, evaluate
from act2sal.evaluation.tables import score_text, table

RESULT = Path(__file__).resolve().parent / "results" / "published_maps.json"
SETS = (("HS", "ecssd_dev"), ("RBD", "pascal_s_dev"), ("RBD", "sod_dev"))
TABLE_2 = {("HS", "ecssd_dev"): (0.623, 0.228), ("RBD", "pascal_s_dev"): (0.609, 0.223)}
"""ave-F and MAE of the paper, over the whole sets."""
F_CONVENTIONS = ("f_adaptive", "f_mean", "f_max", "f_weighted", "code_f_max")


def main() -> None:
    """Score, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file that gets the scores")
    options = parser.parse_args()
    results = {f"{method} {name}": scored(method, options.data / name) for method, name in SETS}
    content = {"command": "python recipes/published_maps.py DATA", "results": results}
    write_atomic(options.out, (json.dumps(content, indent=1) + "\n").encode())
    print(markdown(options.out), end="")


def scored(method: str, folder: Path) -> dict[str, Any]:
    """All scores of a method's maps with their intervals, and the paper's."""
    scores = evaluate(folder / "published_maps" / method, folder / "masks", quiet=True)
    published = TABLE_2.get((method, folder.name))
    gaps = {} if published is None else {n: abs(scores.values[n] - published[0]) for n in F_CONVENTIONS}
    return {
        "images": scores.counts.images,
        "scores": {name: round(scores.values[name], 4) for name in SCORES},
        "intervals_95": {name: [round(v, 4) for v in scores.interval(name)] for name in SCORES},
        "table_2": None if published is None else {"ave_f": published[0], "mae": published[1]},
        "closest_to_ave_f": min(gaps, key=gaps.__getitem__) if gaps else None,
    }


def markdown(file: Path = RESULT) -> str:
    """Results as a Markdown table, with the paper's ave-F and MAE beside them."""
    names = (*F_CONVENTIONS, "mae")
    rows = []
    for title, result in json.loads(file.read_text(encoding="utf-8"))["results"].items():
        paper = result["table_2"]
        published = ["", ""] if paper is None else [score_text(paper["ave_f"]), score_text(paper["mae"])]
        cells = [score_text(result["scores"][name]) for name in names]
        rows.append([f"{title} ({result['images']})", *cells, *published])
    heads = [name.replace("_", " ") for name in names]
    return table(["", *heads, "paper: ave-F", "paper: MAE"], rows, "markdown")


if __name__ == "__main__":
    main()
