"""S5, the page: names and texts from outside are shown, and never become markup, script, style or a request."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

import pytest
from unit.parsed_page import Page
from unit.report_sample import bare, sample

from deitft.reporting.html import render_report
from deitft.reporting.report_data import PhotoCase, ReportData
from deitft.reporting.visible import visible

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "</title><h1>owned</h1>",
    "javascript:alert(1)",
    "' onload='alert(1)",
    '" style="background:url(http://evil.example/x)',
    "`x` onmouseover=alert(1)",
    "{{7*7}}",
    "{% for x in () %}",
    "{# gone #}",
    "${7*7}",
    "$\\frac{1}{0}$",
    "%s%n%(x)s",
    "<!--",
    "-->",
    "]]>",
    "<![CDATA[x]]>",
    "&lt;b&gt;&amp;&#0;",
    "a\u202egpj.exe",
    "\x1b[31mred",
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "line\nfeed\ttab\rreturn",
    "\x00nul",
    "\udcff\udcfe",
    "\u2028\u2029",
    "=cmd|' /C calc'!A0",
    "+1",
    "-2+3",
    "@x",
    "[link=https://evil.example]x[/link]",
    "[/foo]",
    "-rf",
    "CON",
    "__metadata__",
    "w" * 255,
    "😀👩‍👩‍👧",
    "café",
    " ",
)


def named(data: ReportData, names: Sequence[str]) -> ReportData:
    """The same report with every text that comes from outside taken from ``names``, classes in their order."""
    word = iter(range(10**9))

    def text(_: str = "") -> str:
        return names[next(word) % len(names)]

    def case(photo: PhotoCase) -> PhotoCase:
        return dataclasses.replace(photo, path=text(), split=text())

    return dataclasses.replace(
        data,
        classes=tuple(names[index % len(names)] for index in range(len(data.classes))),
        title=text(),
        model=text(),
        data_name=text(),
        data_fingerprint=text(),
        command=[text() for _ in data.command],
        banners=[text()],
        probe_note=text(),
        pairs=[dataclasses.replace(pair, photos=[case(photo) for photo in pair.photos]) for pair in data.pairs],
        mistakes=[case(photo) for photo in data.mistakes],
        label_errors=[case(photo) for photo in data.label_errors],
        views=[dataclasses.replace(seen, names=[text() for _ in seen.names]) for seen in data.views],
        attention=[dataclasses.replace(photo, path=text()) for photo in data.attention],
        findings=[
            dataclasses.replace(notice, text=text(), hint=text(), files=tuple(text() for _ in notice.files))
            for notice in data.findings or ()
        ],
        splits=data.splits and dataclasses.replace(data.splits, note=text()),
        weights=data.weights
        and dataclasses.replace(
            data.weights,
            facts=[(text(), text()) for _ in data.weights.facts],
            dropped=[text() for _ in data.weights.dropped],
        ),
        plan=data.plan and {**data.plan, "model": text(), "asked": {"model.name": text(), "train.batch": text()}},
        environment={"processor": text(), "versions": {"torch": text()}},
        costs=[(text(), text())],
        allowed_changes=[text()],
        limits=[text()],
        calibration=data.calibration and dataclasses.replace(data.calibration, reason=text()),
    )


# Attributes whose value may hold a text from outside. All the others must be the same for any names.
TOLD = {"title", "alt"}


def structure(source: str) -> list[tuple[object, ...]]:
    page = Page(source)
    assert not page.open
    return [
        (
            element.tag,
            element.depth,
            tuple((name, None if name in TOLD else value) for name, value in element.attributes.items()),
        )
        for element in page.elements
        if element.tag != "wbr" or element.attributes  # where a line may break depends on the name
    ]


def plain(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return render_report(named(sample(), HOSTILE))


def test_S5_the_page_has_the_same_elements_and_attributes_as_with_plain_names(hostile_page: str) -> None:
    expected = structure(render_report(named(sample(), plain(len(HOSTILE)))))
    got = structure(hostile_page)
    assert len(got) == len(expected) > 500
    for one, other in zip(got, expected, strict=True):
        assert one == other


@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(name)[:40] for name in HOSTILE])
def test_S5_each_name_alone_changes_no_element_of_the_least_page(name: str) -> None:
    assert structure(render_report(named(bare(), [name]))) == structure(render_report(named(bare(), ["c0"])))


def test_S5_names_are_shown_as_they_are_and_what_hides_is_shown_escaped(hostile_page: str) -> None:
    page = Page(hostile_page)
    titles = {element.attributes.get("title") for element in page.elements}
    told = set(HOSTILE[:10]) | {"a\u202egpj.exe"}
    assert {visible(name) for name in told} <= titles
    assert "{{7*7}}" in page.text
    assert r"a\u202egpj.exe" in page.text


def test_S5_no_character_of_the_page_hides_or_turns_its_surroundings(hostile_page: str) -> None:
    hostile_page.encode("utf-8")
    for char in set(hostile_page) - {"\n"}:
        kind = unicodedata.category(char)
        assert kind not in ("Cc", "Cs", "Zl", "Zp") or char == "\t", ascii(char)
        assert kind != "Cf" or char == "\u200d", ascii(char)


def test_S5_the_script_and_the_style_are_the_same_for_any_names(hostile_page: str) -> None:
    page, other = Page(hostile_page), Page(render_report(bare()))
    for tag in ("script", "style"):
        assert [element.text for element in page.all(tag)] == [element.text for element in other.all(tag)]
        assert len(page.all(tag)) == 1


def test_S5_the_drawings_hold_no_name(hostile_page: str) -> None:
    other = render_report(named(sample(), plain(len(HOSTILE))))
    drawings = [re.findall(r"<svg.*?</svg>", text, re.S) for text in (hostile_page, other)]
    assert drawings[0] == drawings[1]
    assert len(drawings[0]) == 5
