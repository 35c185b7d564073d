"""The `act2sal` command: parses, calls one function, prints."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import tyro

from act2sal.config import (
    PRESETS,
    Backend,
    Device,
    Format,
    LabelConfig,
    PresetName,
    Refine,
    Stage1Config,
    TrainConfig,
    load_toml,
)
from act2sal.errors import InputError, MissingPackageError
from act2sal.version import __version__

OK, SOME_FAILED, WRONG_USAGE = 0, 1, 2

Method = Literal["a2s", "dsr", "mc", "rbd", "hs"]
METHODS: tuple[Method, ...] = get_args(Method)

TRAINING_PACKAGES = frozenset(
    {"lightning_fabric", "safetensors", "tensorboard", "timm", "torch", "torchvision"}
)
"""What `pip install "act2sal[train]"` adds."""

Options = TypeVar("Options")


@dataclass(frozen=True)
class TrainOptions:
    """Train a salient-object detector on a folder of unlabelled photos.

    Stage 1 reads activation maps off a frozen encoder, splits them and makes pseudo labels of them; stage 2 trains
    a light detector on the labels and repairs them on the way. RUN gets config.toml, log.jsonl, stage1.safetensors,
    labels/, detector.safetensors, report.html and checkpoints.
    """

    photos: tyro.conf.Positional[Path]
    """Folder of photos, searched to any depth (JPEG, PNG, WebP, BMP, TIFF). No mask is ever opened."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    options: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """Everything below can also stand in the --config file."""
    preset: PresetName = "default"
    """default: ours, with passes for some hundred photos; paper: the text of the paper; official: its code."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """TOML file whose values replace those of the preset; options on the command line replace both."""
    resume: bool = False
    """Go on with the run in RUN where it was stopped."""
    overwrite: bool = False
    """Replace the run in RUN."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class LabelOptions:
    """Write pseudo labels for a folder of photos (stage 1 only): DIR/a/b.png for PHOTOS/a/b.jpg."""

    photos: tyro.conf.Positional[Path]
    """Folder of photos, searched to any depth."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the labels (8-bit PNG, 0 and 255); labels that are there already are kept."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Use the fitted stage 1 of this run instead of fitting one."""
    encoder: str = TrainConfig.encoder
    """A timm model name or a short name (mobilenetv2, resnet50, densenet169)."""
    encoder_weights: str = TrainConfig.encoder_weights
    """builtin (ships with the package), timm, moco_v2, random, or a file (.safetensors, .pth)."""
    size: int = TrainConfig.size
    """Side of the square the photos are resized to, in pixels."""
    limit: int | None = None
    """Use only the first so many photos in the order of their names; None: all."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads for decoding and the CRF; 0: one per core."""
    seed: int = 0
    """Seed of every random draw."""
    cache_size: float | None = None
    """GiB that the features of frozen encoders may take on disk; those of further photos are computed anew at every
    epoch, with the same result. None: half of what the disk has free."""
    stage1: Stage1Config = field(default_factory=Stage1Config)
    """Stage 1: saliency cue extraction."""
    labels: LabelConfig = field(default_factory=LabelConfig)
    """Pseudo labels."""
    overwrite: bool = False
    """Write labels anew that are there already."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class PredictOptions:
    """Find the salient object in photos and videos: maps, masks, cut-outs and more, at the photo's own size.

    act2sal predict photo.jpg --out cutout.png --kind cutout
    act2sal predict PHOTOS --out DIR --kind mask cutout color:#ffffff
    act2sal predict - < photo.jpg > map.png

    INPUT/a/b.jpg gives DIR/a/b.png; with several kinds DIR/a/b.mask.png and so on.
    """

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """Photos, videos, folders of photos (to any depth), patterns such as 'photos/*.jpg', or - for standard input."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR_OR_FILE")] = Path("maps")
    """Folder of the results; or the file for the result of a single photo or video."""
    kind: tuple[str, ...] = ("map",)
    """What to write: map (grey levels), mask (black and white), cutout (transparent background), overlay (the object
    tinted), blur (background blurred), color:#rrggbb or image:FILE (another background)."""
    format: Format | None = None
    """Of the files; None: that of an --out with a suffix, else png."""
    threshold: Annotated[str | None, tyro.conf.arg(metavar="otsu|adaptive|0..1")] = None
    """Where the saliency is cut into object and background; None: it stays soft, and a mask is cut at 0.5."""
    refine: Refine = "none"
    """crf: average the maps of photo and mirror image and sharpen them by the dense CRF; better, and slower."""
    min_confidence: float = 0.0
    """Write an empty map where the confidence that there is a salient object is below this; in [0, 1]."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write there, for each photo, the confidence that it holds an object, the object's boxes and its area; the
    confidence costs a second pass of the network."""
    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN_OR_FILE")] = None
    """Run directory or model file; None: the detector that ships with the package."""
    method: Method = "a2s"
    """a2s: the detector; hand-crafted and without any weights: dsr (Li et al., ICCV 2013), mc (Jiang et al., ICCV
    2013), rbd (Zhu et al., CVPR 2014), hs (Yan et al., CVPR 2013)."""
    backend: Backend = "auto"
    """What runs the detector: torch, or onnx (onnxruntime, on the CPU, for what act2sal export wrote); auto: onnx for
    .onnx files and, where there is no GPU, for the detector that ships with the package, else torch."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads that decode and encode; 0: one per core."""
    overwrite: bool = False
    """Replace results that are there already."""
    skip_existing: bool = False
    """Leave out photos whose results are there already."""
    watch: bool = False
    """Go on with photos that arrive in the folders, until Ctrl-C; implies --skip-existing."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class CompareOptions:
    """Put the maps of several methods side by side: one row per photo, one column per method, written as PNG.

    act2sal compare PHOTOS --methods rbd,a2s --masks MASKS --out sheet.png adds the masks, and adaptive F and MAE
    under each map.
    """

    inputs: tyro.conf.Positional[tuple[Path, ...]]
    """Photos and folders of photos."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.png")]
    """The contact sheet."""
    methods: Annotated[str, tyro.conf.arg(metavar="NAME,NAME")] = "dsr,mc,rbd,hs,a2s"
    """Columns, separated by commas: a2s (the detector), dsr, mc, rbd, hs."""
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of masks, named like the photos."""
    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN_OR_FILE")] = None
    """Run directory or model file for a2s; None: the detector that ships with the package."""
    limit: int = 20
    """Only the first so many photos."""
    device: Device = "auto"
    """Where a2s computes; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads; 0: one per core."""
    overwrite: bool = False
    """Replace FILE.png if it is there already."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Score saliency maps against masks of the same names; values are those of py-sod-metrics.

    act2sal evaluate MAPS MASKS scores one folder of maps, act2sal evaluate --table A=MAPS B=MAPS --masks MASKS
    compares several on the images that all of them have. MASKS can be a folder of data sets (ECSSD, DUTS-TE, ...);
    the maps of each then lie in a folder of the same name below MAPS. What follows ± is half of the 95 % interval, by
    bootstrap over the images.
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="MAPS MASKS")]] = ()
    """Folder of maps and folder of masks."""
    table: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=MAPS")] = ()
    """Methods to compare, the others with the first; needs --masks."""
    masks: Annotated[Path | None, tyro.conf.arg(metavar="MASKS")] = None
    """Folder of masks for --table."""
    ending: str = ""
    """What the names of maps have behind those of masks, such as _HS."""
    convention: Literal["standard", "a2s-code"] = "standard"
    """a2s-code: also the published A2S code's own max F and S, under names of their own."""
    format: Literal["terminal", "markdown", "latex", "html"] = "terminal"
    """Of the table that is printed."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write scores, intervals and counts there."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write one line per image there."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write precision-recall and F curves there, as PNG and SVG."""
    worst: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Write a contact sheet of the K images with the lowest adaptive F."""
    sheet: Annotated[Path, tyro.conf.arg(metavar="FILE.png")] = Path("worst.png")
    """Where --worst writes; with several methods or data sets, their names are added."""
    photos: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the photos for --worst."""
    workers: int = 0
    """Threads; 0: one per core."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a detector as an ONNX file, for `act2sal predict --backend onnx` and for any other onnxruntime.

    Its input `squares` is (B, H, W, 3) uint8 RGB, its output `prob` (B, H, W) float32 in [0, 1]. The file is compared
    with PyTorch before it is written.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="FILE.onnx")]
    """File to write."""
    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN_OR_FILE")] = None
    """Run directory or model file; None: the detector that ships with the package."""
    size: Annotated[int | Literal["dynamic"] | None, tyro.conf.arg(metavar="N|dynamic")] = None
    """Side of the squares the file takes, in pixels; dynamic: any height and width; None: that of the model."""
    int8: bool = False
    """Convolutions in 8 bits, with scales found on the photos of --photos."""
    photos: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of photos, which need no masks, to compare on (and, with --int8, to calibrate on)."""
    overwrite: bool = False
    """Replace the file if it is there already."""


@dataclass(frozen=True)
class ConvertOptions:
    """Turn a checkpoint of the published A2S code (stage 1 or 2) into a model file of this package."""

    source: tyro.conf.Positional[Path]
    """The .pth file."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL.safetensors")]
    """Model file to write."""
    half: bool = False
    """Store convolutions in float16."""


@dataclass(frozen=True)
class DemoOptions:
    """Train and predict on bundled material, offline, in a few minutes; ends with DIR/run/report.html."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo")
    """Folder of the demo; an earlier demo there is replaced."""
    quiet: bool = False
    """No progress bars."""


def train_command(arguments: Sequence[str]) -> int:
    """`act2sal train`."""
    chosen = _chosen_defaults(arguments)
    options = tyro.cli(
        TrainOptions,
        args=arguments,
        prog="act2sal train",
        default=TrainOptions(tyro.MISSING, tyro.MISSING, chosen),
    )
    from act2sal.pipeline import train

    outcome = train(
        options.photos,
        options.out,
        options.options,
        resume=options.resume,
        overwrite=options.overwrite,
        quiet=options.quiet,
    )
    print(f"trained on {outcome.photos} photos; report: {options.out / 'report.html'}")
    return _failures(outcome.failures, report=True)


def label_command(arguments: Sequence[str]) -> int:
    """`act2sal label`."""
    options = _parse(LabelOptions, arguments, "label")
    from act2sal.labelling import label

    config = TrainConfig(
        encoder=options.encoder,
        encoder_weights=options.encoder_weights,
        size=options.size,
        limit=options.limit,
        device=options.device,
        workers=options.workers,
        seed=options.seed,
        cache_size=options.cache_size,
        stage1=options.stage1,
        labels=options.labels,
    )
    outcome = label(
        options.photos,
        options.out,
        config,
        run=options.run,
        overwrite=options.overwrite,
        quiet=options.quiet,
    )
    print(f"{outcome.photos} labels in {options.out}")
    return _failures(outcome.failures)


def predict_command(arguments: Sequence[str]) -> int:
    """`act2sal predict`."""
    options = _parse(PredictOptions, arguments, "predict")
    from act2sal import prediction

    rendering = prediction.rendering_of(
        options.kind,
        options.out,
        format=options.format,
        threshold=options.threshold,
        refine=options.refine,
        min_confidence=options.min_confidence,
        rates=options.json is not None,
    )
    job = prediction.Job(
        maker=prediction.maker_of(
            options.method, options.model, rendering, device=options.device, backend=options.backend
        ),
        rendering=rendering,
        out=options.out,
        overwrite=options.overwrite,
        skip_existing=options.skip_existing or options.watch,
        workers=options.workers,
        quiet=options.quiet,
    )
    if options.inputs == ("-",):
        sys.stdout.buffer.write(job.piped(sys.stdin.buffer.read()))
        return OK
    try:
        outcome = job.run(options.inputs)
        print(f"{outcome.written} done, in {options.out}", flush=True)
        if options.watch:
            job.watch(options.inputs)
            print(f"stopped watching; {len(job.records)} done, in {options.out}")
    finally:
        if options.json is not None:
            job.write_json(options.json)
    return _failures(outcome.failures)


def compare_command(arguments: Sequence[str]) -> int:
    """`act2sal compare`."""
    options = _parse(CompareOptions, arguments, "compare")
    from act2sal import classical
    from act2sal.comparison import compare
    from act2sal.detect import Detector

    names = options.methods.split(",")
    unknown = [name for name in names if name not in METHODS]
    if unknown or len(set(names)) < len(names):
        raise InputError(f"--methods {options.methods}: needs some of {','.join(METHODS)}, each once")
    methods = {name: classical.METHODS[name] for name in names if name in classical.METHODS}
    if "a2s" in names:
        methods["a2s"] = Detector.load(options.model, device=options.device)
    outcome = compare(
        options.inputs,
        options.out,
        {name: methods[name] for name in names},
        masks=options.masks,
        limit=options.limit,
        workers=options.workers,
        overwrite=options.overwrite,
        quiet=options.quiet,
    )
    print(f"{outcome.written} photos in {options.out}")
    return _failures(outcome.failures)


def evaluate_command(arguments: Sequence[str]) -> int:
    """`act2sal evaluate`."""
    options = _parse(EvaluateOptions, arguments, "evaluate")
    from act2sal import scoring

    maps, masks = _what_to_score(options)
    jobs = scoring.jobs_of(maps, masks)
    scored = scoring.score(jobs, ending=options.ending, workers=options.workers, quiet=options.quiet)
    code = options.convention == "a2s-code"
    if options.format == "terminal":
        print(scoring.header(code=code), end="\n\n")
    print(scoring.score_table(scored, options.format, code=code))
    print(scoring.difference_table(scored, options.format, code=code), end="")
    print(
        *scoring.count_lines(scored),
        sep="\n",
        file=sys.stdout if options.format == "terminal" else sys.stderr,
    )
    if options.json is not None:
        scoring.write_json(options.json, scored)
    if options.csv is not None:
        scoring.write_csv(options.csv, scored)
    if options.plot is not None:
        scoring.write_plots(options.plot, scored)
    if options.worst > 0:
        for one in scored:
            named = "-".join(part for part in (one.job.data_set, one.job.method) if part and len(scored) > 1)
            sheet = options.sheet.with_stem(f"{options.sheet.stem}-{named}") if named else options.sheet
            scoring.write_worst(sheet, one, options.worst, options.photos, ending=options.ending)
    whole = all(not s.scores.counts.missing and not s.scores.counts.unreadable for s in scored)
    return OK if whole else SOME_FAILED


def export_command(arguments: Sequence[str]) -> int:
    """`act2sal export`."""
    options = _parse(ExportOptions, arguments, "export")
    from act2sal.export import export

    done = export(
        options.model,
        options.out,
        size=options.size,
        int8=options.int8,
        photos=options.photos,
        overwrite=options.overwrite,
    )
    print(
        f"{options.out}: {done.bytes / 1e6:.1f} MB; on {done.photos} photos at most {done.largest_difference:.2g}, "
        f"on average {done.mean_difference:.2g} from the maps of PyTorch"
    )
    return OK


def convert_command(arguments: Sequence[str]) -> int:
    """`act2sal convert`."""
    options = _parse(ConvertOptions, arguments, "convert")
    from act2sal.official import convert_official

    kind = convert_official(options.source, options.out, half=options.half)
    print(f"{options.out}: {kind}")
    return OK


def demo_command(arguments: Sequence[str]) -> int:
    """`act2sal demo`."""
    options = _parse(DemoOptions, arguments, "demo")
    from act2sal.demo import demo

    print(demo(options.out, quiet=options.quiet))
    return OK


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train": (train_command, "train a detector on a folder of unlabelled photos"),
    "label": (label_command, "write pseudo labels only"),
    "predict": (predict_command, "photos in, saliency maps out"),
    "compare": (compare_command, "the maps of several methods side by side, in one picture"),
    "evaluate": (evaluate_command, "score maps against masks"),
    "export": (export_command, "a detector as an ONNX file"),
    "convert": (convert_command, "read a checkpoint of the published A2S code"),
    "demo": (demo_command, "train and predict on bundled material"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 all done, 1 some inputs failed or the work broke off, 2 wrong usage."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--version"]:
        print(f"act2sal {__version__}")
        return OK
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return OK if given else WRONG_USAGE
    if given[0] not in COMMANDS:
        return _error(f"there is no command {given[0]!r}; possible: {', '.join(COMMANDS)}", WRONG_USAGE)
    try:
        return COMMANDS[given[0]][0](given[1:])
    except (InputError, FileExistsError, MissingPackageError) as error:
        return _error(str(error), WRONG_USAGE)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING_PACKAGES:
            raise
        print(f'act2sal {given[0]} needs PyTorch: pip install "act2sal[train]"', file=sys.stderr)
        return WRONG_USAGE
    except (OSError, FloatingPointError) as error:
        return _error(str(error), SOME_FAILED)
    except KeyboardInterrupt as error:
        how_far = f"{error}" or "interrupted"
        return _error(f"{how_far}; what was written stays{_how_to_go_on(given[0])}", SOME_FAILED)


def _what_to_score(options: EvaluateOptions) -> tuple[dict[str, Path], Path]:
    """The folder of maps of each method, and the masks."""
    if options.table and options.masks is not None and not options.folders:
        named = [entry.partition("=") for entry in options.table]
        if all(name and folder for name, _, folder in named) and len({name for name, *_ in named}) == len(
            named
        ):
            return {name: Path(folder) for name, _, folder in named}, options.masks
        raise InputError("--table takes NAME=MAPS, each name once")
    if len(options.folders) == 2 and not options.table and options.masks is None:
        return {"": options.folders[0]}, options.folders[1]
    raise InputError("give MAPS and MASKS, or --table NAME=MAPS ... with --masks MASKS")


def _parse(kind: type[Options], arguments: Sequence[str], command: str) -> Options:
    return tyro.cli(kind, args=arguments, prog=f"act2sal {command}")


def _chosen_defaults(arguments: Sequence[str]) -> TrainConfig:
    """The options that --preset and --config, or the run that is resumed, set before the command line does."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    known, _ = parser.parse_known_args(arguments)
    named = known.preset is not None or known.config is not None
    if known.resume and not named and known.out is not None and (known.out / "config.toml").is_file():
        return load_toml(known.out / "config.toml", TrainConfig())
    preset = PRESETS[known.preset or "default"]
    return preset if known.config is None else load_toml(known.config, preset)


def _overview() -> str:
    rows = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: act2sal COMMAND ... [--help]\n\nSalient-object detectors from unlabelled photos.\n\n"
        f"{rows}\n\nact2sal COMMAND --help shows every option with its default."
    )


def _failures(failures: Sequence[str], *, report: bool = False) -> int:
    """Exit status; says how many photos failed. A run that was resumed has them named in its report alone."""
    if not failures:
        return OK
    photos, them, they_are = (
        ("photo", "it", "it is") if len(failures) == 1 else ("photos", "them", "they are")
    )
    where = f"the report names {them}" if report else f"{they_are} named above"
    print(f"{len(failures)} {photos} could not be read; {where}", file=sys.stderr)
    return SOME_FAILED


def _how_to_go_on(command: str) -> str:
    flags = {"train": "--resume", "predict": "--skip-existing"}
    return f"; the same command with {flags[command]} goes on" if command in flags else ""


def _error(message: str, status: int) -> int:
    print(f"act2sal: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
