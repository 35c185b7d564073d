"""A process that cannot import what plain `pip install act2sal` does not bring."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from act2sal.cli.ending import TRAINING_PACKAGES


def plainly(
    *arguments: str | Path, blocked: Iterable[str] = TRAINING_PACKAGES
) -> subprocess.CompletedProcess[str]:
    """Run a command of `act2sal` to which the `blocked` packages are not there."""
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(blocked)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from act2sal.cli import main
sys.exit(main({json.dumps([str(a) for a in arguments])}))
"""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
