"""Runs targets: plans their trainings, does each once, then makes tables and figures of them."""

import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from act2sal.config import Device, ScaleName, TrainConfig
from act2sal.data.locks import locked
from act2sal.networks.encoder_weights import MOCO_V2_URL, moco_v2_place
from act2sal.reproduce.bench import Bench
from act2sal.reproduce.commit import commit
from act2sal.reproduce.estimate import seconds_of
from act2sal.reproduce.material import material_of, missing_sets
from act2sal.reproduce.rendering import Provenance, write_result
from act2sal.reproduce.results import Result
from act2sal.reproduce.scale import SCALES
from act2sal.reproduce.store import Machine, Store
from act2sal.reproduce.targets import TARGETS
from act2sal.reproduce.training import Training, with_needed
from act2sal.runtime.hardware import hardware
from act2sal.runtime.progress import clock_text
from act2sal.training.assembly import initial_encoder

ALL = "all"
FOLDERS = {"--data": "DATA", "--out": "OUT"}
"""What stands in place of folders of one machine in a command line that is told."""
PAPER_PHOTOS = 3000
"""Training and validation photos of MSRA-B."""

logger = logging.getLogger("act2sal")


@dataclass(frozen=True)
class Wish:
    """What a reproduction is asked for.

    Attributes:
        targets: names in `TARGETS`.
        out: folder of the results.
        scale: photos, sizes and passes.
        data: folder of data sets; None: there is none, and only scale smoke can do without.
        seeds: each training is done once for each.
        photos: training photos; None: as many as the scale says.
        tests: photos of each test set; None: likewise.
        encoder: in place of that of the scale.
        encoder_weights: likewise.
        device: where to compute.
        workers: threads; 0: one per core.
    """

    targets: tuple[str, ...]
    out: Path
    scale: ScaleName
    data: Path | None = None
    seeds: tuple[int, ...] = (0,)
    photos: int | None = None
    tests: int | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    device: Device = "auto"
    workers: int = 0

    @property
    def config(self) -> TrainConfig:
        """Options of the baseline, without its seed."""
        base = SCALES[self.scale].config
        encoder, weights = self.encoder or base.encoder, self.encoder_weights or base.encoder_weights
        return replace(base, encoder=encoder, encoder_weights=weights)


@dataclass(frozen=True)
class Step:
    """A training of the plan, how long it may take, and whether it is there already."""

    training: Training
    seconds: float
    done: bool


def named(targets: Sequence[str]) -> tuple[str, ...]:
    """Names of targets in the order of the paper, each once; `all` stands for all."""
    return tuple(TARGETS) if ALL in targets else tuple(name for name in TARGETS if name in targets)


def prepare(wish: Wish, *, quiet: bool = False) -> Bench:
    """Lay out the photos and open the store.

    Raises:
        DatasetError: data sets are missing; it says where they come from.
        OSError: the disk is full.
    """
    scale = SCALES[wish.scale]
    folder = wish.out / "data"
    material = material_of(wish.data, folder, wish.scale, scale, wish.photos, wish.tests)
    machine = Machine(wish.device, wish.workers)
    store = Store(wish.out / "runs", material, scale.watched, machine, quiet=quiet)
    return Bench(material, store, wish.config, wish.seeds)


def plan_of(wish: Wish, bench: Bench) -> list[Step]:
    """The trainings that the targets need, each once, in an order in which each finds its labels."""
    material = bench.material
    trainings = _needed(wish, material.training.fingerprint)
    return _steps(wish, trainings, len(material.training.names), bench.store.is_done)


def plan_lines(wish: Wish, bench: Bench, plan: Sequence[Step]) -> Iterator[str]:
    """The plan in words."""
    material = bench.material
    yield f"{', '.join(wish.targets)} at scale {wish.scale}: {SCALES[wish.scale].about}"
    tests = ", ".join(f"{len(test.names)} of {test.name}" for test in material.tests)
    yield f"trained on {len(material.training.names)} photos of {material.training.name}; tested on {tests}"
    yield from _missing_lines(wish)
    yield from _step_lines(plan)


def planned(wish: Wish) -> Iterator[str]:
    """The plan in words, without anything trained or downloaded, and what is missing for it.

    Where the full scale lacks data sets, the plan is that for the photos of the paper.

    Raises:
        what `prepare` raises.
    """
    if wish.scale == "full" and missing_sets(wish.data, wish.scale):
        yield from _missing_lines(wish)
        trainings = _needed(wish, "")
        yield from _step_lines(_steps(wish, trainings, wish.photos or PAPER_PHOTOS, lambda _: False))
        return
    with locked(wish.out):
        bench = prepare(wish, quiet=True)
        yield from plan_lines(wish, bench, plan_of(wish, bench))


def _needed(wish: Wish, fingerprint: str) -> list[Training]:
    """The trainings of all targets and seeds, each once, behind those whose labels they learn from."""
    found: dict[str, Training] = {}
    for seed in wish.seeds:
        for name in wish.targets:
            for training in with_needed(TARGETS[name].trainings(replace(wish.config, seed=seed))):
                found.setdefault(training.key(fingerprint), training)
    return list(found.values())


def _steps(
    wish: Wish, trainings: Sequence[Training], photos: int, is_done: Callable[[Training], bool]
) -> list[Step]:
    gpu = torch.cuda.is_available() and wish.device in ("auto", "cuda")
    return [Step(one, seconds_of(one, photos, gpu=gpu), is_done(one)) for one in trainings]


def _step_lines(plan: Sequence[Step]) -> Iterator[str]:
    for step in plan:
        left = "done" if step.done else f"about {clock_text(step.seconds)}"
        yield f"  {step.training.name}, seed {step.training.config.seed}: {left}"
    yield f"{len(plan)} trainings, about {clock_text(sum(s.seconds for s in plan if not s.done))} on this machine"


def _missing_lines(wish: Wish) -> Iterator[str]:
    """Data sets of the paper and weights that are not there, and where they come from."""
    yield from (f"missing: {line}" for line in missing_sets(wish.data, wish.scale))
    place = moco_v2_place()
    if wish.config.encoder_weights == "moco_v2" and not place.is_file():
        yield f"missing: {place}, the weights of MoCo v2; they are downloaded from {MOCO_V2_URL}"


def told_command(arguments: Sequence[str]) -> list[str]:
    """The command line as it stands beside the results: folders by what they are, files by their names."""
    told = ["act2sal", "reproduce"]
    for before, word in pairwise(["", *arguments]):
        option, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
        shown = FOLDERS.get(option, Path(value).name if value else "")
        if equals:
            told.append(f"{option}={shown}")
        else:
            told.append(word if word.startswith("--") else shown)
    return told


def reproduce(wish: Wish, command: Sequence[str], *, quiet: bool = False) -> Iterator[tuple[str, Result]]:
    """Do the trainings that are not done yet, then make the targets and write them to OUT; yields each.

    A call that was stopped goes on where it was: finished trainings are kept, and one that had begun is resumed.

    Args:
        wish: what to do.
        command: words of the command line, for the results; see `told_command`.
        quiet: no progress bars.

    Raises:
        what `prepare` and `Store.run` raise.
        EncoderError: there is no such encoder.
        WeightsError: the weights are missing or do not fit.
        FolderInUseError: another process is writing to OUT.
    """
    with locked(wish.out):
        bench = prepare(wish, quiet=quiet)
        initial_encoder(wish.config.stage1, wish.config)  # weights that are missing are found before the work
        plan = plan_of(wish, bench)
        for line in plan_lines(wish, bench, plan):
            logger.info("%s", line)
        _train_all(bench, plan)
        provenance = _provenance(wish, bench, plan, command)
        for name in wish.targets:
            result = TARGETS[name].make(bench, wish.out / name)
            write_result(wish.out, name, result, provenance)
            yield name, result


def _train_all(bench: Bench, plan: Sequence[Step]) -> None:
    """Do the trainings; what is left is guessed anew from how long those before took."""
    left = [step for step in plan if not step.done]
    spent = guessed = 0.0
    for number, step in enumerate(left, start=1):
        pace = spent / guessed if guessed else 1.0
        rest = pace * sum(one.seconds for one in left[number - 1 :])
        name = f"{step.training.name}, seed {step.training.config.seed}"
        logger.info("[%d/%d] %s; about %s left in all", number, len(left), name, clock_text(rest))
        begun = time.perf_counter()
        bench.store.run(step.training)
        spent += time.perf_counter() - begun
        guessed += step.seconds


def _provenance(wish: Wish, bench: Bench, plan: Sequence[Step], command: Sequence[str]) -> Provenance:
    config, material, scale = bench.config, bench.material, SCALES[wish.scale]
    tests = ", ".join(f"{len(test.names)} of {test.name}" for test in material.tests)
    seen_photos = material.training
    training = f"{len(seen_photos.names)} of {seen_photos.name}, fingerprint {seen_photos.fingerprint}"
    seen = initial_encoder(config.stage1, config).supervision
    weights = Path(config.encoder_weights).name
    return Provenance(
        command=shlex.join(command),
        seeds=bench.seeds,
        commit=", ".join(sorted({commit(), *(bench.store.commit(step.training) for step in plan)})),
        data=f"photos: {training}; tests: {tests}",
        encoder=f"encoder {config.encoder}, weights {weights}, which saw: {seen}",
        scale=f"scale {wish.scale}" + (f": {scale.differs}" if scale.differs else ", the paper's text"),
        machine=hardware(),
    )
