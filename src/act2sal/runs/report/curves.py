"""Loss curves as SVG that takes its text colour from the page around it."""

import html
import io
import re
from collections.abc import Sequence

from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK = "#010203"  # stands for the page's text colour until the SVG is written
_LINE = "#3b82c4"
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.15,
}


def curve_svg(epochs: Sequence[int], values: Sequence[float], *, title: str, unit: str) -> str:
    """One curve over the epochs as an `<svg>` element, without prolog; a single point is drawn as a dot.

    Args:
        epochs: counted from 1.
        values: one per epoch.
        title: says what the values are; also the alternative text, and the seed of the element's ids.
        unit: label of the vertical axis.
    """
    with style.context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.plot(epochs, values, color=_LINE, linewidth=2, marker="o", markersize=4)
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(visible=True)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    first, last = values[0], values[-1]
    alt = f"{title}: {first:.4g} in epoch {epochs[0]}, {last:.4g} in epoch {epochs[-1]}"
    return _for_html(text.getvalue(), alt)


def _for_html(drawing: str, alt: str) -> str:
    """The `<svg>` element of a file, with an alternative text, without what a page has itself or only once."""
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    drawing = re.sub(r' xmlns(:xlink)?="[^"]*"| font-family: [^;]*;', "", drawing)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
