"""What `import act2sal` gives, and what it leaves unloaded."""

import subprocess
import sys

import pytest

import act2sal


def test_every_public_name_is_there() -> None:
    for name in act2sal.__all__:
        assert getattr(act2sal, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = act2sal.nonsense


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, act2sal; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
