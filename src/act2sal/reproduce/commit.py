"""Which commit of the package is running, to stand beside what it computed."""

import subprocess
from pathlib import Path

from act2sal.version import __version__


def commit() -> str:
    """The commit, with "+" behind it where files of the package were changed; an installed package: its version."""
    folder = Path(__file__).resolve().parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(folder, "status", "--porcelain", "--", "..")
        return _git(folder, "rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):  # no git, or the package does not lie in a repository
        return f"act2sal {__version__}"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
