from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from report_sample import FINDINGS, bare, estimate, history, sample

from deitft.errors import Notice
from deitft.reporting.next_step import late_gain, next_step, plural
from deitft.reporting.report_data import Estimate, PhotoCase, ReportData


def report(confusion: list[list[int]], **changes: object) -> ReportData:
    table = np.array(confusion)
    n, right = int(table.sum()), int(np.trace(table))
    data = ReportData(
        title="run", classes=[f"c{i}" for i in range(len(table))], n=n, top1=estimate(right, n), confusion=table
    )
    return dataclasses.replace(data, **changes)


SPREAD = [[190, 3, 3, 4], [3, 191, 3, 3], [4, 3, 190, 3], [3, 3, 3, 191]]


def test_a_leak_comes_before_everything() -> None:
    leak = Notice(id="D11", severity="warning", text="5 test photos are also in train")
    step = next_step(report([[3, 40], [40, 3]], findings=[*FINDINGS, leak]))
    assert step.text.startswith("Remove the test photos that are also in train")


def test_no_better_than_the_largest_class() -> None:
    step = next_step(report([[50, 10], [30, 10]], majority=estimate(60, 100)))
    assert "not surely better than always naming the largest class" in step.text
    better = next_step(report([[58, 2], [3, 37]], majority=estimate(60, 100)))
    assert "largest class" not in better.text


def test_a_better_probe_is_named_with_both_figures() -> None:
    step = next_step(report(SPREAD, probe=Estimate(0.97), majority=Estimate(0.25)))
    assert "97.0 % against 95.2 %" in step.text


@pytest.mark.parametrize(("late", "rising"), [(0.0, False), (0.2, True)])
def test_a_curve_that_still_rises(late: float, rising: bool) -> None:
    data = report(SPREAD, history=history(20, ema=False, late_rise=late))
    assert next_step(data).text.startswith("The score on val still rose") == rising


def test_late_gain_is_the_difference_of_bests() -> None:
    def gain(scores: list[float]) -> float | None:
        rows = history(len(scores), ema=False)
        told = [dataclasses.replace(row, val_score=s) for row, s in zip(rows.rows, scores, strict=True)]
        return late_gain(report(SPREAD, history=dataclasses.replace(rows, rows=told)))

    assert gain([0.5, 0.6, 0.7, 0.75]) == pytest.approx(0.05)
    assert gain([0.5, 0.6, 0.7]) is None, "too few to say"
    assert gain([0.5, 0.9, 0.7, 0.75]) is None, "the best lies behind"
    assert gain([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.8]) == pytest.approx(0.3)
    assert late_gain(report(SPREAD)) is None
    assert late_gain(report(SPREAD, history=history(8, val=False))) is None
    losses = dataclasses.replace(history(8, ema=False, late_rise=0.5), score_name="loss")
    assert late_gain(report(SPREAD, history=losses)) is None, "a rising loss is no gain"


def test_late_gain_follows_the_weights_that_were_kept() -> None:
    rows = [
        dataclasses.replace(row, val_score=0.9 - i / 100, val_score_ema=i / 10)
        for i, row in enumerate(history(8).rows)
    ]
    data = report(SPREAD, history=dataclasses.replace(history(8), rows=rows))
    assert late_gain(data) == pytest.approx(0.2)


def test_one_pair_counts_both_directions_and_its_photos() -> None:
    data = sample()
    step = next_step(data)
    found = re.search(
        r"Most confused: (.+) and (.+) \((\d+) of (\d+) mistakes\)\. Look at these (\d+) photos", step.text
    )
    assert found
    first, second = (data.classes.index(name) for name in found.groups()[:2])
    between = int(data.confusion[first, second] + data.confusion[second, first])
    assert int(found[3]) == int(found[5]) == between
    assert int(found[4]) == data.mistake_count
    assert step.anchor == "pairs"
    few = dataclasses.replace(data, pairs=[dataclasses.replace(data.pairs[0], photos=data.pairs[0].photos[:2])])
    assert "Look at the 2 surest of them" in next_step(few).text
    none = next_step(dataclasses.replace(data, pairs=()))
    assert "Look at them and settle" in none.text
    assert none.anchor == "confusions"


def test_small_classes() -> None:
    one = [row[:] for row in SPREAD]
    one[2] = [1, 1, 10, 0]
    assert next_step(report(one)).text.startswith("Only 12 test photos in c2: add more")
    two = [[190, 3, 3, 2], *one[1:]]
    two[1] = [0, 3, 1, 1]
    text = next_step(report(two)).text
    assert text.startswith("2 of 4 classes have fewer than 20 test photos (c1 has 5)")


def test_two_classes_are_always_the_pair_and_an_even_spread_is_none() -> None:
    assert next_step(report([[190, 10], [5, 195]])).text.startswith("Most confused: c0 and c1 (15 of 15 mistakes)")
    assert "Most confused" not in next_step(report([[190, 5, 5], [5, 190, 5], [5, 5, 190]])).text
    assert "Most confused" in next_step(report([[190, 9, 5], [9, 190, 2], [5, 1, 190]])).text


def test_label_errors_need_three() -> None:
    case = PhotoCase(path="a", image=None, label=0, predicted=1, probability=0.9)
    assert next_step(report(SPREAD, label_errors=[case] * 5)).text.startswith("5 photos look as if their label")
    assert "label" not in next_step(report(SPREAD, label_errors=[case] * 2)).text


def test_few_photos_and_no_mistake_and_the_worst_class() -> None:
    wide = report([[22, 1, 1], [1, 23, 1], [1, 1, 23]])
    assert re.match(r"74 test photos leave the score open by 1\d points", next_step(wide).text)
    perfect = report([[300, 0], [0, 300]])
    assert next_step(perfect).text.startswith("No mistake on 600 photos (up to 0.6 % errors are still possible)")
    assert next_step(report(SPREAD)).text.startswith("Recognised least: c0 (190 of 200 photos)")


def test_nothing_measured() -> None:
    empty = report([[0, 0], [0, 0]], top1=Estimate(None))
    assert next_step(empty).text.startswith("Nothing was measured")
    assert next_step(bare()).text


def test_a_long_name_does_not_flood_the_first_screen() -> None:
    data = dataclasses.replace(sample(), classes=[chr(97 + i) * 255 for i in range(10)])
    assert len(next_step(data).text) < 220


def test_plural() -> None:
    assert [plural(1, "photo"), plural(1200, "photo"), plural(2, "class", "es")] == [
        "1 photo",
        "1,200 photos",
        "2 classes",
    ]
