"""Every option once: frozen dataclasses with default, unit and source; presets; TOML in and out.

The text under a field is its `--help` text.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from act2sal.errors import InputError
from act2sal.limits import broken_limit

Boundary = Literal["db1", "db2", "db3", "db4", "db5"]
LabelThreshold = Literal["half", "zero", "otsu", "mean", "median"]
Soft = Literal["none", "fitted", "all"]
Distance = Literal["eq4", "falling"]
Sign = Literal["area", "area_zero", "corners", "border"]
Precision = Literal["auto", "float32", "bfloat16"]
StoredPrecision = Literal["float16", "int8"]
Mirrored = Literal["features", "photos"]
Rectifier = Literal["olr", "hma", "none"]
Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["auto", "cycle", "steps", "triangle", "poly"]
DetectorName = Literal["a2s", "basnet", "cpd", "itsd", "minet", "picanet"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Backend = Literal["auto", "torch", "onnx"]
Format = Literal["png", "jpg", "webp", "tiff", "gif"]
Refine = Literal["none", "crf"]
Annotations = Literal["coco", "yolo"]
Matting = Literal["closed-form", "knn"]
ScaleName = Literal["smoke", "cpu", "gpu", "full"]
MethodName = Literal["a2s", "sbf", "mnl", "usps"]
PresetName = Literal[
    "default", "paper", "official", "salod", "basnet", "cpd", "itsd", "minet", "picanet", "sbf", "mnl", "usps"
]


class ConfigError(InputError):
    """An option that does not exist or contradicts another; the message names it."""


@dataclass(frozen=True)
class Stage1Config:
    """Stage 1, saliency cue extraction (Eq. 1-5): four small blocks on a frozen encoder."""

    encoder: str | None = None
    """Encoder of stage 1; None: the one both stages share (--encoder)."""
    encoder_weights: str | None = None
    """Weights of that encoder; None: --encoder-weights."""
    size: int | None = None
    """Side of the square the photos are resized to, in pixels; None: --size."""
    epochs: int = 4
    """Passes over the photos. Paper: 20."""
    batch_size: int = 8
    """Photos per step, over all processes; the learning rate is for that many."""
    lr: float = 0.1
    """Learning rate of SGD. Paper: 1."""
    milestones: tuple[int, ...] = (2, 3)
    """Epochs (counted from 0) from which the rate is ten times lower. Paper: 10 16; published code: 11 15."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 penalty of SGD."""
    channels: int = 64
    """Channels of F_3, F_4, F_5 and F (Eq. 1)."""
    fusion_stride: Literal[2, 4, 8, 16] = 4
    """Stride of the grid on which F_3, F_4, F_5 are joined (Eq. 1). Published code: 2."""
    scale_features: bool = True
    """Divide each encoder channel by its standard deviation over the photos before Eq. 1."""
    use_e3: bool = True
    """Let E_3 take part in the first fit (Eq. 1); off suits DenseNets. Rounds of self-training always read it."""
    boundary: Boundary = "db5"
    """Decision boundary (Fig. 9); db5 is the Adaptive Decision Boundary of Eq. 3."""
    sign: Sign = "area"
    """Foreground side: the smaller one (area, Eq. 5; area_zero: none in a tie, as the published code), or the one
    that most corners or border pixels are not on."""
    alpha: float = 0.1
    """Weight of |D| beside |D|^2 (Eq. 4, Table V)."""
    distance: Distance = "eq4"
    """Distance from the boundary that is made large: Eq. 4, or |D|^k whose k falls from 2 to 1 over the epochs
    (falling, A2S-v2)."""
    curriculum: bool = False
    """Leave undecided pixels out of the loss in the first third of the epochs (A2S-v3)."""
    scale_consistency: float = 0.0
    """Weight of the squared difference between the maps of a photo at two sizes (A2S-v2: 1); 0: one size."""
    second_sizes: tuple[int, ...] = (-128, -64, 64, 128)
    """Pixels added to the size, one of them drawn at each step, for the second view of --stage1.scale-consistency;
    features of all these sizes are computed and stored."""
    texture: float = 0.005
    """Weight of texture matching along the contour (A2S-v2: 0.05, which takes too much here). Paper: 0."""
    auxiliary: bool = True
    """Also separate F_3, F_4, F_5 (Table IV, A1: off)."""
    side_weights: tuple[float, float, float] = (0.1, 0.3, 0.5)
    """Weights of the losses of F_3, F_4, F_5 beside that of F. Paper: 1 1 1; published code: the default."""
    drop_pixels: float = 0.5
    """Share of the pixels left out of the loss at each step (Table IV, A2: 0)."""
    freeze_encoder: bool = True
    """Keep the encoder fixed (Table IV, A0: off)."""
    batchnorm_drift: bool = False
    """Let the running statistics of the frozen encoder drift, as the published code does."""
    random_gain: bool = False
    """Multiply E_5 by a fixed random gain, as the published code does."""
    flip: bool = True
    """Mirror half of the photos at random."""
    mirror: Mirrored = "features"
    """What is mirrored: features; or, as in the paper, photos before the encoder, which doubles work and cache."""
    precision: StoredPrecision = "float16"
    """How features of a frozen encoder are stored: float16, or int8 with a scale per channel of each photo, half as
    large."""
    loss_at_photo_size: bool = False
    """Enlarge the fused map to the photo before the loss, as the published code does."""
    cues_at_photo_size: bool = False
    """Read the cues off photos at their own size instead of the square, as the published code does."""
    rounds: int = 2
    """Rounds of self-training: the blocks are fitted again on the labels (Eq. 6) of the round before. Paper: 0."""
    round_epochs: int = 3
    """Passes over the photos in each round."""
    round_trim: float = 0.0
    """Share of each batch, those whose labels the blocks disagree with most, left out from the second pass on."""
    round_lr: float = 1e-3
    """Peak learning rate of AdamW in each round."""
    round_weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW in each round."""


@dataclass(frozen=True)
class LabelConfig:
    """Pseudo labels (Eq. 6): threshold, dense CRF, median filter."""

    threshold: LabelThreshold = "half"
    """Where foreground begins before the CRF: half of the probability stretched to [0, 1], as in the published code;
    zero, the decision boundary itself, as in the paper; or Otsu's, the mean or the median of the activation map
    (Table I)."""
    gt_prob: float = 0.7
    """Trust in the thresholded label, the CRF's unary, in (0.5, 1)."""
    soft: Soft = "fitted"
    """What the CRF starts from: none, thresholded labels, as in the published code; all, sigmoid(theta), as Eq. 6 is
    printed; fitted, probabilities where a network was fitted on labels (self-training, a teacher), and
    thresholded labels for the cues of Eq. 1-5."""
    iterations: int = 10
    """Mean-field iterations."""
    gaussian_sxy: float = 3.0
    """Standard deviation of the smoothness kernel, in pixels."""
    gaussian_compat: float = 3.0
    """Weight of the smoothness kernel."""
    bilateral_sxy: float = 50.0
    """Standard deviation of the appearance kernel in space, in pixels."""
    bilateral_srgb: float = 5.0
    """Standard deviation of the appearance kernel in colour, in 8-bit levels."""
    bilateral_compat: float = 10.0
    """Weight of the appearance kernel."""
    median: int = 7
    """Side of the median filter, in pixels, odd; 1 switches it off."""


@dataclass(frozen=True)
class Stage2Config:
    """Stage 2, self-rectification learning (Eq. 7-14): the detector and its labels."""

    encoder: str | None = None
    """Encoder of the detector; None: the one both stages share (--encoder)."""
    encoder_weights: str | None = None
    """Weights the detector's encoder starts from; None: --encoder-weights."""
    size: int | None = None
    """Side of the square the photos are resized to, in pixels; None: --size."""
    epochs: int = 8
    """Passes over the photos. Paper: 25."""
    batch_size: int = 8
    """Photos per step, over all processes; the learning rate is for that many."""
    optimizer: Optimizer = "adamw"
    """adamw or sgd. Paper: sgd."""
    schedule: Schedule = "auto"
    """How the rate changes. cycle: it rises to lr in the first tenth of the steps and falls to 0 along a cosine;
    steps: ten times lower from each of the milestones on; triangle: it rises to lr in the first half and falls to 0
    in the second (SALOD); poly: lr (1 - epoch / epochs)^0.9 (MINet); auto: cycle for adamw, steps for sgd."""
    lr: float = 1e-3
    """Learning rate of the decoder. Paper: 0.005."""
    encoder_lr_factor: float = 0.3
    """Learning rate of the encoder as a share of the decoder's. Published code: 0.1."""
    milestones: tuple[int, ...] = (5, 7)
    """Epochs (counted from 0) from which the rate of schedule steps is ten times lower. Paper: 15 20."""
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    weight_decay: float = 1e-4
    """L2 penalty of sgd, or decoupled decay of adamw. Published code: 0.0005."""
    channels: int = 32
    """Width of the decoder (Eq. 8) of detector a2s. Paper: 64."""
    finest_stride: Literal[2, 4] = 4
    """Stride of the finest level the decoder reads (Eq. 9). Paper: 2."""
    attention: bool = True
    """Residual attention (Eq. 9-10); off: plain convolutions (Table VII, dagger)."""
    loss_bce: float = 0.0
    """Weight of the binary cross-entropy (Eq. 12); 1 where another detector or masks are named. Paper: 1."""
    loss_ssim: float = 0.0
    """Weight of the structural similarity loss (Eq. 12). Paper: 1."""
    loss_iou: float = 1.0
    """Weight of the soft intersection over union loss (Eq. 12); alone, it forgives wrong labels best (A2S-v2)."""
    own_loss: bool = False
    """Compute the loss that the authors of a detector other than a2s published, in place of the three above, which
    are otherwise added up over the saliency maps of such a detector."""
    binarise: bool = True
    """Binarise the labels at 0.5 for the loss, as the published code does. Paper: off."""
    rectifier: Rectifier = "olr"
    """How predictions repair the labels: Online Label Rectifying (Eq. 13-14), HMA, or not at all."""
    rectify_lambda: float = 0.4
    """Share of the old label kept by OLR at each epoch (Eq. 14, Table VI)."""
    rectify_warmup: int = 2
    """First epochs in which the labels stay as they are."""
    hma_momentum: float = 0.7
    """Share of the old average kept by HMA."""
    flip: bool = True
    """Mirror half of the photos at random, drawn afresh every epoch."""
    flip_once: bool = False
    """Draw the mirroring once for all epochs and never undo it, as the published code does."""
    crop: float = 1.0
    """Least share of a photo's height and of its width that the random window shows through which the detector sees
    it, drawn afresh every epoch; 1: whole photos, as in the paper."""
    view: int | None = None
    """Side, in pixels, to which windows are resized; None: the size."""
    trim: float = 0.0
    """Share of each batch, those whose labels the detector disagrees with most, left out from the second epoch on."""
    view_sides: tuple[int, ...] = ()
    """Sides, in pixels, one of which is drawn for each batch in place of the view (multi-scale training)."""
    scale_consistency: float = 0.0
    """Weight of the squared difference between the maps of a photo at two sizes (A2S-v3); 0: one size."""
    second_sizes: tuple[int, ...] = (-128, -64, 64, 128)
    """Pixels added to the view, one of them drawn for each batch, for the second map of the consistency."""
    average: float = 0.0
    """Decay of a moving average of the weights, taken after every step, which is the detector in the end; 0: the
    weights of the last step."""
    frozen_epochs: int = 0
    """First epochs in which the encoder's weights stay as they are (A2S-v3: 1)."""
    jitter: float = 0.0
    """Random change of saturation, contrast and brightness, as a share, drawn afresh every epoch. Paper: 0."""
    compile: bool = False
    """Have torch.compile fuse the steps, for long runs on a GPU; needs a C++ compiler. On a CPU it gains nothing."""


@dataclass(frozen=True)
class RivalConfig:
    """The learned rivals (--method sbf, mnl or usps); their detectors are fitted by the options of stage 2."""

    maps: str | None = None
    """Folder that keeps the hand-crafted maps, METHOD/a/b.png for a/b.jpg; those of an earlier training on the same
    photos are found there. None: RUN/maps."""
    rounds: int | None = None
    """Rounds of SBF and MNL, iterations of USPS for each method; None: as published, 5, 2 and 3."""
    epochs: int = 4
    """Passes over the photos of each fit but the last one. Published: 20 (MNL), 25 (USPS)."""
    last_epochs: int = 8
    """Passes of the last fit, whose network is the detector. Published: 20 (MNL), 200 (USPS)."""
    published_rates: bool = False
    """Fit the first networks of USPS at 1, 2 and 5 hundredths of the rate, as published; there they began with
    weights that had seen masks."""

    def rounds_of(self, method: MethodName) -> int:
        """Rounds of a method."""
        return self.rounds or PUBLISHED_ROUNDS[method]


PUBLISHED_ROUNDS: dict[MethodName, int] = {"sbf": 5, "mnl": 2, "usps": 3}
"""Rounds of each rival, or iterations, as published."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything `act2sal train` can be told.

    Raises:
        ConfigError: a value outside its limits (`limits.LIMITS`).
    """

    encoder: str = "mobilenetv2"
    """Encoder of both stages: a timm model name or a short name (mobilenetv2, resnet50, densenet169)."""
    encoder_weights: str = "builtin"
    """builtin (ships with the package), timm, moco_v2, random, or a file (.safetensors, .pth)."""
    size: int = 320
    """Side of the square the photos are resized to, in pixels."""
    limit: int | None = None
    """Use only the first so many photos in the order of their names; None: all."""
    exclude: str = "auto"
    """What is left out of the folder: auto: masks of photos, known by names, pairs and bytes, and what this package
    wrote; none: nothing; names and patterns with commas between them, such as gt,'*.png': these as well, and what may
    be a mask beside them is a photo."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    precision: Precision = "auto"
    """Numbers in which networks are fitted and features computed: float32, or bfloat16 for convolutions, which is
    faster where the hardware has it. auto: bfloat16 on CUDA GPUs and on CPUs with AVX512-BF16 or AMX."""
    devices: int = 1
    """Processes on each machine, one GPU each, or a part of the CPU; torchrun says it where it starts them."""
    num_nodes: int = 1
    """Machines; each runs the same command, with NODE_RANK, MASTER_ADDR and MASTER_PORT in its environment, and sees
    PHOTOS and RUN under the same paths."""
    workers: int = 0
    """Threads of every pool in each process, at most one per core that it may use; 0: one per core."""
    seed: int = 0
    """Seed of every random draw; the same seed on the same machine gives the same bits on a CPU."""
    generations: int = 1
    """Times that both stages run: from the second on, the first labels are what the detector before predicts, in
    place of Eq. 1-5, and its weights are where the next detector starts. Paper: 1."""
    detector: DetectorName = "a2s"
    """Network of stage 2: a2s, the detector of the paper; or one of those that it is compared with, of the published
    size with --stage2.encoder resnet50 (resnet34 for basnet): basnet (Qin et al., CVPR 2019), cpd (Wu et al., CVPR
    2019), itsd (Zhou et al., CVPR 2020), minet (Pang et al., CVPR 2020), picanet (Liu et al., CVPR 2018; computes on
    squares of 224 pixels alone)."""
    method: MethodName = "a2s"
    """How a detector is learnt without masks: a2s, the paper's; or by a rival that learns from hand-crafted maps,
    with the same detector: sbf (Zhang, Han and Zhang, ICCV 2017), mnl (Zhang et al., CVPR 2018), usps (Nguyen et al.,
    NeurIPS 2019)."""
    masks: str | None = None
    """Folder with a mask of each photo, paired by name: the detector is trained on masks, with supervision, in place
    of labels that stage 1 would make, and all that comes of it says so. None: no mask is ever opened."""
    given_labels: str | None = None
    """Folder with a label of each photo, of the same name, on which the first detector is trained in place of those
    that stage 1 would make; or the OUT of label --engine ray, here or at an address, with PHOTOS the same shards of
    photos, of which each process reads its own. None: stage 1 makes them."""
    teacher: str | None = None
    """A detector, RUN or a model file, from which the first generation goes on as a second one does from the first;
    its predictions take the place of Eq. 1-5, its network and weights are where stage 2 starts. None: Eq. 1-5 and a
    fresh detector."""
    keep_cache: bool = False
    """Keep RUN/cache (resized photos, frozen features) after the run."""
    cache_size: float | None = None
    """GiB that the features of frozen encoders may take on disk; those of further photos are computed anew at every
    epoch, with the same result. None: half of what the disk has free."""
    stage1: Stage1Config = field(default_factory=Stage1Config)
    """Stage 1: saliency cue extraction."""
    labels: LabelConfig = field(default_factory=LabelConfig)
    """Pseudo labels."""
    stage2: Stage2Config = field(default_factory=Stage2Config)
    """Stage 2: self-rectification learning."""
    rival: RivalConfig = field(default_factory=RivalConfig)
    """Learned rivals (--method other than a2s)."""

    def __post_init__(self) -> None:
        message = broken_limit(dataclasses.asdict(self))
        if message is not None:
            raise ConfigError(message)
