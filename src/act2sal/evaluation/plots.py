"""Precision-recall and F curves of one or several methods, as PNG and SVG for a paper."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from act2sal.data.images import write_atomic
from act2sal.data.origin import Origin
from act2sal.evaluation import Curves

# Okabe and Ito's palette, told apart by the colour-blind, without its yellow; dashes tell them apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
CURVE_STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
_LEVELS = np.arange(255, -1, -1)

Points = Callable[[Curves], tuple[NDArray[Any], NDArray[Any]]]
"""From the curves of a method to x and y of what is drawn."""


def write_curves(folder: Path, curves: Mapping[str, Curves]) -> list[Path]:
    """Write precision_recall.png, .svg and f_measure.png, .svg; returns their paths.

    Args:
        folder: made where missing.
        curves: by the name of the method, in the order of the legend.
    """
    with style.context({**CURVE_STYLE, "svg.hashsalt": "act2sal"}):
        recall = _figure(curves, "recall", "precision", lambda c: (c.recall, c.precision))
        measure = _figure(curves, "threshold", "F-measure", lambda c: (_LEVELS, c.f))
        return [
            path
            for name, figure in (("precision_recall", recall), ("f_measure", measure))
            for path in _write(folder / name, figure)
        ]


def curve_look(number: int) -> dict[str, Any]:
    """Colour, dash and width of the curve of a number, counted from 0."""
    dash = _DASHES[number % len(_DASHES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": dash, "linewidth": 1.8}


def _figure(curves: Mapping[str, Curves], x: str, y: str, points: Points) -> Figure:
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.add_subplot()
    for number, (name, of_method) in enumerate(curves.items()):
        axes.plot(*points(of_method), label=name, **curve_look(number))
    axes.set(xlabel=x, ylabel=y, ylim=(0, 1), xlim=(0, 255) if x == "threshold" else (0, 1))
    axes.grid(visible=True, alpha=0.2)
    axes.legend(loc="lower left" if x == "recall" else "lower center", frameon=False, fontsize=9)
    return figure


def _write(stem: Path, figure: Figure) -> list[Path]:
    written = []
    said = {"Software": Origin("plot").text}
    for suffix, options in ((".png", {"dpi": 200, "metadata": said}), (".svg", {"metadata": {"Date": None}})):
        content = io.BytesIO()
        figure.savefig(content, format=suffix[1:], **options)
        written.append(stem.with_suffix(suffix))
        write_atomic(written[-1], content.getvalue())
    return written
