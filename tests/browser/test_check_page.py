"""The page of a check in a real browser: what is seen first, pairs side by side, no request, no script needed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.test_report_page import BOXES, DESKTOP, PHONE
from faults.test_S5 import HOSTILE
from faults.test_S5_check import named
from unit.check_sample import check_page, clean, parts, unfit

from deitft.reporting.check_data import CheckPage
from deitft.reporting.check_page import write_check_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="needs chromium and chromedriver",
    ),
]

Open = Callable[..., Any]

PAGES: dict[str, Callable[[], CheckPage]] = {
    "full": check_page,
    "unfit": unfit,
    "clean": clean,
    "hostile": lambda: named(check_page(), HOSTILE),
    "long": lambda: dataclasses.replace(named(check_page(), ["w" * 255]), ok=False),
    "many": lambda: check_page(found=parts() * 4),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        write_check_page(folder / f"{name}.html", make())
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", list(PAGES))
def test_the_first_screen_holds_what_matters_and_nothing_sticks_out(
    show: Open, name: str, size: tuple[int, int]
) -> None:
    driver = show(name, size)
    least = 4 if name == "clean" else 8
    boxes = driver.execute_script(BOXES, ".verdict, .score .interval, .bar, .found li, .worst .none, .next p")
    assert len(boxes) >= least
    for what, left, top, right, bottom in boxes:
        assert left >= 0, what
        assert right <= size[0] + 0.5, what
        assert right > left, what
        assert bottom > top, what
    if name not in ("long", "hostile"):
        assert max(bottom for *_, bottom in boxes) <= size[1] + 0.5
    assert driver.execute_script("return document.documentElement.scrollWidth") == size[0]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_photos_of_a_pair_stand_beside_each_other_at_one_height(show: Open, size: tuple[int, int]) -> None:
    driver = show("full", size)
    rows = driver.execute_script(
        "return [...document.querySelectorAll('.duo')].map(d => [...d.querySelectorAll('img')].map(i => {"
        "  const b = i.getBoundingClientRect(); return [b.left, b.top, b.width, b.height, i.naturalWidth]; }))"
    )
    assert len(rows) == 15
    for left, right in rows[:12]:  # the others are folded away
        assert left[1] == right[1]
        assert left[2:4] == pytest.approx(right[2:4], abs=0.5)
        assert right[0] >= left[0] + left[2]
        assert left[4] > 0 < right[4]
        assert left[2] >= (120 if size == DESKTOP else 150)


def test_a_finding_leads_to_its_photos(show: Open) -> None:
    driver = show("full")
    link = driver.find_element("css selector", ".found li:nth-child(2) a")
    assert link.text == "Suspect labels"
    link.click()
    top = driver.execute_script("return document.querySelector('#found-2').getBoundingClientRect().top")
    assert 0 <= top < 200
    summary = driver.find_element("css selector", "#found-2 details summary")
    assert "2 more photos" in summary.text


def test_everything_can_be_read_without_script(show: Open) -> None:
    driver = show("full", script=False)
    text = driver.find_element("tag name", "body").text
    for wanted in (
        "Can be trained on",
        "15 pairs",
        "boots → hat?",
        "its label got 3.1",
        "deitft finetune products",
    ):
        assert wanted in text
    folded = driver.find_element("css selector", "#found-1 details")
    folded.find_element("tag name", "summary").click()
    assert folded.find_element("css selector", "img").is_displayed()


def test_light_and_dark_differ(show: Open) -> None:
    def colours() -> list[str]:
        found: list[str] = driver.execute_script(
            "const s = (q) => getComputedStyle(document.querySelector(q));"
            "return [s('body').backgroundColor, s('.verdict').color, s('.tag.loud').color]"
        )
        return found

    driver = show("unfit")
    light = colours()
    driver = show("unfit", dark=True)
    assert all(one != other for one, other in zip(light, colours(), strict=True))


def test_names_from_outside_stay_text(show: Open) -> None:
    driver = show("hostile")
    assert driver.execute_script("return document.querySelectorAll('script').length") == 1
    count = "return document.querySelectorAll('img[onerror], [onload], [onmouseover]').length"
    assert driver.execute_script(count) == 0
    assert "<img src=x onerror=alert(1)>" in driver.find_element("tag name", "body").text


def test_printing_gives_all_of_it_on_paper(show: Open) -> None:
    driver = show("full")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert not driver.find_element("tag name", "nav").is_displayed()
    assert driver.find_element("css selector", ".duo img").is_displayed()
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 50_000
