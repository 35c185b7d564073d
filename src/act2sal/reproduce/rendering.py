"""Writes results: JSON with provenance, tables as Markdown, LaTeX and HTML, figures with a page in Markdown."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from act2sal.data.images import write_atomic
from act2sal.evaluation.tables import TableFormat, table
from act2sal.reproduce.results import Claim, Column, Figure, Number, Result, Row, Table

ARROWS = {"high": " ↑", "low": " ↓", "none": ""}
SUFFIXES: dict[TableFormat, str] = {"markdown": ".md", "latex": ".tex", "html": ".html"}
VERDICTS = {True: "holds here", False: "does not hold here", None: "cannot be said here"}


@dataclass(frozen=True)
class Provenance:
    """What stands beside every number: how it was made.

    Attributes:
        command: the command line.
        seeds: of the trainings behind each number, in the order of its values.
        commit: of the package when the trainings ended and when this was written, each once; see `commit`.
        data: name, count and fingerprint of the training photos, and names and counts of the test sets.
        encoder: name, weights and what they have seen.
        scale: name, and how it departs from the text of the paper.
        machine: cores, processor, GPU.
    """

    command: str
    seeds: tuple[int, ...]
    commit: str
    data: str
    encoder: str
    scale: str
    machine: str


def write_result(out: Path, name: str, result: Result, provenance: Provenance) -> list[Path]:
    """Write NAME.json, and NAME.md with NAME.tex and NAME.html for tables; returns the paths."""
    content = {"provenance": asdict(provenance), "kind": type(result).__name__.lower()}
    if isinstance(result, Figure):
        content |= asdict(result) | {"files": [path.name for path in result.files]}
        written = [out / f"{name}.md"]
        write_atomic(written[0], _figure_text(result, provenance).encode())
    else:
        content |= asdict(result)
        written = []
        for style, suffix in SUFFIXES.items():
            written.append(out / f"{name}{suffix}")
            write_atomic(written[-1], rendered(result, style, provenance).encode())
    file = out / f"{name}.json"
    write_atomic(file, (json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n").encode())
    return [file, *written]


def rendered(result: Table, style: TableFormat, provenance: Provenance | None = None) -> str:
    """A table in one format, ours and the paper's side by side, the best of ours marked."""
    heads = [""]
    for column in result.columns:
        arrow = ARROWS[column.best]
        if not _has_ours(result, column):
            heads.append(f"{column.head}, paper")
            continue
        heads += (
            [f"{column.head}{arrow}", f"{column.head}, paper"]
            if _has_paper(result, column)
            else [f"{column.head}{arrow}"]
        )
    rows, best = [], set()
    for index, row in enumerate(result.rows):
        cells = [_name(row)]
        for place, (column, number) in enumerate(zip(result.columns, row.numbers, strict=True)):
            if index in result.best_rows(place):
                best.add((index, len(cells)))
            if _has_ours(result, column):
                cells.append(_ours(number, column))
            if _has_paper(result, column):
                cells.append("" if number.paper is None else _text(number.paper, column.digits))
        rows.append(cells)
    body = table(heads, rows, style, best=best)
    if style == "latex":
        return body
    paragraphs = [result.note, *(_claim_text(claim) for claim in result.claims)]
    paragraphs += [] if provenance is None else [told(provenance)]
    return _with_text(result.title, body, [text for text in paragraphs if text], style)


def read_result(file: Path) -> tuple[Result, Provenance]:
    """Read a JSON file of `write_result`."""
    content = json.loads(file.read_bytes())
    made = content["provenance"]
    provenance = Provenance(**(made | {"seeds": tuple(made["seeds"])}))
    claims = tuple(Claim(**claim) for claim in content["claims"])
    if content["kind"] == "figure":
        files = tuple(file.parent / name for name in content["files"])
        return Figure(content["title"], files, content["caption"], content["numbers"], claims), provenance
    rows = tuple(
        Row(
            row["name"],
            tuple(Number(tuple(number["ours"]), number["paper"]) for number in row["numbers"]),
            row["seen"],
        )
        for row in content["rows"]
    )
    columns = tuple(Column(**column) for column in content["columns"])
    return Table(content["title"], columns, rows, claims, content["note"]), provenance


def told(provenance: Provenance) -> str:
    """Provenance as a sentence or two."""
    seeds = ", ".join(map(str, provenance.seeds))
    return (
        f"{provenance.command} (seeds {seeds}; {provenance.data}; {provenance.encoder}; {provenance.scale}; "
        f"commit {provenance.commit}; {provenance.machine})"
    )


def _claim_text(claim: Claim) -> str:
    return f"{claim.text}: {VERDICTS[claim.holds]} ({claim.figures})."


def _figure_text(result: Figure, provenance: Provenance) -> str:
    pictures = "\n".join(f"![{result.title}]({path.name})" for path in result.files if path.suffix == ".png")
    claims = [_claim_text(claim) for claim in result.claims]
    return "\n\n".join([f"# {result.title}", pictures, result.caption, *claims, told(provenance)]) + "\n"


def _with_text(title: str, body: str, paragraphs: Sequence[str], style: TableFormat) -> str:
    if style == "html":
        text = "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in paragraphs)
        head = f'<!doctype html>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n<h1>{escape(title)}</h1>'
        return f"{head}\n{body}{text}"
    return "\n\n".join([f"# {title}", body.rstrip("\n"), *paragraphs]) + "\n"


def _has_ours(result: Table, column: Column) -> bool:
    place = result.columns.index(column)
    return any(row.numbers[place].ours for row in result.rows)


def _has_paper(result: Table, column: Column) -> bool:
    place = result.columns.index(column)
    return any(row.numbers[place].paper is not None for row in result.rows)


def _name(row: Row) -> str:
    if row.seen == "masks":
        return f"{row.name} (trained on masks)"
    return f"{row.name} {row.seen}".strip()


def _ours(number: Number, column: Column) -> str:
    if number.mean is None:
        return ""
    text = _text(number.mean, column.digits)
    return text if number.spread is None else f"{text} ± {_text(number.spread, column.digits)}"


def _text(value: float, digits: int) -> str:
    """A number as papers print it: without the zero in front."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if digits and abs(value) < 1 else text
