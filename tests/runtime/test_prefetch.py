"""Reading ahead and writing late: the order, the errors, the thread's end; nothing waits for the device."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from act2sal.a2s.detector import DetectorNetwork
from act2sal.config import LabelConfig, Mirrored, Stage2Config, StoredPrecision
from act2sal.data.label_bank import LabelBank
from act2sal.networks.encoders import freeze
from act2sal.runtime.prefetch import LateWrites, pinned, prefetched
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.training.epochs import Trainer
from act2sal.training.sampling import epoch_generator
from act2sal.training.stage1 import fit as stage1_fit
from act2sal.training.stage1.features import FrozenFeatures, LiveFeatures
from act2sal.training.stage1.fit import activation_network
from act2sal.training.stage1.self_training import LabelFit
from act2sal.training.stage1.views import ResizedPhotos, views
from act2sal.training.stage2.batches import Batches
from act2sal.training.stage2.fit import Stage2
from act2sal.training.stage2.optimizer import make_optimizer
from tiny import SIZE, Rows, cpu, random_squares, tiny_config, tiny_encoder

CPU = torch.device("cpu")


def test_all_items_come_in_their_order() -> None:
    assert list(prefetched(range(20))) == list(range(20))
    assert list(prefetched([])) == []
    assert list(prefetched([None, None])) == [None, None]


def test_the_next_item_is_made_while_this_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = prefetched(items())
    assert next(ahead) == 0
    assert made[1].wait(timeout=10)
    assert not made[2].is_set()
    assert list(ahead) == [1, 2]


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_no_thread_is_left_where_the_loop_ends_early() -> None:
    before = threading.active_count()
    ahead = prefetched(range(100))
    assert next(ahead) == 0
    assert threading.active_count() == before + 1
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_writes_come_one_step_late_and_none_is_lost() -> None:
    written: list[tuple[list[int], list[float]]] = []

    def write(indices: Sequence[int], results: Tensor) -> None:
        written.append((list(indices), results.tolist()))

    late = LateWrites(write)
    late.flush()
    late.put([3], torch.tensor([0.5]))
    assert written == []
    late.put([1, 2], torch.tensor([1.0, 2.0]))
    assert written == [([3], [0.5])]
    late.flush()
    late.flush()
    assert written == [([3], [0.5]), ([1, 2], [1.0, 2.0])]


def test_on_a_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(3)
    assert pinned(tensor, CPU) is tensor


class NoWaiting(TorchDispatchMode):
    """Fails where the host would have to know a value, or the size of a result, that a GPU still computes."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self.waits, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def test_the_check_sees_what_waits() -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="_local_scalar_dense waits"):
        torch.ones(3).sum().item()
    with NoWaiting(), pytest.raises(AssertionError, match="nonzero waits"):
        torch.ones(3).nonzero()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("crop", [1.0, 0.6])
def test_no_step_waits_for_the_device(optimizer: str, crop: float, tmp_path: Path) -> None:
    options: Stage2Config = replace(
        tiny_config().stage2,
        optimizer=optimizer,  # type: ignore[arg-type]
        loss_bce=1.0,
        loss_ssim=1.0,
        crop=crop,
        view=32 if crop < 1 else None,
        jitter=0.3,
        rectify_warmup=0,
        trim=0.25,
        scale_consistency=1.0,
        second_sizes=(32,),
    )
    photos = random_squares(4)
    LabelBank.create(tmp_path, [photo[..., 0] for photo in photos], count=4, size=SIZE)
    stage = Stage2(photos, tmp_path, options, LabelConfig(), Trainer(cpu(), 0, Rows(), quiet=True))
    detector = DetectorNetwork(tiny_encoder(), channels=8, finest_stride=4).train()
    network, steps = cpu().setup(detector, make_optimizer(detector, options))
    fit = stage.detector_fit(detector, network, steps)
    fit.begin(0)
    (drawn,) = fit.batches([[2, 0, 1, 3]], 1, epoch_generator(0, 0))
    with NoWaiting():
        loss, change = fit.step(drawn, 1, epoch_generator(0, 0))
    fit.end_pass()
    assert float(loss) > 0
    assert float(change) > 0
    fit.bank.finish()
    fit.bank.commit()
    assert not torch.equal(fit.bank.read([0])[0, 0], torch.from_numpy(photos[0][..., 0]))


@pytest.mark.parametrize("mirror", ["features", "photos"])
def test_no_step_of_stage_1_waits_for_the_device(mirror: Mirrored, tmp_path: Path) -> None:
    levers: dict[str, Any] = {"texture": 0.005, "scale_consistency": 1.0, "curriculum": True}
    options, photos = replace(tiny_config().stage1, drop_pixels=0.5, **levers), random_squares(4)
    features = FrozenFeatures(
        freeze(tiny_encoder()), photos, fabric=cpu(), precision="float16", mirror=mirror
    )
    features.keep(tmp_path, 10**9, mirrored=True, quiet=True)
    network = activation_network(features, options, seed=0).train()
    network.boundaries[:3].requires_grad_(False)
    trained, steps = cpu().setup(
        stage1_fit._Trained([network]), torch.optim.SGD(network.parameters(), lr=0.1, fused=True)
    )
    cut, flips = [[2, 0, 3]], [torch.tensor([True, False, True])]
    quarters = ResizedPhotos(photos, SIZE // 4)
    (seen,) = views(features, [features], quarters, cut, flips, epoch_generator(0, 0), CPU)
    with NoWaiting():
        activations = trained(seen, Stopwatch())
        loss = stage1_fit._loss(activations, seen.colours, options, 0, epoch_generator(0, 0))
        loss = Trainer(cpu(), 0, Rows()).descend(loss, steps)
    assert float(loss) > 0


def test_no_step_of_self_training_waits_for_the_device(tmp_path: Path) -> None:
    options, photos = tiny_config().stage1, random_squares(4)
    features = FrozenFeatures(freeze(tiny_encoder()), photos, fabric=cpu(), precision="float16")
    features.keep(tmp_path, 10**9, mirrored=True, quiet=True)
    network = activation_network(features, options, seed=0, boundary="affine").train()
    module, steps = cpu().setup(network, torch.optim.AdamW(network.parameters(), fused=True))
    labels = np.zeros((4, SIZE // 4, SIZE // 4), np.uint8)
    labels[:, 2:5, 2:5] = 255
    options = replace(options, round_trim=0.25)
    fit = LabelFit(module, steps, features, labels, options, Trainer(cpu(), 0, Rows()), round_number=1)
    (batch,) = fit.batches([[2, 0, 3]], 0, epoch_generator(0, 0))
    with NoWaiting():
        (loss,) = fit.step(batch, 1, epoch_generator(0, 0))
    assert float(loss) > 0


class NoThreads(TorchDispatchMode):
    """Fails where PyTorch computes something that it would share among threads, were it large."""

    free = ("permute", "unsqueeze", "view", "slice", "select", "alias", "detach", "lift_fresh")
    few = 1000

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, result = func.overloadpacket.__name__, func(*args, **(kwargs or {}))
        sizes = [value.numel() for value in (*args, result) if isinstance(value, Tensor)]
        assert name in self.free or max(sizes, default=0) <= self.few, f"{name} of {max(sizes)} values"
        return result


def test_the_check_sees_what_threads_would_share() -> None:
    tensor = torch.zeros(1, 5000)
    with NoThreads(), pytest.raises(AssertionError, match="flip of 5000 values"):
        tensor.permute(1, 0).flip(0)


@pytest.mark.parametrize("crop", [1.0, 0.6])
def test_what_stage_2_reads_ahead_starts_no_threads_of_pytorch(crop: float, tmp_path: Path) -> None:
    options, photos = replace(tiny_config().stage2, crop=crop, jitter=0.3), random_squares(4)
    bank = LabelBank.create(tmp_path, [photo[..., 0] for photo in photos], count=4, size=SIZE)
    batches = Batches(photos, options, CPU, 0)
    with NoThreads():
        drawn = list(batches.drawn(bank, [[2, 0], [1, 3]], epoch_generator(0, 0)))
    assert [one.photos.shape for one in drawn] == [(2, 3, SIZE, SIZE)] * 2


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_what_stage_1_reads_ahead_starts_no_threads_of_pytorch(
    precision: StoredPrecision, tmp_path: Path
) -> None:
    photos, encoder = random_squares(4), freeze(tiny_encoder())
    frozen = FrozenFeatures(encoder, photos, fabric=cpu(), precision=precision)
    frozen.keep(tmp_path, 10**9, mirrored=True, quiet=True)
    live = LiveFeatures(encoder, photos, CPU, mirror="photos")
    labels, cut = np.zeros((4, 40, 40), np.uint8), [[2, 0, 3]]
    module, options, trainer = torch.nn.Conv2d(1, 1, 1), tiny_config().stage1, Trainer(cpu(), 0, Rows())
    steps = torch.optim.SGD(module.parameters())
    with NoThreads():
        for features in (frozen, live):
            fit = LabelFit(module, steps, features, labels, options, trainer, round_number=1)
            assert list(fit.batches(cut, 0, epoch_generator(0, 0)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_late_writes_of_a_gpu_arrive_whole() -> None:
    written: list[Tensor] = []
    late = LateWrites(lambda indices, results: written.append(results.clone()))
    for value in range(5):
        late.put([value], torch.full((1, 1, 512, 512), value, dtype=torch.uint8, device="cuda"))
    late.flush()
    assert [int(results.min()) for results in written] == list(range(5))
    assert [int(results.max()) for results in written] == list(range(5))
