"""Numbers and tables as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from comparison import spread


def markdown(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table: the first column to the left, the others to the right."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (head, rule, *lines))


def cell(values: Sequence[float], digits: int, factor: float = 1.0) -> str:
    """Mean ± standard deviation; a dash of nothing."""
    found = spread(values)
    return "–" if found is None else found.text(digits, factor)


def middle(values: Sequence[float], digits: int) -> str:
    """Median, and the range; a dash of nothing."""
    if not values:
        return "–"
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{statistics.median(values):.{digits}f} ({low} to {high})"
