"""The cost of very many photos: the formula and the simulation by hand, and beside each other."""

import math
import random
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from cluster_model import HOUR, Assumed, Forecast, Load, Measured, costs, simulated

SIMPLE = Measured(seconds=0.1, deviation=0.0, read=0.0, written=0.0, looks=1.0, puts=1.0, handed=1e9)
IDEAL = Assumed(1e15, 1e18, 1e15, 1e15, latency=0.0, slow=0.0, slowness=1.0, lost=0.0, begin=60.0)
REAL = Measured(seconds=0.05, deviation=0.1, read=1e5, written=5e3, looks=4.0, puts=2.0, handed=50.0)


def test_without_chance_all_shards_end_in_step() -> None:
    """12 shards of 100 s on 5 processes: three rounds."""
    forecast = Forecast(SIMPLE, IDEAL, Load(12_000, 1000, 5))
    assert forecast.shard == pytest.approx(100)
    assert simulated(forecast, 0) == pytest.approx(60 + 3 * 100)
    assert forecast.seconds == pytest.approx(60 + 240 - 50 + 100 * 0.8)
    few = replace(forecast, load=Load(2000, 1000, 5))
    assert simulated(few, 0) == pytest.approx(60 + 100)
    assert few.seconds == pytest.approx(60 + 100, rel=0.01)


def test_a_shard_is_read_computed_and_written() -> None:
    measured = replace(SIMPLE, read=1e5, written=1e4, looks=4, puts=2)
    assumed = replace(IDEAL, connection=1e7, latency=0.5)
    forecast = Forecast(measured, assumed, Load(100, 100, 1))
    assert (forecast.reading, forecast.writing) == pytest.approx((1 + 4 * 0.5, 0.1 + 2 * 0.5))
    assert forecast.shard == pytest.approx(3 + 10 + 1.1)
    assert simulated(forecast, 0) == pytest.approx(60 + 14.1)


@pytest.mark.parametrize(
    ("part", "change", "rate"),
    [
        ("handing out", {"handed": 2.0}, 200.0),
        ("bandwidth", {"read": 9e3, "written": 1e3}, 1000.0),
        ("reading requests", {"looks": 5.0}, 200.0),
        ("writing requests", {"puts": 4.0}, 250.0),
    ],
)
def test_the_part_that_lets_fewest_through_bounds_the_rate(
    part: str, change: dict[str, float], rate: float
) -> None:
    assumed = replace(IDEAL, connection=1e6, bandwidth=1e7, looks=10.0, puts=10.0)
    measured = replace(SIMPLE, **{"looks": 1e-3, "puts": 1e-3} | change)  # type: ignore[arg-type]
    forecast = Forecast(measured, assumed, Load(200_000, 100, 1000))
    assert (forecast.bound, forecast.rate) == (part, pytest.approx(rate))
    assert forecast.rate_of_the_rest == forecast.rate < forecast.limits["processes"]
    assert simulated(forecast, 0) == pytest.approx(forecast.seconds, rel=0.03)


def test_losses_by_chance_take_as_long_as_the_formula_says() -> None:
    assumed = replace(IDEAL, lost=2000.0, begin=200.0)
    forecast = Forecast(SIMPLE, assumed, Load(1, 1, 1))
    drawn = random.Random(0)

    def tried(seconds: float) -> float:
        total = 0.0
        while (lost := drawn.expovariate(assumed.lost / (1000 * HOUR))) < seconds:
            total += lost + assumed.begin
        return total + seconds

    found = statistics.mean(tried(1500.0) for _ in range(20_000))
    assert forecast.with_losses(1500.0) == pytest.approx(found, rel=0.02)
    assert Forecast(SIMPLE, IDEAL, Load(1, 1, 1)).with_losses(1500.0) == 1500.0


@pytest.mark.parametrize("processes", [20, 200])
def test_formula_and_simulation_agree(processes: int) -> None:
    forecast = Forecast(REAL, Assumed(), Load(2e6, 500, processes))
    found = statistics.median(simulated(forecast, seed) for seed in range(3))
    assert forecast.seconds == pytest.approx(found, rel=0.05)


def test_chance_depends_on_the_seed_alone_and_every_shard_is_done() -> None:
    forecast = Forecast(REAL, Assumed(lost=5000.0), Load(1e5, 500, 20))
    assert simulated(forecast, 1) == simulated(forecast, 1)
    assert simulated(forecast, 1) != simulated(forecast, 2)
    assert simulated(forecast, 1) > 1e5 * REAL.seconds / 20


def test_costs_by_hand() -> None:
    measured = replace(SIMPLE, read=1e5, written=1e4, looks=4, puts=2, handed=10.0)
    found = costs(Forecast(measured, IDEAL, Load(1e9, 1000, 7)))
    assert found["core-hours"] == found["core-hours of nothing but the work"] == round(1e8 / 3600)
    assert (found["terabytes read"], found["terabytes written"]) == (100.0, 10.0)
    assert (found["million reading requests"], found["million writing requests"]) == (4.0, 2.0)
    assert found["processes it can use, by what bounds them"]["handing out"] == 1000
    assert math.isfinite(Forecast(measured, IDEAL, Load(1e9, 1000, 7)).seconds)
