"""The page for people who train: the state of a run, and the review of its labels."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from service import Brightness, client_of, picture
from test_api import problem

from act2sal.config import RivalConfig, Stage2Config, TrainConfig
from act2sal.data.images import read_photo
from act2sal.serve.review import doubt_of
from act2sal.serve.run_log import progress_of, read_rows
from act2sal.serve.settings import Settings
from tiny import tiny_arguments


@pytest.fixture
def settings(trained: Path, scenes: Path, tmp_path: Path) -> Settings:
    return Settings(run=trained, photos=scenes / "photos", review=tmp_path / "review")


def asked(work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]], settings: Settings) -> Any:
    async def run() -> Any:
        async with client_of(settings) as client:
            return await work(client)

    return asyncio.run(run())


def test_time_left_by_hand(tmp_path: Path) -> None:
    config = TrainConfig(stage2=Stage2Config(epochs=10))
    rows = [{"stage": "stage2", "epoch": 4, "seconds": 2.5}]
    assert progress_of(rows, config, finished=False)["seconds_left"] == 15.0
    assert progress_of(rows, config, finished=True)["seconds_left"] is None
    assert progress_of([], config, finished=False)["stage"] is None
    (tmp_path / "log.jsonl").write_bytes(b'{"stage": "stage2"}\n{"sta\n[1]\n\xff\n')
    assert read_rows(tmp_path / "log.jsonl") == [{"stage": "stage2"}]
    assert read_rows(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("stage", "left"), [("usps mc 1", 3 * 4.0), ("usps phase 2", 7 * 4.0), ("maps of dsr", None)]
)
def test_what_is_left_of_a_stage_of_a_rival(stage: str, left: float | None) -> None:
    config = TrainConfig(method="usps", rival=RivalConfig(epochs=4, last_epochs=8))
    row = {"stage": stage, "epoch": 1, "seconds": 4.0}
    assert progress_of([row], config, finished=False)["seconds_left"] == left


def test_a_finished_run(settings: Settings) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        run = (await client.get("/v1/run")).json()
        assert (run["finished"], run["stage"], run["epoch"]) == (True, "stage2", 3)
        assert len(run["samples"]) == 6
        assert {"photo", "label", "prediction", "rectified"} <= set(run["samples"][0]["pictures"])
        assert picture((await client.get("/v1/run/samples/0/label")).content).ndim >= 2
        problem(await client.get("/v1/run/samples/0/nothing"), 404)
        problem(await client.get("/v1/run/samples/99/label"), 404)
        assert (await client.get("/training")).status_code == 200
        assert (await client.get("/v1/health")).json() == {"status": "ok", "training": True, "review": True}

    asked(work, settings)


def test_without_a_run_there_is_no_such_page() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        for path in ("/training", "/v1/run", "/v1/review"):
            problem(await client.get(path), 404)

    asked(work, Settings())


def test_decisions_are_written_at_once(settings: Settings, trained: Path) -> None:
    assert settings.review is not None
    out = settings.review

    async def work(client: httpx.AsyncClient) -> None:
        labels = {one["name"]: one["number"] for one in (await client.get("/v1/review")).json()["labels"]}
        names = sorted(labels)
        assert sorted(path.name for path in (out / "photos").iterdir()) == names

        async def decide(name: str, decision: str) -> httpx.Response:
            return await client.post("/v1/review", json={"number": labels[name], "decision": decision})

        await decide(names[0], "reject")
        await decide(names[1], "invert")
        await decide(names[2], "accept")
        painted = io.BytesIO()
        Image.fromarray(np.full((72, 96), 255, np.uint8)).save(painted, "PNG")
        await client.post(f"/v1/review/{labels[names[3]]}/label", content=painted.getvalue())
        stems = [Path(name).stem for name in names]
        assert not (out / "labels" / f"{stems[0]}.png").exists()
        assert not (out / "photos" / names[0]).exists()
        old, new = (read_photo(folder / "labels" / f"{stems[1]}.png") for folder in (trained, out))
        assert np.array_equal(old, 255 - new)
        assert read_photo(out / "labels" / f"{stems[3]}.png").min() == 255
        assert json.loads((out / "decisions.json").read_bytes()) == {
            names[0]: "reject",
            names[1]: "invert",
            names[2]: "accept",
            names[3]: "painted",
        }
        problem(await decide(names[0], "nonsense"), 422)
        problem(await client.post("/v1/review", json={"number": 99, "decision": "accept"}), 404)
        problem(await client.post("/v1/review", content=b"{"), 422)
        problem(await client.post("/v1/review/0/label", content=b"no picture"), 422)
        evil = {"Origin": "https://evil.example"}
        problem(await client.post("/v1/review", json={"number": 0, "decision": "reject"}, headers=evil), 403)

    asked(work, settings)

    async def again(client: httpx.AsyncClient) -> None:
        labels = (await client.get("/v1/review")).json()["labels"]
        assert sorted(one["decision"] for one in labels if one["decision"]) == [
            "accept",
            "invert",
            "painted",
            "reject",
        ]
        assert len(list((out / "photos").iterdir())) == 5  # the rejected one does not come back

    asked(again, settings)


def test_a_training_takes_the_folder(settings: Settings, tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/v1/review", json={"number": 0, "decision": "reject"})

    asked(work, settings)
    assert settings.review is not None
    command = [
        sys.executable,
        "-m",
        "act2sal.cli",
        "train",
        settings.review / "photos",
        "--out",
        tmp_path / "new",
    ]
    command += ["--given-labels", settings.review / "labels", "--quiet", *tiny_arguments()]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "trained on 5 photos" in done.stdout


def test_doubt_by_hand() -> None:
    network = Brightness()
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[16:48, 16:48] = 255
    sure = np.zeros((64, 64), np.uint8)
    sure[16:48, 16:48] = 255
    assert doubt_of(network, photo, sure) == pytest.approx(0, abs=1e-6)
    assert doubt_of(network, photo, np.zeros((64, 64), np.uint8)) == 1.0
    photo[16:48, 16:48] = 200
    assert doubt_of(network, photo, sure) == pytest.approx(1 - 200 / 255, abs=1e-3)
