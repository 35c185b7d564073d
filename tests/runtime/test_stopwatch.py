"""Where the time of a training goes: parts inside parts, other threads, and that measuring changes nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import nn

from act2sal.runs.report.time_spent import shares, time_spent
from act2sal.runtime.stopwatch import OFF, PARTS, Stopwatch, TimedPhotos, part_key
from act2sal.training.pipeline import train
from tiny import files_of, tiny_config


class Clock:
    """Seconds that pass only when somebody lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_parts_by_hand(clock: Clock) -> None:
    stopwatch = Stopwatch(clock=clock)
    lap = stopwatch.lap()
    clock.pass_by(1)
    with stopwatch.part("waiting"):
        clock.pass_by(2)
        with stopwatch.part("decode"):
            clock.pass_by(4)
            with stopwatch.part("encoder"):
                clock.pass_by(8)
        clock.pass_by(16)
    with stopwatch.part("decode"):
        clock.pass_by(32)
    assert lap.row() == {
        "seconds": 63,
        "seconds/waiting": 18,
        "seconds/decode": 36,
        "seconds/encoder": 8,
    }


def test_a_lap_counts_from_its_beginning(clock: Clock) -> None:
    stopwatch = Stopwatch(clock=clock)
    with stopwatch.part("CRF"):
        clock.pass_by(5)
    lap = stopwatch.lap()
    with stopwatch.part("heads"):
        clock.pass_by(1)
    assert lap.row() == {"seconds": 1, "seconds/heads": 1}


def test_an_error_ends_its_part(clock: Clock) -> None:
    stopwatch = Stopwatch(clock=clock)
    lap = stopwatch.lap()

    def failing() -> None:
        with stopwatch.part("heads"):
            clock.pass_by(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    clock.pass_by(1)
    with stopwatch.part("CRF"):
        clock.pass_by(1)
    assert lap.row() == {"seconds": 3, "seconds/heads": 1, "seconds/CRF": 1}


def test_making_an_item_is_timed_and_using_it_is_not(clock: Clock) -> None:
    def items() -> Iterator[int]:
        for number in range(3):
            clock.pass_by(1)
            yield number
        clock.pass_by(1)

    stopwatch = Stopwatch(clock=clock)
    lap = stopwatch.lap()
    for _ in stopwatch.each("waiting", items()):
        clock.pass_by(10)
    assert lap.row() == {"seconds": 34, "seconds/waiting": 4}


def in_thread(part: AbstractContextManager[None], clock: Clock) -> None:
    def body() -> None:
        with part:
            clock.pass_by(6)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def test_other_threads_are_not_timed_but_waiting_for_them_is(clock: Clock) -> None:
    stopwatch = Stopwatch(clock=clock)
    lap = stopwatch.lap()
    photos = TimedPhotos([1, 2, 3], stopwatch)

    def read() -> None:
        clock.pass_by(6)
        assert photos[2] == 3

    thread = threading.Thread(target=read)
    with stopwatch.part("waiting"):
        thread.start()
        thread.join()
    assert lap.row() == {"seconds": 6, "seconds/waiting": 6}


def test_threads_that_share_work_count_by_their_number(clock: Clock) -> None:
    stopwatch = Stopwatch(clock=clock)
    lap = stopwatch.lap()
    part = stopwatch.of_threads(3)
    in_thread(part("CRF"), clock)
    in_thread(part("decode"), clock)
    assert lap.row() == {"seconds": 12, "seconds/CRF": 2, "seconds/decode": 2}


def test_a_module_that_is_watched(clock: Clock) -> None:
    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            clock.pass_by(3)
            return x

    stopwatch, module = Stopwatch(clock=clock), Slow()
    stopwatch.watch(module, "encoder")
    lap = stopwatch.lap()
    with stopwatch.part("heads"):
        nn.Sequential(module, nn.Identity())(torch.zeros(1))
        clock.pass_by(1)
    assert lap.row() == {"seconds": 4, "seconds/heads": 1, "seconds/encoder": 3}


def test_off_it_measures_stages_alone_and_synchronises_never(clock: Clock) -> None:
    waited: list[int] = []
    stopwatch = Stopwatch(running=False, clock=clock, synchronise=lambda: waited.append(1))
    module = nn.Identity()
    stopwatch.watch(module, "encoder")
    lap = stopwatch.lap()
    with stopwatch.part("heads"), stopwatch.of_threads(2)("CRF"):
        module(clock.pass_by(2))
    assert lap.row() == {"seconds": 2}
    assert not module._forward_hooks
    assert waited == []
    assert OFF.part("CRF").__enter__() is None


def test_where_parts_begin_and_end_the_device_has_done_its_work(clock: Clock) -> None:
    """Work that was only queued counts for the part that queued it."""
    queued = 0.0

    def synchronise() -> None:
        nonlocal queued
        clock.pass_by(queued)
        queued = 0.0

    stopwatch = Stopwatch(clock=clock, synchronise=synchronise)
    lap = stopwatch.lap()
    with stopwatch.part("encoder"):
        queued = 5.0
    with stopwatch.part("optimiser"):
        queued = 2.0
    assert lap.row() == {"seconds": 7, "seconds/encoder": 5, "seconds/optimiser": 2}


def test_shares_leave_out_what_was_not_measured() -> None:
    rows = [
        {"stage": "stage2", "epoch": 1, "seconds": 100.0},
        {"stage": "stage2", "epoch": 2, "seconds": 10.0, "seconds/encoder": 4.0, "seconds/heads": 1.0},
        {"stage": "stage2", "epoch": 3, "seconds": 10.0, "seconds/encoder": 5.0},
    ]
    found = shares(rows)
    assert {name: seconds for name, seconds in found.items() if seconds} == {
        "encoder": 9,
        "heads": 1,
        "other": 10,
    }
    assert shares(rows[:1]) == {}
    html = time_spent({"Stage <2>": rows, "Stage 1": rows[:1]})
    assert "Stage &lt;2&gt;" in html
    assert "Stage 1" not in html
    assert 'width:45.00%;background:#0072B2" title="encoder: 45 %"' in html
    assert time_spent({"Stage 1": rows[:1]}) == ""


@pytest.fixture(scope="module")
def profiled(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("profiled") / "run"
    train(scenes / "photos", run, tiny_config(), quiet=True, profile=True)
    return run


def test_measuring_changes_no_byte_of_the_results(profiled: Path, trained: Path) -> None:
    assert files_of(profiled / "labels") == files_of(trained / "labels")
    for name in ("stage1.safetensors", "detector.safetensors"):
        assert (profiled / name).read_bytes() == (trained / name).read_bytes()


def test_the_parts_of_every_stage_add_up_to_at_most_its_seconds(profiled: Path) -> None:
    wanted = {
        "photos at 64 pixels": {"decode"},
        "features": {"decode", "encoder"},
        "stage1": {"waiting", "heads", "backward", "optimiser"},
        "labels of round 0": {"waiting", "heads", "decode", "CRF", "encoder"},
        "stage1 round 1": {"waiting", "heads", "backward", "optimiser"},
        "labels": {"waiting", "heads", "decode", "CRF", "encoder"},
        "stage2": {"waiting", "encoder", "heads", "backward", "optimiser"},
    }
    *rows, memory = [json.loads(line) for line in (profiled / "log.jsonl").read_text().splitlines()]
    assert memory["stage"] == "memory"
    assert {row["stage"] for row in rows} == wanted.keys()
    for row in rows:
        parts = {part: row[part_key(part)] for part in PARTS if part_key(part) in row}
        assert parts.keys() == wanted[row["stage"]], row["stage"]
        assert 0 < sum(parts.values()) <= row["seconds"]


def test_the_profile_sums_the_log_up_by_stage(profiled: Path, trained: Path) -> None:
    profile = json.loads((profiled / "profile.json").read_text())
    rows = [json.loads(line) for line in (profiled / "log.jsonl").read_text().splitlines()]
    whole = sum(row["seconds"] for row in rows if row["stage"] == "stage2")
    assert list(profile)[:3] == ["Photos at 64 pixels", "Features", "Stage 1"]
    assert list(profile["Stage 2"]) == [*PARTS, "other"]
    assert sum(profile["Stage 2"].values()) == pytest.approx(whole)
    assert not (trained / "profile.json").exists()


def test_the_report_shows_it_only_where_it_was_measured(profiled: Path, trained: Path) -> None:
    assert "Where the time went" in (profiled / "report.html").read_text()
    assert "Where the time went" not in (trained / "report.html").read_text()
    assert "seconds/" not in (trained / "log.jsonl").read_text()
