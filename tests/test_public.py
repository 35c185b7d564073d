"""What `import act2sal` gives, and what it leaves unloaded."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import act2sal
from act2sal.cli.ending import TRAINING_PACKAGES


def test_every_public_name_is_there() -> None:
    for name in act2sal.__all__:
        assert getattr(act2sal, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = act2sal.nonsense


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, act2sal; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plain_installation_brings_no_pytorch() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[>\[]", line)[0].replace("-", "_") for line in requirements}

    extras = project["optional-dependencies"]
    assert names(extras["train"]) == TRAINING_PACKAGES
    assert names(extras["onnx"]) == {"onnxruntime"} <= names(project["dependencies"])
    assert not TRAINING_PACKAGES & names(project["dependencies"])
