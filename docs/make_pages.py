"""Write the pages that hold measurements, from the files in recipes/results: python docs/make_pages.py.

results.md and benchmarks.md come from templates/ beside this file; README.md gets the lines between
`<!-- results -->` and `<!-- /results -->`, and likewise `speed`.
"""

import json
import re
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from act2sal.config import Stage1Config
from act2sal.data.sod_sets import SOD_SETS
from act2sal.reproduce.rendering import VERDICTS, read_result, rendered, told
from act2sal.reproduce.results import Table
from act2sal.reproduce.targets import TARGETS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = ROOT / "recipes" / "results"
PAGES = ("results.md", "benchmarks.md", "data.md", "reproduction.md", "scale.md")
REPRODUCTION = RESULTS / "reproduction"
"""What `act2sal reproduce` wrote; its pictures are in docs/reproduction."""
sys.path.insert(0, str(ROOT / "recipes"))

import published_maps  # noqa: E402
import table  # noqa: E402

import classical  # noqa: E402

CLASSICAL_PARTS = {
    "dsr": "reconstruction errors of pixels, half of it the sparse ones",
    "mc": "SLIC",
    "rbd": "three SLIC segmentations",
    "hs": "merging of regions",
}
CUTOUT_PARTS = ("decode", "resize to the network", "network", "enlarge the map", "cutout", "PNG")
README_ROWS = {
    "detector ecssd_dev": ("detector", "half of ECSSD"),
    "detector, --refine crf, ecssd_dev": ("detector, `--refine crf`", "half of ECSSD"),
    "detector pascal_s_dev": ("detector", "a quarter of PASCAL-S"),
    "detector sod_dev": ("detector", "half of SOD"),
}


def main() -> None:
    """Write the pages and the tables of the README."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


def pages() -> dict[str, str]:
    """The pages by their names."""
    environment = Environment(
        loader=FileSystemLoader(DOCS / "templates"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters.update(score=score, seconds=seconds, pair=pair, change=change)
    return {name: environment.get_template(name).render(context()) for name in PAGES}


def with_tables(readme: str) -> str:
    """The README with its two tables as the measurements have them."""
    for name, lines in {"results": results_table(), "speed": speed_table()}.items():
        pattern = rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)"
        readme, found = re.subn(pattern, lambda _, new=lines: new, readme, flags=re.DOTALL)  # type: ignore[misc]
        assert found == 1, f"README.md has no place for the table of {name}"
    return readme


def context() -> dict[str, Any]:
    """What the templates can name: every file of measurements, and a few numbers made of them."""
    found = {path.stem: result(path.stem) for path in RESULTS.glob("*.json") if path.stem.isidentifier()}
    upsampling, cutout = found["upsampling"], found["cutout_speed"]["seconds_on_one_core"]
    return found | {
        "sod_sets": SOD_SETS,
        "reproduced": {name: reproduced(REPRODUCTION / f"{name}.json") for name in reproduced_names()},
        "serve_medians": serve_medians(found["serve_speed"]),
        "recipe_table": table.table,
        "published_maps_table": published_maps.markdown,
        "classical_table": classical.markdown,
        "classical_parts": CLASSICAL_PARTS,
        "strides": get_args(get_type_hints(Stage1Config)["fusion_stride"]),
        "default_stride": Stage1Config.fusion_stride,
        "upsampling": {**upsampling["training"], **upsampling["test"]},
        "cutout_seconds": sum(cutout[part] for part in CUTOUT_PARTS),
        "decoder_share": found["stage2_speed"]["decoders"]["mobilenetv2"]["share of the paper's"],
        "step_seconds": [way["seconds_a_photo"] for way in found["gradients_speed"]["step"].values()],
        "crf_ratio": round(
            found["crf_speed"]["against_pydensecrf2_400x300_10_iterations"]["times_as_fast_median"], 1
        ),
    }


def reproduced_names() -> list[str]:
    """The tables and figures that are there, in the order of the paper."""
    return [name for name in TARGETS if (REPRODUCTION / f"{name}.json").is_file()]


def reproduced(file: Path) -> dict[str, Any]:
    """A table or figure of `act2sal reproduce`: its body as Markdown, claims, note, and how it was made."""
    found, provenance = read_result(file)
    if isinstance(found, Table):
        body, note = table_body(found), found.note
    else:
        body, note = f"![{found.title}](reproduction/{file.stem}.webp)\n", found.caption
    claims = [
        (claim.text.replace("|", "\\|"), VERDICTS[claim.holds], claim.figures) for claim in found.claims
    ]
    return {"title": found.title, "body": body, "note": note, "claims": claims, "made": told(provenance)}


def table_body(found: Table) -> str:
    """A table alone, without its title and what stands under it."""
    return rendered(replace(found, title="", claims=(), note=""), "markdown").strip("# \n") + "\n"


def result(name: str) -> dict[str, Any]:
    """A file of measurements."""
    read: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return read


def score(value: float, digits: int = 3) -> str:
    """A score as the field writes it: .887."""
    return f"{value:.{digits}f}".removeprefix("0")


def serve_medians(measured: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Medians over the rounds of both services."""
    return {
        name: {
            what: statistics.median(one[name][what] for one in measured["rounds"])
            for what in ("p95_ms", "start_seconds")
        }
        for name in ("serve", "one photo per request")
    }


def pair(row: dict[str, Any]) -> str:
    """Adaptive F and MAE: .887 / .057."""
    return f"{score(row['f_adaptive'])} / {score(row['mae'])}"


def change(row: dict[str, Any]) -> str:
    """A difference with its 95 % interval: -.013 [-.020, -.006]."""
    low, high = (signed(end) for end in row["interval"])
    return f"{signed(row['value'])} [{low}, {high}]"


def signed(value: float) -> str:
    """A difference of scores: +.013."""
    return f"{value:+.3f}".replace("0.", ".", 1)


def seconds(value: float, digits: int = 2) -> str:
    """Seconds without a zero in front: .52."""
    return score(value, digits)


def results_table() -> str:
    """The README's table of scores."""
    scores = result("duts3000-mean-student-seed0")["scores"]
    rows = ["| ‡ | | adaptive F | MAE |", "| --- | --- | ---: | ---: |"]
    for name, (what, on) in README_ROWS.items():
        row = scores[name]
        rows.append(f"| {what} | {on} | {score(row['f_adaptive'])} | {score(row['mae'])} |")
    return "\n".join(rows) + "\n"


def speed_table() -> str:
    """The README's table of speed."""
    predict, stage1 = result("predict_speed"), result("stage1_speed")
    stage2, crf = result("stage2_speed"), result("crf_speed")["against_pydensecrf2_400x300_10_iterations"]
    rows = {
        f"`predict`: {predict['photos_a_second']} photos/s": (
            predict["ratio"],
            "U2-Net-p's shape, run the plain way",
        ),
        "stage 1, ResNet-50": (stage1["ratio"], "a plain PyTorch loop, encoder in every step"),
        "stage 2, default detector": (stage2["default"]["ratio"], "a plain PyTorch loop"),
        "dense CRF": (round(crf["times_as_fast_median"], 1), "pydensecrf2, one core"),
        "`evaluate`": (result("evaluate_speed")["ratio"], "a loop over py-sod-metrics"),
    }
    lines = ["| | times as fast as | |", "| --- | ---: | --- |"]
    return (
        "\n".join([*lines, *(f"| {what} | {ratio} | {than} |" for what, (ratio, than) in rows.items())])
        + "\n"
    )


if __name__ == "__main__":
    main()
