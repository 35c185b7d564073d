"""The options: presets, TOML in and out, what is refused, and that the help says all of it."""

import ast
import dataclasses
import itertools
import re
import typing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from act2sal import config as config_module
from act2sal.cli import main
from act2sal.cli.help import in_plain_words
from act2sal.config import ConfigError, LabelConfig, PresetName, Stage1Config, Stage2Config, TrainConfig
from act2sal.config_files import from_toml, load_toml, to_toml
from act2sal.presets import PRESETS

SECTIONS = {"": TrainConfig, "stage1.": Stage1Config, "labels.": LabelConfig, "stage2.": Stage2Config}

plain_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
share = st.floats(0, 1)
positive = st.floats(1e-9, 1e9)
side = st.none() | st.integers(32, 2048)
epochs = st.lists(st.integers(0, 50), max_size=4).map(tuple)

configs = st.builds(
    TrainConfig,
    encoder=plain_text,
    encoder_weights=plain_text,
    size=st.integers(32, 2048),
    limit=st.none() | st.integers(2, 10_000),
    device=st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    workers=st.integers(0, 99),
    seed=st.integers(0, 2**40),
    keep_cache=st.booleans(),
    stage1=st.builds(
        Stage1Config,
        encoder=st.none() | plain_text,
        size=side,
        lr=positive,
        milestones=epochs,
        fusion_stride=st.sampled_from([2, 4, 8, 16]),
        boundary=st.sampled_from(["db1", "db2", "db3", "db4", "db5"]),
        sign=st.sampled_from(["area", "area_zero", "corners", "border"]),
        alpha=share,
        auxiliary=st.booleans(),
        drop_pixels=st.floats(0, 0.99),
        freeze_encoder=st.booleans(),
    ),
    labels=st.builds(
        LabelConfig,
        threshold=st.sampled_from(["half", "otsu", "mean", "median"]),
        gt_prob=st.floats(0.51, 0.99),
        median=st.integers(0, 9).map(lambda n: 2 * n + 1),
    ),
    stage2=st.builds(
        Stage2Config,
        encoder_weights=st.none() | plain_text,
        size=side,
        milestones=epochs,
        finest_stride=st.sampled_from([2, 4]),
        rectifier=st.sampled_from(["olr", "hma", "none"]),
        rectify_lambda=share,
        flip_once=st.booleans(),
    ),
)


@given(config=configs)
def test_toml_gives_back_the_config(config: TrainConfig) -> None:
    assert from_toml(to_toml(config), TrainConfig()) == config


@pytest.mark.parametrize("name", PRESETS)
def test_toml_gives_back_every_preset(name: PresetName) -> None:
    assert from_toml(to_toml(PRESETS[name]), TrainConfig()) == PRESETS[name]


@given(config=configs)
def test_an_empty_file_changes_nothing(config: TrainConfig) -> None:
    assert from_toml("", config) == config


def test_a_file_changes_what_it_names_alone() -> None:
    base = PRESETS["paper"]
    changed = from_toml("size = 256\n[stage1]\nlr = 2\nmilestones = [3]\n", base)
    assert changed == replace(base, size=256, stage1=replace(base.stage1, lr=2.0, milestones=(3,)))
    assert type(changed.stage1.lr) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sise = 3", "unknown option sise; known: .*size"),
        ("[stage1]\nsise = 3", r"unknown option stage1\.sise"),
        ("[stage3]\nlr = 1", "unknown option stage3"),
        ("[labels]\nlr = 1", r"unknown option labels\.lr; known: threshold"),
        ("size = '320'", "size = '320'; needs int"),
        ("size = 320.0", "size = 320.0; needs int"),
        ("size = true", "size = True; needs int"),
        ("limit = 'all'", "limit = 'all'; needs int or NoneType|limit = 'all'"),
        ("keep_cache = 1", "keep_cache = 1; needs bool"),
        ("encoder = 5", "encoder = 5; needs str"),
        ("stage1 = 5", "stage1 is a table of options"),
        ("[stage1]\nmilestones = 10", r"stage1\.milestones = 10; needs a list"),
        ("[stage1]\nmilestones = [1.5]", r"stage1\.milestones = \[1.5\]; needs a list"),
        ("[stage1]\nmilestones = [true]", r"stage1\.milestones = \[True\]; needs a list"),
        ("[stage1]\nboundary = 'db6'", r"stage1\.boundary = 'db6'; possible: db1, db2"),
        ("[stage1]\nfusion_stride = 3", r"stage1\.fusion_stride = 3; possible: 2, 4, 8, 16"),
        ("[stage1]\nfusion_stride = 8.0", r"stage1\.fusion_stride = 8.0; possible: 2, 4, 8, 16"),
        ("[stage2]\nlr = 'high'", r"stage2\.lr = 'high'; needs float"),
        ("size = ", "not TOML"),
    ],
)
def test_what_a_file_gets_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_toml(text, TrainConfig())


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("size = 16", "size"),
        ("limit = 0", "limit"),
        ("workers = -1", "workers"),
        ("[stage1]\nsize = 0", "stage1.size"),
        ("[stage1]\nepochs = -1", "stage1.epochs"),
        ("[stage1]\nbatch_size = 1", "stage1.batch_size"),
        ("[stage1]\nlr = 0.0", "stage1.lr"),
        ("[stage1]\nlr = nan", "stage1.lr"),
        ("[stage1]\nmomentum = 1.0", "stage1.momentum"),
        ("[stage1]\nchannels = 0", "stage1.channels"),
        ("[stage1]\ndrop_pixels = 1.0", "stage1.drop_pixels"),
        ("[stage1]\nrounds = -1", "stage1.rounds"),
        ("[labels]\ngt_prob = 0.5", "labels.gt_prob"),
        ("[labels]\ngt_prob = 1.0", "labels.gt_prob"),
        ("[labels]\niterations = -1", "labels.iterations"),
        ("[labels]\nbilateral_srgb = 0.0", "labels.bilateral_srgb"),
        ("[labels]\ngaussian_compat = -1.0", "labels.gaussian_compat"),
        ("[labels]\nmedian = 4", "labels.median"),
        ("[stage2]\nbatch_size = 0", "stage2.batch_size"),
        ("[stage2]\nchannels = 33", "stage2.channels"),
        ("[stage2]\nencoder_lr_factor = -1.0", "stage2.encoder_lr_factor"),
        ("[stage2]\nloss_iou = -1.0", "stage2.loss_iou"),
        ("[stage2]\nloss_bce = 0.0\nloss_ssim = 0.0\nloss_iou = 0.0", "stage2.loss_bce,"),
        ("[stage2]\nrectify_lambda = 1.5", "stage2.rectify_lambda"),
        ("[stage2]\nhma_momentum = -0.1", "stage2.hma_momentum"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(text: str, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} "):
        from_toml(text, TrainConfig())


def test_the_errors_of_a_file_name_the_file(tmp_path: Path) -> None:
    missing, binary, wrong = tmp_path / "missing.toml", tmp_path / "binary.toml", tmp_path / "wrong.toml"
    binary.write_bytes(b"\xff\xfe")
    wrong.write_text("speed = 1")
    for path in (missing, binary, wrong):
        with pytest.raises(ConfigError, match=f"^{path}: "):
            load_toml(path, TrainConfig())


def test_paper_holds_the_numbers_of_the_paper() -> None:
    paper = PRESETS["paper"]
    assert (paper.encoder, paper.encoder_weights, paper.size) == ("resnet50", "moco_v2", 320)
    first, labels, second = paper.stage1, paper.labels, paper.stage2
    assert (first.epochs, first.batch_size, first.lr, first.milestones) == (20, 8, 1.0, (10, 16))
    assert (first.alpha, first.drop_pixels, first.boundary, first.sign) == (0.1, 0.5, "db5", "area")
    assert (first.auxiliary, first.freeze_encoder, first.flip, first.channels) == (True, True, True, 64)
    assert (first.batchnorm_drift, first.random_gain, first.scale_features) == (False, False, False)
    assert (first.fusion_stride, first.rounds) == (2, 0)
    assert (labels.gt_prob, labels.iterations, labels.median, labels.soft) == (0.7, 10, 7, "all")
    assert (labels.threshold, first.side_weights, second.binarise) == ("zero", (1, 1, 1), False)
    assert (labels.gaussian_sxy, labels.gaussian_compat) == (3, 3)
    assert (labels.bilateral_sxy, labels.bilateral_srgb, labels.bilateral_compat) == (50, 5, 10)
    assert (second.epochs, second.batch_size, second.lr, second.milestones) == (25, 8, 0.005, (15, 20))
    assert (second.channels, second.finest_stride, second.attention) == (64, 2, True)
    assert (second.loss_bce, second.loss_ssim, second.loss_iou) == (1, 1, 1)
    assert (second.rectifier, second.rectify_lambda, second.rectify_warmup) == ("olr", 0.4, 2)
    assert second.flip
    assert not second.flip_once


def test_official_departs_from_the_paper_where_the_published_code_does() -> None:
    official = PRESETS["official"]
    assert official.stage1.milestones == (11, 15)
    assert official.stage1.sign == "area_zero"
    assert official.stage1.batchnorm_drift
    assert official.stage1.random_gain
    assert (official.labels.soft, official.labels.threshold) == ("none", "half")
    assert official.stage1.side_weights == (0.1, 0.3, 0.5)
    assert official.stage2.binarise
    # Its scheduler steps at the start of an epoch
    assert official.stage2.milestones == (14, 19)
    assert official.stage2.flip_once
    # 0.005 for the decoder, 0.0005 for the encoder
    assert official.stage2.lr * official.stage2.encoder_lr_factor == pytest.approx(0.0005)
    assert (official.stage1.momentum, official.stage1.weight_decay) == (0.9, 5e-4)


def test_files_of_earlier_versions_mean_what_they_meant() -> None:
    for value, name in (("true", "fitted"), ("false", "none")):
        assert from_toml(f"[labels]\nsoft = {value}", TrainConfig()).labels.soft == name
    old = from_toml("[stage1]\nlr = 1.0\n[stage2]\nloss_bce = 1.0", TrainConfig())
    assert (old.stage1.side_weights, old.labels.threshold, old.stage2.binarise) == (
        (0.1, 0.3, 0.5),
        "half",
        True,
    )


@pytest.mark.parametrize("weights", ["[1, 1]", "[1, 1, 'a']", "1", "[1.0, 0.5, -1]"])
def test_side_weights_are_three_numbers(weights: str) -> None:
    with pytest.raises(ConfigError, match=r"stage1\.side_weights"):
        from_toml(f"[stage1]\nside_weights = {weights}", TrainConfig())
    assert from_toml("[stage1]\nside_weights = [1, 1, 0.5]", TrainConfig()).stage1.side_weights == (1, 1, 0.5)


def test_the_default_preset_is_the_defaults() -> None:
    assert PRESETS["default"] == TrainConfig()


@dataclass(frozen=True)
class Option:
    """A field of a config: its flag without `no-`, its text as written in config.py, its default."""

    flag: str
    text: str
    default: object


def documented_options() -> list[Option]:
    """All options of `act2sal train` that config.py defines, read off its source."""
    module = ast.parse(Path(config_module.__file__).read_text(encoding="utf-8"))
    bodies = {node.name: node.body for node in module.body if isinstance(node, ast.ClassDef)}
    found = []
    for prefix, kind in SECTIONS.items():
        body = bodies[kind.__name__]
        texts = {
            statement.target.id: ast.literal_eval(after.value)
            for statement, after in itertools.pairwise(body)
            if isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
        }
        for entry in dataclasses.fields(kind):
            if not dataclasses.is_dataclass(typing.get_type_hints(kind)[entry.name]):
                name = prefix + entry.name.replace("_", "-")
                found.append(Option(name, texts[entry.name], entry.default))
    return found


def squeezed(text: str) -> str:
    """Without white space and the frames of the help, which break lines anywhere."""
    return "".join(character for character in text if not character.isspace() and character not in "│╭╮╰╯─")


def test_the_help_shows_every_option_with_its_text_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["train", "--help"])
    assert leaving.value.code == 0
    shown = squeezed(capsys.readouterr().out)
    options = documented_options()
    assert len(options) > 60
    for option in options:
        section, _, name = option.flag.rpartition(".")
        negated = f"{section}.no-{name}".lstrip(".") if option.default is True else option.flag
        starts = [found.start() for found in re.finditer(f"--{re.escape(negated)}", shown)]
        default = option.default
        value = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        text = squeezed(in_plain_words(f"{option.text} (default: {value})"))
        assert any(0 <= shown.find(text, start) - start < 120 for start in starts), option.flag


OPTION_NAMES = {
    field.name
    for section in (Stage1Config, Stage2Config, LabelConfig)
    for field in dataclasses.fields(section)
}
SHORT_NAMES = {"lam", "warmup", "drop", "weights"}


def test_an_option_has_its_default_in_one_place() -> None:
    """The maths of the paper takes defaults of options from the config, and repeats no number."""
    for path in (Path(config_module.__file__).parent / "a2s").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            named = [*node.args.posonlyargs, *node.args.args]
            pairs = [*zip(named[::-1], node.args.defaults[::-1], strict=False)]
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)  # type: ignore[arg-type]
            for argument, default in pairs:
                number = isinstance(default, ast.Constant) and type(default.value) in (int, float)
                repeated = number and argument.arg in OPTION_NAMES | SHORT_NAMES
                assert not repeated, f"{path.name}: {node.name}({argument.arg}=...) repeats a default"
