"""The folder of a run for what can be computed again."""

import shutil
from pathlib import Path

FEATURES = "features"
"""Name of the folder of a `FeatureCache` in a run directory's cache."""


def clear_all_but_features(cache: Path) -> None:
    """Delete what a folder for what can be computed again holds, but its `FEATURES`.

    Features are named by what they were made from; what else lies there belongs to one set of options.
    """
    for entry in cache.iterdir():
        if entry.is_dir() and entry.name != FEATURES:
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink(missing_ok=True)
