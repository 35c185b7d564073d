"""The options of each command: one dataclass per command, whose texts are its `--help`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from act2sal.cli.cluster_options import ClusterOptions, LabelShardOptions, PathOrAddress, ShardOptions
from act2sal.config import (
    Annotations,
    Backend,
    Device,
    Format,
    LabelConfig,
    Matting,
    PresetName,
    Refine,
    ScaleName,
    Stage1Config,
    TrainConfig,
)
from act2sal.data.images import MAX_PIXELS

Method = Literal["a2s", "dsr", "mc", "rbd", "hs"]
Exclude = Annotated[str, tyro.conf.arg(metavar="auto|none|NAME,...")]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class TrainOptions:
    """Train a salient-object detector on a folder of unlabelled photos.

    act2sal train PHOTOS --out RUN
    act2sal train PHOTOS --out RUN --resume
    act2sal train PHOTOS --out RUN --preset paper

    Stage 1 reads activation maps off a frozen encoder, splits them and makes pseudo labels of them; stage 2 trains
    a light detector on the labels and repairs them on the way. RUN gets config.toml, log.jsonl, stage1.safetensors,
    labels/, detector.safetensors, report.html and checkpoints.
    """

    photos: tyro.conf.Positional[Annotated[PathOrAddress, tyro.conf.arg(metavar="PHOTOS")]]
    """Folder of photos, searched to any depth. Masks among them are left out, unopened."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    options: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """Everything below can also stand in the --config file."""
    preset: PresetName = "default"
    """default: ours, with passes for some hundred photos; paper: the text of the paper; official: its code; salod:
    one recipe for all detectors that are compared; basnet, cpd, itsd, minet, picanet, sbf, mnl, usps: what their
    authors did."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """TOML file whose values replace those of the preset; options on the command line replace both."""
    resume: bool = False
    """Go on with the run in RUN where it was stopped."""
    overwrite: bool = False
    """Replace the run in RUN."""
    profile: bool = False
    """Measure where the time goes (decode, encoder, heads, backward, optimiser, CRF, waiting), for log, report and
    profile.json. On a GPU this takes time itself, as it waits for every part to end."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others are named and left out."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class LabelOptions:
    """Write pseudo labels for a folder of photos (stage 1 only): DIR/a/b.png for PHOTOS/a/b.jpg.

    act2sal label PHOTOS --out LABELS
    act2sal label PHOTOS --out LABELS --run RUN
    """

    photos: tyro.conf.Positional[Annotated[PathOrAddress, tyro.conf.arg(metavar="PHOTOS")]]
    """Folder of photos, searched to any depth."""
    out: Annotated[PathOrAddress, tyro.conf.arg(metavar="DIR")]
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
    exclude: Exclude = "auto"
    """What is left out of the folder: auto: masks of photos, known by names, pairs and bytes, and what this package
    wrote; none: nothing; names and patterns with commas between them, such as gt,'*.png': these as well, and what may
    be a mask beside them is a photo."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads of every pool, at most one per core that this process may use; 0: one per core."""
    seed: int = 0
    """Seed of every random draw."""
    cache_size: float | None = None
    """GiB that the features of frozen encoders may take on disk; those of further photos are computed anew at every
    epoch, with the same result. None: half of what the disk has free."""
    cluster: Annotated[LabelShardOptions, tyro.conf.arg(name="")] = field(default_factory=LabelShardOptions)
    """Very many photos, on a Ray cluster."""
    stage1: Stage1Config = field(default_factory=Stage1Config)
    """Stage 1: saliency cue extraction."""
    labels: LabelConfig = field(default_factory=LabelConfig)
    """Pseudo labels."""
    overwrite: bool = False
    """Write labels anew that are there already."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others are named and left out."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class PredictOptions:
    """Find the salient object in photos and videos: maps, masks, cut-outs and more, at the photo's own size.

    act2sal predict photo.jpg --out cutout.png --kind cutout
    act2sal predict PHOTOS --out DIR --kind mask cutout color:#ffffff
    act2sal predict - < photo.jpg > map.png

    INPUT/a/b.jpg gives DIR/a/b.png; with several kinds DIR/a/b.mask.png and so on. Videos give videos:
    INPUT/a/c.mp4 gives DIR/a/c.mp4.
    """

    inputs: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="INPUT ...")]]
    """Photos, videos, folders of both (to any depth), patterns such as 'photos/*.jpg', or - for standard input."""
    out: Annotated[PathOrAddress, tyro.conf.arg(metavar="DIR_OR_FILE")] = Path("maps")
    """Folder of the results; or the file for the result of a single photo or video."""
    kind: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KIND ...")] = ("map",)
    """What to write: map (grey levels), mask (black and white), cutout (transparent background), overlay (the object
    tinted), blur (background blurred), color:#rrggbb or image:FILE (another background)."""
    format: Format | None = None
    """Of the files; None: that of an --out with a suffix, else png. png, webp and gif also hold animations."""
    threshold: Annotated[str | None, tyro.conf.arg(metavar="otsu|adaptive|0..1")] = None
    """Where the saliency is cut into object and background; None: it stays soft, and a mask is cut at 0.5."""
    grow: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 0
    """Let the object of a mask, a cut-out and the like grow by so many pixels on all sides, at most 200; a negative
    number lets it shrink."""
    feather: Annotated[float, tyro.conf.arg(metavar="PIXELS")] = 0.0
    """Soften the edge of a mask, a cut-out and the like by a Gaussian of this sigma, at most 100."""
    ground: bool = False
    """Select the ground in place of the object: its map or mask, the photo without its object, and so on."""
    crop: Annotated[float | None, tyro.conf.arg(metavar="[MARGIN]")] = None
    """Crop the results of photos and animations to the object at the threshold, with a margin on each side as a share
    of its longer side, 0.05 where none is named; where nothing is found, all is kept, and a line says so."""
    annotations: Annotations | None = None
    """Also write where the regions of the object are, at the threshold, to train other detectors on. coco: in
    DIR/annotations.json; yolo: in a text file beside each result, with DIR/data.yaml. Of an animation, only the first
    frame is then done."""
    matting: Matting | None = None
    """Solve for the alpha of hair, fur and other soft edges in cut-outs and before other backgrounds; needs pymatting
    (pip install "act2sal[matting]") and, for each photo, seconds instead of hundredths."""
    refine: Refine = "none"
    """crf: average the maps of photo and mirror image and sharpen them by the dense CRF; better, and slower."""
    min_confidence: float = 0.0
    """Write an empty map where the confidence that there is a salient object is below this; in [0, 1]."""
    smooth: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """In videos and animations, average each map with those of the N frames before and the N behind it, which lessens
    flicker and does not lag behind what moves; never over a cut. 0: no smoothing."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write there, for each photo and each frame of a video, the confidence that it holds an object, its boxes
    and its area; with --skip-existing or --watch, the records of earlier runs are kept."""
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
    """Threads of every pool, at most one per core that this process may use; 0: one per core."""
    exclude: Exclude = "auto"
    """What is left out of folders: auto: masks of photos, and what this package wrote; none: nothing; names and
    patterns with commas between them, such as gt,'*.png': these as well."""
    overwrite: bool = False
    """Replace results that are there already."""
    skip_existing: bool = False
    """Leave out photos and videos whose results are there already."""
    cluster: Annotated[ShardOptions, tyro.conf.arg(name="")] = field(default_factory=ShardOptions)
    """Very many photos, on a Ray cluster."""
    watch: bool = False
    """Go on with photos and videos that arrive in the folders, which can be empty, until Ctrl-C or SIGTERM; implies
    --skip-existing."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others are named and left out."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class ServeOptions:
    """Serve the detector on this machine: a web page for photos, and an HTTP service for programs.

    act2sal serve
    act2sal serve --model RUN --port 9000
    act2sal serve --run RUN --photos PHOTOS --review REVIEW
    act2sal serve --host 0.0.0.0 --token-file TOKEN

    The page is at http://127.0.0.1:8000/. It loads nothing from elsewhere, and photos are not stored.
    """

    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN_OR_FILE")] = None
    """Run directory or model file; None: the detector that ships with the package."""
    host: str = "127.0.0.1"
    """Address to listen on; other machines reach another one than 127.0.0.1, and then need the token."""
    port: int = 8000
    """Port to listen on; 0: any that is free."""
    name: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Names by which a proxy on this machine calls the service, such as photos.example.org."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Also show this training, while it runs and afterwards."""
    photos: Annotated[Path | None, tyro.conf.arg(metavar="PHOTOS")] = None
    """Folder of the photos of RUN, to review its pseudo labels."""
    review: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the reviewed labels; train DIR/photos --given-labels DIR/labels takes it. None: beside RUN."""
    token_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File with the token that every request has to bring."""
    public: bool = False
    """Let other machines in without a token."""
    cors: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ORIGIN ...")] = ()
    """Sites whose pages may call the service from a browser, such as https://example.org."""
    allow_url: bool = False
    """Also fetch photos from addresses that requests name; only those of the public internet."""
    max_bytes: int = 25_000_000
    """Of the body of one request."""
    max_pixels: int = 50_000_000
    """Of one photo."""
    queue: int = 64
    """Requests that are held at once; others are told to come back."""
    timeout: float = 60.0
    """Seconds that one request may take."""
    backend: Backend = "auto"
    """What runs the detector: torch, or onnx; auto: as for predict."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads of every pool, at most one per core that this process may use; 0: one per core."""
    quiet: bool = False
    """Log no requests."""


@dataclass(frozen=True)
class CompareOptions:
    """Put the maps of several methods side by side: one row per photo, one column per method, written as PNG.

    act2sal compare PHOTOS --out sheet.png
    act2sal compare PHOTOS --methods rbd,a2s --masks MASKS --out sheet.png

    With masks, they are shown as well, and adaptive F and MAE under each map.
    """

    inputs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="INPUT ...")]]
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
    exclude: Exclude = "auto"
    """What is left out of folders: auto: masks of photos, and what this package wrote; none: nothing; names and
    patterns with commas between them, such as gt,'*.png': these as well."""
    device: Device = "auto"
    """Where a2s computes; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads of every pool, at most one per core that this process may use; 0: one per core."""
    overwrite: bool = False
    """Replace FILE.png if it is there already."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others are named and left out."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Score saliency maps against masks of the same names; values are those of py-sod-metrics.

    act2sal evaluate MAPS MASKS
    act2sal evaluate --table A=MAPS B=MAPS --masks MASKS

    A table compares methods on the images that all of them have. MASKS can be a folder of data sets (ECSSD, DUTS-TE,
    ...); the maps of each then lie in a folder of the same name below MAPS. What follows ± is half of the 95 %
    interval, by bootstrap over the images.
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="MAPS MASKS")]] = ()
    """Folder of maps and folder of masks."""
    table: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=MAPS ...")] = ()
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
    cluster: Annotated[ClusterOptions, tyro.conf.arg(name="")] = field(default_factory=ClusterOptions)
    """Very many maps, on a Ray cluster."""
    workers: int = 0
    """Threads of every pool, at most one per core that this process may use; 0: one per core."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others are named and left out."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a detector as an ONNX file, for `act2sal predict --backend onnx` and for any other onnxruntime.

    act2sal export --out detector.onnx
    act2sal export --model RUN --out detector.onnx --int8 --photos PHOTOS

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
    """Turn a published checkpoint of A2S (stage 1 or 2), BASNet, CPD, ITSD, MINet or PiCANet into a model file.

    act2sal convert OFFICIAL.pth --out MODEL.safetensors
    """

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CHECKPOINT.pth")]]
    """The .pth file."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL.safetensors")]
    """Model file to write."""
    half: bool = False
    """Store convolutions in float16."""


@dataclass(frozen=True)
class DemoOptions:
    """Train and predict on bundled material, offline, in a few minutes; ends with DIR/run/report.html.

    act2sal demo --out demo
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo")
    """Folder of the demo; an earlier demo there is replaced."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Re-run tables and figures of the paper, ours beside the printed numbers.

    act2sal reproduce all --out smoke --scale smoke
    act2sal reproduce table5 fig9 --data DATA --out OUT --scale cpu
    act2sal reproduce all --data DATA --out OUT --scale full --seeds 0 1 2 --dry-run

    TARGET is table1 to table8, fig1, fig4, fig5, fig7 to fig11, or all. Trainings that several of them need are done
    once, and kept in DIR/runs; a call that was stopped goes on where it was. Each target becomes TARGET.json, .md,
    .tex and .html, figures .png and .svg. Masks score what was trained; trainings see photos alone, but for the
    supervised rows of table2.
    """

    targets: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET ...")]]
    """Tables and figures."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the results."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of data sets (MSRA-B or DUTS-TR to train on, ECSSD and others to test on); act2sal data check says what
    is there. Scale smoke needs none."""
    scale: ScaleName = "smoke"
    """smoke: bundled scenes, minutes, numbers without meaning; cpu: hundreds of photos, MobileNetV2; gpu: 1,000
    photos by half of the paper's passes; full: the paper's own setting."""
    seeds: tuple[int, ...] = (0,)
    """Every training is done once for each; tables give mean and deviation."""
    photos: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Training photos, spread evenly over the set; None: as many as the scale says."""
    tests: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Photos of each test set, spread evenly; None: as many as the scale says."""
    encoder: str | None = None
    """Encoder of both stages; None: that of the scale."""
    encoder_weights: str | None = None
    """Its weights: timm, moco_v2, builtin, random, or a file; None: those of the scale."""
    dry_run: bool = False
    """Print the plan, with guesses of the time, and train nothing."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    workers: int = 0
    """Threads of every pool, at most one per core that this process may use; 0: one per core."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others are named and left out."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class DataOptions:
    """Look at the data sets of the field below a folder: what is there, what is missing, what is odd.

    act2sal data check DIR

    Known are ECSSD, MSRA-B, DUT-OMRON, PASCAL-S, DUTS-TR, DUTS-TE, HKU-IS and SOD, by the names of their folders.
    """

    action: tyro.conf.Positional[Annotated[Literal["check"], tyro.conf.arg(metavar="check")]]
    """check: open every photo and mask."""
    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Folder of data sets."""
    max_pixels: int = MAX_PIXELS
    """Of the largest photo that is read; others count as unreadable."""
    quiet: bool = False
    """No progress bar."""
