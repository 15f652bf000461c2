from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from check_sample import CLASSES, check_page, clean, notice, pair, parts, photo, unfit
from parsed_page import Page

from deitft.reporting.check_data import PAIRS_FIRST, TITLES, Part, numbered
from deitft.reporting.check_page import next_step, render_check, write_check_page
from deitft.reporting.html import PHOTOS_FIRST


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_check(check_page()))


@pytest.mark.parametrize("make", [check_page, clean, unfit])
def test_the_page_is_well_formed_its_ids_are_unique_and_its_links_lead_somewhere(make) -> None:
    page = Page(render_check(make()))
    assert not page.open
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = {(element.attributes.get("href") or "") for element in page.all("a")}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all(link.startswith("#") for link in links)


def test_the_first_screen_names_the_verdict_and_every_finding(page: Page) -> None:
    first = re.sub(r"\s+", " ", page.all("header", "first")[0].text)
    assert "Can be trained on" in first
    assert "120 photos, 1 left out by name" in first
    for wanted in (TITLES["D12"], "Suspect labels", TITLES["D2"], TITLES["D14"], "15 pairs", "400 photos"):
        assert wanted in first
    assert "18 rows of check-products/fixes.csv" in first
    refused = Page(render_check(unfit())).all("header", "first")[0]
    assert "Cannot be trained on yet" in refused.text
    assert "5 test photos are also in train" in refused.text


def test_more_findings_than_fit_are_counted() -> None:
    many = [Part(notice=notice("D14", "info", f"finding {number}")) for number in range(11)]
    first = Page(render_check(check_page(found=many))).all("header", "first")[0]
    assert first.text.count("Files that are not used") == 7
    assert "4 more findings" in first.text


def test_pairs_stand_side_by_side_and_say_what_is_wrong_with_them(page: Page) -> None:
    duos = page.all("div", "duo")
    assert len(duos) == 15
    assert sum(element.tag == "img" for element in page.elements) == 2 * 15 + 16
    assert "two labels" in duos[0].text
    assert "two sides" not in duos[0].text
    assert "two labels" not in duos[1].text
    assert "boots/000.jpg" in duos[0].text
    assert "hat/001.jpg" in duos[0].text
    assert "400 × 533" in duos[0].text
    assert "two sides" in Page(render_check(unfit())).all("div", "duo")[0].text
    assert pair(0, ("boots", ""), ("train", "train")).two_labels is False


def test_what_is_too_much_is_folded_and_what_is_not_shown_is_counted(page: Page) -> None:
    folds = [element.text.strip() for element in page.all("summary")]
    assert f"{15 - PAIRS_FIRST} more pairs" in folds
    assert f"{16 - PHOTOS_FIRST} more photos" in folds
    assert "Shown are 16 of 400 photos; all are in findings.csv." in page.text


def test_a_suspect_says_what_its_label_got(page: Page) -> None:
    text = re.sub(r"\s+", " ", page.text)
    assert "boots → hat?" in text
    assert "its label got 3.1\xa0%" in page.text


def test_a_photo_that_cannot_be_read_is_a_box_with_words(page: Page) -> None:
    assert [element.text for element in page.all("span", "missing")] == ["photo could not be read"]
    assert "file is empty" in page.text


def test_classes_and_commands_are_there(page: Page) -> None:
    for name in CLASSES:
        assert name in page.text
    commands = [element.text for element in page.all("pre")]
    assert commands == [
        "deitft check products --apply-labels check-products/fixes.csv",
        "deitft finetune products",
        "deitft check products",
    ]
    nothing = Page(render_check(clean()))
    assert "Nothing was found to complain about." in nothing.text
    assert [element.text for element in nothing.all("pre")] == ["deitft finetune products"]


def test_the_next_step_is_the_gravest() -> None:
    assert next_step(unfit()).text.startswith("5 test photos are also in train. To do: remove one copy.")
    assert next_step(unfit()).anchor == "found-1"
    two = dataclasses.replace(unfit(), parts=[*unfit().parts, Part(notice=notice("D2", "error", "x"))])
    assert next_step(two).text.endswith("1 more error after that.")
    assert next_step(check_page()).anchor == "decide"
    assert next_step(check_page(fixes=0)).anchor == "found-1"
    assert next_step(clean()).text == "Nothing stands in the way: train."
    only = check_page(found=parts()[3:], fixes=0)  # a warning without pictures is no reason to wait
    assert next_step(only).text == "Nothing stands in the way: train."


def test_names_and_numbers_of_findings() -> None:
    assert [(anchor, title) for anchor, title, _ in numbered(parts())] == [
        ("found-1", "Photos that look almost the same"),
        ("found-2", "Suspect labels"),
        ("found-3", "Damaged files"),
        ("found-4", "Files that are not used"),
    ]


def test_no_two_findings_have_one_heading() -> None:
    def found(id: str, heading: str = "") -> Part:
        details = {"heading": heading} if heading else {}
        return Part(notice=dataclasses.replace(notice(id, "warning", "x"), details=details))

    many = [found("D12", "two labels"), found("D6"), found("D12", "test and train"), found("D6", "CMYK")]
    assert [title for _, title, _ in numbered([*many, found("D7", "x"), found("D6"), found("D6")])] == [
        "Photos that look almost the same: two labels",
        "Colours that had to be converted",
        "Photos that look almost the same: test and train",
        "Colours that had to be converted: CMYK",
        "Transparency",
        "Colours that had to be converted (2)",
        "Colours that had to be converted (3)",
    ]


def test_the_same_data_gives_the_same_text_and_a_whole_file(tmp_path: Path) -> None:
    text = render_check(check_page())
    assert text == render_check(check_page())
    size = write_check_page(tmp_path / "check.html", check_page())
    assert (tmp_path / "check.html").read_text() == text
    assert size == len(text.encode())


def test_a_photo_without_side_or_size_says_neither() -> None:
    lone = Part(notice=notice("D8", "warning", "x"), photos=[photo(1, size=(0, 0), label="")], total=1)
    figure = Page(render_check(check_page(found=[lone]))).all("figcaption")[0]
    assert figure.text.split() == ["/001.jpg"]
