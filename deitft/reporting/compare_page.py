"""The page of a comparison: which model to take, and how sure that is. One offline file, as the run report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deitft.core.files import write_text
from deitft.reporting import compare_plots, compare_tables
from deitft.reporting.compare_data import ClassLine, Comparison, Row
from deitft.reporting.compare_tables import Column
from deitft.reporting.html import render_page
from deitft.reporting.tables import environment_lines, percent

CLASSES_SHOWN = 40
"""Classes at most in the table of differences: those on which the contenders differ most."""
PHOTOS_FIRST = 8
"""Photos of the disagreements that stand open."""
PUBLISHED_OPEN = 12
"""Published figures at most whose table stands open."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, and what a table is sorted by ("" last)."""

    text: str
    value: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: the contender, its letter, its cells without the name's."""

    row: Row
    mark: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class AgreementCell:
    """How often two contenders say the same, and how strong its colour is."""

    text: str
    alpha: str
    title: str


def write_comparison(path: Path, data: Comparison) -> int:
    """Write the page, whole or not at all; returns its size in bytes."""
    text = render_comparison(data)
    write_text(path, text)
    return len(text.encode())


def render_comparison(data: Comparison) -> str:
    """The page as text. The same data gives the same text."""
    scores = compare_tables.filled(compare_tables.SCORES, data.rows)[1:]
    costs = compare_tables.filled(compare_tables.COSTS, data.rows)[1:]
    values = {
        "data": data,
        "missed": [(what, seen) for what, met, seen in data.gates if not met],
        "kept": [(what, seen) for what, met, seen in data.gates if met],
        "marks": compare_plots.letters(data.rows),
        "score_columns": scores,
        "score_lines": _lines(scores, data.rows),
        "cost_columns": costs,
        "cost_lines": _lines(costs, data.rows),
        "plots": compare_plots.drawings(data),
        "class_lines": _by_spread(data.class_lines)[:CLASSES_SHOWN],
        "agreement": _agreement(data),
        "photos_first": PHOTOS_FIRST,
        "published_open": PUBLISHED_OPEN,
        "environment": environment_lines(data.environment),
    }
    return render_page("compare.html.j2", values)


def _lines(columns: Sequence[Column], rows: Sequence[Row]) -> list[Line]:
    marks = compare_plots.letters(rows)
    return [
        Line(row, marks[row.label], [Cell(column.text(row), _sorted_by(column.number(row))) for column in columns])
        for row in rows
    ]


def _sorted_by(number: float | None) -> str:
    return "" if number is None else repr(float(number))


def spread(line: ClassLine) -> float:
    """Between the best and the worst contender on a class, as a share of its photos."""
    known = [recall for recall in line.recalls if recall is not None]
    return max(known) - min(known) if known else 0.0


def _by_spread(lines: Sequence[ClassLine]) -> list[ClassLine]:
    return sorted(lines, key=lambda line: (-spread(line), line.name))


def _agreement(data: Comparison) -> list[tuple[Row, list[AgreementCell]]]:
    """Stronger colour where two differ more; the scale is the largest difference seen."""
    if data.agreement is None:
        return []
    rows, matrix = data.judged, data.agreement
    most = max(1e-9, float(1 - matrix.min()))
    return [
        (
            row,
            [
                AgreementCell(
                    percent(float(matrix[at, other])),
                    f"{0.0 if at == other else 0.1 + 0.6 * float(1 - matrix[at, other]) / most:.2f}",
                    f"{row.label} and {rows[other].label} name the same class on "
                    f"{percent(float(matrix[at, other]))} % of the photos",
                )
                for other in range(len(rows))
            ],
        )
        for at, row in enumerate(rows)
    ]
