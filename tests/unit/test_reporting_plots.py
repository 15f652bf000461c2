from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from report_sample import history, sample

from deitft.evaluation.calibration import reliability_bins
from deitft.reporting.plots import COLOURS, learning_curves, page_fonts, reliability_diagram
from deitft.reporting.report_data import EpochRow, Estimate, History, Reliability


def test_curves_are_plain_svg_with_text_and_the_values_on_hover() -> None:
    curves = learning_curves(history())
    assert [title for title, _ in curves] == ["Top-1 on val", "Loss", "Learning rate"]
    for _, drawing in curves:
        root = ElementTree.fromstring(str(drawing))
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert any("epoch" in (text.text or "") for text in root.iter("text"))
        assert not {"style", "metadata", "script", "image"} & {element.tag for element in root.iter()}
        assert not re.search(r"#[0-9a-f]{6}", str(drawing)), "every colour is the page's"
        assert not any(stand_in in drawing for stand_in in COLOURS)
        assert "DejaVu" not in drawing
    titles = re.findall(r"<title>(.*?)</title>", str(curves[0][1]))
    rows = history().rows
    assert len(titles) == 2 * len(rows)
    assert titles[0] == f"raw weights, epoch 1: {100 * rows[0].val_score:.1f} %"
    assert titles[-1] == f"EMA weights, epoch 12: {100 * rows[-1].val_score_ema:.1f} %"


@pytest.mark.parametrize(
    "written",
    [
        "font: 11px 'DejaVu Sans', sans-serif; text-anchor: middle",
        "font: bold 11px 'DejaVu Sans'; text-anchor: middle",
        "font-size: 11px; font-family: 'DejaVu Sans'; text-anchor: middle",
    ],
)
def test_the_typeface_is_the_pages(written: str) -> None:
    assert page_fonts(f'<text style="{written}">') == '<text style="font-size: 11px; text-anchor: middle">'


def test_ids_of_one_page_do_not_meet_and_all_links_lead_somewhere() -> None:
    data = sample()
    drawings = [str(drawing) for _, drawing in learning_curves(history())]
    assert data.calibration
    assert data.calibration.after
    drawings += [
        str(reliability_diagram("before", "Before", data.calibration.before)),
        str(reliability_diagram("after", "After", data.calibration.after)),
    ]
    ids = [name for drawing in drawings for name in re.findall(r'\bid="([^"]+)"', drawing)]
    assert len(ids) == len(set(ids)) > 0
    for drawing in drawings:
        links = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing)
        assert {a or b for a, b in links} <= set(re.findall(r'\bid="([^"]+)"', drawing))


def test_the_same_data_gives_the_same_drawing_whatever_a_person_set() -> None:
    before = [str(drawing) for _, drawing in learning_curves(history())]
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        after = [str(drawing) for _, drawing in learning_curves(history())]
    assert before == after
    other = [str(drawing) for _, drawing in learning_curves(history(late_rise=0.1))]
    assert before[0] != other[0]
    assert before[2] == other[2]


@pytest.mark.parametrize(
    ("told", "titles"),
    [
        (history(val=False), ["Loss", "Learning rate"]),
        (history(1), ["Top-1 on val", "Loss", "Learning rate"]),
        (History(rows=()), []),
        (History(rows=[EpochRow(step=1, epoch=1.0, train_loss=float("nan"))]), []),
    ],
)
def test_curves_leave_out_what_was_not_measured(told: History, titles: list[str]) -> None:
    assert [title for title, _ in learning_curves(told)] == titles


def test_long_runs_draw_lines_without_dots_and_stay_small() -> None:
    drawings = learning_curves(history(300))
    assert sum(len(str(drawing)) for _, drawing in drawings) < 150_000
    titles = re.findall(r"<title>(.*?)</title>", str(drawings[2][1]))
    assert len(titles) == 50
    assert titles[1].startswith("learning rate, epoch 7: ")


def test_the_kept_point_is_marked_only_where_it_has_a_value() -> None:
    assert ">kept<" in learning_curves(history())[0][1]
    assert ">kept<" not in learning_curves(dataclasses.replace(history(), best_step=None))[0][1]
    assert ">kept<" not in learning_curves(dataclasses.replace(history(ema=False), best_which="ema"))[0][1]


def test_reliability_bars_are_as_high_as_the_accuracy() -> None:
    confidence = np.array([0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0.9, 0.9])
    right = np.array([0, 0, 1, 0, 1, 1, 1, 0], dtype=bool)
    curve = Reliability(error=Estimate(0.1), bins=reliability_bins(confidence, right, 5))
    drawing = str(reliability_diagram("r", "Reliability", curve))
    titles = re.findall(r"<title>(.*?)</title>", drawing)
    assert titles == [
        "confidence 0 to 20 %: right 0.0 %, 2 photos",
        "confidence 40 to 60 %: right 50.0 %, 2 photos",
        "confidence 80 to 100 %: right 75.0 %, 4 photos",
    ]
    heights = []
    for group in ElementTree.fromstring(drawing).iter("g"):
        if group.find("title") is not None:
            ys = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", group.find("path").get("d"))]  # type: ignore[union-attr]
            heights.append(max(ys) - min(ys))
    assert heights[0] == pytest.approx(0, abs=1e-6)
    assert heights[2] / heights[1] == pytest.approx(1.5, rel=1e-3)
    empty = Reliability(error=Estimate(None), bins=reliability_bins(np.zeros(0), np.zeros(0, bool), 5))
    assert "<title>" not in reliability_diagram("r", "Reliability", empty)
