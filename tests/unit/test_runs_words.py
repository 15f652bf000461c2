"""Figures in words, for a terminal of 80 columns."""

from __future__ import annotations

import pytest
from unit.test_evaluation_metrics import CLASSES, drawn

from deitft.evaluation.metrics import evaluate
from deitft.runs.words import metric_rows


@pytest.mark.parametrize("by_teacher", [False, True])
def test_heads_stand_below_the_first_figure_and_all_fits(by_teacher: bool) -> None:
    names = tuple(f"{name}, and a class of a long name" for name in CLASSES)
    rows = metric_rows(evaluate(drawn(), names, draws=20), by_teacher=by_teacher)
    named = [name for name, _ in rows]
    assert named[0] == ("Agreement with the teacher" if by_teacher else "Top-1")
    assert [name.strip() for name in named[1:5]] == [
        "class head",
        "distillation head",
        "both (mean of logits)",
        "both (sum of softmaxes)",
    ]
    assert not any(name.startswith(" ") for name in named[5:])
    assert max(map(len, named)) + 2 + max(len(text) for _, text in rows) <= 80


def test_one_head_has_no_rows_below() -> None:
    rows = metric_rows(evaluate(drawn(heads=1), CLASSES, draws=20))
    assert [name for name, _ in rows][:2] == ["Top-1", "Top-5"]
