"""Shared fixtures: where the real photographs and the parity files are, if they are anywhere."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets: $ACT2SAL_DATA, else ../shared/data beside the checkout; skips without it."""
    folder = Path(os.environ.get("ACT2SAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set ACT2SAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def shared_dir(data_dir: Path) -> Path:
    """Folder that holds data/, parity/ and weights/."""
    return data_dir.parent
