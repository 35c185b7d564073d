r"""Stage 1 of this package beside a straightforward loop that behaves like the published code.

    python benchmarks/stage1.py PHOTOS --out recipes/results/stage1_speed.json
    python benchmarks/stage1.py PHOTOS --quality DATA --weights WEIGHTS --out recipes/results/stage1_quality.json
    python benchmarks/stage1.py PHOTOS --quality DATA --weights WEIGHTS --quality-set duts_tr_3000 \
        --ways 'default, stride 2' 'default, stride 4' 'default, stride 8' 'default, stride 16' \
        --out recipes/results/stage1_strides.json

Speed: ResNet-50 with random weights at 320 x 320, 20 epochs over 3,000 photos, extrapolated from a few measured
steps. The loop runs the encoder forward and backward at every step, though it never changes it, and joins F_3, F_4,
F_5 at stride 2; ours decodes each photo once, computes the frozen features once, stores them, and fits the blocks at
the default stride, in the arithmetic that a run on this CPU takes by default and once more in float32. Each side runs
in a process of its own, in turns; the median over the turns counts.

Quality: both are run to the end, the loop without the gradients that change nothing, on the photos of DATA/ecssd_dev,
DenseNet-169 with the weights in WEIGHTS; ours as in the comparison of speeds, and the default with its self-training,
once for each fusion stride. The masks are read afterwards, to score the labels. This takes hours: ways that are not
measured keep what FILE has of them. Nothing may be chosen by a test set: to compare strides, take --quality-set
duts_tr_3000.
"""

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from floor import Rates, Work, counted, cpu_fabric, measured_rates, ours
from numpy.typing import NDArray

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.separation_loss import stage1_loss
from act2sal.config import Precision, Stage1Config, TrainConfig
from act2sal.data.images import write_atomic
from act2sal.data.photo_bank import PhotoBank, build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.evaluation import evaluate
from act2sal.networks.encoders import Encoder, build_encoder, freeze
from act2sal.presets import PRESETS
from act2sal.runs.training_state import LogRow, TrainingState
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.fabric import make_fabric
from act2sal.runtime.hardware import hardware
from act2sal.training.assembly import initial_encoder
from act2sal.training.epochs import Trainer
from act2sal.training.photos import photo_bank
from act2sal.training.schedules import learning_rate
from act2sal.training.stage1.features import FrozenFeatures, LiveFeatures
from act2sal.training.stage1.fit import activation_network, enlarged, fit
from act2sal.training.stage1.label_writing import write_all_labels
from act2sal.training.stage1.rounds import fit_stage1
from act2sal.training.stage1.stage import Fitted, Stage1

SIDES: dict[str, Precision] = {"plain": "float32", "ours": "auto", "ours in float32": "float32"}
"""And the arithmetic of each."""
PUBLISHED = replace(PRESETS["official"].stage1, random_gain=False)
"""What the published code does, in our options; the loop below behaves so by itself, the labels are read off so."""
OURS = replace(
    PRESETS["paper"].stage1,
    fusion_stride=Stage1Config().fusion_stride,
    mirror="features",
    side_weights=PUBLISHED.side_weights,
)
"""The paper's options with the loop's weights of the side maps, on the grid and with the mirroring of the default,
which has fewer epochs and self-training."""
DENSENET_FILE = "densenet169_imagenet.safetensors"
DEFAULT = Stage1Config(use_e3=False, texture=0.0)
"""Without E_3, which suits DenseNets, and as it was before texture took part."""
WAYS: dict[str, Stage1Config] = {
    "plain loop": PUBLISHED,
    "ours": OURS,
    "ours, stride 8": replace(OURS, fusion_stride=8),
    **{f"default, stride {n}": replace(DEFAULT, fusion_stride=n) for n in (2, 4, 8, 16)},
}
"""What --quality compares."""


def main() -> None:
    """Measure, print, write."""
    options = parsed()
    if options.side:
        print(json.dumps(measured(options)))
        return
    torch.manual_seed(options.seed)
    if options.quality:
        kept = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
        for way in options.ways:
            kept[way] = quality(way, options)
            written(kept, options)
    else:
        written(speed(options), options)


def written(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the figures and write them to --out."""
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos, for the speed")
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--batch", type=int, default=8, help="photos a step")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--count", type=int, default=3000, help="photos to extrapolate to")
    parser.add_argument("--steps", type=int, default=2, help="measured steps a turn; one more warms up")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", type=Path, metavar="DATA", help="compare labels instead of speed")
    parser.add_argument("--quality-set", default="ecssd_dev", help="folder of DATA with images/ and masks/")
    parser.add_argument("--quality-photos", type=int, default=500, help="photos of that set, spread evenly")
    parser.add_argument("--quality-encoder", default="densenet169")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="what --quality compares")
    parser.add_argument("--weights", type=Path, help=f"folder with {DENSENET_FILE}; without: random weights")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures there, as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both sides end to end, their ratio, and the floor of ours."""
    rates = measured_rates(ours())
    turns: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.turns):
        for side in SIDES:
            turns[side].append(child(side))
            print(side, turns[side][-1], file=sys.stderr, flush=True)
    part = {side: medians(turns[side]) for side in SIDES}
    whole = {side: end_to_end(part[side], options) for side in SIDES}
    encode, step = work_a_photo(options, rates.dtype)
    return {
        "command": f"python benchmarks/stage1.py PHOTOS {described(options)}",
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "other_load_at_the_start": round(os.getloadavg()[0], 1),
        "seed": options.seed,
        "encoder": f"{options.encoder}, random weights",
        "rates": rates.described(),
        "seconds_a_photo": {side: {n: round(s, 4) for n, s in part[side].items()} for side in SIDES},
        f"seconds_{options.count}_photos_{options.epochs}_epochs": {s: round(t) for s, t in whole.items()},
        "ratio": round(whole["plain"] / whole["ours"], 1),
        "ratio_in_float32": round(whole["plain"] / whole["ours in float32"], 1),
        "floor_of_ours_a_photo": floors(rates, encode, step, part["ours"], options.epochs),
    }


def end_to_end(part: dict[str, float], options: argparse.Namespace) -> float:
    """Seconds of a side for all photos and epochs."""
    once = part["decode"] + part.get("features", 0)
    return options.count * (once + options.epochs * part["step"])


def floors(
    rates: Rates, encode: Work, step: Work, ours: dict[str, float], epochs: int
) -> dict[str, dict[str, float]]:
    """Floors of computing features, of one step, and of both with all epochs."""
    whole = ours["features"] + epochs * ours["step"]
    return {
        "features": rates.compared(encode, ours["features"]),
        "step": rates.compared(step, ours["step"]),
        "all epochs": rates.compared(encode + step.times(epochs), whole),
    }


def described(options: argparse.Namespace) -> str:
    """The options that change the figures."""
    names = ("encoder", "size", "batch", "epochs", "count", "steps", "turns", "seed")
    return " ".join(f"--{name} {getattr(options, name)}" for name in names)


def child(side: str) -> dict[str, float]:
    """The figures of one process, started with our own arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def medians(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of every figure."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Seconds a photo of the parts of one side."""
    torch.manual_seed(options.seed)
    encoder = build_encoder(options.encoder, "random")
    count = options.batch * (options.steps + 1)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        bank = build_photo_bank(
            find_photos(options.photos, count), Path(folder), size=options.size, quiet=True
        )
        decode = (time.perf_counter() - start) / len(bank)
        if len(bank) < count:
            raise SystemExit(f"{options.photos} holds {len(bank)} photos, {count} are needed")
        if options.side == "plain":
            times = PlainLoop(encoder, bank, options.batch, options.seed).steps(PUBLISHED, options.steps + 1)
            return {"decode": decode, "step": statistics.mean(list(times)[1:]) / options.batch}
        return {"decode": decode, **ours_measured(encoder, bank, Path(folder), options)}


def ours_measured(
    encoder: Encoder, bank: PhotoBank, folder: Path, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds a photo of computing and storing features, and of one epoch on them after another warmed up."""
    keep_freed_memory()
    features = FrozenFeatures(
        freeze(encoder), bank, fabric=cpu_fabric(SIDES[options.side]), precision=OURS.precision
    )
    features.read([0])
    start = time.perf_counter()
    features.keep(folder / "features", 2**40, mirrored=True, quiet=True)
    stored = (time.perf_counter() - start) / len(bank)
    rows: list[LogRow] = []
    fit(
        activation_network(features, OURS, seed=options.seed),
        features,
        replace(OURS, epochs=2, batch_size=options.batch),
        Trainer(features.fabric, options.seed, rows.append, quiet=True),
        TrainingState(folder / "stage1.pt"),
    )
    return {"features": stored, "step": float(rows[1]["seconds"]) / len(bank)}


@dataclass(frozen=True)
class PlainLoop:
    """Stage 1 as one would write it down from the published code, on photos that lie decoded in memory.

    The encoder stands in train mode and its parameters are in the optimiser, at a rate of zero: gradients are
    computed for them at every step, and the statistics of its BatchNorms drift.

    wasteful: False: those gradients, which change nothing, are left out; the labels are the same.
    """

    encoder: Encoder
    photos: Sequence[NDArray[np.uint8]]
    batch: int
    seed: int
    wasteful: bool = True

    def steps(
        self, config: Stage1Config, most: int | None = None, network: ActivationNetwork | None = None
    ) -> Iterator[float]:
        """Fit a network; yields the seconds of each step, of which at most `most` are done."""
        network = network or self.network()
        groups = [{"params": network.parameters(), "lr": config.lr}]
        if self.wasteful:
            groups.append({"params": self.encoder.parameters(), "lr": 0.0})
        else:
            self.encoder.requires_grad_(False)
        optimizer = torch.optim.SGD(
            groups, momentum=config.momentum, nesterov=True, weight_decay=config.weight_decay
        )
        images = torch.stack([torch.from_numpy(photo).permute(2, 0, 1) for photo in self.photos])
        generator = torch.Generator().manual_seed(self.seed)
        flips = torch.rand(len(images), generator=generator) < 0.5
        images[flips] = images[flips].flip(-1)
        self.encoder.train()
        network.train()
        done = 0
        for epoch in range(config.epochs):
            optimizer.param_groups[0]["lr"] = learning_rate(config.lr, epoch, config.milestones)
            order = torch.randperm(len(images), generator=generator)
            for chosen in order.split(self.batch):
                if done == most:
                    return
                start = time.perf_counter()
                activation = enlarged(network(self.encoder(images[chosen].float() / 255)[2:]))
                loss = stage1_loss(
                    activation, alpha=config.alpha, drop=config.drop_pixels, generator=generator
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                yield time.perf_counter() - start

    def network(self) -> ActivationNetwork:
        """Fresh blocks."""
        _, _, *channels = self.encoder.channels
        return ActivationNetwork(in_channels=(channels[0], channels[1], channels[2]), fusion_stride=2)


def work_a_photo(options: argparse.Namespace, dtype: torch.dtype) -> tuple[Work, Work]:
    """What one photo costs us: the encoder once, and one step of the blocks with the features they read.

    dtype: of the convolutions.
    """
    encoder = freeze(build_encoder(options.encoder, "random"))
    photo = torch.rand(1, 3, options.size, options.size)
    with torch.no_grad():
        levels = encoder(photo)[2:]
        encode = counted(encoder, lambda: encoder(photo)[4].sum(), backward=False, dtype=dtype)
    network = ActivationNetwork(
        in_channels=(levels[0].shape[1], levels[1].shape[1], levels[2].shape[1]),
        channels=OURS.channels,
        fusion_stride=OURS.fusion_stride,
    )
    generator = torch.Generator()
    step = counted(
        network, lambda: stage1_loss(network(levels), generator=generator), backward=True, dtype=dtype
    )
    stored = 2 * sum(level.numel() for level in levels)
    return encode + Work(0, stored), step + Work(0, stored)


def quality(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Scores of the labels that one way gives a data set, and its seconds."""
    photos, masks = (options.quality / options.quality_set / name for name in ("images", "masks"))
    weights = "random" if options.weights is None else str(options.weights / DENSENET_FILE)
    config = TrainConfig(
        encoder=options.quality_encoder,
        encoder_weights=weights,
        stage1=WAYS[way],
        size=options.size,
        limit=options.quality_photos,
        seed=options.seed,
        device="cpu",
    )
    return {
        "command": f"python benchmarks/stage1.py PHOTOS --quality DATA --weights WEIGHTS --seed {options.seed}"
        f" --quality-set {options.quality_set} --quality-photos {options.quality_photos}"
        f" --ways {shlex.quote(way)}",
        "hardware": hardware(),
        "other_load_at_the_start": round(os.getloadavg()[0], 1),
        "seed": options.seed,
        "encoder": f"{options.quality_encoder}, {Path(weights).name}",
        "data": options.quality_set,
        **labelled(photos, masks, config, plain=config.stage1 == PUBLISHED),
    }


def labelled(photos: Path, masks: Path, config: TrainConfig, *, plain: bool) -> dict[str, float]:
    """Adaptive F and MAE of the labels; seconds of the fit with what it needs, and of the labels with the CRF.

    config.limit: photos, spread evenly over those of the folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        found = find_photos(photos)
        spread = (
            np.linspace(0, len(found) - 1, min(config.limit or len(found), len(found))).round().astype(int)
        )
        bank = photo_bank([found[index] for index in spread], work, config, None, quiet=True)
        trainer = Trainer(make_fabric(config), config.seed, _ignored, quiet=True)
        stage = Stage1(bank, work / "features", work, work, config, trainer)
        start = time.perf_counter()
        fitted = plain_fit(bank, config) if plain else fit_stage1(stage)
        middle = time.perf_counter()
        write_all_labels(fitted, work / "labels", stage, phase="labels", resume=False)
        end = time.perf_counter()
        scores = evaluate(work / "labels", masks, quiet=True)
    return {
        "f_adaptive": round(scores.f_adaptive, 4),
        "mae": round(scores.mae, 4),
        "photos": len(bank),
        "seconds_fit": round(middle - start, 1),
        "seconds_labels": round(end - middle, 1),
    }


def plain_fit(bank: PhotoBank, config: TrainConfig) -> Fitted:
    """The loop, run to its end."""
    encoder = initial_encoder(config.stage1, config)
    torch.manual_seed(config.seed)
    loop = PlainLoop(encoder, bank, config.stage1.batch_size, config.seed, wasteful=False)
    network = loop.network()
    steps = config.stage1.epochs * math.ceil(len(bank) / loop.batch)
    for number, seconds in enumerate(loop.steps(config.stage1, network=network)):
        if number % 50 == 0:
            print(f"step {number} of {steps}, {seconds:.1f} s", file=sys.stderr, flush=True)
    freeze(encoder)
    return Fitted(network.eval(), encoder, LiveFeatures(encoder, bank, torch.device("cpu"), mirror="photos"))


def _ignored(row: LogRow) -> None:
    """The log of a fit that is timed from outside."""


if __name__ == "__main__":
    main()
