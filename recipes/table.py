"""Print the scores of a recipe as a Markdown table: `python recipes/table.py NAME-seedN`.

The README holds what this prints; a test compares the two.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COLUMNS = {
    "f_adaptive": "adaptive F",
    "f_mean": "mean F",
    "f_max": "max F",
    "mae": "MAE",
    "s_measure": "S",
    "e_adaptive": "adaptive E",
    "images": "images",
}


def table(name: str) -> str:
    """Markdown of `results/NAME.json`: one row per scored folder of maps, three decimals."""
    result = json.loads((FOLDER / "results" / f"{name}.json").read_text(encoding="utf-8"))
    mark = "" if set(result["supervision"].values()) == {"none"} else " ‡"
    lines = [f"| {' | '.join(['', *COLUMNS.values()])} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    for row, scores in result["scores"].items():
        cells = [str(scores[c]) if c == "images" else f"{scores[c]:.3f}".lstrip("0") for c in COLUMNS]
        lines.append(f"| {row}{mark} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(sys.argv[1]), end="")
