"""Shared fixtures: rendered photos; parity files; where the real photographs are, if anywhere; what was skipped."""

import os
import signal
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it; subprocesses inherit it

import pytest
import torch

from act2sal.scenes import write_scenes
from tiny import tiny_config

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets its background jobs ignore Ctrl-C, and commands that the tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line says how many tests were skipped, and why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not config.option.collectonly:
        reporter.write_line(skipped_line([report.longrepr[2] for report in reporter.getreports("skipped")]))


def skipped_line(reasons: list[str]) -> str:
    """One line from the reasons of all skipped tests, the most frequent first."""
    counted = Counter(reason.removeprefix("Skipped: ") for reason in reasons).most_common()
    return f"Skipped: {'; '.join(f'{count} x {reason}' for reason, count in counted) or 'nothing'}."


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets: $ACT2SAL_DATA, else ../shared/data beside the checkout; skips without it."""
    folder = Path(os.environ.get("ACT2SAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set ACT2SAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def shared_dir(data_dir: Path) -> Path:
    """Folder that holds data/ and weights/."""
    return data_dir.parent


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """What published implementations answer to input made by a rule (parity/README.md); in every checkout."""
    return ROOT / "tests" / "parity"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with photos/ (six rendered scenes, 72 x 96) and their masks/; not to be changed."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, 6, seed=3, size=(72, 96))
    return folder


@pytest.fixture(scope="session")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of a finished training with `tiny.tiny_config()` on the scenes; not to be changed."""
    from act2sal.training.pipeline import train

    run = tmp_path_factory.mktemp("trained") / "run"
    train(scenes / "photos", run, tiny_config(), quiet=True)
    return run
