"""Every script of benchmarks/ and recipes/ runs, at its smallest size, and writes the figures it is for.

The scripts run in this process, as most of the time would go into importing PyTorch otherwise; those that measure in
processes of their own still start them.
"""

import importlib.util
import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from act2sal.networks.checkpoint import save_detector
from act2sal.scenes import write_scenes
from tiny import ENCODER, tiny_arguments, tiny_detector

ROOT = Path(__file__).resolve().parents[1]
SETS = ("duts_tr_3000", "ecssd_dev", "pascal_s_dev", "sod_dev")
COUNT = 12
"""Scenes of each data set."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of rendered scenes with images/, masks/ and published_maps/, which are the masks, paler."""
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder / "scenes", COUNT, seed=3, size=(120, 160))
    maps = folder / "maps"
    maps.mkdir()
    for mask in sorted((folder / "scenes" / "masks").iterdir()):
        pixels = np.asarray(Image.open(mask).convert("L"))
        Image.fromarray(np.clip(pixels, 20, 200)).save(maps / mask.name)
    for name in SETS:
        (folder / name / "published_maps").mkdir(parents=True)
        (folder / name / "images").symlink_to(folder / "scenes" / "photos")
        (folder / name / "masks").symlink_to(folder / "scenes" / "masks")
        for method in ("HS", "RBD"):
            (folder / name / "published_maps" / method).symlink_to(maps)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a script with arguments and `--out FILE`; returns what the file holds."""

    def run_script(script: str, *arguments: object, out: Path | None = None) -> dict[str, Any]:
        path = ROOT / script
        target = out or tmp_path / "figures.json"
        words = [str(path), *map(str, arguments), "--out", str(target)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.syspath_prepend(str(path.parent))
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise
        return json.loads(target.read_text(encoding="utf-8")) if target.suffix == ".json" else {}

    return run_script


def missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


def test_allocator(run: Any) -> None:
    figures = run("benchmarks/allocator.py", "--size", 32, "--batch", 2, "--steps", 1, "--turns", 1)
    assert figures["ratio"] > 0


def test_cluster(run: Any, data: Path) -> None:
    """Ray itself, which takes long to start, is measured by the next test."""
    words = ("--few", 1, "--many", 2, "--ways", "local, all cores", "--no-memory")
    figures = run("benchmarks/cluster.py", data / "scenes" / "photos", *words)
    assert figures["local, all cores"]["seconds to start"] != 0


def test_memory_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is watched, without a cluster."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    cluster = runpy.run_path(str(ROOT / "benchmarks" / "cluster.py"))
    model = cluster["small_model"](tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (number, 90, 200)).save(photos / f"{number}.png")
    words = ["--model", str(model)]
    seconds, peaks = cluster["seconds_of"](sorted(photos.iterdir()), 3, words)
    assert seconds > 0
    assert peaks["the command"] > 50
    assert peaks["a process that does shards"] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_the_cost_of_very_many_photos(run: Any, data: Path, tmp_path: Path) -> None:
    words = ("--shards", 3, "--photos-a-shard", 3, "--labelled", 2, "--works", 2, 20)
    steps = tmp_path / "steps.json"
    figures = run("benchmarks/shard_steps.py", data / "scenes" / "photos", *words, out=steps)
    found = figures["predict"]["seconds a photo"]
    assert found["network"] > found["note"] > 0
    assert sum(found.values()) == pytest.approx(figures["predict"]["seconds a photo in all"], abs=1e-3)
    for command in ("predict", "label"):
        assert figures[command]["requests a shard"]["PUT"] == 2
        assert figures[command]["bytes a photo"]["results"] > 100
    few = ("--photos", 1e6, "--simulated", 1e5, "--processes", 5, 10, "--sizes", 500, "--seeds", 1)
    model = run("benchmarks/cluster_model.py", steps, "--size", 100, *few)
    assert [row["processes"] for row in model["label"]["beside the simulation"]] == [5, 10, 10]
    assert model["predict"]["costs"]["core-hours"] > 0


def test_classical_speed(run: Any, data: Path) -> None:
    words = ("--count", 1, "--few", 1, "--many", 2, "--methods", "rbd")
    figures = run("benchmarks/classical_speed.py", data / "scenes" / "photos", *words)
    assert set(figures["seconds_a_photo_on_one_core"]) == {"rbd", "one SLIC"}
    assert figures["shares_of_the_time"]["rbd"]


CRF_PARTS = (
    "workers",
    "label_stage",
    "growth",
    "profile_ns_per_pixel_400x300",
    "mean_abs_difference_to_exact_32x32",
)
"""Sections that do without pydensecrf2; compiling the kernels anew takes long."""


def photos_for_the_crf(folder: Path) -> Path:
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((400, 300)).save(folder / f"{number}.png")
    return folder


def test_crf(run: Any, tmp_path: Path) -> None:
    words = ("--count", 2, "--repeats", 1, "--labels", 2, "--megapixels", 0.05, 0.1)
    photos = photos_for_the_crf(tmp_path)
    figures = run("benchmarks/crf.py", photos, *words, "--only", *CRF_PARTS)
    assert {"growth", "workers"} <= set(figures)
    assert max(figures["mean_abs_difference_to_exact_32x32"].values()) < 0.05


@pytest.mark.skipif(missing("pydensecrf"), reason='needs pydensecrf2 of the extra "bench"; it has no wheels')
def test_crf_beside_the_published_one(run: Any, tmp_path: Path) -> None:
    words = ("--count", 1, "--repeats", 1, "--megapixels", 0.05)
    section = "against_pydensecrf2_400x300_10_iterations"
    figures = run("benchmarks/crf.py", photos_for_the_crf(tmp_path), *words, "--only", section)
    assert figures[section]["label_agreement_mean"] > 0.99


@pytest.mark.skipif(missing("pymatting"), reason='needs pymatting: pip install "act2sal[matting]"')
def test_cutout(run: Any, data: Path) -> None:
    figures = run("benchmarks/cutout.py", data / "scenes" / "photos", "--count", 1, "--size", 90, 120)
    assert figures["seconds_on_one_core"]["cutout"] >= 0


def test_evaluate(run: Any, data: Path) -> None:
    folder = data / "ecssd_dev"
    figures = run("benchmarks/evaluate.py", folder / "published_maps" / "HS", folder / "masks", "--turns", 1)
    assert figures["images"] == COUNT
    assert figures["largest_difference"] < 1e-12


def test_features(run: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--encoder", "test_efficientnet", "--weights", "random", "--count", 6, "--size", 64)
    folder = data / "scenes"
    figures = run("benchmarks/features.py", folder / "photos", folder / "masks", *words)
    assert sum("mirrored" in name for name in figures) == 5


def test_gradients(run: Any) -> None:
    words = ("--size", 32, "--batch", 2, "--tries", 1, "--ways", "PyTorch", "ours")
    figures = run("benchmarks/gradients.py", *words)
    assert set(figures["step"]) == {"PyTorch", "ours"}


def test_overfit(run: Any, data: Path) -> None:
    words = ["--count", 4, "--size", 64, "--epochs", 5, "--encoder", ENCODER, "--encoder-weights", "random"]
    photos, masks = data / "scenes" / "photos", data / "scenes" / "masks"
    figures = run("benchmarks/overfit.py", photos, masks, *words, "--detectors", "a2s", "itsd")
    assert {name: found["epochs"] for name, found in figures["detectors"].items()} == {"a2s": 5, "itsd": 5}
    for found in figures["detectors"].values():
        assert found["enough"] == (found["f_adaptive"] > 0.95)
        assert found["parameters"] > 10_000


def test_picanet(run: Any) -> None:
    figures = run("benchmarks/picanet.py", "--batch", 2, "--repeats", 1, "--encoders", ENCODER)
    step = figures["steps"][ENCODER]
    assert 0 < step["of that, weighted sums"] < step["local attention"]
    assert figures["weighted_sum"]["ratio"] > 0


def test_rectifying(run: Any, data: Path) -> None:
    figures = run("benchmarks/rectifying.py", data / "scenes" / "photos", "--count", 8, "--size", 64)
    assert figures["seconds_a_photo"].keys() == {"olr", "hma"}
    assert figures["ratio"] > 1


def test_int8(run: Any, data: Path) -> None:
    figures = run("benchmarks/int8.py", data, "--count", 1)
    assert figures["int8"]["megabytes"] < figures["float"]["megabytes"]


def test_memory(run: Any) -> None:
    words = ("--commands", "predict", "--few", 1, "--many", 2, "--size", 64)
    figures = run("benchmarks/memory.py", *words)
    assert figures["predict"]["MiB, 1 photos"] > 0


def test_predict(run: Any, data: Path) -> None:
    figures = run("benchmarks/predict.py", data / "scenes" / "photos", "--count", 1)
    assert figures["photos"] == 1


def test_stage1(run: Any, data: Path) -> None:
    words = ("--encoder", "test_efficientnet", "--size", 64, "--batch", 2, "--steps", 1, "--turns", 1)
    figures = run("benchmarks/stage1.py", data / "scenes" / "photos", *words)
    assert figures["ratio"] > 0


def test_stage1_quality(run: Any, data: Path) -> None:
    words = ("--quality", data, "--quality-photos", 6, "--quality-encoder", "test_efficientnet", "--size", 64)
    way = "default, stride 16"
    figures = run("benchmarks/stage1.py", data / "scenes" / "photos", *words, "--ways", way)
    assert figures[way]["photos"] == 6


def test_stage2(run: Any, data: Path) -> None:
    words = (
        "--networks",
        "default",
        "--encoders",
        "mobilenetv2",
        "--size",
        64,
        "--batch",
        2,
        "--steps",
        1,
        "--turns",
        1,
    )
    figures = run("benchmarks/stage2.py", data / "scenes" / "photos", *words)
    assert figures["default"]["ratio"] > 0


def test_upsampling(run: Any, data: Path) -> None:
    figures = run("benchmarks/upsampling.py", data, "--count", 2, "--large", 60, 80)
    assert "joint bilateral" in figures["processor_seconds_at_12_megapixels"]


def test_classical(run: Any, data: Path) -> None:
    figures = run("recipes/classical.py", data, "hs")
    assert {row["images"] for row in figures["results"].values()} == {COUNT}


def test_detectors(run: Any, data: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    words = ["--encoder", ENCODER, "--weights", "random", "--runs", tmp_path / "runs", "--sheet", sheet]
    sizes = ["--count", 4, "--size", 64, "--epochs", 1, "--test-limit", 2]
    labels = ["--label-options", "--size 64 --stage1.epochs 1 --stage1.rounds 0"]
    figures = run("recipes/detectors.py", data, *words, *sizes, *labels, "--detectors", "ours", "minet")
    assert figures["detectors"]["minet, with OLR"]["less ours, with OLR"].keys() == {*SETS[1:]}
    assert "less ours, with OLR" not in figures["detectors"]["ours, with OLR"]
    assert figures["detectors"]["minet, without OLR"]["ecssd_dev"]["images"] == 2
    assert sheet.is_file()


def test_methods(run: Any, data: Path, tmp_path: Path) -> None:
    words = [
        "--encoder",
        ENCODER,
        "--weights",
        "random",
        "--runs",
        tmp_path / "runs",
        "--methods",
        "a2s",
        "mnl",
    ]
    sizes = ["--count", 4, "--size", 64, "--epochs", 1, "--last-epochs", 1, "--test-limit", 2]
    for name in ("dsr", "mc", "rbd", "hs"):
        shutil.copytree(data / "maps", tmp_path / "runs" / "maps" / name)
    figures = run("recipes/methods.py", data, *words, *sizes, "--train-options", "--size 64")
    assert figures["methods"]["mnl"]["less a2s"].keys() == {*SETS[1:]}
    assert figures["methods"]["a2s"]["labels"].keys() == {"f_adaptive", "mae"}
    assert figures["seconds of the hand-crafted maps"] == {}


def test_confidence(run: Any, data: Path) -> None:
    figures = run("recipes/confidence.py", data, "--count", 6)
    assert set(figures["checks"]) == set(SETS[1:])


def test_gpu_check(run: Any, tmp_path: Path) -> None:
    words = ("--device", "cpu", "--photos", 6, "--size", 64, "--only", "shipped maps")
    cases = run("recipes/gpu_check.py", *words)["cases"]
    assert [row.get("failed") for row in cases.values()] == [None]


def test_levers(run: Any, data: Path) -> None:
    words = ("--data", data, "--limit", 6, "--size", 64, "--seeds", 0, "--groups", "first fits")
    name = first_lever()
    figures = run("recipes/levers.py", *words, "--names", name)
    assert figures["first fits"][name]["0"]["images"] > 0


def first_lever() -> str:
    """A name that the script's table of first fits begins with."""
    text = (ROOT / "recipes" / "levers.py").read_text(encoding="utf-8")
    return text.split("FIRST_FITS")[1].split('"')[1]


def test_mean(run: Any, data: Path, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("one", "other")]
    for folder in runs:
        folder.mkdir()
        save_detector(folder / "detector.safetensors", tiny_detector(), metadata={"size": "64"})
    run("recipes/mean.py", *runs, "--photos", data / "scenes" / "photos", out=tmp_path / "mean")
    assert (tmp_path / "mean" / "detector.safetensors").is_file()


def test_published_maps(run: Any, data: Path) -> None:
    figures = run("recipes/published_maps.py", data)
    assert figures["results"]["HS ecssd_dev"]["images"] == COUNT


def test_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "duts3000-densenet-mobilenet"
    words = [
        name,
        "--data",
        data,
        "--runs",
        tmp_path / "runs",
        "--results",
        tmp_path,
        "--test-sets",
        "sod_dev",
    ]
    encoders = [
        f"--{stage}.{option} {value}"
        for stage in ("stage1", "stage2")
        for option, value in (("encoder", ENCODER), ("encoder-weights", "random"))
    ]
    smaller = " ".join([*tiny_arguments()[4:], *encoders, "--quiet"])
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, words), "--smaller", smaller])
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    runpy.run_path(str(ROOT / "recipes" / "run.py"), run_name="__main__")
    result = json.loads((tmp_path / f"{name}-seed0.json").read_text(encoding="utf-8"))
    assert result["scores"]["detector sod_dev"]["images"] == COUNT


def test_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["table.py", "duts3000-student-seed0"])
    runpy.run_path(str(ROOT / "recipes" / "table.py"), run_name="__main__")
    assert "| detector ecssd_dev" in capsys.readouterr().out


def test_no_script_is_left_out() -> None:
    own = Path(__file__).read_text(encoding="utf-8") + (ROOT / "tests" / "test_recipes.py").read_text(
        encoding="utf-8"
    )
    helpers = {"floor.py", "u2netp.py"}
    """Only imported, by scripts that run here."""
    scripts = {path.name for folder in ("benchmarks", "recipes") for path in (ROOT / folder).glob("*.py")}
    assert {name for name in scripts - helpers if name not in own} == set()


def test_matting(run: Any) -> None:
    figures = run("benchmarks/matting.py", "--sizes", 64, "--count", 1)
    assert figures["64 x 64"]["closed-form"].keys() == {"SAD", "MSE", "seconds"}


def test_serve(data: Path, run: Any) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra act2sal[serve]")
    words = ("--count", 12, "--clients", 2, "--rounds", 1, "--soak")
    figures = run("benchmarks/serve.py", data / "scenes" / "photos", *words)
    assert figures["rounds"][0]["serve"]["photos_per_second"] > 0
