"""Where the time of each stage went, as a bar and a table: what `act2sal train --profile` has measured."""

from collections.abc import Mapping, Sequence
from html import escape

from act2sal.runs.training_state import LogRow
from act2sal.runtime.stopwatch import PARTS, SECONDS, part_key

# Okabe and Ito's palette, told apart by the colour-blind, in the order of the parts; grey is what no part took.
_COLOURS = ("#56B4E9", "#0072B2", "#009E73", "#E69F00", "#F0E442", "#D55E00", "#CC79A7", "#999999")
_OTHER = "other"
_NAMES = (*PARTS, _OTHER)


def time_spent(stages: Mapping[str, Sequence[LogRow]]) -> str:
    """HTML of the stages, by their names, that have rows with parts; empty where none has.

    Rows without parts, of epochs that were not measured, are left out.
    """
    measured = profile(stages)
    if not measured:
        return ""
    head = "".join(
        f'<th scope="col" class="number"><span class="swatch" style="background:{colour}"></span>{name}</th>'
        for name, colour in zip(_NAMES, _COLOURS, strict=True)
    )
    body = "".join(_row(stage, parts) for stage, parts in measured.items())
    return (
        '<p class="soft">Seconds; waiting is for what is read from the disk or made by other threads.</p>\n'
        f'<div class="card">\n<table>\n<thead><tr><th scope="col"></th><th scope="col"></th>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table>\n</div>"
    )


def profile(stages: Mapping[str, Sequence[LogRow]]) -> dict[str, dict[str, float]]:
    """`shares` of the stages, by their names, that have rows with parts."""
    spent = {stage: shares(rows) for stage, rows in stages.items()}
    return {stage: parts for stage, parts in spent.items() if parts}


def shares(rows: Sequence[LogRow]) -> dict[str, float]:
    """Seconds of each part, and of what no part took, summed over the rows that have parts."""
    keys = {part: part_key(part) for part in PARTS}
    measured = [row for row in rows if any(key in row for key in keys.values())]
    if not measured:
        return {}
    parts: dict[str, float] = {
        part: sum(float(row.get(key, 0)) for row in measured) for part, key in keys.items()
    }
    whole = sum(float(row[SECONDS]) for row in measured)
    return {**parts, _OTHER: max(0.0, whole - sum(parts.values()))}


def _row(stage: str, parts: Mapping[str, float]) -> str:
    whole = sum(parts.values()) or 1.0
    pieces = "".join(
        f'<span style="width:{100 * parts[name] / whole:.2f}%;background:{colour}" '
        f'title="{name}: {100 * parts[name] / whole:.0f} %"></span>'
        for name, colour in zip(_NAMES, _COLOURS, strict=True)
    )
    cells = "".join(f'<td class="number">{parts[name]:.1f}</td>' for name in _NAMES)
    return f'<tr><th scope="row">{escape(stage)}</th><td><div class="bar">{pieces}</div></td>{cells}</tr>\n'
