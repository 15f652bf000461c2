"""What the token learned, as a part of the page: every figure in words and tables, and only where there is one."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re

import pytest
from parsed_page import Page
from report_sample import distilled, sample

from deitft.reporting.html import render_report
from deitft.reporting.report_data import Estimate, ReportData
from deitft.reporting.tables import points


@pytest.fixture(scope="module")
def data() -> ReportData:
    return distilled(dataclasses.replace(sample(), views=(), attention=(), pairs=(), mistakes=(), label_errors=()))


def section(data: ReportData) -> tuple[Page, str]:
    page = Page(render_report(data))
    found = re.search(r'<section id="token">.*?</section>', page.source, re.DOTALL)
    assert found
    text = html.unescape(re.sub(r"<[^>]+>", " ", found[0]))
    return page, re.sub(r"\s+", " ", text)


def test_every_figure_is_there_once(data: ReportData) -> None:
    page, text = section(data)
    assert "What the token learned" in text
    assert "the distillation head from 1 teacher ( runs/teacher-mobilenetv2-5bafb4f9" in text
    for row in data.heads:
        assert f"{row.name} " in text
        assert f"{100 * (row.top1.low or 0):.1f}–{100 * (row.top1.high or 0):.1f}" in text
    assert "teacher 82.9 79.9–85.9" in text
    assert "label – 17.1 17.0 16.9 16.6" in text, "the paper's table 4, first row"
    assert "On 63 photos teacher and label differ" in text
    assert "distillation head 9 30 24" in text, "those who side with neither are the rest"
    assert "distillation head minus class head +1.2 −0.4 to +2.7" in text
    assert "0.060 as they are put in, 0.930 as the heads see them (mean over 372 photos)" in text
    assert [element.text for element in page.all("h3")].count("Head by head") == 0, (
        "the same table is not there twice"
    )
    assert "#token" in [element.attributes.get("href") for element in page.all("a")]


def test_it_is_well_formed_and_its_ids_are_its_own(data: ReportData) -> None:
    page, _ = section(data)
    assert not page.open
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    levels = [int(element.tag[1]) for element in page.elements if re.fullmatch("h[1-6]", element.tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(element.attributes.get("scope") in ("row", "col") for element in page.all("th"))


def test_without_the_token_both_heads_heard_both(data: ReportData) -> None:
    assert data.token is not None
    _, text = section(dataclasses.replace(data, token=dataclasses.replace(data.token, alone=False, kind="soft")))
    assert "Both heads learned from the labels and from 1 teacher" in text
    assert "all its probabilities" in text


def test_a_teacher_that_was_not_asked_is_said(data: ReportData) -> None:
    assert data.token is not None
    why = "The teacher could not be asked: it is gone."
    changes = {"teacher": Estimate(None, reason=why), "note": why, "sides": (), "apart": 0, "gains": ()}
    _, text = section(dataclasses.replace(data, token=dataclasses.replace(data.token, **changes)))
    assert f"teacher n/a {why}" in text
    assert "Label or teacher" not in text


def test_a_run_without_a_teacher_has_no_such_part() -> None:
    page = Page(render_report(sample()))
    assert "token" not in [element.attributes.get("id") for element in page.elements]
    assert "Head by head" in [element.text for element in page.all("h3")]


def test_points_have_a_sign() -> None:
    assert [points(value) for value in (0.012, -0.004, 0.0, None, float("nan"))] == [
        "+1.2",
        "−0.4",
        "+0.0",
        "n/a",
        "n/a",
    ]
