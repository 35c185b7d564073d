"""What a target ends with: a table of ours beside the paper's numbers, or a figure, and claims that were checked."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Best = Literal["high", "low", "none"]
"""Which value of a column is the best one."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, which value is best, and digits behind the point."""

    head: str
    best: Best = "none"
    digits: int = 3


@dataclass(frozen=True)
class Number:
    """A number of ours, for each seed, and the paper's; empty or None where there is none."""

    ours: tuple[float, ...] = ()
    paper: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean over the seeds."""
        return statistics.fmean(self.ours) if self.ours else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, of the sample; None for less than two."""
        return statistics.stdev(self.ours) if len(self.ours) > 1 else None


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, its numbers, and the labels that the encoders behind it have seen.

    `seen` holds ‡ for labels of classes, "masks" for masks, or nothing.
    """

    name: str
    numbers: tuple[Number, ...]
    seen: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, whether it holds here, and the figures that say so; None: that cannot be said here."""

    text: str
    holds: bool | None
    figures: str


@dataclass(frozen=True)
class Table:
    """A table.

    Raises:
        ValueError: a row has more or fewer numbers than there are columns.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row.numbers) != len(self.columns) for row in self.rows):
            raise ValueError("every row needs as many numbers as there are columns")

    def best_rows(self, column: int) -> set[int]:
        """Rows whose value of ours is the best of a column."""
        best = self.columns[column].best
        means = {index: row.numbers[column].mean for index, row in enumerate(self.rows)}
        known = {index: round(mean, 6) for index, mean in means.items() if mean is not None}
        if best == "none" or len(known) < 2:
            return set()
        wanted = max(known.values()) if best == "high" else min(known.values())
        return {index for index, mean in known.items() if mean == wanted}


@dataclass(frozen=True)
class Figure:
    """A figure: its files, without suffix as `.png` and `.svg`, the numbers in it, and its caption."""

    title: str
    files: tuple[Path, ...]
    caption: str
    numbers: dict[str, dict[str, list[float]]]
    claims: tuple[Claim, ...] = ()


Result = Table | Figure
