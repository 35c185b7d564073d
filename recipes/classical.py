"""Score the classical methods on the test sets, beside Table II of the paper and the authors' own maps.

    python recipes/classical.py DATA [METHOD ...]

DATA holds ecssd_dev, pascal_s_dev and sod_dev with images/, masks/ and, for some methods, published_maps/. Writes
recipes/results/classical.json, and prints it as a Markdown table. Where methods are named, the rows of the others
stay as they are.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from act2sal.classical import METHODS
from act2sal.data.images import read_photo, resize_map, write_atomic
from act2sal.data.photo_files import pairs
from act2sal.evaluation import evaluate
from act2sal.evaluation.tables import score_text, table
from act2sal.predict.maps import predict_by

RESULT = Path(__file__).resolve().parent / "results" / "classical.json"
SETS = ("ecssd_dev", "pascal_s_dev", "sod_dev")
TABLE_2 = {
    ("dsr", "ecssd_dev"): (0.639, 0.174),
    ("dsr", "pascal_s_dev"): (0.579, 0.260),
    ("mc", "ecssd_dev"): (0.611, 0.204),
    ("mc", "pascal_s_dev"): (0.574, 0.272),
    ("rbd", "ecssd_dev"): (0.686, 0.189),
    ("rbd", "pascal_s_dev"): (0.609, 0.223),
    ("hs", "ecssd_dev"): (0.623, 0.228),
    ("hs", "pascal_s_dev"): (0.595, 0.286),
}
"""ave-F and MAE of the paper, over the whole sets."""


def main() -> None:
    """Predict, score, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("methods", nargs="*", help="without: all")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file that gets the scores")
    options = parser.parse_args()
    data, names, out = options.data, options.methods or list(METHODS), options.out
    results = json.loads(out.read_text(encoding="utf-8"))["results"] if out.exists() else {}
    results |= {f"{name} {folder}": scored(name, data / folder) for name in names for folder in SETS}
    content = {"command": "python recipes/classical.py DATA", "results": results}
    write_atomic(options.out, (json.dumps(content, indent=1) + "\n").encode())
    print(markdown(options.out), end="")


def scored(method: str, folder: Path) -> dict[str, Any]:
    """Scores of a method on a set, those of the authors' maps, and how alike the two are."""
    published = folder / "published_maps" / method.upper()
    with tempfile.TemporaryDirectory() as scratch:
        maps = Path(scratch)
        predict_by([folder / "images"], maps, METHODS[method], quiet=True)
        ours = evaluate(maps, folder / "masks", quiet=True)
        result = {
            "images": ours.counts.images,
            "f_adaptive": round(ours.f_adaptive, 4),
            "mae": round(ours.mae, 4),
            "table_2": TABLE_2.get((method, folder.name)),
        }
        if published.is_dir():
            theirs = evaluate(published, folder / "masks", quiet=True)
            result |= {
                "published_f_adaptive": round(theirs.f_adaptive, 4),
                "published_mae": round(theirs.mae, 4),
                "correlation": round(correlation(maps, published), 4),
            }
    return result


def correlation(maps: Path, published: Path) -> float:
    """Mean over the photos of the Pearson correlation of two maps; pairs with a constant map are left out."""
    alike = []
    for ours, theirs in pairs(maps, published).pairs:
        one, other = (read_photo(path)[..., 0].astype(np.float32) for path in (ours, theirs))
        one = resize_map(one, (other.shape[0], other.shape[1]))
        if one.std() > 0 and other.std() > 0:
            alike.append(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    return float(np.mean(alike))


def markdown(file: Path = RESULT) -> str:
    """Results as a Markdown table."""
    rows = []
    for title, result in json.loads(file.read_text(encoding="utf-8"))["results"].items():
        paper = [score_text(value) for value in result["table_2"] or ()] or ["", ""]
        authors = [
            score_text(result[key]) if key in result else ""
            for key in ("published_f_adaptive", "published_mae", "correlation")
        ]
        scores = [score_text(result["f_adaptive"]), score_text(result["mae"])]
        rows.append([f"{title} ({result['images']})", *scores, *paper, *authors])
    heads = ["", "adaptive F", "MAE", "paper: F", "paper: MAE", "authors' maps: F", "MAE", "correlation"]
    return table(heads, rows, "markdown")


if __name__ == "__main__":
    main()
