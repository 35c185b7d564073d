"""What `mutmut run` found, as JSON: per module how many mutants there were and how they ended, and each that lives.

python tests/mutants/summary.py > tests/mutants/result.json
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ENDS = {0: "survived", 1: "killed", 3: "killed", -24: "killed", 33: "no test"}
"""Ends by exit codes; -24 (SIGXCPU): the tests took far longer than without the change."""


def summary(folder: Path = Path("mutants")) -> dict[str, object]:
    """Counts of each module, and the changed lines of each mutant that survived."""
    modules: dict[str, object] = {}
    alive: dict[str, list[str]] = {}
    for meta in sorted(folder.rglob("*.py.meta")):
        ends = {
            mutant: ENDS.get(code, "other")
            for mutant, code in json.loads(meta.read_text())["exit_code_by_key"].items()
        }
        if ends:
            name = meta.relative_to(folder / "src" / "act2sal").with_suffix("").with_suffix("").as_posix()
            modules[name] = {"mutants": len(ends), **Counter(ends.values())}
        alive |= {mutant: changed_lines(mutant) for mutant, end in ends.items() if end == "survived"}
    return {"modules": modules, "survivors": alive}


def changed_lines(name: str) -> list[str]:
    """The lines that a mutant takes away and puts in their place."""
    command = [sys.executable, "-m", "mutmut", "show", name]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in shown if line[:1] in "+-" and line[:3] not in ("+++", "---")]


if __name__ == "__main__":
    print(json.dumps(summary(), indent=1, ensure_ascii=False))
