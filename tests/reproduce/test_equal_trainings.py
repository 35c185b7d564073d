"""Which trainings are the same one, and what the scales say."""

from dataclasses import replace
from pathlib import Path

import pytest

from act2sal.config import TrainConfig
from act2sal.presets import PRESETS
from act2sal.reproduce.estimate import seconds_of
from act2sal.reproduce.scale import SCALES
from act2sal.reproduce.targets import TARGETS, fig9, table4, table5, table6, table7, table8
from act2sal.reproduce.training import baseline, stage1_variant, stage2_variant, with_needed

CONFIG = SCALES["cpu"].config


def key(training: object) -> str:
    return training.key("photos")  # type: ignore[attr-defined, no-any-return]


def test_the_tables_share_their_baseline() -> None:
    base = key(baseline(CONFIG))
    assert key(table4.variants(CONFIG)[table4.WHOLE]) == base
    assert key(table5.with_alpha(CONFIG, 0.1)) == base
    assert key(table6.with_lambda(CONFIG, 0.4)) == base
    assert key(table7.of_row(CONFIG, "ours", rectified=True)) == base
    assert key(table8.of_row(CONFIG, table8.OLR)) == base
    assert key(fig9.of_boundary(CONFIG, "db5")) == base


def test_a_key_is_that_of_photos_options_and_labels() -> None:
    base = baseline(CONFIG)
    assert base.key("photos") != base.key("other photos")
    assert key(base) != key(baseline(replace(CONFIG, seed=1)))
    assert key(replace(base, name="another name")) == key(base)
    given = stage2_variant(CONFIG, "lambda .2", rectify_lambda=0.2)
    assert key(given) != key(replace(given, labels_of=None))
    other = baseline(replace(CONFIG, stage1=replace(CONFIG.stage1, alpha=0.3)))
    assert key(given) != key(replace(given, labels_of=other))


def test_a_file_of_weights_is_known_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    keys = [key(baseline(replace(CONFIG, encoder_weights=str(tmp_path / name)))) for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    of_stage2 = [replace(CONFIG.stage2, encoder_weights=str(tmp_path / name)) for name in "abc"]
    keys = [key(baseline(replace(CONFIG, stage2=stage2))) for stage2 in of_stage2]
    assert keys[0] == keys[1] != keys[2] != key(baseline(CONFIG))


def test_stage_2_has_no_part_in_labels() -> None:
    wider = replace(CONFIG, stage2=replace(CONFIG.stage2, channels=64))
    assert key(stage1_variant(CONFIG, "a", alpha=0.2)) == key(stage1_variant(wider, "b", alpha=0.2))
    assert key(baseline(CONFIG)) != key(baseline(wider))


def test_labels_come_before_what_learns_from_them() -> None:
    given = stage2_variant(CONFIG, "HMA", rectifier="hma")
    assert with_needed([given]) == [baseline(CONFIG), given]


def test_all_targets_need_29_trainings() -> None:
    """So many are left of the 50 that the targets name, as equal ones are done once."""
    named = [training for target in TARGETS.values() for training in target.trainings(CONFIG)]
    assert len(named) == 50
    assert len({key(training) for training in with_needed(named)}) == 29


def test_no_training_but_the_supervised_rows_sees_masks() -> None:
    for name, target in TARGETS.items():
        for training in target.trainings(CONFIG):
            assert training.masks == (name == "table2" and training.name.endswith("on masks"))
            assert training.config.masks is None


def test_the_full_scale_is_the_text_of_the_paper() -> None:
    assert SCALES["full"].config == PRESETS["paper"]
    assert (SCALES["full"].photos, SCALES["full"].tests, SCALES["full"].differs) == (None, None, "")


@pytest.mark.parametrize("change", ["epochs", "heavier encoder", "hma", "larger"])
def test_guesses_grow_with_the_work(change: str) -> None:
    changed: dict[str, TrainConfig] = {
        "epochs": replace(CONFIG, stage2=replace(CONFIG.stage2, epochs=20)),
        "heavier encoder": replace(CONFIG, encoder="resnet50"),
        "hma": replace(CONFIG, stage2=replace(CONFIG.stage2, rectifier="hma")),
        "larger": replace(CONFIG, size=320),
    }
    more = seconds_of(baseline(changed[change]), 100, gpu=False)
    assert more > seconds_of(baseline(CONFIG), 100, gpu=False)
    assert seconds_of(baseline(CONFIG), 100, gpu=True) < seconds_of(baseline(CONFIG), 100, gpu=False)
