"""Figures beside the limits they were measured with: ratios, verdicts, the table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

HEADINGS = ("what", "figure", "limit", "ratio", "goal", "verdict")


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    `limit` is the same quantity of the bare counterpart, measured in the same run; `ratio` is `value / limit`.
    A goal is `at_most` or `at_least` of that ratio, or, without a limit, of the value itself.
    """

    what: str
    value: float
    unit: str
    limit: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How the value stands to its limit; None without one, or with one of 0."""
        return self.value / self.limit if self.limit else None

    @property
    def verdict(self) -> str:
        """`ok`, `over`, or nothing where there is no goal."""
        judged = self.value if self.limit is None else self.ratio
        if judged is None or (self.at_most is None and self.at_least is None):
            return ""
        within = (self.at_most is None or judged <= self.at_most) and (self.at_least is None or judged >= self.at_least)
        return "ok" if within else "over"

    @property
    def goal(self) -> str:
        """The goal in words."""
        unit = f" {self.unit}" if self.limit is None else "x"
        if self.at_most is not None:
            return f"<= {self.at_most:g}{unit}"
        return f">= {self.at_least:g}{unit}" if self.at_least is not None else ""

    def as_json(self) -> dict[str, Any]:
        """All of it, with what follows from it."""
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}

    def cells(self) -> tuple[str, ...]:
        """One text for each heading."""
        limit = "" if self.limit is None else shown(self.limit)
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        note = f"  ({self.note})" if self.note else ""
        return self.what + note, f"{shown(self.value)} {self.unit}".rstrip(), limit, ratio, self.goal, self.verdict


def shown(value: float) -> str:
    """A number with about three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns."""
    rows = [HEADINGS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values do not exceed; nearest rank.

    Raises:
        ValueError: without values.
    """
    if not values:
        raise ValueError("no values were measured")
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def middle(values: Sequence[float]) -> float:
    """The median.

    Raises:
        ValueError: without values.
    """
    if not values:
        raise ValueError("no values were measured")
    return float(median(values))
