"""Addresses of an object store, met for real: s3fs against a server of this machine that speaks S3's language."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from act2sal.cluster.worker import ShardWorker
from act2sal.data.photo_search import AUTO, Remarks
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import inputs_of
from act2sal.shards.shard import Shard, planned_shards
from act2sal.shards.staging import Staged
from act2sal.shards.storing import ShardResult, StoreKind
from archives import tar_of
from object_store import object_store
from tiny import files_of


@pytest.fixture(scope="module")
def requests() -> Iterator[Counter[str]]:
    with object_store() as counted:
        yield counted


def copied(piece: Sequence[Staged], folder: Path) -> list[ShardResult]:
    """The photos themselves in place of maps."""
    assert all(photo.file is not None for photo in piece)
    return [
        ShardResult(photo.name, {".png": photo.file.read_bytes()}, {"area": 0.5})  # type: ignore[union-attr]
        for photo in piece
    ]


def test_a_place_there_does_what_a_path_does(requests: Counter[str]) -> None:
    place = Place("s3://photos/a/b.bin")
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        place.read()
    before = requests["PUT"]
    place.write(b"content")
    assert requests["PUT"] == before + 1
    assert place.exists()
    assert place.read() == b"content"
    with place.opened_for_reading() as opened:
        assert opened.read(3) == b"con"
    assert Place("s3://photos/a").files() == ["s3://photos/a/b.bin"]
    assert Place("s3://photos/*/b.*").matching() == ["s3://photos/a/b.bin"]
    place.remove()
    place.remove()
    assert not place.exists()


@pytest.mark.parametrize("store", ["files", "webdataset", "parquet"])
def test_results_there_are_those_of_a_disk(
    store: StoreKind, scenes: Path, tmp_path: Path, requests: Counter[str]
) -> None:
    contents = {f"deep/{photo.name}": photo.read_bytes() for photo in sorted((scenes / "photos").iterdir())}
    archive = tar_of(tmp_path / "some.tar", contents)
    photos = Place(f"s3://photos/{store}")
    photos.below("some.tar").write(Path(archive).read_bytes())
    alone = next(iter(contents))
    photos.below(alone).write(contents[alone])
    (tmp_path / "deep").mkdir()
    (tmp_path / alone).write_bytes(contents[alone])
    outs = {str(tmp_path): str(tmp_path / "out"), photos.address: f"s3://maps/{store}"}
    for given, out in outs.items():
        found = inputs_of([given], Place(out), exclude=AUTO, remarks=Remarks())
        shards = planned_shards([], found.photos, found.packed, 100)
        assert [bool(shard.packed) for shard in shards] == [False, True]
        worker = ShardWorker(out, store, {".png": "map"}, copied)
        assert [worker(shard).photos for shard in shards] == [1, len(contents)]
    there = Place(f"s3://maps/{store}")
    notes = {f"s3://maps/{store}/.act2sal/done/{number:06d}.json" for number in (0, 1)}
    written = [address for address in there.files() if address not in notes]
    assert notes < set(there.files())
    relative = {address.removeprefix(f"{there.address}/"): Place(address).read() for address in written}
    assert relative == files_of_results(tmp_path / "out")
    assert requests["DELETE"] <= 1  # nothing is written under another name first


def files_of_results(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_of(folder).items() if not name.startswith(".act2sal/")}


def test_a_shard_of_many_photos_takes_few_requests(tmp_path: Path, requests: Counter[str]) -> None:
    members = {f"{number}.png": b"x" * 2000 for number in range(150)}
    archive = Place("s3://photos/many.tar")
    archive.write(Path(tar_of(tmp_path / "many.tar", members)).read_bytes())
    requests.clear()
    worker = ShardWorker("s3://maps/many", "parquet", {".png": "map"}, copied)
    assert worker(Shard(0, packed=archive.address, name="many.tar")).photos == len(members)
    assert requests["PUT"] == 2
    assert sum(requests.values()) <= 8
