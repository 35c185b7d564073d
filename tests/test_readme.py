"""What the README promises is what the repository holds."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

from act2sal.config import Stage1Config

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
    for name in ("duts3000-mean-student-seed0", "duts3000-densenet-mobilenet-seed0"):
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


def result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "recipes" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_speed_is_what_was_measured() -> None:
    predict, classical = result("predict_speed"), result("classical_speed")
    stage1, stage2, int8 = result("stage1_speed"), result("stage2_speed"), result("int8")
    share = stage2["decoders"]["mobilenetv2"]["share of the paper's"]
    text = README.replace("\n", " ")
    assert f"does {predict['photos_a_second']} photos/s" in text
    assert f"{predict['ratio']} times what" in text
    for name, seconds in classical["seconds_a_photo_on_one_core"].items():
        if name in classical["photos_a_second_on_all_cores"]:
            rate = classical["photos_a_second_on_all_cores"][name]
            assert f"| {name.upper()} | {seconds:.2f} | {rate} |" in text
    for row, found, floor in (
        ("stage 1: ResNet-50", stage1, stage1["floor_of_ours_a_photo"]["all epochs"]),
        ("stage 2: the default detector", stage2["default"], stage2["default"]["floor_of_a_photo"]),
        ("stage 2: the detector of the paper", stage2["paper"], stage2["paper"]["floor_of_a_photo"]),
    ):
        cells = rf"{found['ratio']} \| {found['ratio_in_float32']} \| {floor['times_the_floor']} times \|"
        assert re.search(rf"\| {row}[^|]*\| {cells}", text), row
    assert f"takes .{round(100 * share['gmac_network'])} of the multiplications" in text
    assert f"and .{round(100 * share['seconds'])} of the time" in text
    default, paper = (stage2[name]["photos_a_second"]["ours"] for name in ("default", "paper"))
    assert f"takes .{round(100 * paper / default)} of the time of the paper's" in text
    steps = [
        f"{way['seconds_a_photo']:.3f}".removeprefix("0")
        for way in result("gradients_speed")["step"].values()
    ]
    assert (
        f"takes {steps[0]} s a photo with the gradients of PyTorch, {steps[1]} with ours and {steps[2]}"
        in text
    )
    cutout = result("cutout_speed")["seconds_on_one_core"]
    parts = ("decode", "resize to the network", "network", "enlarge the map", "cutout", "PNG")
    add_up, png = (f"{value:.2f}".removeprefix("0") for value in (sum(map(cutout.get, parts)), cutout["PNG"]))
    assert f"add up to {add_up} s on one core, {png} of them PNG" in text
    peaks = result("predict_memory")["predict"]
    assert (
        f"{peaks['MiB, 500 photos']} MiB over 500 photos and {peaks['MiB, 5000 photos']} MiB over 5,000"
        in text
    )
    peaks = result("train_memory")["train"]
    few, many = peaks["MiB, 1000 photos"], peaks["MiB, 10000 photos"]
    assert f"{few} MiB on 1,000 small photos and {many} MiB on 10,000" in text
    assert many <= 1.1 * few
    for key in ("megabytes", "f_adaptive", "mae"):
        before, after = (f"{int8[kind][key]}".removeprefix("0") for kind in ("float", "int8"))
        assert re.search(rf"{re.escape(after)}( MB)? in place of {re.escape(before)}", text), key


def test_labels_beside_those_of_the_loop() -> None:
    found, text = result("stage1_quality"), README.replace("\n", " ")
    assert found["default, stride 4"]["f_adaptive"] >= found["plain loop"]["f_adaptive"] - 0.01
    for way in ("plain loop", "default, stride 4", "ours", "ours, stride 8"):
        figures = [f"{found[way][score]:.3f}".removeprefix("0") for score in ("f_adaptive", "mae")]
        assert re.search(rf"{figures[0]}( and)?( a MAE of)? {figures[1]}\b", text), way


def test_labels_of_each_fusion_stride() -> None:
    found = result("stage1_strides")
    for stride in get_args(get_type_hints(Stage1Config)["fusion_stride"]):
        way = found[f"default, stride {stride}"]
        f, mae = (f"{way[score]:.3f}".removeprefix("0") for score in ("f_adaptive", "mae"))
        assert f"| {stride} | {f} | {mae} | {round(way['seconds_fit'])} |" in README
    assert f"Stride {Stage1Config().fusion_stride} is the default" in README


def test_labels_are_as_good_in_every_precision() -> None:
    found = result("features")
    base = found["computed in float32, stored in float16, features mirrored"]["f_adaptive"]
    for precision, stored in (
        ("float32", "float16"),
        ("bfloat16", "float16"),
        ("float32", "int8"),
        ("bfloat16", "int8"),
    ):
        f = found[f"computed in {precision}, stored in {stored}, features mirrored"]["f_adaptive"]
        assert abs(f - base) < 0.005
        assert f"{f:.4f}"[1:] in README


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_file_it_links_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
