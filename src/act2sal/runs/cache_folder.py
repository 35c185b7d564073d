"""The cache folder of a run: everything in it can be computed again."""

import shutil
from pathlib import Path

FEATURES = "features"
"""Name of the subfolder that holds frozen features."""


def clear_all_but_features(cache: Path) -> None:
    """Delete the content of a cache folder except the features.

    Features are named by what they were computed from; everything else belongs to one set of options.
    """
    for entry in cache.iterdir():
        if entry.is_dir() and entry.name != FEATURES:
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink(missing_ok=True)
