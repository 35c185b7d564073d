"""Imports point down: neither folders nor modules of the package import in a circle, and none the package's root."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import act2sal

PACKAGE = Path(act2sal.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or not path.stem.startswith("__")
}


def room(module: str) -> str:
    """The folder of the package, or the module beside the folders, that a module belongs to."""
    return module.partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            if (node.module or "").partition(".")[0] == "act2sal":
                start = (node.module or "").removeprefix("act2sal").removeprefix(".")
                for alias in node.names:
                    whole = f"{start}.{alias.name}".removeprefix(".")
                    yield whole if whole in MODULES else start
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "act2sal":
                    yield alias.name.removeprefix("act2sal").removeprefix(".")


GRAPH = {module: {name for name in imported(path) if name != module} for module, path in MODULES.items()}


def rooms() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module, names in GRAPH.items():
        graph.setdefault(room(module), set()).update({room(name) for name in names} - {room(module)})
    return graph


def test_there_is_something_to_check() -> None:
    assert {"data.images"} <= GRAPH["predict.maps"]
    assert {"predict", "runs", "a2s"} <= rooms()["training"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_imports_the_root_of_the_package(module: str) -> None:
    assert "" not in GRAPH[module]


def test_folders_do_not_import_in_a_circle() -> None:
    order = list(TopologicalSorter(rooms()).static_order())
    assert order[-1] == "cli"


def test_modules_do_not_import_in_a_circle() -> None:
    # A folder's __init__ names what is in its modules, which therefore do not import from it.
    assert len(list(TopologicalSorter(GRAPH).static_order())) == len(MODULES)
