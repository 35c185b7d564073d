"""Table III: what label-free methods learn from and how long they take."""

from pathlib import Path

from act2sal.classical import METHODS
from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target
from act2sal.reproduce.results import Claim, Column, Number, Row, Table
from act2sal.reproduce.targets.table2 import LEARNED, learned, printed_name
from act2sal.reproduce.training import Training, baseline
from act2sal.training.rivals.sbf import LABELERS

A2S = "A2S"
PAPER_HOURS = {"sbf": 3.0, "mnl": 4.0, "usps": 30.0, A2S: 1.0}
"""Of training; the paper prints "more than" for all but its own."""
CUES = {"sbf": LABELERS, "mnl": tuple(METHODS), "usps": tuple(METHODS), A2S: ()}
MAPS = "maps of "


def by_row(config: TrainConfig) -> dict[str, Training]:
    """The trainings by the names of the rows."""
    return {**{method: learned(method, config) for method in LEARNED}, A2S: baseline(config)}


def trainings(config: TrainConfig) -> list[Training]:
    """Those of the four rows."""
    return list(by_row(config).values())


def make(bench: Bench, stem: Path) -> Table:
    """Seconds of the trainings, with those of hand-crafted maps apart."""
    del stem
    of_maps = _seconds_of_maps(bench)
    rows = []
    for name, hours in PAPER_HOURS.items():
        spent = [bench.store.seconds(by_row(config)[name]) for config in bench.configs]
        fits = tuple(sum(s for stage, s in one.items() if not stage.startswith(MAPS)) for one in spent)
        count = float(len(CUES[name]))
        maps = Number((sum(of_maps[source] for source in CUES[name]),))
        numbers = (Number((count,), count), maps, Number(fits), Number((), hours))
        rows.append(Row(printed_name(name), numbers, bench.mark))
    seconds = {row.name: (row.numbers[1].mean or 0.0) + (row.numbers[2].mean or 0.0) for row in rows}
    seen = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    claim = Claim("A2S takes the least time", seconds[printed_name(A2S)] == min(seconds.values()), seen)
    columns = (
        Column("hand-crafted cues", digits=0),
        Column("seconds of their maps", "low", 1),
        Column("seconds of training", "low", 1),
        Column("hours of training", digits=0),
    )
    note = "The paper's hours are those of each method's own network, size and card, and leave out hand-crafted maps."
    return Table(TARGET.title, columns, tuple(rows), (claim,), note)


def _seconds_of_maps(bench: Bench) -> dict[str, float]:
    """Seconds of the maps of each hand-crafted method, which are computed once for all rivals and seeds."""
    found = dict.fromkeys(METHODS, 0.0)
    for config in bench.configs:
        for method in LEARNED:
            for stage, seconds in bench.store.seconds(learned(method, config)).items():
                if stage.startswith(MAPS):
                    found[stage.removeprefix(MAPS)] += seconds
    return found


TARGET = Target("Table III: cues and time of label-free methods", trainings, make)
