"""S5, the page of a check: names and texts from outside are shown, and never become markup or script."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from faults.test_S5 import HOSTILE, plain, structure
from unit.check_sample import check_page
from unit.parsed_page import Page
from unit.report_sample import sample

from deitft.reporting.check_data import CheckPage, FoundPair, FoundPhoto, Part
from deitft.reporting.check_page import render_check
from deitft.reporting.html import render_report
from deitft.reporting.visible import visible


def named(page: CheckPage, names: Sequence[str]) -> CheckPage:
    """The same page with every text that comes from outside taken from ``names``."""
    word = iter(range(10**9))

    def text() -> str:
        return names[next(word) % len(names)]

    def photo(old: FoundPhoto) -> FoundPhoto:
        return dataclasses.replace(old, path=text(), label=text(), split=text(), reason=text())

    def pair(old: FoundPair) -> FoundPair:
        return FoundPair(left=photo(old.left), right=photo(old.right), kind=text(), distance=text())

    def part(old: Part) -> Part:
        told = dataclasses.replace(
            old.notice, text=text(), hint=text(), files=tuple(text() for _ in old.notice.files)
        )
        return dataclasses.replace(
            old,
            notice=told,
            photos=[photo(each) for each in old.photos],
            pairs=[pair(each) for each in old.pairs],
            suspects=[
                dataclasses.replace(each, photo=photo(each.photo), suggestion=text()) for each in old.suspects
            ],
        )

    return dataclasses.replace(
        page,
        title=text(),
        classes=[text() for _ in page.classes],
        parts=[part(each) for each in page.parts],
        fingerprint=text(),
        note=text(),
        facts=[(text(), text())],
        command=[text()],
        train_command=[text()],
        apply_command=[text()],
        fixes_file=text(),
    )


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_check(named(check_page(), HOSTILE))


def same_but_for_marks(source: str) -> list[tuple[object, ...]]:
    """The page's elements without the marks that say that two names differ."""
    return [element for element in structure(source) if ("class", "tag loud") not in element[2]]  # type: ignore[operator]


def test_S5_the_page_has_the_same_elements_and_attributes_as_with_plain_names(hostile: str) -> None:
    expected = same_but_for_marks(render_check(named(check_page(), plain(len(HOSTILE)))))
    got = same_but_for_marks(hostile)
    assert len(got) == len(expected) > 300
    assert got == expected


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip()], ids=lambda name: ascii(name)[:40])
def test_S5_each_name_alone_changes_no_element(name: str) -> None:
    assert structure(render_check(named(check_page(), [name]))) == structure(
        render_check(named(check_page(), ["c"]))
    )


def test_S5_the_finding_in_a_report_is_as_harmless() -> None:
    def report(names: Sequence[str]) -> str:
        parts = named(check_page(), names).parts
        data = dataclasses.replace(sample(), found=parts, findings=[part.notice for part in parts])
        return render_report(data)

    assert same_but_for_marks(report(HOSTILE)) == same_but_for_marks(report(plain(len(HOSTILE))))
    assert Page(report(HOSTILE)).all("div", "duo")


def test_S5_names_are_shown_as_they_are_and_what_hides_is_shown_escaped(hostile: str) -> None:
    page = Page(hostile)
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "{{7*7}}" in page.text
    titles = {element.attributes.get("title") for element in page.elements}
    assert visible("a\u202egpj.exe") in titles
    assert "\u202e" not in hostile
    assert "\x1b" not in hostile
