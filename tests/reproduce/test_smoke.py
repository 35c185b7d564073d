"""`act2sal reproduce` for real, on rendered scenes: all targets, a kill, a second call, and what is refused."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from act2sal.cli import main
from act2sal.reproduce import store
from act2sal.reproduce.rendering import read_result
from act2sal.reproduce.reproduction import Wish, prepare, told_command
from act2sal.reproduce.results import Figure
from act2sal.reproduce.targets import TARGETS
from act2sal.reproduce.training import baseline

SMALL = ("--scale", "smoke", "--encoder", "test_efficientnet", "--encoder-weights", "random", "--quiet")
TABLES = tuple(name for name in TARGETS if name.startswith("table"))
FIGURES = tuple(name for name in TARGETS if name.startswith("fig"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every target was made."""
    out = tmp_path_factory.mktemp("reproduced")
    assert main(["reproduce", "all", "--out", str(out), *SMALL]) == 0
    return out


def content(out: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((out / f"{name}.json").read_text(encoding="utf-8")))


def test_a_command_is_told_without_the_folders_of_a_machine() -> None:
    words = [
        "table1",
        "fig9",
        "--data",
        "/home/me/sets",
        "--out=/tmp/out",
        "--encoder-weights",
        "w/e.safetensors",
    ]
    told = [
        "act2sal",
        "reproduce",
        "table1",
        "fig9",
        "--data",
        "DATA",
        "--out=OUT",
        "--encoder-weights",
        "e.safetensors",
    ]
    assert told_command(words) == told
    assert told_command(["all", "--quiet", "--seeds", "0", "1"])[-4:] == ["--quiet", "--seeds", "0", "1"]


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_says_how_it_was_made(done: Path, name: str) -> None:
    provenance = content(done, name)["provenance"]
    words = "--scale smoke --encoder test_efficientnet --encoder-weights random --quiet"
    assert provenance["command"].startswith("act2sal reproduce ")
    assert provenance["command"].endswith(f"--out OUT {words}")
    assert provenance["seeds"] == [0]
    assert "6 of rendered scenes, fingerprint " in provenance["data"]
    assert "test_efficientnet, weights random" in provenance["encoder"]
    assert "cores" in provenance["machine"]
    assert provenance["commit"]


@pytest.mark.parametrize("name", TABLES)
def test_tables_hold_a_number_of_ours_in_every_row(done: Path, name: str) -> None:
    table = content(done, name)
    heads = [column["head"] for column in table["columns"]]
    for row in table["rows"]:
        for head, number in zip(heads, row["numbers"], strict=True):
            assert len(number["ours"]) == (0 if head.startswith("hours") else 1), (row["name"], head)
    assert {(done / f"{name}{suffix}").is_file() for suffix in (".md", ".tex", ".html")} == {True}
    assert table["claims"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_png_and_svg(done: Path, name: str) -> None:
    figure = content(done, name)
    assert figure["files"] == [f"{name}.png", f"{name}.svg"]
    with Image.open(done / f"{name}.png") as picture:
        assert min(picture.size) > 100
        assert picture.info["Software"].startswith("act2sal")
    assert ElementTree.parse(io.BytesIO((done / f"{name}.svg").read_bytes())).getroot().tag.endswith("svg")
    read, _ = read_result(done / f"{name}.json")
    assert isinstance(read, Figure)
    assert [path.name for path in read.files] == figure["files"]
    assert f"]({name}.png)" in (done / f"{name}.md").read_text(encoding="utf-8")


def test_curves_have_a_point_for_each_epoch(done: Path) -> None:
    assert all(curve["epoch"] == [1, 2] for curve in content(done, "fig9")["numbers"].values())
    assert all(curve["epoch"] == [1, 2] for curve in content(done, "fig10")["numbers"].values())


def test_equal_trainings_are_done_once(done: Path) -> None:
    assert len(list((done / "runs").glob("*/done.json"))) == 29
    tables = {
        name: content(done, name)["rows"] for name in ("table4", "table5", "table6", "table7", "table8")
    }
    whole, alpha = tables["table4"][3], tables["table5"][1]
    assert whole["numbers"][0]["ours"] == alpha["numbers"][0]["ours"]
    ours = {
        tuple(row["numbers"][-1]["ours"])
        for row in (tables["table6"][2], tables["table7"][5], tables["table8"][1])
    }
    assert len(ours) == 1


def test_rows_trained_on_masks_say_so(done: Path) -> None:
    rows = {row["name"]: row["seen"] for row in content(done, "table2")["rows"]}
    assert {name for name, seen in rows.items() if seen == "masks"} == {
        "PiCANet",
        "CPD",
        "BASNet",
        "ITSD",
        "MINet",
    }
    assert "MINet (trained on masks)" in (done / "table2.md").read_text(encoding="utf-8")


def test_a_second_call_trains_nothing(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it trained")

    before = content(done, "table6")
    monkeypatch.setattr(store, "train", refuse)
    monkeypatch.setattr(store, "label", refuse)
    assert main(["reproduce", "table6", "fig7", "fig9", "--out", str(done), *SMALL]) == 0
    assert content(done, "table6")["rows"] == before["rows"]


def test_other_test_photos_are_scored_anew_without_a_training(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(done, tmp_path / "copy")
    monkeypatch.setattr(store, "train", None)
    assert main(["reproduce", "fig9", "--out", str(out), *SMALL, "--tests", "1"]) == 0
    assert json.loads((out / "fig9.json").read_text())["numbers"] == content(done, "fig9")["numbers"]
    assert main(["reproduce", "fig11", "--out", str(out), *SMALL, "--tests", "1"]) == 0
    wish = Wish(("table1",), out, "smoke", tests=1, encoder="test_efficientnet", encoder_weights="random")
    bench = prepare(wish)
    one = bench.store.test_scores(baseline(bench.configs[0]), bench.material.tests[0])
    both = content(done, "table8")["rows"][1]["numbers"]
    assert one["mae"] != both[-1]["ours"][0]


def test_a_killed_call_goes_on_to_the_same_numbers(done: Path, tmp_path: Path) -> None:
    words = ["reproduce", "table5", "--out", str(tmp_path), *SMALL]
    process = subprocess.Popen([sys.executable, "-m", "act2sal", *words], stderr=subprocess.DEVNULL)
    kept = tmp_path / "runs"
    while not list(kept.glob("*/epochs.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("table5.*"))
    assert main(words) == 0
    assert content(tmp_path, "table5")["rows"] == content(done, "table5")["rows"]


def test_a_dry_run_prints_the_plan_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["reproduce", "table8", "--out", str(tmp_path), *SMALL, "--seeds", "3", "4", "--dry-run"]) == 0
    )
    shown = capsys.readouterr().out
    assert "table8 at scale smoke" in shown
    assert "A2S, seed 3: about 0:0" in shown
    assert "HMA, seed 4: about 0:0" in shown
    assert "4 trainings, about 0:" in shown
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_dry_run_of_the_papers_own_setting_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["reproduce", "all", "--out", str(tmp_path / "out"), "--data", str(tmp_path), "--scale", "full"]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for name in ("ECSSD", "MSRA-B", "DUT-OMRON", "PASCAL-S", "DUTS-TE", "HKU-IS"):
        assert re.search(rf"^missing: {name} \(\d+ photos, .* it is offered at http", shown, re.MULTILINE)
    assert "missing: " in shown
    assert "the weights of MoCo v2; they are downloaded from https://" in shown
    assert "29 trainings, about " in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tabel1"], "there is no target 'tabel1'; did you mean table1?"),
        ([], "needs a TARGET; possible: table1"),
        (["table1", "--seeds", "1", "1"], "--seeds needs at least one seed, each once"),
        (["table1", "--scale", "cpu"], "--scale cpu needs --data DIR"),
        (["table1", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["table1", "--photos", "0"], "photos must be at least 2"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
