"""What the processes of a cluster write, without a cluster: results, their notes, and what a kill leaves."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pyarrow import parquet

from act2sal.cluster.engine import Cluster
from act2sal.cluster.job import Existing, Job, completed
from act2sal.cluster.labelling import Fit, LabelWork, labeller
from act2sal.cluster.predicting import PredictWork, model_name, model_of, predictor
from act2sal.cluster.worker import ShardWorker
from act2sal.errors import InputError, LostProcessError
from act2sal.predict.output_kinds import parse_kind
from act2sal.predict.rendering import Rendering
from act2sal.shards.addresses import Place
from act2sal.shards.inputs import Inputs
from act2sal.shards.ledger import Done, Ledger
from act2sal.shards.shard import Entry, Shard
from act2sal.shards.staging import Staged
from act2sal.shards.storing import ShardResult, StoreKind
from act2sal.training.labelling import label
from tiny import files_of, tiny_config

KINDS = Rendering((parse_kind("map"), parse_kind("cutout")), rates=True)


def work_of(out: str, store: StoreKind = "files") -> tuple[PredictWork, bytes]:
    model = model_of("a2s", None, "cpu", "auto")
    assert model is not None
    work = PredictWork(out, store, KINDS, "a2s", model_name(model), "cpu", "auto", 10**8)
    return work, model.read_bytes()


def done_in_place(work: PredictWork, model: bytes, shards: Sequence[Shard]) -> list[object]:
    ledger = Ledger(Place(work.out))
    ledger.begin(work.as_json(), list(shards))
    ledger.folder.below(work.model).write(model)
    worker = predictor(work, 1)
    return [worker(shard) for shard in shards]


@pytest.fixture
def shard(scenes: Path, tmp_path: Path) -> Shard:
    """Two photos and a file that is none."""
    (tmp_path / "none.jpg").write_bytes(b"no photo")
    photos = sorted((scenes / "photos").iterdir())[:2]
    entries = [Entry(str(photo), f"deep/{photo.name}") for photo in photos]
    return Shard(0, (entries[0], Entry(str(tmp_path / "none.jpg"), "none.jpg"), entries[1]))


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_files_are_those_of_the_local_command(
    scheme: str, shard: Shard, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from act2sal.cli import main

    work, model = work_of(f"{scheme}{tmp_path}/out")
    (done,) = done_in_place(work, model, [shard])
    photos = [entry.address for entry in (shard.entries[0], shard.entries[2])]
    words = ["predict", *photos, "--out", str(tmp_path / "local"), "--kind", "map", "cutout", "--quiet"]
    assert main([*words, "--json", str(tmp_path / "r.json")]) == 0
    assert files_of(tmp_path / "out" / "deep") == files_of(tmp_path / "local")
    assert (done.photos, len(done.failures)) == (2, 1)  # type: ignore[attr-defined]
    assert done.failures[0].startswith(f"{tmp_path}/none.jpg: not an image")  # type: ignore[attr-defined]
    records = json.loads((tmp_path / "r.json").read_text())
    noted = Ledger(Place(work.out)).done(0)
    assert noted is not None
    for ours, theirs in zip(noted.records, records, strict=True):
        assert {**ours, "files": 0} == {**theirs, "files": 0}


def test_archives_hold_results_facts_and_errors(shard: Shard, tmp_path: Path) -> None:
    for name in ("once", "again"):
        work, model = work_of(str(tmp_path / name), "webdataset")
        done_in_place(work, model, [shard])
    content = (tmp_path / "once" / "000000.tar").read_bytes()
    assert content == (tmp_path / "again" / "000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = archive.getnames()
        stem = Path(shard.entries[0].name).with_suffix("").as_posix()
        assert names[:4] == [f"{stem}.map.png", f"{stem}.cutout.png", f"{stem}.json", "none.json"]
        told = json.loads(archive.extractfile("none.json").read())  # type: ignore[union-attr]
        assert set(told) == {"photo", "error"}
        facts = json.loads(archive.extractfile(f"{stem}.json").read())  # type: ignore[union-attr]
        assert set(facts) == {"photo", "confidence", "area", "boxes"}


def test_tables_have_a_row_for_each_photo(shard: Shard, tmp_path: Path) -> None:
    files, model = work_of(str(tmp_path / "files"))
    done_in_place(files, model, [shard])
    work, model = work_of(str(tmp_path / "table"), "parquet")
    done_in_place(work, model, [shard])
    rows = parquet.read_table(tmp_path / "table" / "000000.parquet").to_pylist()
    assert [row["photo"] for row in rows] == [entry.name for entry in shard.entries]
    for row in (rows[0], rows[2]):
        for kind in ("map", "cutout"):
            file = (tmp_path / "files" / row["photo"]).with_suffix(f".{kind}.png")
            assert row[kind] == file.read_bytes()
        assert row["error"] is None
        assert 0 <= row["confidence"] <= 1
    assert (rows[1]["map"], rows[1]["boxes"]) == (None, None)
    assert "not an image" in rows[1]["error"]


def test_what_a_kill_leaves_is_done_again_under_the_same_names(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the results and their note, and between two results."""
    out = tmp_path / "out"
    work, model = work_of(str(out))
    (done,) = done_in_place(work, model, [shard])
    whole = files_of(out / "deep")
    (out / ".act2sal" / "done" / "000000.json").unlink()
    next((out / "deep").iterdir()).unlink()
    assert predictor(work, 1)(shard) == done
    assert files_of(out / "deep") == whole
    monkeypatch.setattr(ShardWorker, "_stored", None)  # whose results are there is not done again
    alone = Shard(0, shard.entries[:1])
    Ledger(Place(out)).commit(type(done)(0, 1))  # type: ignore[call-arg]
    assert predictor(work, 1)(alone).photos == 1


def test_photos_of_the_same_name_in_two_archives_keep_apart(shard: Shard, tmp_path: Path) -> None:
    shards = []
    for number, name in enumerate(("one", "two")):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            archive.add(shard.entries[2 * number].address, "a.png")
        shards.append(Shard(number, packed=str(tmp_path / f"{name}.tar"), name=f"{name}.tar"))
    work, model = work_of(str(tmp_path / "out"))
    done_in_place(work, model, shards)
    files = files_of(tmp_path / "out")
    assert {"one/a.map.png", "two/a.map.png", "one/a.cutout.png", "two/a.cutout.png"} <= set(files)
    assert files["one/a.cutout.png"] != files["two/a.cutout.png"]


def test_a_shard_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    work, model = work_of(str(tmp_path / "out"), "webdataset")
    (done,) = done_in_place(work, model, [Shard(0, packed=str(tmp_path / "nowhere.tar"), name="nowhere.tar")])
    assert done.photos == 0  # type: ignore[attr-defined]
    (line,) = done.failures  # type: ignore[attr-defined]
    assert line.startswith(f"{tmp_path}/nowhere.tar: ")
    assert Ledger(Place(tmp_path / "out")).done(0) is None


def test_labels_are_those_of_the_local_command(
    trained: Path, scenes: Path, shard: Shard, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    entries = []
    for entry in (shard.entries[0], shard.entries[2]):
        copy = photos / Path(entry.address).name
        copy.write_bytes(Path(entry.address).read_bytes())
        entries.append(Entry(str(copy), copy.name))
    label(photos, tmp_path / "local", tiny_config(), run=trained, quiet=True)
    work = LabelWork(str(tmp_path / "out"), "files", tiny_config(), 10**8)
    ledger = Ledger(Place(work.out))
    for name in ("stage1.safetensors", "config.toml"):
        ledger.folder.below(name).write((trained / name).read_bytes())
    done = labeller(work, 1)(Shard(0, (*entries, shard.entries[1])))
    assert (done.photos, len(done.failures)) == (2, 1)
    for name, content in files_of(tmp_path / "local").items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert labeller(work, 1)(Shard(1, (shard.entries[1],))).photos == 0
    with pytest.raises(InputError, match="--fit-on is at least 2"):
        Fit(None, 1)


class Uncalled:
    """No process is needed where nothing is to do."""

    def __call__(self, cores: int) -> ShardWorker:
        raise AssertionError


def test_results_of_others_are_neither_replaced_nor_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"theirs")
    photos = Inputs([Entry("a.jpg", "a.jpg")])
    job = Job(str(tmp_path), "files", [".png"], {"kind": "map"}, {})
    options = {"shard_size": 2, "title": "predict", "quiet": True}
    with pytest.raises(FileExistsError, match=r"a\.png exists already; --overwrite replaces it"):
        completed(job, photos, Uncalled(), Cluster(), existing=Existing(), **options)  # type: ignore[arg-type]
    assert not (tmp_path / ".act2sal" / "job.json").exists()
    outcome = completed(job, photos, Uncalled(), Cluster(), existing=Existing(skip=True), **options)  # type: ignore[arg-type]
    assert (outcome.photos, outcome.failures) == (0, ())


def results_that_fail(piece: Sequence[Staged], folder: Path) -> list[ShardResult]:
    raise LostProcessError("not ours to catch")


def test_only_errors_of_files_end_a_shard_quietly(shard: Shard, tmp_path: Path) -> None:
    with pytest.raises(LostProcessError):
        ShardWorker(str(tmp_path), "files", {}, results_that_fail)(shard)


@pytest.mark.parametrize("stopped", [False, True])
def test_records_of_what_is_done_are_there_after_ctrl_c(
    stopped: bool,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from act2sal.cli import main

    def spread(
        works: Sequence[Shard], make: Callable[[int], ShardWorker], cluster: Cluster
    ) -> Iterator[Done]:
        worker = make(1)
        for number, work in enumerate(works):
            if stopped and number == 2:
                raise KeyboardInterrupt
            yield worker(work)

    monkeypatch.setattr("act2sal.cluster.job.spread", spread)
    words = ["predict", str(scenes / "photos"), "--out", str(tmp_path / "out"), "--engine", "ray", "--quiet"]
    status = main([*words, "--shard-size", "2", "--json", str(tmp_path / "records.json")])
    assert status == (1 if stopped else 0)
    if stopped:
        assert "the same command with --skip-existing goes on" in capsys.readouterr().err
    photos = sorted(str(photo) for photo in (scenes / "photos").iterdir())
    records = json.loads((tmp_path / "records.json").read_text())
    assert [record["photo"] for record in records] == photos[: 4 if stopped else 6]


def test_a_cluster_needs_cores() -> None:
    with pytest.raises(InputError, match="--num-cpus is at least 1"):
        Cluster(num_cpus=0)
    with pytest.raises(InputError, match="--num-gpus is at least 0"):
        Cluster(num_gpus=-1)
