"""The report of a run: one HTML page without any reference to the outside, complete and escaped."""

import base64
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from act2sal.config import Stage2Config, TrainConfig
from act2sal.config_files import to_toml
from act2sal.data.images import write_gray_png
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_bank import PhotoBank, build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.runs.report import write_report
from act2sal.runs.report.page import _memory, shown_epochs
from act2sal.runs.run_directory import RunDirectory
from act2sal.runs.samples import Samples
from act2sal.runtime.peak_memory import peak_memory
from tiny import tiny_config

VOID = {"meta", "img", "br", "link", "input", "hr"}
LABEL_FREE = {"stage 1 encoder": "none", "stage 2 encoder": "none"}
SIDE = 16


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where a tag is closed that is not open."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for t, name, value in self.attributes if (t, name) == (tag, attribute)]


@pytest.fixture
def bank(tmp_path: Path) -> PhotoBank:
    for name in ("a.png", "<script>alert(1)<&.png", "sub/b.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (90, 120, 30)).save(path)
    photos = find_photos(tmp_path / "photos")
    return build_photo_bank(photos, tmp_path / "bank", size=SIDE, workers=1, quiet=True)


def new_run(tmp_path: Path, config: TrainConfig | None = None) -> RunDirectory:
    return RunDirectory.open(tmp_path / "run", config or TrainConfig(), resume=False, overwrite=False)


def fill_samples(run: RunDirectory, bank: PhotoBank, tmp_path: Path, epochs: int) -> int:
    """All pictures of all photos; returns how many files there are."""
    samples = Samples(run.samples, bank)
    samples.photos()
    samples.activations(np.random.default_rng(0).normal(size=(len(bank), 4, 4)).astype(np.float32))
    targets = [tmp_path / f"{number}.png" for number in range(len(bank))]
    for target in targets:
        write_gray_png(target, np.zeros((20, 30), np.uint8))
    samples.labels(targets)
    labels = LabelBank.create(
        tmp_path / "labels", (np.zeros((SIDE, SIDE), np.uint8) for _ in bank), count=len(bank), size=SIDE
    )
    for epoch in range(1, epochs + 1):
        labels.write([0], torch.full((1, 1, SIDE, SIDE), epoch, dtype=torch.uint8))
        labels.finish()
        labels.commit()
        samples.rectified(epoch, labels)
    samples.predictions(lambda photos: photos[..., 0].astype(np.float32) / 255)
    return len(list(run.samples.rglob("*.[pj][np]g")))


def write(run: RunDirectory, **changes: object) -> Page:
    values: dict[str, object] = {"photos": 3, "failures": [], "supervision": LABEL_FREE} | changes
    write_report(run, TrainConfig(), **values)  # type: ignore[arg-type]
    return Page(run.report.read_text(encoding="utf-8"))


def log_epochs(run: RunDirectory, stage: str, losses: list[float], **more: list[float]) -> None:
    for number, loss in enumerate(losses):
        extra = {name: values[number] for name, values in more.items()}
        run.log({"stage": stage, "epoch": number + 1, "loss": loss, "seconds": 30.0, **extra})


def test_full_report(tmp_path: Path, bank: PhotoBank) -> None:
    with new_run(tmp_path) as run:
        pictures = fill_samples(run, bank, tmp_path, epochs=3)
        log_epochs(run, "stage1", [1.6, 1.5])
        run.log({"stage": "labels", "epoch": 0, "seconds": 61.0})
        log_epochs(run, "stage2", [0.9, 0.5, 0.4], label_change=[0.1, 0.2, 0.05])
        page = write(run)
        source = run.report.read_text(encoding="utf-8")

    embedded = page.values("img", "src")
    assert len(embedded) == pictures == 3 * 8
    for src in embedded:
        head, _, content = src.partition(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) == 200
    assert len(page.values("svg", "aria-label")) == 3
    assert page.values("svg", "aria-label")[0] == "Stage 1: loss (Eq. 4): 1.6 in epoch 1, 1.5 in epoch 2"
    assert "Labels 1:01" in page.text
    assert "Stage 1 2 1:00" in page.text
    assert "Total 3:31" in page.text
    assert "http:" not in source
    assert "https:" not in source


def test_nothing_is_loaded_or_run(tmp_path: Path, bank: PhotoBank) -> None:
    with new_run(tmp_path) as run:
        fill_samples(run, bank, tmp_path, epochs=1)
        log_epochs(run, "stage1", [1.6])
        page = write(run)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    references = [v for _, name, v in page.attributes if name in ("src", "href", "xlink:href")]
    assert references
    assert all(reference.startswith(("data:", "#")) for reference in references)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_every_picture_and_curve_has_an_alternative_text(tmp_path: Path, bank: PhotoBank) -> None:
    with new_run(tmp_path) as run:
        fill_samples(run, bank, tmp_path, epochs=1)
        log_epochs(run, "stage2", [1.0, 0.5], label_change=[0.1, 0.1])
        page = write(run)
    assert page.tags.count("img") == len([alt for alt in page.values("img", "alt") if alt])
    assert page.tags.count("svg") == len(page.values("svg", "aria-label")) == 2
    assert "Prediction: sub/b.png" in page.values("img", "alt")


def test_names_are_escaped(tmp_path: Path, bank: PhotoBank) -> None:
    with new_run(tmp_path) as run:
        fill_samples(run, bank, tmp_path, epochs=1)
        page = write(run, failures=['x/<script>alert("2")</script>.jpg: the file is empty'])
        source = run.report.read_text(encoding="utf-8")
    assert "script" not in page.tags
    assert "<script" not in source
    assert "<script>alert(1)<&.png" in page.text
    assert 'x/<script>alert("2")</script>.jpg: the file is empty' in page.text
    assert "Not readable 1" in page.text


def test_empty_run_gives_a_report(tmp_path: Path) -> None:
    with new_run(tmp_path) as run:
        page = write(run)
    assert page.tags.count("h2") == 1  # the options alone
    assert "Photos used 3" in page.text
    assert not {"img", "svg"} & set(page.tags)


def test_missing_pictures_leave_their_cells_open(tmp_path: Path, bank: PhotoBank) -> None:
    with new_run(tmp_path) as run:
        Samples(run.samples, bank).photos()
        page = write(run)
    assert page.tags.count("img") == 3
    assert page.text.count("not there yet") == 3 * 4


def test_encoder_that_saw_labels_is_marked(tmp_path: Path) -> None:
    with new_run(tmp_path) as run:
        page = write(run, supervision={"stage 1 encoder": "ImageNet labels", "stage 2 encoder": "none"})
    first, second = (page.texts.index(f"Stage {stage} encoder") + 1 for stage in (1, 2))
    assert page.texts[first].startswith("mobilenetv2, builtin weights (fine-tuned on 3,000 photos of DUTS-TR")
    assert page.texts[first].endswith("\N{NO-BREAK SPACE}‡")
    assert "‡" not in page.texts[second]
    assert "trained with ImageNet labels: this run is not label-free" in page.text


def test_unknown_supervision_is_not_called_label_free(tmp_path: Path) -> None:
    with new_run(tmp_path) as run:
        page = write(run, supervision=LABEL_FREE | {"stage 2 encoder": "unknown"})
    assert "‡ It is not known whether the weights of the stage 2 encoder" in page.text
    assert "without labels" not in page.text


def test_label_free_encoders_are_said_to_be(tmp_path: Path) -> None:
    with new_run(tmp_path) as run:
        page = write(run)
    assert "The weights of the encoders were trained without labels." in page.text
    assert "‡" not in page.text


def test_encoders_of_the_stages_and_options_are_shown(tmp_path: Path) -> None:
    config = TrainConfig(
        encoder="resnet50", stage2=Stage2Config(encoder="densenet169", encoder_weights="timm")
    )
    with new_run(tmp_path, config) as run:
        write_report(run, config, photos=2, failures=[], supervision=LABEL_FREE)
        page = Page(run.report.read_text(encoding="utf-8"))
    assert "Stage 1 encoder resnet50, builtin weights" in page.text
    assert "Stage 2 encoder densenet169, timm weights" in page.text
    assert to_toml(config) in page.texts


def test_scores_are_shown_where_there_are_any(tmp_path: Path) -> None:
    with new_run(tmp_path) as run:
        scores = {"set <1>": {"mae": 0.06125, "images": 500}, "set 2": {"f_max": 0.9}}
        (run.path / "scores.json").write_text(json.dumps(scores))
        page = write(run)
    assert "Scores mae images f_max set <1> 0.0612 500 set 2 0.9000" in page.text


def test_device_comes_from_the_log_if_it_is_there(tmp_path: Path) -> None:
    with new_run(tmp_path) as run:
        assert "Device auto" in write(run).text
        run.log({"stage": "stage1", "epoch": 1, "loss": 1.0, "seconds": 1.0, "device": "cuda"})
        assert "Device cuda" in write(run).text


def test_a_second_report_of_the_same_run_is_the_same(tmp_path: Path, bank: PhotoBank) -> None:
    with new_run(tmp_path) as run:
        fill_samples(run, bank, tmp_path, epochs=1)
        log_epochs(run, "stage1", [1.6, 1.2])
        write(run)
        first = run.report.read_bytes()
        write(run)
        assert run.report.read_bytes() == first


@pytest.mark.parametrize(
    ("epochs", "changed", "shown"),
    [
        ([], {1}, []),
        ([1, 2], set(), []),
        ([1, 2, 3], {3}, [3]),
        ([1, 2, 3, 4, 5], {3, 4, 5}, [3, 4, 5]),
        ([1, 2, 3, 4, 5, 6, 7, 8], {3, 4, 5, 6, 7, 8}, [3, 6, 8]),
        ([1, 2, 3, 4], {1, 2, 3, 4}, [1, 3, 4]),
        ([2, 10], {2, 9, 10}, [2, 10]),
    ],
)
def test_first_middle_and_last_epoch_that_changed_labels(
    epochs: list[int], changed: set[int], shown: list[int]
) -> None:
    assert shown_epochs(epochs, changed) == shown


def test_the_most_memory_that_a_process_held_is_told() -> None:
    rows = [
        {"stage": "memory", "epoch": 0, "MiB": 1200},
        {"stage": "memory", "epoch": 0, "MiB": 900, "GPU MiB": 71},
    ]
    assert _memory(rows) == {"MiB": 1200, "GPU MiB": 71}
    assert _memory([{"stage": "stage1", "epoch": 1, "seconds": 1.0}]) == {}
    assert peak_memory()["MiB"] > 50


def test_it_says_of_the_labels_what_is_known(trained: Path, tmp_path: Path) -> None:
    own = (trained / "report.html").read_text(encoding="utf-8")
    assert "no mask was opened" in own
    shutil.copytree(trained, tmp_path / "run")
    with RunDirectory(tmp_path / "run", writes=False) as run:
        config = replace(tiny_config(), given_labels="LABELS", encoder_weights="builtin")
        write_report(run, config, photos=6, failures=[], supervision={"stage 2 encoder": "none"})
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "no mask was opened" not in page
    assert "given in LABELS: this run does not know whether" in page
    assert "DUTS-TR" in page


def test_labels_of_a_teacher_are_not_said_to_be_made_without_masks(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "run", TrainConfig(), resume=False, overwrite=False) as run:
        config = replace(tiny_config(), teacher="OLD")
        write_report(run, config, photos=6, failures=[], supervision={"stage 2 encoder": "none"})
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "no mask was opened" not in page
    assert "go back to the teacher OLD" in page
