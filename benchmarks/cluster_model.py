"""What very many photos cost on a cluster, and where more processes no longer help: a formula beside a simulation.

    python benchmarks/cluster_model.py recipes/results/shard_steps.json --out recipes/results/cluster_model.json

Seconds, bytes, requests and the rate at which works are handed out were measured by shard_steps.py. What this
machine cannot measure is assumed, each an option: the object store, how many processes are slow, how often one is
lost, and how long the next takes to begin. The formula (`Forecast`) knows means alone. The simulation (`simulated`,
by SimPy) follows every shard: it waits for its turn, is read, computed for as long as chance wants it, and written;
its process may be lost, whereupon all of the shard is done again by the next that is free.
"""

import argparse
import json
import math
import random
import statistics
from collections import deque
from collections.abc import Generator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import simpy

from act2sal.data.images import write_atomic
from act2sal.runtime.hardware import hardware

HOUR = 3600.0
Events = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Measured:
    """What shard_steps.py measured of a command.

    Attributes:
        seconds: of a core, for a photo.
        deviation: of a shard's seconds, relative to their mean.
        read, written: bytes of a photo.
        looks, puts: requests of a shard that read or list, and that write.
        handed: works that the command hands out in a second.
    """

    seconds: float
    deviation: float
    read: float
    written: float
    looks: float
    puts: float
    handed: float

    @classmethod
    def of(cls, steps: dict[str, Any], command: str) -> "Measured":
        """From the file of shard_steps.py; command: predict or label."""
        found = steps[command]
        requests, moved = found["requests a shard"], found["bytes a photo"]
        return cls(
            found["seconds a photo in all"],
            found["deviation of a shard's seconds, relative"],
            moved["read"],
            moved["results"] + moved["note"],
            sum(requests.get(kind, 0) for kind in ("GET", "HEAD", "LIST")),
            sum(requests.get(kind, 0) for kind in ("PUT", "DELETE")),
            steps["works handed out a second"],
        )


@dataclass(frozen=True)
class Assumed:
    """What was not measured.

    Attributes:
        connection: bytes a second between the store and one process.
        bandwidth: bytes a second of the store in all.
        looks: reading requests a second that the store answers; Amazon names 5,500 for a prefix of S3.
        puts: writing ones, 3,500 there.
        latency: seconds of a request beside its bytes.
        slow: share of the processes that are slow.
        slowness: how many times as long these take.
        lost: processes that are lost in a thousand hours of one.
        begin: seconds until a process works, or works again.
    """

    connection: float = 50e6
    bandwidth: float = 10e9
    looks: float = 5500.0
    puts: float = 3500.0
    latency: float = 0.03
    slow: float = 0.02
    slowness: float = 3.0
    lost: float = 10.0
    begin: float = 60.0


@dataclass(frozen=True)
class Load:
    """A job: photos, most of a shard, and the processes that do them, a core each."""

    photos: float
    size: float
    processes: int

    @property
    def shards(self) -> int:
        """How many there are."""
        return math.ceil(self.photos / self.size)


@dataclass(frozen=True)
class Forecast:
    """The formula: means, and the slowest of what runs at the end."""

    measured: Measured
    assumed: Assumed
    load: Load

    @property
    def reading(self) -> float:
        """Seconds until a shard is here."""
        return self.load.size * self.measured.read / self.assumed.connection + (
            self.measured.looks * self.assumed.latency
        )

    @property
    def writing(self) -> float:
        """Seconds until the results of a shard are there."""
        return self.load.size * self.measured.written / self.assumed.connection + (
            self.measured.puts * self.assumed.latency
        )

    @property
    def shard(self) -> float:
        """Seconds of a shard on a process that is not slow and not lost."""
        return self.reading + self.load.size * self.measured.seconds + self.writing

    def with_losses(self, seconds: float) -> float:
        """Seconds until work that takes so many is done, if each loss puts it back to its beginning."""
        rate = self.assumed.lost / (1000 * HOUR)
        return math.expm1(rate * seconds) * (1 / rate + self.assumed.begin) if rate else seconds

    @property
    def limits(self) -> dict[str, float]:
        """Photos a second that each part lets through."""
        measured, assumed, size = self.measured, self.assumed, self.load.size
        return {
            "processes": self.load.processes * self.rate_of_one,
            "handing out": measured.handed * size,
            "bandwidth": _most(assumed.bandwidth, measured.read + measured.written),
            "reading requests": _most(assumed.looks, measured.looks) * size,
            "writing requests": _most(assumed.puts, measured.puts) * size,
        }

    @property
    def rate_of_one(self) -> float:
        """Photos a second of a process, slow ones counted in."""
        slow = self.load.size / self.with_losses(self.assumed.slowness * self.shard)
        normal = self.load.size / self.with_losses(self.shard)
        return (1 - self.assumed.slow) * normal + self.assumed.slow * slow

    @property
    def bound(self) -> str:
        """The part that lets fewest through."""
        return min(self.limits, key=self.limits.__getitem__)

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.limits[self.bound]

    @property
    def seconds(self) -> float:
        """From the beginning to the last result.

        While shards wait, all processes are busy, and on average half through a shard when none waits any more. Where
        something else is the limit, the last shard only begins then.
        """
        load, assumed = self.load, self.assumed
        if load.shards <= load.processes or self.bound != "processes":
            return assumed.begin + load.photos / self.rate_of_the_rest + self.last(share=1.0)
        half = load.size / self.rate_of_one / 2
        running = min(1.0, (load.processes - 1) / load.processes)
        return assumed.begin + max(0.0, load.photos / self.rate - half) + self.last(share=running)

    @property
    def rate_of_the_rest(self) -> float:
        """Photos a second that all but the processes let through."""
        return min(rate for part, rate in self.limits.items() if part != "processes")

    def last(self, share: float) -> float:
        """Seconds until the last of the shards that run at the end is there.

        Args:
            share: of its seconds that a shard still has to go, if many run at the end.
        """
        load, assumed = self.load, self.assumed
        running = min(load.processes, load.shards)
        slow = assumed.slow * running
        lost = running * self.shard * assumed.lost / (1000 * HOUR)
        normal = self.shard * (share + lost / (lost + 1))
        return max(normal, assumed.slowness * self.shard * share * slow / (slow + 1))


def _most(rate: float, each: float) -> float:
    """How many a second take that much each."""
    return rate / each if each else math.inf


def simulated(forecast: Forecast, seed: int) -> float:
    """Seconds from the beginning to the last result, shard by shard."""
    return _Simulation(forecast, random.Random(seed)).run()


class _Simulation:
    """Processes, the command that hands out shards, and the store, in simulated time."""

    def __init__(self, forecast: Forecast, drawn: random.Random) -> None:
        self.forecast, self.drawn = forecast, drawn
        self.waiting = deque(range(forecast.load.shards))
        self.left = forecast.load.shards
        self.time = simpy.Environment()
        self.driver, self.looks, self.puts = (simpy.Resource(self.time) for _ in range(3))
        assumed = forecast.assumed
        self.lanes = simpy.Resource(self.time, max(1, int(assumed.bandwidth / assumed.connection)))
        self.ended, self.more = self.time.event(), self.time.event()

    def run(self) -> float:
        """Let all processes work until nothing is left."""
        assumed, load = self.forecast.assumed, self.forecast.load
        slow = set(self.drawn.sample(range(load.processes), round(assumed.slow * load.processes)))
        for number in range(load.processes):
            self.time.process(self.process(assumed.slowness if number in slow else 1.0))
        self.time.run(until=self.ended)
        return float(self.time.now)

    def process(self, slowness: float) -> Events:
        """One process: begins, and does shards until all are done."""
        assumed = self.forecast.assumed
        yield self.time.timeout(assumed.begin)
        while self.left:
            if not self.waiting:
                yield self.more
                continue
            shard = self.waiting.popleft()
            done = yield from self.tried(slowness)
            if done:
                self.left -= 1
                continue
            self.waiting.append(shard)
            self.more.succeed()
            self.more = self.time.event()
            yield self.time.timeout(assumed.begin)
        if not self.ended.triggered:
            self.ended.succeed()

    def tried(self, slowness: float) -> Generator[simpy.Event, Any, bool]:
        """Do a shard; whether its process was there to the end."""
        forecast, drawn = self.forecast, self.drawn
        measured, assumed = forecast.measured, forecast.assumed
        yield from self.turn(self.driver, 1 / measured.handed)
        computing = forecast.load.size * measured.seconds * self.chance(measured.deviation)
        until_lost = drawn.expovariate(assumed.lost / (1000 * HOUR)) if assumed.lost else math.inf
        if until_lost < slowness * (forecast.reading + computing + forecast.writing):
            yield self.time.timeout(until_lost)
            return False
        yield from self.turn(self.looks, measured.looks / assumed.looks)
        yield from self.turn(self.lanes, slowness * forecast.reading)
        yield self.time.timeout(slowness * computing)
        yield from self.turn(self.lanes, slowness * forecast.writing)
        yield from self.turn(self.puts, measured.puts / assumed.puts)
        return True

    def turn(self, resource: simpy.Resource, seconds: float) -> Events:
        """Wait for a resource and keep it for so long."""
        with resource.request() as granted:
            yield granted
            yield self.time.timeout(seconds)

    def chance(self, deviation: float) -> float:
        """A factor with mean 1 and this deviation, log-normal."""
        spread = math.log1p(deviation**2) ** 0.5
        return math.exp(self.drawn.gauss(-(spread**2) / 2, spread))


def main() -> None:
    """Compare, and say what a billion photos cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", type=Path, help="what shard_steps.py wrote")
    parser.add_argument("--photos", type=float, default=1e9)
    parser.add_argument("--size", type=float, default=1000, help="photos of a shard")
    parser.add_argument("--simulated", type=float, default=2e7, help="photos that are simulated")
    parser.add_argument("--processes", type=int, nargs="+", default=[100, 1000, 10000, 100000])
    parser.add_argument(
        "--sizes", type=float, nargs="+", default=[100, 10000], help="further sizes of shards"
    )
    parser.add_argument("--seeds", type=int, default=3)
    for one in fields(Assumed):
        parser.add_argument(f"--{one.name}", type=float, default=one.default, help="assumed")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    steps = json.loads(options.steps.read_text(encoding="utf-8"))
    assumed = Assumed(**{one.name: getattr(options, one.name) for one in fields(Assumed)})
    result: dict[str, Any] = {
        "command": "python benchmarks/cluster_model.py recipes/results/shard_steps.json",
        "assumed": asdict(assumed),
        "photos": options.photos,
        "photos a shard": options.size,
        "photos simulated": options.simulated,
        "looks": int(Measured.of(steps, "predict").looks),
    }
    for command in ("predict", "label"):
        measured = Measured.of(steps, command)
        loads = [Load(options.simulated, options.size, processes) for processes in options.processes]
        loads += [Load(options.simulated, size, options.processes[1]) for size in options.sizes]
        result[command] = {
            "costs": costs(Forecast(measured, assumed, Load(options.photos, options.size, 1000))),
            "beside the simulation": [
                compared(Forecast(measured, assumed, load), options.seeds) for load in loads
            ],
        }
        print(command, json.dumps(result[command], indent=1), flush=True)
    result["hardware"] = hardware()
    if options.out:
        write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())


def costs(forecast: Forecast) -> dict[str, Any]:
    """Of a job, whatever the number of its processes, and how many of these it can use."""
    measured, load = forecast.measured, forecast.load
    limits = {part: rate for part, rate in forecast.limits.items() if part != "processes"}
    return {
        "core-hours": round(load.photos / forecast.rate_of_one / HOUR),
        "core-hours of nothing but the work": round(load.photos * measured.seconds / HOUR),
        "terabytes read": round(load.photos * measured.read / 1e12, 2),
        "terabytes written": round(load.photos * measured.written / 1e12, 2),
        "million reading requests": round(load.shards * measured.looks / 1e6, 3),
        "million writing requests": round(load.shards * measured.puts / 1e6, 3),
        "processes it can use, by what bounds them": {
            part: round(rate / forecast.rate_of_one) for part, rate in limits.items()
        },
    }


def compared(forecast: Forecast, seeds: int) -> dict[str, Any]:
    """Hours by the formula and by the simulation."""
    found = [simulated(forecast, seed) for seed in range(seeds)]
    middle = statistics.median(found)
    load = forecast.load
    ideal = load.photos * forecast.measured.seconds / load.processes
    return {
        "processes": load.processes,
        "photos a shard": load.size,
        "bound": forecast.bound,
        "hours": round(forecast.seconds / HOUR, 3),
        "hours, simulated": round(middle / HOUR, 3),
        "formula over simulation": round(forecast.seconds / middle, 3),
        "seeds apart": round((max(found) - min(found)) / middle, 4),
        "share of the processes' time that is work": round(ideal / middle, 3),
    }


if __name__ == "__main__":
    main()
