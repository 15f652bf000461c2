"""Rows for the page's tables, computed from ``ReportData``: what is shown, in which order, what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.units import format_seconds
from deitft.reporting.report_data import ClassRow, ConfusedPair, Estimate, ReportData
from deitft.reporting.visible import shortened

MATRIX_CLASSES = 40
"""Classes up to which the whole confusion matrix is shown."""

MATRIX_PART = 30
"""Classes shown of a larger one: those with most mistakes."""

FILES_SHOWN = 100
"""Files listed for one finding; the rest is counted."""


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage without its sign: "91.4"; "n/a" for None."""
    return "n/a" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f}"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of shares as signed percentage points: "+1.2", "−0.4"; "n/a" for None."""
    if value is None or not np.isfinite(value):
        return "n/a"
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def interval(estimate: Estimate, digits: int = 1) -> str:
    """ "88.1–93.8", or "" where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{percent(estimate.low, digits)}–{percent(estimate.high, digits)}"


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the table of scores. ``name`` and ``meaning`` are ours, ``detail`` may hold a class name."""

    name: str
    meaning: str
    estimate: Estimate
    detail: str = ""
    kind: str = ""


def headline(data: ReportData) -> list[Score]:
    """The model beside its baselines, as bars on the first screen."""
    rows = [Score("This model", "", data.top1, kind="model")]
    probe = _probe(data)
    if probe is not None:
        rows.append(Score("Frozen probe", "", probe, kind="base"))
    if data.majority is not None:
        rows.append(Score("Largest class", "", data.majority, majority_name(data), kind="base"))
    return rows


def _probe(data: ReportData) -> Estimate | None:
    """The probe's score, n/a with its note where there is none, or None where nobody asked for one."""
    if data.probe is None and data.probe_note:
        return Estimate(None, reason=data.probe_note)
    return data.probe


def majority_name(data: ReportData) -> str:
    """The class that the majority baseline always names."""
    return data.classes[data.majority_class] if data.majority_class is not None else ""


def scores(data: ReportData) -> list[Score]:
    """All scores of the claim split that are there, each with what it means in plain words."""
    top5 = data.top5
    if top5 is None and len(data.classes) < 6:
        top5 = Estimate(None, reason=f"with {len(data.classes)} classes it would say nothing")
    features = "a linear classifier on the starting weights' features"
    probe_meaning = data.probe_note if data.probe and data.probe_note else features
    truth = data.truth
    rows = (
        (data.score_name, f"the likeliest class is the {truth}", data.top1),
        *data.more_scores,
        (f"Top-5{'' if data.by_teacher else ' accuracy'}", f"the {truth} is among the five likeliest", top5),
        ("Macro-F1", "precision and recall of every class, each class counting the same", data.macro_f1),
        (
            f"Balanced {'agreement' if data.by_teacher else 'accuracy'}",
            "mean recall over classes: small ones count as much",
            data.balanced_accuracy,
        ),
        ("Frozen probe", probe_meaning, _probe(data)),
        ("Largest class", f"always the class that is largest {_where_largest(data)}", data.majority),
    )
    return [
        Score(
            name,
            meaning,
            value,
            majority_name(data) if value is data.majority else "",
            "model" if value is data.top1 else "",
        )
        for name, meaning, value in rows
        if value is not None
    ]


def _where_largest(data: ReportData) -> str:
    return "in the teacher's answers" if data.by_teacher else "in train"


@dataclass(frozen=True, slots=True)
class ClassLine:
    """One class of the per-class table."""

    name: str
    row: ClassRow


def class_lines(data: ReportData) -> list[ClassLine]:
    """Classes with the lowest F1 first; those without photos last."""
    order = sorted(range(len(data.per_class)), key=lambda index: _class_rank(data.per_class[index], index))
    return [ClassLine(data.classes[index], data.per_class[index]) for index in order]


def _class_rank(row: ClassRow, index: int) -> tuple[bool, float, int]:
    value = row.f1.value
    return value is None, value if value is not None else 0.0, index


@dataclass(frozen=True, slots=True)
class Cell:
    """``count`` photos, ``share`` of the row, whether it is on the diagonal, and what hovering says."""

    count: int
    share: float
    right: bool
    title: str

    @property
    def alpha(self) -> str:
        """How strong the colour is, 0.15 to 0.65: the root, so that single mistakes are seen."""
        return f"{0.15 + 0.5 * float(np.sqrt(self.share)):.2f}"


@dataclass(frozen=True, slots=True)
class MatrixLine:
    """One label: its photos and where they went; ``elsewhere`` counts columns that are not shown."""

    name: str
    n: int
    cells: Sequence[Cell]
    elsewhere: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix, or the most confused part of it."""

    names: Sequence[str]
    lines: Sequence[MatrixLine]
    total: int

    @property
    def whole(self) -> bool:
        """True where no class was left out."""
        return len(self.names) == self.total


def matrix(data: ReportData) -> Matrix:
    """Rows are labels, columns predictions. Above 40 classes the 30 with most mistakes, in class order."""
    confusion = data.confusion
    chosen = np.arange(len(data.classes))
    if len(chosen) > MATRIX_CLASSES:
        off = confusion - np.diag(np.diag(confusion))
        mistakes = off.sum(axis=0) + off.sum(axis=1)
        chosen = np.sort(np.argsort(-mistakes, kind="stable")[:MATRIX_PART])
    lines = [_matrix_line(data, int(row), chosen) for row in chosen]
    return Matrix([data.classes[int(index)] for index in chosen], lines, len(data.classes))


def _matrix_line(data: ReportData, row: int, columns: npt.NDArray[np.intp]) -> MatrixLine:
    counts, n = data.confusion[row], int(data.confusion[row].sum())
    cells = []
    for column in columns:
        count = int(counts[column])
        share = count / n if n else 0.0
        label, called = shortened(data.classes[row]), shortened(data.classes[column])
        title = f"{label}, called {called}: {count} of {n} ({percent(share)} %)"
        cells.append(Cell(count, share, row == int(column), title))
    return MatrixLine(data.classes[row], n, cells, n - int(counts[columns].sum()))


def worst_pairs(data: ReportData, limit: int = 3) -> list[ConfusedPair]:
    """The pairs with most mistakes: with their photos if given, else from the matrix alone."""
    if data.pairs:
        return sorted(data.pairs, key=lambda pair: -pair.count)[:limit]
    rows, columns = np.nonzero(data.confusion)
    sizes = data.class_sizes
    found = [
        ConfusedPair(
            label=int(row), predicted=int(column), count=int(data.confusion[row, column]), n=int(sizes[row])
        )
        for row, column in zip(rows, columns, strict=True)
        if row != column
    ]
    return sorted(found, key=lambda pair: -pair.count)[:limit]


@dataclass(frozen=True, slots=True)
class SplitLine:
    """One class, its photos in each split, and their sum."""

    name: str
    counts: Sequence[int]
    total: int


def split_lines(data: ReportData) -> list[SplitLine]:
    """A line a class, in class order; empty without splits."""
    if data.splits is None:
        return []
    columns = list(data.splits.counts.values())
    return [
        SplitLine(name, [int(column[index]) for column in columns], sum(int(column[index]) for column in columns))
        for index, name in enumerate(data.classes)
    ]


# Where a recipe's field stands in the plan, if not under its own name or the name after its dot.
PLACES = {
    "model.name": "model",
    "model.image_size": "preprocessing.size",
    "train.length": "total_steps",
    "train.save_every": "save_every_seconds",
    "train.full_size_from": "full_size_from_step",
    "optim.warmup": "optim.warmup_steps",
    "ema.decay": "ema_decay",
    "ema.warmup": "ema_warmup",
}

LONG_LIST = 12
"""Values of a list that are shown."""

LONG_FIELDS = ("asked", "classes", "train_counts", "weights")
"""Fields of the plan that the page shows elsewhere."""


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A field, what was asked, and what that came to."""

    name: str
    asked: str
    resolved: str
    decided: bool


def plan_lines(plan: Mapping[str, Any]) -> tuple[list[PlanLine], list[tuple[str, str]]]:
    """What was asked beside what was resolved, and the plan's other fields."""
    flat = flatten({name: value for name, value in plan.items() if name not in LONG_FIELDS})
    lines, used = [], set()
    for name, asked in flatten(plan.get("asked") or {}).items():
        section = name.partition(".")[0]
        if section != name and plan.get(section, name) is None:
            continue  # it is off: nothing in it was decided
        place = _place(name, flat)
        if not place and asked == "auto" and name.startswith("distill."):
            continue  # there is no teacher, or it stands with each teacher
        used.add(place)
        resolved = shown(flat[place]) if place in flat else shown(asked)
        if plan.get(name.partition(".")[0], plan) is None:  # a section that the plan leaves out: no teacher
            resolved = "not used"
        lines.append(PlanLine(name, shown(asked), _with_unit(place, resolved, plan), asked == "auto"))
    rest = [(name, shown(value)) for name, value in flat.items() if name not in used]
    return lines, rest


def _place(name: str, flat: Mapping[str, Any]) -> str:
    last = name.rsplit(".", 1)[-1]
    for place in (PLACES.get(name), name, last, f"preprocessing.{last}", f"{last}_steps"):
        if place is not None and place in flat:
            return place
    return ""


def _with_unit(place: str, text: str, plan: Mapping[str, Any]) -> str:
    """Steps said in epochs too, seconds as people say them."""
    if place in ("total_steps", "validate_every", "full_size_from_step", "optim.warmup_steps"):
        size = plan.get("steps_per_epoch") or 0
        epochs = f"{float(text) / size:.3g}" if size else ""
        steps = f"{text} step{'s' if text != '1' else ''}"
        return f"{steps} ({epochs} epoch{'s' if epochs != '1' else ''})" if epochs else steps
    return format_seconds(float(text)) if place == "save_every_seconds" else text


def environment_lines(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each fact of the environment; libraries by their own name."""
    flat = flatten(environment)
    versions = {name for name in flat if name.startswith("versions.")}
    return [
        (
            name.removeprefix("versions."),
            "not installed" if value is None and name in versions else shown(value),
        )
        for name, value in flat.items()
    ]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; everything else stays whole."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= flatten(item, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = item
    return flat


def shown(value: object) -> str:
    """A value of the plan or the environment in few characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and len(value) > LONG_LIST:
        return f"{shown(value[:LONG_LIST])}, … ({len(value)} in all)"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items()) or "none"
    return str(value)
