"""Training on shards: the detector is that of the same photos and labels as files; each process reads its own."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import load_file

from act2sal.config import ConfigError, TrainConfig
from act2sal.data.images import read_photo
from act2sal.data.photo_files import DatasetError
from act2sal.errors import InputError
from act2sal.runs.run_directory import RunError
from act2sal.shards.addresses import Place
from act2sal.shards.ledger import Done, Ledger
from act2sal.shards.shard import Entry, Shard
from act2sal.shards.storing import ShardResult, StoreKind, store_of
from act2sal.training.pipeline import train
from tiny import stop_after, tiny_config

EACH = 3
"""Photos of a shard."""


@pytest.fixture(scope="module")
def photos(scenes: Path) -> list[Path]:
    """Those of the training, in its order."""
    return sorted((scenes / "photos").iterdir())


def as_archives(photos: Sequence[Path], folder: Path) -> list[Shard]:
    folder.mkdir()
    shards = []
    for number, start in enumerate(range(0, len(photos), EACH)):
        file = folder / f"p{number}.tar"
        with tarfile.open(file, "w") as archive:
            for photo in photos[start : start + EACH]:
                archive.add(photo, photo.name)
        shards.append(Shard(number, packed=str(file), name=file.name))
    return shards


def as_tables(photos: Sequence[Path], folder: Path) -> list[Shard]:
    folder.mkdir()
    shards = []
    for number, start in enumerate(range(0, len(photos), EACH)):
        some, file = photos[start : start + EACH], folder / f"p{number}.parquet"
        columns = {"key": [photo.name for photo in some], "image": [photo.read_bytes() for photo in some]}
        parquet.write_table(pyarrow.table(columns), file)
        shards.append(Shard(number, packed=str(file), name=file.name))
    return shards


def as_files(photos: Sequence[Path], folder: Path) -> list[Shard]:
    folder.mkdir()
    entries = [Entry(str(folder / photo.name), photo.name) for photo in photos]
    for photo in photos:
        (folder / photo.name).write_bytes(photo.read_bytes())
    starts = range(0, len(photos), EACH)
    return [Shard(number, tuple(entries[start : start + EACH])) for number, start in enumerate(starts)]


def label_in(
    shards: Sequence[Shard], photos: Sequence[Path], labels: Path, out: Path, store: StoreKind
) -> None:
    """Store labels as `act2sal label --engine ray` does; a photo without one has an error in its place."""
    Ledger(Place(out)).begin({"command": "label", "store": store}, shards)
    for shard, start in zip(shards, range(0, len(photos), EACH), strict=True):
        kept = store_of(store, Place(out), shard, {".png": "label"})
        for photo in photos[start : start + EACH]:
            file = labels / f"{photo.stem}.png"
            made = {".png": file.read_bytes()} if file.is_file() else {}
            kept.add(ShardResult(photo.name, made, {}, "" if made else f"{photo.name}: no photo"))
        kept.close()
        Ledger(Place(out)).commit(Done(shard.number, EACH))


def of_files(trained: Path, config: TrainConfig | None = None) -> TrainConfig:
    return replace(config or tiny_config(), given_labels=str(trained / "labels"))


@pytest.fixture(scope="module")
def plain(trained: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on the photos and labels as files."""
    out = tmp_path_factory.mktemp("plain") / "run"
    train(scenes / "photos", out, of_files(trained), quiet=True)
    return out


def refuse_other_weights(ours: Path, theirs: Path) -> None:
    weights, expected = load_file(ours / "detector.safetensors"), load_file(theirs / "detector.safetensors")
    assert set(weights) == set(expected)
    assert all((weights[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize(
    ("made", "store", "scheme"),
    [
        (as_archives, "webdataset", ""),
        (as_tables, "parquet", ""),
        (as_archives, "files", ""),
        (as_files, "webdataset", "local://"),
        (as_files, "files", "local://"),
    ],
)
def test_the_detector_is_that_of_files(
    made: object,
    store: StoreKind,
    scheme: str,
    plain: Path,
    trained: Path,
    photos: list[Path],
    tmp_path: Path,
) -> None:
    shards = made(photos, tmp_path / "shards")  # type: ignore[operator]
    label_in(shards, photos, trained / "labels", tmp_path / "labels", store)
    config = replace(tiny_config(), given_labels=f"{scheme}{tmp_path / 'labels'}")
    outcome = train(f"{scheme}{tmp_path / 'shards'}", tmp_path / "run", config, quiet=True)
    assert (outcome.photos, outcome.failures) == (len(photos), [])
    refuse_other_weights(tmp_path / "run", plain)
    shown, expected = (run / "samples" / "00" for run in (tmp_path / "run", plain))
    assert read_photo(shown / "label.png").shape == read_photo(expected / "label.png").shape
    assert (shown / "rectified_03.png").read_bytes() == (expected / "rectified_03.png").read_bytes()
    assert (tmp_path / "run" / "report.html").is_file()


def test_each_process_reads_its_own_shards_alone(trained: Path, photos: list[Path], tmp_path: Path) -> None:
    shards = as_archives(photos, tmp_path / "shards")
    label_in(shards, photos, trained / "labels", tmp_path / "labels", "webdataset")
    config = replace(tiny_config(), given_labels=str(tmp_path / "labels"), devices=2, keep_cache=True)
    outcome = train(tmp_path / "shards", tmp_path / "run", config, quiet=True)
    assert outcome.photos == len(photos)
    for rank in range(2):
        folder = tmp_path / "run" / "cache" / "shards-64" / f"process-{rank}-of-2"
        index = json.loads((folder / "index.json").read_text())
        assert index["shards"] == [shard.name for shard in shards[rank::2]]
        assert (folder / "photos.u8").stat().st_size == 3 * 64 * 64 * len(index["photos"])
    alone = tmp_path / "alone"
    label_in(shards[:1], photos[:EACH], trained / "labels", alone, "webdataset")
    with pytest.raises(DatasetError, match="too few for 2 processes: each needs two, from shards of its own"):
        train(tmp_path / "shards", tmp_path / "two", replace(config, given_labels=str(alone)), quiet=True)


def test_reading_and_training_go_on_where_they_were_stopped(
    plain: Path, trained: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = as_archives(photos, tmp_path / "shards")
    label_in(shards, photos, trained / "labels", tmp_path / "labels", "webdataset")
    config = replace(tiny_config(), given_labels=str(tmp_path / "labels"))
    hidden = Path(shards[-1].packed)
    last = hidden.read_bytes()
    hidden.write_bytes(last[:700])
    with pytest.raises(InputError, match=hidden.name):
        train(tmp_path / "shards", tmp_path / "run", config, quiet=True)
    hidden.write_bytes(last)
    first = Path(shards[0].packed)
    whole = first.read_bytes()
    first.write_bytes(b"")  # is not read again
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "shards", tmp_path / "run", config, resume=True, quiet=True)
    train(tmp_path / "shards", tmp_path / "run", config, resume=True, quiet=True)
    refuse_other_weights(tmp_path / "run", plain)
    first.write_bytes(whole)
    labels = trained / "labels"
    label_in(shards[:-1], photos[: EACH * (len(shards) - 1)], labels, tmp_path / "labels", "webdataset")
    with pytest.raises(RunError, match="no longer those"):
        train(tmp_path / "shards", tmp_path / "run", config, resume=True, quiet=True)


def test_what_has_no_label_is_told(trained: Path, photos: list[Path], tmp_path: Path) -> None:
    none, later = tmp_path / "none.jpg", tmp_path / "later.jpg"
    none.write_bytes(b"no photo")
    later.write_bytes(photos[0].read_bytes())
    used = [*photos[: 2 * EACH - 1], none]
    shards = as_archives(used, tmp_path / "shards")
    label_in(shards, used, trained / "labels", tmp_path / "labels", "parquet")
    as_archives([later], tmp_path / "more")
    (tmp_path / "more" / "p0.tar").rename(tmp_path / "shards" / "new.tar")
    config = replace(tiny_config(), given_labels=str(tmp_path / "labels"))
    outcome = train(tmp_path / "shards", tmp_path / "run", config, quiet=True)
    assert outcome.photos == 2 * EACH - 1
    assert outcome.failures == [
        f"{tmp_path}/shards/new.tar: no label; act2sal label makes those that are missing",
        f"{tmp_path}/shards/p1.tar/none.jpg: no label, as it could not be read",
    ]


def test_labels_that_are_not_done_are_told_and_those_below_the_photos_are_none(
    trained: Path, photos: list[Path], tmp_path: Path
) -> None:
    shards = as_archives(photos, tmp_path / "shards")
    labels = tmp_path / "shards" / "labels"
    label_in(shards, photos, trained / "labels", labels, "webdataset")
    (labels / ".act2sal" / "done" / "000001.json").unlink()
    config = replace(tiny_config(), given_labels=str(labels))
    outcome = train(tmp_path / "shards", tmp_path / "run", config, quiet=True)
    assert outcome.photos == EACH
    assert outcome.failures == [
        f"{shards[1].packed}: not labelled yet; the same act2sal label command goes on"
    ]
    (labels / ".act2sal" / "done" / "000000.json").unlink()
    with pytest.raises(DatasetError, match="none of the photos is labelled yet"):
        train(tmp_path / "shards", tmp_path / "none", config, quiet=True)


def test_what_cannot_be_trained_on_is_refused(trained: Path, photos: list[Path], tmp_path: Path) -> None:
    shards = as_archives(photos, tmp_path / "shards")
    label_in(shards, photos, trained / "labels", tmp_path / "labels", "webdataset")
    config = replace(tiny_config(), given_labels=str(tmp_path / "labels"))
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match="generations above 1"):
        train(tmp_path / "shards", run, replace(config, generations=2), quiet=True)
    with pytest.raises(ConfigError, match="limit counts files"):
        train(tmp_path / "shards", run, replace(config, limit=3), quiet=True)
    with pytest.raises(DatasetError, match=r"act2sal label --engine ray; --given-labels LABELS"):
        train(Path(shards[0].packed), run, tiny_config(), quiet=True)
    with pytest.raises(
        DatasetError, match=r"p1\.tar: its photos have labels, but it is not among the photos"
    ):
        train(Path(shards[0].packed), run, config, quiet=True)
    other = io.BytesIO()
    Image.new("RGB", (33, 21)).save(other, "PNG")
    with tarfile.open(shards[0].packed, "w") as archive:
        member = tarfile.TarInfo(photos[0].name)
        member.size = len(other.getvalue())
        archive.addfile(member, io.BytesIO(other.getvalue()))
    with pytest.raises(DatasetError, match="is not the photo that the labels were made of"):
        train(tmp_path / "shards", tmp_path / "run2", config, quiet=True)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for photo in photos:
        (damaged / f"{photo.stem}.png").write_bytes(b"no label")
    again = as_archives(photos, tmp_path / "again")
    label_in(again, photos, damaged, tmp_path / "other", "files")
    other_labels = replace(config, given_labels=str(tmp_path / "other"))
    with pytest.raises(DatasetError, match=r"p0\.tar/.*: its label is damaged \(not an image"):
        train(tmp_path / "again", tmp_path / "run3", other_labels, quiet=True)
    (tmp_path / "labels" / "000000.tar").write_bytes(b"x" * 600)
    with pytest.raises(InputError, match=r"000000\.tar"):
        train(tmp_path / "shards", tmp_path / "run2", config, quiet=True, resume=True)
    files = as_files(photos, tmp_path / "files")
    label_in(files, photos, trained / "labels", tmp_path / "of-files", "webdataset")
    (tmp_path / "files" / photos[0].name).unlink()
    with pytest.raises(DatasetError, match="one of 1, has a label, but it is not among"):
        train(tmp_path / "files", run, replace(config, given_labels=str(tmp_path / "of-files")), quiet=True)
