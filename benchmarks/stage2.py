"""Photos a second of stage 2 beside a plain PyTorch loop over the same network, and what the decoder costs.

    python benchmarks/stage2.py PHOTOS --out recipes/results/stage2_speed.json

The plain loop is what most people would write: a Dataset that opens, decodes and resizes the photo and the label each
time, a DataLoader with a worker per core, the default layout, the optimiser and the allocator as they come. It trains
the same network with the same loss on batches of the same size, and rectifies no labels; ours does, in the arithmetic
that a run on this CPU takes by default and once more in float32. Each side runs in a process of its own, in turns;
the median over the turns counts. What ours does once, decoding and resizing, is spread over the epochs. Labels are
made up: brighter than the photo's mean.

Then the decoder of the paper (64 channels, stride 2) beside ours (32, stride 4) on the same encoders: multiply-adds
of one photo, and seconds of a step of each. All networks have random weights.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from floor import Rates, Work, counted, cpu_fabric, measured_rates, ours
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import pil_to_tensor

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss
from act2sal.config import LabelConfig, Precision, Stage2Config
from act2sal.data.images import write_atomic, write_gray_png
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_bank import build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.networks.encoders import build_encoder
from act2sal.presets import PRESETS
from act2sal.runs.training_state import LogRow, TrainingState
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.cpu_gradients import with_fast_gradients
from act2sal.runtime.hardware import hardware
from act2sal.training.epochs import Trainer
from act2sal.training.photos import read_label
from act2sal.training.stage2.fit import Stage2
from act2sal.training.stage2.optimizer import make_optimizer

SIDES: dict[str, Precision] = {"plain": "float32", "ours": "auto", "ours in float32": "float32"}
"""And the arithmetic of each."""
ENCODERS = ("mobilenetv2", "resnet50")
NETWORKS: dict[str, tuple[str, Stage2Config]] = {
    "default": ("mobilenetv2", PRESETS["default"].stage2),
    "paper": ("resnet50", PRESETS["paper"].stage2),
}
"""By name, the encoder and the options of stage 2."""
STEPS_FACTOR = {"default": 6, "paper": 1}
"""Times --steps that an epoch of a network has: in a short epoch of a fast one, the workers of the plain loop would
still be at their first photos."""

DECODER_STEPS = 6
"""Of each network, the first of which warms up."""


def main() -> None:
    """Measure, print, write."""
    options = parsed()
    if options.side:
        print(json.dumps(measured(options)))
        return
    torch.manual_seed(options.seed)
    rates = measured_rates(ours())
    result: dict[str, Any] = {
        "command": f"python benchmarks/stage2.py PHOTOS {described(options)}",
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "other_load_at_the_start": round(os.getloadavg()[0], 1),
        "seed": options.seed,
        "rates": rates.described(),
    }
    with tempfile.TemporaryDirectory() as folder:
        most = max(STEPS_FACTOR[name] for name in options.networks)
        write_photos(options.photos, Path(folder), options.batch * options.steps * most)
        for name in options.networks:
            result[name] = speed(name, Path(folder), rates, options)
            print(name, result[name], file=sys.stderr, flush=True)
    keep_freed_memory()
    result["decoders"] = decoders(rates, options)
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--encoders", nargs="+", default=ENCODERS, help="under which decoders are compared")
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--batch", type=int, default=8, help="photos a step")
    parser.add_argument("--steps", type=int, default=2, help="steps of an epoch of the slowest network")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def described(options: argparse.Namespace) -> str:
    """The options that change the figures."""
    values = " ".join(
        f"--{name} {getattr(options, name)}" for name in ("size", "batch", "steps", "turns", "seed")
    )
    return f"--networks {' '.join(options.networks)} {values}"


def write_photos(source: Path, folder: Path, count: int) -> None:
    """`folder/photos`, links to the first photos of a folder, and `folder/labels`, of the same names."""
    found = find_photos(source, count)
    if len(found) < count:
        raise SystemExit(f"{source} holds {len(found)} photos, {count} are needed")
    (folder / "photos").mkdir()
    for number, photo in enumerate(found):
        name = f"{number:05d}"
        (folder / "photos" / f"{name}{photo.path.suffix}").symlink_to(photo.path.resolve())
        gray = np.asarray(Image.open(photo.path).convert("L"))
        write_gray_png(
            folder / "labels" / f"{name}.png", np.where(gray > gray.mean(), 255, 0).astype(np.uint8)
        )


def speed(name: str, folder: Path, rates: Rates, options: argparse.Namespace) -> dict[str, Any]:
    """Photos a second of both sides, their ratio, and the floor of a step."""
    turns: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.turns):
        for side in SIDES:
            turns[side].append(child(name, side, folder, options))
            print(name, side, turns[side][-1], file=sys.stderr, flush=True)
    part = {
        side: {key: statistics.median(turn[key] for turn in turns[side]) for key in turns[side][0]}
        for side in SIDES
    }
    encoder, config = NETWORKS[name]
    whole = {side: part[side]["step"] + part[side].get("once", 0) / config.epochs for side in SIDES}
    work, _ = step_work(encoder, config, rates.dtype, options)
    return {
        "network": f"{encoder}, {config.channels} channels, stride {config.finest_stride}",
        "epochs_that_share_what_is_done_once": config.epochs,
        "seconds_a_photo": {side: {key: round(s, 4) for key, s in part[side].items()} for side in SIDES},
        "photos_a_second": {side: round(1 / seconds, 2) for side, seconds in whole.items()},
        "ratio": round(whole["plain"] / whole["ours"], 2),
        "ratio_in_float32": round(whole["plain"] / whole["ours in float32"], 2),
        "floor_of_a_photo": rates.compared(work, part["ours"]["step"]),
    }


def child(name: str, side: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one process."""
    command = [sys.executable, __file__, str(options.photos), "--networks", name, "--side", side]
    command += ["--folder", str(folder)]
    command += ["--steps", str(options.steps * STEPS_FACTOR[name])]
    for option in ("size", "batch", "seed"):
        command += [f"--{option}", str(getattr(options, option))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Seconds a photo of one side, in the second of two epochs."""
    torch.manual_seed(options.seed)
    encoder, config = NETWORKS[options.networks[0]]
    config = replace(config, epochs=2, batch_size=options.batch, rectify_warmup=0)
    detector = built(encoder, config)
    if options.side == "plain":
        return {"step": plain_epochs(detector, config, options)}
    return ours_epochs(detector, config, options)


def built(encoder: str, config: Stage2Config) -> DetectorNetwork:
    """The network, with random weights."""
    return DetectorNetwork(
        build_encoder(encoder, "random"), channels=config.channels, finest_stride=config.finest_stride
    )


@dataclass(frozen=True)
class PhotosAndLabels(Dataset[tuple[Tensor, Tensor]]):
    """Decodes and resizes at every access, and mirrors half of the pairs.

    folder: holds photos/ and labels/, of which the first `count` are used.
    """

    folder: Path
    size: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        photo, label = self.pairs()[index]
        side = (self.size, self.size)
        pixels = pil_to_tensor(Image.open(photo).convert("RGB").resize(side, Image.Resampling.BILINEAR))
        mask = pil_to_tensor(Image.open(label).convert("L").resize(side, Image.Resampling.BILINEAR))
        if torch.rand(()) < 0.5:
            pixels, mask = pixels.flip(-1), mask.flip(-1)
        return pixels.float() / 255, mask.float() / 255

    def pairs(self) -> list[tuple[Path, Path]]:
        """Photos and their labels, by name."""
        photos, labels = (sorted((self.folder / name).iterdir()) for name in ("photos", "labels"))
        return list(zip(photos, labels, strict=True))[: self.count]


def plain_epochs(detector: DetectorNetwork, config: Stage2Config, options: argparse.Namespace) -> float:
    """Seconds a photo of the plain loop."""
    data = PhotosAndLabels(options.folder, options.size, options.batch * options.steps)
    loader = DataLoader(
        data, config.batch_size, shuffle=True, num_workers=os.cpu_count() or 1, persistent_workers=True
    )
    if config.optimizer == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(detector.parameters(), lr=config.lr)
    else:
        optimizer = torch.optim.SGD(detector.parameters(), lr=config.lr, momentum=0.9, nesterov=True)
    detector.train()
    for _ in range(config.epochs):
        start = time.perf_counter()
        for photos, labels in loader:
            loss = loss_of(detector(photos), labels, config)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
    return seconds / len(data)


def loss_of(logits: Tensor, labels: Tensor, config: Stage2Config) -> Tensor:
    """Eq. 12 with the weights of the options."""
    return detector_loss(logits, labels, bce=config.loss_bce, ssim=config.loss_ssim, iou=config.loss_iou)


def ours_epochs(
    detector: DetectorNetwork, config: Stage2Config, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds a photo of decoding and resizing, once, and of an epoch of stage 2."""
    keep_freed_memory()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        work, size = Path(name), options.size
        bank = build_photo_bank(
            find_photos(options.folder / "photos", options.batch * options.steps),
            work / "photos",
            size=size,
            quiet=True,
        )
        paths = sorted((options.folder / "labels").iterdir())[: len(bank)]
        LabelBank.create(
            work / "labels", (read_label(path, (size, size)) for path in paths), count=len(bank), size=size
        )
        once = (time.perf_counter() - start) / len(bank)
        fabric = cpu_fabric(SIDES[options.side])
        rows: list[LogRow] = []
        trainer = Trainer(fabric, options.seed, rows.append, quiet=True)
        stage = Stage2(bank, work / "labels", config, LabelConfig(), trainer)
        state = TrainingState(work / "stage2.pt")
        stage.fit(detector, state, on_epoch=_nothing)
    return {"once": once, "step": float(rows[1]["seconds"]) / len(bank)}


def decoders(rates: Rates, options: argparse.Namespace) -> dict[str, Any]:
    """Multiply-adds and seconds of the paper's decoder and of ours, by encoder."""
    decoder = {"paper's decoder": PRESETS["paper"].stage2, "our decoder": PRESETS["default"].stage2}
    loss = PRESETS["default"].stage2
    configs = {
        name: replace(loss, channels=of.channels, finest_stride=of.finest_stride)
        for name, of in decoder.items()
    }
    result: dict[str, Any] = {}
    for encoder in options.encoders:
        seconds = step_seconds(encoder, configs, rates.dtype, options)
        rows: dict[str, Any] = {}
        for name, config in configs.items():
            work, gmacs = step_work(encoder, config, rates.dtype, options)
            rows[name] = {**gmacs, **rates.compared(work, seconds[name])}
        papers, our = rows.values()
        rows["share of the paper's"] = {
            key: round(our[key] / papers[key], 3) for key in ("gmac_decoder", "gmac_network", "seconds")
        }
        result[encoder] = rows
        print(encoder, rows, file=sys.stderr, flush=True)
    return result


def step_seconds(
    encoder: str, configs: dict[str, Stage2Config], dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, float]:
    """Median seconds a photo of a training step of each network, in turns, after one to warm up."""
    shape = (options.batch, 3, options.size, options.size)
    photos = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    labels = (torch.rand(options.batch, 1, *shape[2:]) > 0.5).float()
    networks = {
        name: with_fast_gradients(built(encoder, config).to(memory_format=torch.channels_last))
        for name, config in configs.items()
    }
    optimizers = {name: make_optimizer(networks[name], config) for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(DECODER_STEPS):
        for name, network in networks.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits = network(photos)
            loss_of(logits.float(), labels, configs[name]).backward()
            optimizers[name].step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) / options.batch for name, times in seconds.items()}


def step_work(
    encoder: str, config: Stage2Config, dtype: torch.dtype, options: argparse.Namespace
) -> tuple[Work, dict[str, float]]:
    """Forward and backward of one photo, and billions of multiply-adds forward, of the decoder and of all."""
    network = built(encoder, config).eval()
    photo, label = torch.rand(1, 3, options.size, options.size), torch.ones(1, 1, options.size, options.size)
    work = counted(network, lambda: loss_of(network(photo), label, config), backward=True, dtype=dtype)
    with torch.no_grad():
        levels = network.encoder(photo)
        whole = counted(network, lambda: network(photo).sum(), backward=False, dtype=dtype)
        decoder = counted(network, lambda: network.decode(levels).sum(), backward=False, dtype=dtype)
    gmacs = {"gmac_decoder": round(decoder.flops / 2e9, 3), "gmac_network": round(whole.flops / 2e9, 3)}
    return work, gmacs


def _nothing(bank: LabelBank) -> None:
    """What is to be done after an epoch."""


if __name__ == "__main__":
    main()
