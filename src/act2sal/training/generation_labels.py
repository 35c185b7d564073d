"""The labels of a generation: masks, labels that are given, or those that stage 1 makes."""

from pathlib import Path

from act2sal.data.images import write_atomic
from act2sal.networks.checkpoint import save_stage1
from act2sal.predict.detector import Detector
from act2sal.predict.torch_network import TorchNetwork
from act2sal.runs.cache_folder import FEATURES
from act2sal.runs.samples import Samples
from act2sal.runtime import parallel
from act2sal.runtime.fabric import own_device
from act2sal.training.about import about
from act2sal.training.generation import Generation
from act2sal.training.given_labels import copy_labels
from act2sal.training.given_masks import copy_masks
from act2sal.training.stage1.label_writing import write_all_labels
from act2sal.training.stage1.rounds import fit_stage1
from act2sal.training.stage1.stage import Stage1


def write_generation_labels(generation: Generation, samples: Samples) -> None:
    """Write stage1.safetensors and the labels of this process's photos, unless an earlier call did.

    Raises:
        DatasetError: a mask or a given label is missing, or a photo can no longer be read.
        OSError: the disk is full.
    """
    if parallel.from_leader(generation.labels_done.is_file()):
        return
    if generation.config.masks is not None:
        masks = Path(generation.config.masks)
        samples.labels(copy_masks(generation.photos.own, masks, generation.folder.labels))
    elif generation.photos.labels is not None:
        samples.square_labels(generation.photos.labels)
    elif generation.given is not None:
        given = Path(generation.given)
        samples.labels(copy_labels(generation.photos.own, given, generation.folder))
    else:
        _make_labels(generation, samples)
    parallel.barrier()
    if parallel.leads():
        write_atomic(generation.labels_done, b"")


def _make_labels(generation: Generation, samples: Samples) -> None:
    """Write stage1.safetensors and the labels of this process's photos by stage 1."""
    folder, config = generation.folder, generation.config
    stage = Stage1(
        bank=generation.photos.own,
        features=parallel.own_folder(generation.cache / FEATURES),
        cache=parallel.own_folder(folder.cache),
        checkpoints=folder.checkpoints,
        config=config,
        trainer=generation.trainer,
        teacher=_load_teacher(generation),
    )
    fitted = fit_stage1(stage)
    if parallel.leads():
        metadata = about(config, generation.photos.total)
        save_stage1(folder.stage1, fitted.network, fitted.encoder, metadata=metadata)
    cues, targets = write_all_labels(fitted, folder.labels, stage, phase="labels", resume=True)
    samples.activations(cues, threshold=config.labels.threshold)
    samples.labels(targets)


def _load_teacher(generation: Generation) -> Detector | None:
    if generation.teacher is None:
        return None
    config = generation.config
    network = TorchNetwork.load(generation.teacher, device=config.device, devices=own_device(config))
    generation.trainer.stopwatch.watch(network.network.encoder, "encoder")
    return Detector(network)
