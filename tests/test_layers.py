"""Imports point down: a module imports only its own layer or a lower one, and never the package root."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import act2sal

PACKAGE = Path(act2sal.__file__).parent
LAYERS = {
    0: {
        "allocator",
        "array_files",
        "color_profiles",
        "compiled",
        "config",
        "cores",
        "datasets",
        "encoding",
        "errors",
        "event_file",
        "folder_lock",
        "gpu",
        "hardware",
        "image_inputs",
        "images",
        "layouts",
        "limits",
        "mask_files",
        "model_files",
        "origin",
        "output_paths",
        "peak_memory",
        "photo_search",
        "pixel_budget",
        "precision",
        "progress",
        "regions",
        "scenes",
        "sod_sets",
        "stopwatch",
        "telemetry",
        "version",
        "video_sound",
        "weight_files",
    },
    1: {
        "activation",
        "bilinear",
        "checkpoint",
        "classical",
        "compositing",
        "cpu_gradients",
        "crf",
        "detector",
        "encoder_weights",
        "encoders",
        "gradient_step",
        "losses",
        "official",
        "output_kinds",
        "parallel",
        "photo_batches",
        "presence_examples",
        "prefetch",
        "rectify",
        "regions",
        "rivals",
        "synced_norm",
        "texture",
        "thresholds",
        "training_state",
        "trimming",
        "upsampling",
        "views",
    },
    2: {
        "animation",
        "detect",
        "evaluation",
        "onnx_network",
        "planning",
        "predict",
        "presence",
        "pseudo_labels",
        "records",
        "rendering",
        "stage1",
        "smoothing",
        "stage2",
        "teacher",
        "torch_network",
        "video",
    },
    3: {
        "comparison",
        "contact_sheet",
        "demo",
        "export",
        "film",
        "given_labels",
        "labelling",
        "launching",
        "pipeline",
        "prediction",
        "report",
        "reproduce",
        "run_directory",
        "samples",
        "score_plots",
        "score_table",
        "scoring",
        "serve",
        "watching",
    },
    4: {"cli"},
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.stem.startswith("__")
)


def room(path: Path) -> str:
    """The top-level module or folder of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name, below `act2sal`, of all imports from the package, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            if node.module == "act2sal":
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif node.module and node.module.startswith("act2sal."):
                yield node.lineno, node.module.removeprefix("act2sal.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "act2sal":
                    yield node.lineno, alias.name.removeprefix("act2sal").removeprefix(".")


def rooms_of(path: Path) -> Iterator[tuple[int, str]]:
    return ((line, name.partition(".")[0]) for line, name in imported(path))


def test_there_is_something_to_check() -> None:
    assert {"activation", "detector"} <= {room(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = room(path)
    assert own in LAYER_OF, f"{own} has no layer; give it one in this file"
    for line, name in rooms_of(path):
        assert name in LAYER_OF, f"{path.name}:{line} imports {name or 'the package root'}"
        assert LAYER_OF[name] <= LAYER_OF[own], f"{path.name}:{line} imports {name}, a layer above"


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(room(path), set()).update(name for _, name in rooms_of(path) if name != room(path))
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)
