"""What the README promises is what the repository holds."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def recipe_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_are_those_of_the_recipe() -> None:
    for name in ("duts3000-student-seed0", "duts3000-densenet-mobilenet-seed0"):
        assert recipe_module("table").table(name) in README


def test_the_scores_of_published_maps_are_those_measured() -> None:
    assert recipe_module("published_maps").markdown() in README


def test_the_scores_of_the_classical_methods_are_those_measured() -> None:
    assert recipe_module("classical").markdown() in README


def test_the_confidence_is_as_good_as_was_measured() -> None:
    checks = json.loads((ROOT / "recipes" / "results" / "confidence.json").read_text(encoding="utf-8"))[
        "checks"
    ]
    for name, check in checks.items():
        whole, crops = (
            f".{round(1000 * check['roc_auc'][key]):03d}" for key in ("all", "crops of equal size")
        )
        assert f"{name} {whole} (crops alone {crops})" in README.replace("\n", " ")


def test_enlarged_maps_are_as_good_as_was_measured() -> None:
    found = json.loads((ROOT / "recipes" / "results" / "upsampling.json").read_text(encoding="utf-8"))
    for folder, coarser in {**found["training"], **found["test"]}.items():
        for times in (4, 8):
            row = coarser[f"map {times} times as coarse"]
            before, after = (f"{row[way]['boundary_f_2px']:.3f}"[1:] for way in ("bilinear", "enlarged"))
            assert f"{before} to {after}" in README.replace("\n", " "), (folder, times)


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_file_it_links_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
