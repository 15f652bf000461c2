from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from report_sample import PLAN, bare, sample

from deitft.recipe.facts import Facts
from deitft.recipe.plan import resolve
from deitft.recipe.preprocessing import Preprocessing
from deitft.recipe.schema import Recipe
from deitft.reporting.report_data import Estimate, ReportData
from deitft.reporting.tables import (
    MATRIX_PART,
    class_lines,
    environment_lines,
    flatten,
    headline,
    interval,
    matrix,
    percent,
    plan_lines,
    scores,
    shown,
    split_lines,
    worst_pairs,
)


@pytest.fixture(scope="module")
def data() -> ReportData:
    return sample()


def test_percent_and_interval() -> None:
    assert [percent(0.91397), percent(1.0), percent(0.005, 0), percent(None), percent(float("nan"))] == [
        "91.4",
        "100.0",
        "0",
        "n/a",
        "n/a",
    ]
    assert interval(Estimate(0.9, 0.881, 0.939)) == "88.1–93.9"
    assert interval(Estimate(0.9)) == ""


def test_headline_and_scores_show_only_what_was_measured(data: ReportData) -> None:
    assert [row.name for row in headline(data)] == ["This model", "Frozen probe", "Largest class"]
    assert headline(data)[2].detail == "shoes"
    assert [row.name for row in headline(bare())] == ["This model"]
    assert [row.name for row in scores(bare())] == ["Top-1 accuracy", "Top-5 accuracy"]
    assert scores(bare())[1].estimate.reason == "with 2 classes it would say nothing"
    assert len(scores(data)) == 6
    off = dataclasses.replace(data, probe=None, probe_note="switched off")
    assert headline(off)[1].estimate == Estimate(None, reason="switched off")
    assert scores(off)[4].estimate.reason == "switched off"
    assert "linear classifier" in scores(off)[4].meaning
    more = dataclasses.replace(data, more_scores=[("Top-1 without 5 photos", "not also in train", data.top1)])
    assert scores(more)[1].name == "Top-1 without 5 photos"


def test_class_lines_start_with_the_lowest_f1_and_end_with_no_photos(data: ReportData) -> None:
    rows = list(data.per_class)
    rows[3] = dataclasses.replace(rows[3], f1=Estimate(None, reason="no photos"))
    lines = class_lines(dataclasses.replace(data, per_class=rows))
    values = [line.row.f1.value for line in lines]
    assert values[-1] is None
    assert lines[-1].name == data.classes[3]
    assert values[:-1] == sorted(value for value in values if value is not None)


def test_matrix_is_the_whole_confusion_matrix(data: ReportData) -> None:
    whole = matrix(data)
    assert whole.whole
    counts = np.array([[cell.count for cell in line.cells] for line in whole.lines])
    np.testing.assert_array_equal(counts, data.confusion)
    assert [cell.right for cell in whole.lines[2].cells].index(True) == 2
    assert whole.lines[0].cells[0].title == "dress, called dress: 14 of 15 (93.3 %)".replace(
        "14", str(data.confusion[0, 0])
    ).replace("93.3", percent(data.confusion[0, 0] / 15))
    assert all(0.15 <= float(cell.alpha) <= 0.65 for line in whole.lines for cell in line.cells)


def test_a_large_matrix_shows_the_most_confused_part_and_loses_no_photo() -> None:
    draw = np.random.default_rng(0)
    table = np.diag(np.full(60, 20)) + (draw.random((60, 60)) < 0.02)
    table[59, 58] += 9
    table[7] = 0
    data = ReportData(
        title="x", classes=[f"c{i}" for i in range(60)], n=int(table.sum()), top1=Estimate(0.5), confusion=table
    )
    part = matrix(data)
    assert not part.whole
    assert len(part.lines) == MATRIX_PART
    assert {"c58", "c59"} <= set(part.names)
    for line in part.lines:
        assert sum(cell.count for cell in line.cells) + line.elsewhere == line.n
    off = table - np.diag(np.diag(table))
    mistakes = off.sum(0) + off.sum(1)
    hidden = [i for i in range(60) if f"c{i}" not in part.names]
    assert mistakes[hidden].max() <= min(mistakes[[int(name[1:]) for name in part.names]])


def test_worst_pairs_come_from_the_matrix_where_no_photos_are_given(data: ReportData) -> None:
    with_photos = [(pair.label, pair.predicted, pair.count, pair.n) for pair in worst_pairs(data)]
    without = worst_pairs(dataclasses.replace(data, pairs=()))
    assert [pair.count for pair in without] == [pair[2] for pair in with_photos]
    assert without[0].n == data.class_sizes[without[0].label]
    assert worst_pairs(bare()) == []


def test_split_lines_add_up(data: ReportData) -> None:
    lines = split_lines(data)
    assert lines[0].counts == [120, 15, 15]
    assert lines[0].total == 150
    assert split_lines(bare()) == []


def test_plan_shows_what_was_asked_beside_what_it_came_to() -> None:
    lines, rest = plan_lines(PLAN)
    told = {line.name: (line.asked, line.resolved, line.decided) for line in lines}
    assert told["model.name"] == ("deit_ti", "deit_tiny_distilled_patch16_224.fb_in1k", False)
    assert told["model.image_size"] == ("auto", "224", True)
    assert told["train.length"] == ("12 epochs", "1152 steps (12 epochs)", False)
    assert told["train.batch"] == ("auto", "32", True)
    assert told["train.save_every"] == ("5m", "5 min", False)
    assert told["optim.warmup"] == ("1 epochs", "96 steps (1 epoch)", False)
    assert told["ema.decay"] == ("auto", "0.9995", True)
    names = dict(rest)
    assert names["optim.clip_norm"] == "none"
    assert names["compile"] == "no"
    assert not {"batch", "classes", "asked", "preprocessing.size"} & set(names)


def test_every_field_of_a_real_plan_that_was_left_open_is_shown_resolved() -> None:
    pre = Preprocessing()
    facts = Facts(
        classes=("a", "b"), train_counts=(90, 80), photos={"train": 170, "val": 20, "test": 20}, data="x",
        data_fingerprint="f", model="deit_tiny_patch16_224.fb_in1k", short_name=None, weights={}, pretrained=True,
        family="transformer", parameters=5_000_000, depth=12, weights_preprocessing=pre, preferred_aspect="crop",
        device="cpu", precision="fp32", threads=2, workers=2, memory_bytes=8 * 10**9, seconds_per_image=None,
    )  # fmt: skip
    lines, rest = plan_lines(resolve(Recipe(), facts, seed=0).record())
    assert len(lines) > 8
    assert all(line.resolved != "auto" for line in lines)
    assert "optim.name" in dict(rest)


def test_a_field_the_plan_does_not_know_shows_what_was_asked() -> None:
    lines, _ = plan_lines({"asked": {"new.field": [1, 2.5]}, "seed": 3})
    assert (lines[0].asked, lines[0].resolved) == ("1, 2.5", "1, 2.5")
    assert plan_lines({"seed": 3}) == ([], [("seed", "3")])
    assert plan_lines({"total_steps": 1, "asked": {"train.length": "1 steps"}})[0][0].resolved == "1 step"


def test_shown_and_flatten() -> None:
    assert [shown(value) for value in (None, True, 0.1 + 0.2, (), {"a": 1}, {}, 7)] == [
        "none",
        "yes",
        "0.3",
        "none",
        "a: 1",
        "none",
        "7",
    ]
    assert shown(list(range(50))).endswith("10, 11, … (50 in all)")
    assert flatten({"a": {"b": 1, "c": {}}, "d": 2}) == {"a.b": 1, "a.c": {}, "d": 2}
    assert environment_lines({"python": "3.11", "versions": {"torch": "2.15", "wandb": None}}) == [
        ("python", "3.11"),
        ("torch", "2.15"),
        ("wandb", "not installed"),
    ]
