"""Checks, before the work, that the results of a command can be written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from act2sal.cli.cluster_options import ShardOptions
from act2sal.cli.options import (
    CompareOptions,
    ConvertOptions,
    DataOptions,
    DemoOptions,
    EvaluateOptions,
    ExportOptions,
    LabelOptions,
    PredictOptions,
    ReproduceOptions,
    ServeOptions,
    TrainOptions,
)
from act2sal.data.encoding import FORMAT_OF
from act2sal.data.output_paths import refuse_file, refuse_folder
from act2sal.data.photo_files import SUFFIXES
from act2sal.errors import InputError
from act2sal.predict.annotations import COCO_FILE
from act2sal.predict.plan import is_one_file, is_one_video, refuse_unwritten
from act2sal.predict.video import VIDEO_SUFFIXES


def refuse_outputs(command: str, options: Any) -> None:
    """Refuse options that name a place to which nothing can be written.

    Raises:
        InputError: it cannot, or its suffix says something else than the options; names the option and the path.
    """
    _CHECKS[command](options)


def _refuse_same(files: dict[str, Path | None]) -> None:
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise InputError(f"{other} and {option} name the same file, {path}")


def _refuse_table(path: Path, option: str) -> None:
    """A file of records or scores is no picture: a mistyped option would replace a mask."""
    if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES:
        raise InputError(f"{option} {path}: is the name of a picture or a video")
    refuse_file(path, option)


def _train(options: TrainOptions) -> None:
    if not options.out.is_file():  # which the run directory tells in words of its own
        refuse_folder(options.out, "--out")


def _refuse_shard_size(options: ShardOptions) -> None:
    if options.shard_size < 1:
        raise InputError(f"--shard-size is at least 1, not {options.shard_size}")


def _label(options: LabelOptions) -> None:
    if options.cluster.engine == "ray":
        _refuse_shard_size(options.cluster)
        return
    refuse_folder(options.out, "--out")


def _predict(options: PredictOptions) -> None:
    if options.cluster.engine == "ray":
        if is_one_file(options.out) or is_one_video(options.out):
            raise InputError(f"--out {options.out} is one file; --engine ray needs a folder")
        _refuse_shard_size(options.cluster)
        if options.json is not None:
            _refuse_table(options.json, "--json")
        return
    if "-" in options.inputs and len(options.inputs) > 1:
        raise InputError("- (standard input) is one photo, and takes no other inputs beside it")
    annotated = options.out / COCO_FILE if options.annotations == "coco" else None
    _refuse_same({"--out": options.out, "--json": options.json, "--annotations": annotated})
    if options.json is not None:
        _refuse_table(options.json, "--json")
    if tuple(options.inputs) == ("-",) and not is_one_file(options.out):
        return
    refuse_unwritten(options.out)
    if is_one_file(options.out) or is_one_video(options.out):
        refuse_file(options.out, "--out")
    else:
        refuse_folder(options.out, "--out")
    if annotated is not None:
        refuse_file(annotated, "--annotations")
    suffix = options.out.suffix.lower()
    if options.format is None:
        return
    if is_one_video(options.out):
        raise InputError(f"--format {options.format} is for pictures, and --out {options.out} is a video")
    if is_one_file(options.out) and FORMAT_OF[suffix] != options.format:
        raise InputError(f"--out {options.out} and --format {options.format} contradict each other")


def _serve(options: ServeOptions) -> None:
    if options.run is not None and not options.run.is_dir():
        raise InputError(f"--run {options.run}: no such folder")
    if options.photos is not None and not options.photos.is_dir():
        raise InputError(f"--photos {options.photos}: no such folder")
    if options.review is not None:
        refuse_folder(options.review, "--review")


def _compare(options: CompareOptions) -> None:
    refuse_file(options.out, "--out", (".png",))


def _evaluate(options: EvaluateOptions) -> None:
    sheet = options.sheet if options.worst > 0 else None
    _refuse_same({"--json": options.json, "--csv": options.csv, "--sheet": sheet})
    for option, path in (("--json", options.json), ("--csv", options.csv)):
        if path is not None:
            _refuse_table(path, option)
    if options.plot is not None:
        refuse_folder(options.plot, "--plot")
    if sheet is not None:
        refuse_file(sheet, "--sheet", (".png",))
        if options.photos is not None and not options.photos.is_dir():
            raise InputError(f"--photos {options.photos}: no such folder")


def _export(options: ExportOptions) -> None:
    refuse_file(options.out, "--out", (".onnx",))


def _convert(options: ConvertOptions) -> None:
    refuse_file(options.out, "--out", (".safetensors",))


def _demo(options: DemoOptions) -> None:
    refuse_folder(options.out, "--out")


def _reproduce(options: ReproduceOptions) -> None:
    refuse_folder(options.out, "--out")
    if options.data is not None and not options.data.is_dir():
        raise InputError(f"--data {options.data}: no such folder")


def _data(options: DataOptions) -> None:
    if not options.folder.is_dir():
        raise InputError(f"{options.folder}: no such folder")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "train": _train,
    "label": _label,
    "predict": _predict,
    "serve": _serve,
    "compare": _compare,
    "evaluate": _evaluate,
    "export": _export,
    "convert": _convert,
    "demo": _demo,
    "reproduce": _reproduce,
    "data": _data,
}
