"""Tables of scores as terminal text, Markdown, LaTeX and HTML."""

from collections.abc import Callable, Collection, Sequence
from html import escape
from typing import Literal

TableFormat = Literal["terminal", "markdown", "latex", "html"]

HEADINGS = {
    "mae": "MAE",
    "f_adaptive": "adaptive F",
    "f_mean": "mean F",
    "f_max": "max F",
    "f_weighted": "weighted F",
    "s_measure": "S",
    "e_adaptive": "adaptive E",
    "e_mean": "mean E",
    "e_max": "max E",
    "iou": "IoU",
    "iou_adaptive": "adaptive IoU",
    "code_f_max": "max F (code)",
    "code_s_measure": "S (code)",
}

Rows = Sequence[Sequence[str]]

BOLD = ("\ue000", "\ue001")
"""Around a cell that is set in bold: signs for private use, which no text holds and no format escapes."""
_BOLD: dict[TableFormat, tuple[str, str]] = {
    "terminal": ("", ""),
    "markdown": ("**", "**"),
    "latex": (r"\textbf{", "}"),
    "html": ("<strong>", "</strong>"),
}


def score_text(value: float) -> str:
    """Three decimals without the zero in front, as papers print it; a sign is kept."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def table(
    head: Sequence[str], rows: Rows, style: TableFormat, *, best: Collection[tuple[int, int]] = ()
) -> str:
    """A table with names in its first column and numbers in the others; ends with a line break.

    Args:
        head: of each column.
        rows: cells.
        style: format.
        best: cells, by row and column, that are set in bold, where the format has that.

    Raises:
        ValueError: a row of another length than the head.
    """
    if any(len(row) != len(head) for row in rows):
        raise ValueError("every row needs as many cells as the head")
    marked = [
        [BOLD[0] + cell + BOLD[1] if (row, column) in best else cell for column, cell in enumerate(cells)]
        for row, cells in enumerate(rows)
    ]
    text = _WRITERS[style](head, marked if style != "terminal" else rows)
    for mark, written in zip(BOLD, _BOLD[style], strict=True):
        text = text.replace(mark, written)
    return text


def _terminal(head: Sequence[str], rows: Rows) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(head), "-" * (sum(widths) + 2 * len(widths) - 2), *map(line, rows)]) + "\n"


def _markdown(head: Sequence[str], rows: Rows) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return "\n".join([line(head), rule, *map(line, rows)]) + "\n"


def _latex(head: Sequence[str], rows: Rows) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(_latex_text, cells)) + r" \\"

    columns = "l" + "r" * (len(head) - 1)
    body = [line(head), r"\midrule", *map(line, rows)]
    return (
        "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"])
        + "\n"
    )


def _latex_text(text: str) -> str:
    for plain, escaped in (
        ("\\", r"\textbackslash "),
        ("&", r"\&"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("#", r"\#"),
    ):
        text = text.replace(plain, escaped)
    for sign, command in _LATEX_SIGNS.items():
        text = text.replace(sign, command)
    return text


_LATEX_SIGNS = {
    "‡": r"$\ddagger$",
    "†": r"$\dagger$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def _html(head: Sequence[str], rows: Rows) -> str:
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


_WRITERS: dict[TableFormat, Callable[[Sequence[str], Rows], str]] = {
    "terminal": _terminal,
    "markdown": _markdown,
    "latex": _latex,
    "html": _html,
}
