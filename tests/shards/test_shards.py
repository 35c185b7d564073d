"""What a cluster is given to do, how it is cut into shards, and what of it is done."""

import gzip
import io
import json
import sys
from pathlib import Path

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from act2sal.cli.cluster_options import path_or_address
from act2sal.data.photo_files import DatasetError
from act2sal.data.photo_search import Remarks
from act2sal.errors import InputError
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import inputs_of, listed
from act2sal.shards.ledger import Done, Ledger
from act2sal.shards.shard import Entry, Shard, lines_of, planned_shards, shards_of
from act2sal.shards.staging import PIECE, staged
from archives import tar_of


def write_photo(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (grey, grey, grey)).save(path)
    return path


def names(entries: list[Entry]) -> list[str]:
    return [entry.name for entry in entries]


def test_addresses_are_paths_or_those_of_fsspec(tmp_path: Path) -> None:
    assert Place(tmp_path / "a").path == tmp_path / "a"
    assert Place(f"file://{tmp_path}/a").address == str(tmp_path / "a")
    assert Place(Path("s3://bucket/a")).address == "s3://bucket/a"
    assert Place(path_or_address("hdfs:///a/b")).address == "hdfs://default/a/b"
    assert path_or_address("a/b") == Path("a/b")
    assert Place("s3://bucket/a").below("b.png").address == "s3://bucket/a/b.png"
    assert Place("a:b/c").is_local
    with pytest.raises(InputError, match="the memory of one process"):
        Place("memory://a")
    with pytest.raises(InputError, match="nowhere"):
        Place("nowhere://a/b").exists()


def test_what_is_written_elsewhere_is_there_whole(tmp_path: Path) -> None:
    """`local://` is fsspec's own way to this disk, which is not taken for a path."""
    place = Place(f"local://{tmp_path}/deep/a.bin")
    assert not place.is_local
    assert not place.exists()
    place.write(b"one")
    place.write(b"two")
    assert place.read() == (tmp_path / "deep" / "a.bin").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.bin"]
    assert Place(f"local://{tmp_path}/deep").files() == [place.address]
    place.remove()
    place.remove()
    assert not place.exists()


def test_folders_hold_photos_and_packed_photos_but_not_the_results(tmp_path: Path) -> None:
    for name in ("a.jpg", "deep/b.png", "out/c.jpg"):
        write_photo(tmp_path / name)
    for name in ("deep/d.tar", "e.parquet", "out/f.tar"):
        (tmp_path / name).write_bytes(b"")
    found = inputs_of([str(tmp_path)], Place(tmp_path / "out"), remarks=Remarks())
    assert names(found.photos) == ["a.jpg", "deep/b.png"]
    assert sorted(names(found.packed)) == ["deep/d.tar", "e.parquet"]
    elsewhere = inputs_of([f"local://{tmp_path}"], Place(f"local://{tmp_path}/out"), remarks=Remarks())
    assert names(elsewhere.photos) == ["a.jpg", "deep/b.png"]
    assert sorted(names(elsewhere.packed)) == ["deep/d.tar", "e.parquet"]
    named = inputs_of(
        [f"local://{tmp_path}/deep/*.png", str(tmp_path / "*.parquet")], Place("o"), remarks=Remarks()
    )
    assert [entry.address for entry in (*named.photos, *named.packed)] == [
        f"local://{tmp_path}/deep/b.png",
        f"{tmp_path}/e.parquet",
    ]


def test_a_list_names_photos_by_what_they_have_not_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"{tmp_path}/x/a/1.jpg\n\n{tmp_path}/x/b/1.jpg\n"
    assert names(listed(lines.encode(), "")) == ["a/1.jpg", "b/1.jpg"]
    assert names(listed(b"s3://bucket/x/1.jpg\ns3://bucket/y/1.jpg", "")) == ["x/1.jpg", "y/1.jpg"]
    assert listed(b"a/1.jpg", "/lists/all.txt") == [Entry("/lists/a/1.jpg", "1.jpg")]
    zipped = tmp_path / "all.txt.gz"
    zipped.write_bytes(gzip.compress(lines.encode()))
    for one in (str(zipped), "-"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        found = inputs_of([one], Place(tmp_path / "out"), remarks=Remarks())
        assert names(found.photos) == ["a/1.jpg", "b/1.jpg"]


def test_what_cannot_be_done_is_said_before_the_work(tmp_path: Path) -> None:
    out = Place(tmp_path / "out")
    with pytest.raises(DatasetError, match="no such file or folder"):
        inputs_of([str(tmp_path / "nowhere")], out, remarks=Remarks())
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"no photos in .*empty\.txt"):
        inputs_of([str(tmp_path / "empty.txt")], out, remarks=Remarks())
    (tmp_path / "same.txt").write_text("a/1.jpg\na/1.PNG\n")
    with pytest.raises(DatasetError, match="the same name"):
        inputs_of([str(tmp_path / "same.txt")], out, remarks=Remarks())
    (tmp_path / "twice.txt").write_text("a/1.jpg\na/1.jpg\n")
    assert len(inputs_of([str(tmp_path / "twice.txt")], out, remarks=Remarks()).photos) == 1


def test_a_plan_grows_behind_what_it_held(tmp_path: Path) -> None:
    photos = [Entry(f"{number}.jpg", f"{number}.jpg") for number in range(5)]
    first = planned_shards([], photos, [Entry("x.tar", "x.tar")], 2)
    assert [len(shard.entries) for shard in first] == [2, 2, 1, 0]
    assert [shard.number for shard in first] == [0, 1, 2, 3]
    assert list(shards_of(lines_of(first))) == first
    more = [Entry("new.jpg", "new.jpg"), *photos]
    again = planned_shards(first, more, [Entry("x.tar", "x.tar"), Entry("y.tar", "y.tar")], 3)
    assert again[:4] == first
    assert again[4:] == [Shard(4, (more[0],)), Shard(5, packed="y.tar", name="y.tar")]
    with pytest.raises(InputError, match="--overwrite begins anew"):
        list(shards_of(b"no plan\n"))


def test_a_ledger_knows_what_is_done_and_of_which_job(tmp_path: Path) -> None:
    ledger, shards = Ledger(Place(tmp_path)), [Shard(0, (Entry("a.jpg", "a.jpg"),))]
    assert ledger.earlier({"kind": ["map"]}, overwrite=False) == []
    ledger.begin({"kind": ["map"]}, shards)
    assert ledger.done(0) is None
    done = Done(0, 1, (), ({"photo": "a.jpg", "files": ["a.png"]},))
    ledger.commit(done)
    assert ledger.done(0) == done
    assert Ledger(Place(tmp_path)).earlier({"kind": ["map"]}, overwrite=False) == shards
    with pytest.raises(InputError, match="another kind, size"):
        ledger.earlier({"kind": ["mask"], "size": 1}, overwrite=False)
    (tmp_path / "000000.tar").write_bytes(b"old")
    assert ledger.earlier({"kind": ["mask"]}, overwrite=True) == []
    assert ledger.done(0) is None
    assert not (tmp_path / "000000.tar").exists()


def photo_bytes() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(content, "PNG")
    return content.getvalue()


def test_photos_come_out_of_archives_a_few_at_a_time(tmp_path: Path) -> None:
    members = {f"a/{number:03d}.png": photo_bytes() for number in range(PIECE + 2)}
    address = tar_of(tmp_path / "x.tar", {**members, "a/000.json": b"{}", "notes.txt": b"x"})
    (tmp_path / "s").mkdir()
    pieces = []
    for piece in staged(Shard(0, packed=address), tmp_path / "s"):
        pieces.append([photo.name for photo in piece])
        assert len(list((tmp_path / "s").iterdir())) == len(piece) <= PIECE
        assert all(photo.file is not None and photo.file.read_bytes() == photo_bytes() for photo in piece)
    assert [len(piece) for piece in pieces] == [PIECE, 2]
    assert [name for piece in pieces for name in piece] == list(members)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": [photo_bytes()] * 2, "__key__": ["a/1", "a/2.jpg"]}, ["a/1.jpg", "a/2.jpg"]),
        ({"x": [1, 2], "picture": [photo_bytes()] * 2}, ["00000000.jpg", "00000001.jpg"]),
        ({"image": [{"bytes": photo_bytes(), "path": f"{n}.png"} for n in "ab"]}, ["a.png", "b.png"]),
    ],
)
def test_photos_come_out_of_tables(
    columns: dict[str, list[object]], expected: list[str], tmp_path: Path
) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    (tmp_path / "s").mkdir()
    (piece,) = staged(Shard(0, packed=str(tmp_path / "x.parquet")), tmp_path / "s")
    assert [photo.name for photo in piece] == expected
    assert all(photo.file is not None and photo.file.read_bytes() == photo_bytes() for photo in piece)


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    address = tar_of(tmp_path / "x.tar", {"../../a.png": photo_bytes(), "/b/../c.png": photo_bytes()})
    (tmp_path / "s").mkdir()
    (piece,) = staged(Shard(0, packed=address), tmp_path / "s")
    assert [photo.name for photo in piece] == ["a.png", "b/c.png"]
    assert names(listed(b"/x/1.jpg\n/x/../../y/1.jpg", "")) == ["1.jpg", "y/1.jpg"]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        tar_of(tmp_path / folder / "x.tar", {})
    both = [str(tmp_path / folder / "x.tar") for folder in ("one", "two")]
    with pytest.raises(DatasetError, match="the same name"):
        inputs_of(both, Place(tmp_path / "out"), remarks=Remarks())


def test_damaged_archives_and_tables_are_named(tmp_path: Path) -> None:
    whole = Path(tar_of(tmp_path / "x.tar", {"a.png": photo_bytes()})).read_bytes()
    (tmp_path / "short.tar").write_bytes(whole[: len(photo_bytes()) // 2 + 512])
    (tmp_path / "no.parquet").write_bytes(b"no parquet")
    parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "none.parquet")
    (tmp_path / "s").mkdir()
    for name in ("short.tar", "no.parquet", "none.parquet"):
        with pytest.raises(InputError, match=name):
            list(staged(Shard(0, packed=str(tmp_path / name)), tmp_path / "s"))


def test_a_shard_is_one_line() -> None:
    shard = Shard(3, (Entry("/x/ü\n.jpg", "ü\n.jpg"), Entry("\udcff.jpg", "\udcff.jpg")))
    assert "\n" not in shard.as_json()
    assert Shard.of_json(shard.as_json()) == shard
    assert json.loads(shard.as_json())["number"] == 3
