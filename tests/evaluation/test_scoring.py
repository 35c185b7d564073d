"""`act2sal evaluate` as its users call it: tables, files, data sets, pictures, exit status."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from act2sal.cli import main
from act2sal.data.images import read_photo, write_gray_png
from act2sal.data.origin import Origin, marked_png
from act2sal.data.sod_sets import SOD_SETS, find_sod_sets
from act2sal.evaluation.contact_sheet import Cell, write_sheet
from act2sal.evaluation.tables import score_text, table


def write_maps(folder: Path, noise: int, *, names: tuple[str, ...] = ("a", "b/c", "d")) -> Path:
    rng = np.random.default_rng(7)
    for number, name in enumerate(names):
        mask = np.zeros((20, 30), np.uint8)
        mask[4 : 12 + number, 5:20] = 255
        noisy = np.clip(mask.astype(int) + rng.integers(-noise, noise + 1, mask.shape), 0, 255)
        write_gray_png(folder / f"{name}.png", noisy.astype(np.uint8))
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "act2sal.cli", "evaluate", *map(str, arguments), "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_method_with_every_output(tmp_path: Path) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    photos = write_maps(tmp_path / "photos", 30)
    outputs = ("--json", tmp_path / "s.json", "--csv", tmp_path / "s.csv", "--plot", tmp_path / "plots")
    sheet = ("--worst", 2, "--sheet", tmp_path / "worst.png", "--photos", photos)
    done = run(maps, masks, *outputs, *sheet)
    assert done.returncode == 0, done.stderr
    assert "beta^2 = 0.3" in done.stdout
    assert "3 images scored" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())["counts"]["images"] == 3
    with (tmp_path / "s.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a", "b/c", "d"]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "f_measure.png",
        "f_measure.svg",
        "precision_recall.png",
        "precision_recall.svg",
    }
    assert read_photo(tmp_path / "worst.png").shape[1] > 600


def test_methods_side_by_side_on_the_images_they_share(tmp_path: Path) -> None:
    masks = write_maps(tmp_path / "masks", 0)
    good = write_maps(tmp_path / "good", 20)
    bad = write_maps(tmp_path / "bad", 120, names=("a", "b/c"))
    done = run("--table", f"good={good}", f"bad={bad}", "--masks", masks, "--convention", "a2s-code")
    assert done.returncode == 1  # one method lacks a map
    rows = {
        line.split()[0]: line.split()
        for line in done.stdout.splitlines()
        if line.startswith(("good ", "bad "))
    }
    assert rows["good"][-1] == rows["bad"][-1] == "2"
    assert "max F (code)" in done.stdout
    assert any(line.startswith("bad - good") and "0 : 2" in line for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("style", "sign"), [("markdown", "| --- |"), ("latex", r"\begin{tabular}"), ("html", "<table>")]
)
def test_a_table_for_a_document_stands_alone(style: str, sign: str, tmp_path: Path) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    done = run(maps, masks, "--format", style)
    assert sign in done.stdout
    assert "images scored" not in done.stdout
    assert "3 images scored" in done.stderr


def test_data_sets_are_found_below_one_root(tmp_path: Path) -> None:
    for name in ("ECSSD", "DUT-OMRON_small", "pascal_s_dev", "holiday"):
        write_maps(tmp_path / "data" / name / ("gt" if name == "ECSSD" else "masks"), 0)
    (tmp_path / "data" / "SOD" / "images").mkdir(parents=True)
    found = find_sod_sets(tmp_path / "data")
    assert [f.sod_set.name for f in found] == ["ECSSD", "DUT-OMRON", "PASCAL-S"]
    for name in ("ECSSD", "pascal_s_dev"):
        write_maps(tmp_path / "maps" / name, 50)
    done = run(tmp_path / "maps", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    titles = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert "ECSSD" in titles
    assert "PASCAL-S" in titles
    assert "DUT-OMRON" not in titles
    assert f"DUT-OMRON: no maps in {tmp_path / 'maps' / 'DUT-OMRON_small'}, left out" in done.stderr
    assert "PASCAL-S: 850 images as published; test; Li et al., CVPR 2014" in done.stdout


def test_two_parts_of_one_set_keep_their_names_apart(tmp_path: Path) -> None:
    for name in ("ECSSD_even", "ECSSD_odd"):
        write_maps(tmp_path / "data" / name / "masks", 0)
        write_maps(tmp_path / "maps" / name, 60)
    done = run(tmp_path / "maps", tmp_path / "data", "--json", tmp_path / "s.json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads((tmp_path / "s.json").read_text())) == {"ECSSD (ECSSD_even)", "ECSSD (ECSSD_odd)"}


def test_a_single_map_and_mask(tmp_path: Path) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    done = run(maps / "a.png", masks / "a.png", "--worst", 1, "--sheet", tmp_path / "worst.png")
    assert done.returncode == 0, done.stderr
    assert "1 images scored" in done.stdout
    assert (tmp_path / "worst.png").is_file()


def test_every_known_set_has_its_facts() -> None:
    names = [sod_set.name for sod_set in SOD_SETS]
    assert {"ECSSD", "MSRA-B", "DUT-OMRON", "PASCAL-S", "DUTS-TE", "HKU-IS", "SOD"} <= set(names)
    assert all(s.images > 0 and s.split and s.source for s in SOD_SETS)


def test_maps_that_say_so_have_their_dagger(tmp_path: Path) -> None:
    masks = write_maps(tmp_path / "masks", 0)
    for name, seen in (("free", "none"), ("ours", "ImageNet labels"), ("silent", "")):
        for file in write_maps(tmp_path / name, 30).rglob("*.png"):
            file.write_bytes(marked_png(file.read_bytes(), Origin("map", seen)))
    named = [f"{name}={tmp_path / name}" for name in ("free", "ours", "silent")]
    done = run("--table", *named, "--masks", masks, "--format", "latex", "--json", tmp_path / "s.json")
    rows = [line.split(" & ")[0] for line in done.stdout.splitlines() if " & " in line]
    assert rows[1:4] == ["free", r"ours $\ddagger$", "silent"]
    assert (
        done.stderr.count("‡ not label-free: encoders behind the maps were trained with ImageNet labels") == 1
    )
    scores = json.loads((tmp_path / "s.json").read_text())
    assert {name: scores[name]["encoders saw"] for name in scores} == {
        "free": "none",
        "ours": "ImageNet labels",
        "silent": None,
    }
    alone = run(tmp_path / "ours", masks)
    assert any(line.startswith("‡  ") for line in alone.stdout.splitlines())


def test_a_folder_that_may_not_be_entered_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    (maps / "closed").mkdir()
    scan = os.scandir

    def guarded(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("os.scandir", guarded)
    assert main(["evaluate", str(maps), str(masks), "--quiet"]) == 1
    assert capsys.readouterr().out.count("closed: Permission denied") == 1


def test_maps_of_the_detector_that_ships_have_their_dagger(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(scenes / "photos"), "--out", str(tmp_path / "maps"), "--quiet"]) == 0
    assert main(["evaluate", str(tmp_path / "maps"), str(scenes / "masks"), "--quiet"]) == 0
    assert "‡ not label-free: " in capsys.readouterr().out


def test_an_encoder_of_which_nothing_is_known_has_a_dagger_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks, maps = write_maps(tmp_path / "masks", 0), write_maps(tmp_path / "maps", 30)
    for file in maps.rglob("*.png"):
        file.write_bytes(marked_png(file.read_bytes(), Origin("map", "unknown")))
    assert main(["evaluate", str(maps), str(masks), "--quiet"]) == 0
    assert "‡ it is not known whether encoders behind the maps saw labels" in capsys.readouterr().out


def test_sheets_and_plots_among_the_maps_are_no_maps(tmp_path: Path) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    outputs = ("--plot", maps, "--worst", 1, "--sheet", maps / "worst.png")
    first, second = (run(maps, masks, *outputs) for _ in range(2))
    assert (maps / "worst.png").is_file()
    assert (second.returncode, second.stdout) == (0, first.stdout)


def test_gaps_are_named_and_give_status_1(tmp_path: Path) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    (maps / "d.png").write_bytes(b"no picture")
    (maps / "a.png").unlink()
    done = run(maps, masks)
    assert done.returncode == 1
    assert "1 masks without a map, left out: a.png" in done.stdout
    assert "d.png" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give MAPS and MASKS"),
        (("--table", "a=b"), "give MAPS and MASKS"),
        (("--table", "a", "--masks", "m"), "--table takes NAME=MAPS"),
        (("--table", "a=b", "a=c", "--masks", "m"), "each name once"),
        (("nowhere", "nowhere"), "no such file or folder"),
    ],
)
def test_wrong_usage_gives_one_line_and_status_2(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_scores_are_printed_as_in_papers() -> None:
    assert [score_text(v) for v in (0.1234, 1.0, -0.05, 0.0)] == [".123", "1.000", "-.050", ".000"]


def test_tables_escape_what_their_format_reads() -> None:
    head, rows = ["", "x"], [["a_b & c|d", "<1>"]]
    assert r"a\_b \& c|d" in table(head, rows, "latex")
    assert "a_b & c\\|d" in table(head, rows, "markdown")
    assert "a_b &amp; c|d" in table(head, rows, "html")
    with pytest.raises(ValueError, match="as many cells"):
        table(head, [["alone"]], "terminal")


def test_a_sheet_shows_every_picture_and_grey_where_there_is_none(tmp_path: Path) -> None:
    red = np.zeros((50, 100, 3), np.uint8)
    red[..., 0] = 200
    write_sheet(tmp_path / "sheet.png", ["one", "two"], [[Cell(red, "red"), Cell(None)]])
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (pixels == (200, 0, 0)).all(axis=2).any()
    assert (pixels == 225).all(axis=2).any()
    with pytest.raises(ValueError, match="one cell per column"):
        write_sheet(tmp_path / "sheet.png", ["one"], [])


def test_the_worst_images_show_masks_of_0_and_1_as_those_of_0_and_255(tmp_path: Path) -> None:
    maps, masks = write_maps(tmp_path / "maps", 90), write_maps(tmp_path / "masks", 0)
    for path in masks.rglob("*.png"):
        write_gray_png(tmp_path / "ones" / path.relative_to(masks), read_photo(path)[..., 0] // 255)
    for name, folder in (("of_255", masks), ("of_1", tmp_path / "ones")):
        done = run(maps, folder, "--worst", 3, "--sheet", tmp_path / f"{name}.png")
        assert done.returncode == 0, done.stderr
    assert np.array_equal(read_photo(tmp_path / "of_1.png"), read_photo(tmp_path / "of_255.png"))
