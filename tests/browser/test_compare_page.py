"""The page of a comparison in a real browser: the choice comes first, eight models fit on a phone, no request."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.test_report_page import BOXES, DESKTOP, PHONE
from faults.test_S5 import HOSTILE
from unit.compare_sample import comparison, named

from deitft.reporting.compare_data import Comparison
from deitft.reporting.compare_page import write_comparison

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="needs chromium and chromedriver",
    ),
]

Open = Callable[..., Any]

PAGES: dict[str, Callable[[], Comparison]] = {
    "four": comparison,
    "eight": lambda: comparison(8),
    "hostile": lambda: named(comparison(3), list(HOSTILE)),
    "missed": lambda: comparison(
        gates=[("macro_f1 >= 0.95", False, "macro_f1 is 0.91, wanted >= 0.95")],
        published=(("model", "top-1 %"), [(f"DeiT-{number}", "79.8") for number in range(55)]),
    ),
    "long": lambda: named(comparison(2), ["w" * 255]),
}

OVERLAPS = """
const found = [];
for (const list of document.querySelectorAll(".answers")) {
  const parts = list.querySelectorAll(".letter, .answer, .odds");
  const boxes = Array.from(parts, (part) => part.getBoundingClientRect());
  boxes.forEach((a, at) => boxes.slice(at + 1).forEach((b) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 0.5 && down > 0.5) found.push([across, down]);
  }));
}
return found;
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        size = write_comparison(folder / f"{name}.html", make())
        assert size < 10_000_000
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", list(PAGES))
def test_the_choice_and_every_model_come_first_and_nothing_sticks_out(
    show: Open, name: str, size: tuple[int, int]
) -> None:
    driver = show(name, size)
    boxes = driver.execute_script(BOXES, ".verdict, .score .interval, .bar, .next p")
    assert len(boxes) >= 5
    for what, left, top, right, bottom in boxes:
        assert left >= 0, what
        assert right <= size[0] + 0.5, what
        assert right > left, what
        assert bottom > top, what
    assert driver.execute_script("return document.documentElement.scrollWidth") == size[0]
    if name == "four" and size == DESKTOP:
        assert max(bottom for *_, bottom in boxes) <= size[1] + 0.5


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_was_missed_is_said_before_the_choice_across_the_page(show: Open, size: tuple[int, int]) -> None:
    driver = show("missed", size)
    ((_, left, _, right, bottom),) = driver.execute_script(BOXES, ".missed")
    ((_, _, top, _, _),) = driver.execute_script(BOXES, ".verdict")
    ((_, start, _, end, _),) = driver.execute_script(BOXES, ".hero")
    assert bottom <= top
    assert (left, right) == (start, end)


def test_published_figures_are_folded_on_the_screen_and_not_on_paper(show: Open) -> None:
    driver = show("missed")
    table = driver.find_element("css selector", "#published table")
    assert not table.is_displayed()
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert table.size["height"] > 55 * 10
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    driver.find_element("css selector", "#published summary").click()
    assert table.is_displayed()


def test_notes_do_not_touch_the_titles_of_drawings(show: Open) -> None:
    driver = show("four")
    *_, above = (bottom for *_, bottom in driver.execute_script(BOXES, "#cost .note:has(+ .plots)"))
    below = min(top for _, _, top, _, _ in driver.execute_script(BOXES, "#cost figcaption"))
    assert below - above > 16


def test_on_a_phone_eight_answers_to_a_photo_do_not_overlap(show: Open) -> None:
    driver = show("eight", PHONE)
    assert driver.execute_script("return document.querySelectorAll('.tile').length") == 10
    assert driver.execute_script("return document.querySelector('.answers').children.length") == 8
    driver.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    assert driver.execute_script(OVERLAPS) == []


def test_overlaps_would_be_seen(show: Open) -> None:
    driver = show("eight", PHONE)
    driver.execute_script("document.querySelector('.answers .answer').style.marginLeft = '-3em'")
    driver.execute_script("document.querySelector('.answers .answer').style.overflow = 'visible'")
    assert driver.execute_script(OVERLAPS)


def test_a_table_is_sorted_by_the_number_behind_its_cells(show: Open) -> None:
    driver = show("four")
    first = "return document.querySelector('#cost tbody tr th').textContent.trim()"
    heads = driver.execute_script(
        "return Array.from(document.querySelectorAll('#cost thead th'), (head) => head.textContent)"
    )
    at = next(number for number, text in enumerate(heads) if text.startswith("weights"))
    driver.execute_script(f"document.querySelectorAll('#cost thead th')[{at}].querySelector('button').click()")
    assert "swin_l" not in driver.execute_script(first)
    assert "mobilenetv2" in driver.execute_script(first)  # the smallest


def test_points_tell_their_value(show: Open) -> None:
    driver = show("four")
    titles = driver.execute_script(
        "return Array.from(document.querySelectorAll('#cost .plot title'), (title) => title.textContent)"
    )
    assert "A: 93.0 %, 23.1 ms" in titles
    assert "A: 93.0 %, 88.0 MB" in titles


def test_without_javascript_everything_can_be_read(show: Open) -> None:
    driver = show("four", script=False)
    for part in ("scores", "pairs", "cost", "classes", "agreement", "photos", "published", "limits"):
        assert driver.find_element("id", part).text


def test_names_of_strangers_are_shown_and_nothing_else(show: Open) -> None:
    driver = show("hostile")
    assert driver.execute_script("return window.pwned") is None
    assert driver.execute_script("return document.querySelectorAll('main script, main iframe').length") == 0
