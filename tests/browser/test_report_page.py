"""The report in a real browser: what is seen first, sorting, hovering, no request, no script needed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.test_S5 import HOSTILE, named
from unit.report_sample import bare, distilled, sample

from deitft.reporting.html import write_report
from deitft.reporting.report_data import ReportData

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="needs chromium and chromedriver",
    ),
]

DESKTOP, PHONE = (1280, 800), (390, 844)

Open = Callable[..., Any]


PAGES: dict[str, Callable[[], ReportData]] = {
    "full": sample,
    "bare": bare,
    "distilled": lambda: distilled(sample()),
    "long": lambda: sample([chr(97 + i) * 255 for i in range(10)]),
    "hostile": lambda: named(sample(), HOSTILE),
    "banner": lambda: dataclasses.replace(
        sample(),
        banners=["5 test photos are also in train: these figures are too good, and --allow-leak let them in."],
        probe=None,
        probe_note="switched off",
    ),
    "sixty": lambda: sample([f"a class of some length {i}" for i in range(60)], [6] * 60, noise=1.9),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        write_report(folder / f"{name}.html", make())
    return {name: folder / f"{name}.html" for name in PAGES}


BOXES = """
return [...document.querySelectorAll(arguments[0])].map(e => {
  const box = e.getBoundingClientRect();
  return [e.className || e.tagName, box.left, box.top, box.right, box.bottom];
});
"""

MUST_BE_SEEN = ".figure, .interval, .bar, .trio figure, .trio img, .trio .to, .next, .next p, .worst .none"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", list(PAGES))
def test_the_first_screen_holds_what_matters_and_nothing_sticks_out(
    show: Open, name: str, size: tuple[int, int]
) -> None:
    driver = show(name, size)
    boxes = driver.execute_script(BOXES, MUST_BE_SEEN)
    assert len(boxes) >= (14 if name != "bare" else 6)
    for what, left, top, right, bottom in boxes:
        assert left >= 0, what
        assert top >= 0, what
        assert right <= size[0] + 0.5, what
        assert bottom <= size[1] + 0.5, what
        assert right > left, what
        assert bottom > top, what
    assert driver.execute_script("return document.documentElement.scrollWidth") == size[0]
    texts = driver.execute_script("return [...document.querySelectorAll('.trio img')].map(e => e.naturalWidth)")
    assert all(width > 0 for width in texts)


def column(driver: Any, number: int) -> list[str]:
    rows: list[str] = driver.execute_script(
        "return [...document.querySelectorAll('#classes tbody tr')].map(r => r.cells[arguments[0]].innerText)",
        number,
    )
    return rows


def test_a_click_sorts_and_a_second_click_turns_it_round(show: Open) -> None:
    driver = show("full")
    before = column(driver, 0)
    buttons = driver.find_elements("css selector", "#classes thead button")
    assert [button.text for button in buttons][:4] == ["Class", "Photos", "Called so", "Recall"]
    buttons[1].click()
    photos = [int(text) for text in column(driver, 1)]
    assert photos == sorted(photos)
    buttons[1].click()
    assert [int(text) for text in column(driver, 1)] == sorted(photos, reverse=True)
    states = driver.execute_script(
        "return [...document.querySelectorAll('#classes thead th')].map(h => h.getAttribute('aria-sort'))"
    )
    assert states == [None, "descending", None, None, None, None, None]
    buttons[0].click()
    assert column(driver, 0) == sorted(before)
    buttons[3].click()
    recalls = [float(text.split()[0]) for text in column(driver, 3)]
    assert recalls == sorted(recalls)
    assert sorted(column(driver, 0)) == sorted(before), "no row is lost"


def test_a_matrix_cell_tells_itself_in_words(show: Open) -> None:
    driver = show("full")
    cell = driver.find_element("css selector", "table.matrix td.miss:not(.zero)")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    cell.click()
    told = driver.find_element("css selector", ".readout").text
    assert told == cell.get_attribute("title")
    assert ", called " in told
    assert len(driver.find_elements("css selector", "table.matrix .column")) == 11


def test_the_next_step_leads_to_photos_that_are_unfolded(show: Open) -> None:
    driver = show("full")
    link = driver.find_element("css selector", ".next a")
    assert link.get_attribute("href").endswith("#pairs")
    link.click()
    wait = "return document.querySelector('#pairs').getBoundingClientRect().top"
    assert 0 <= driver.execute_script(wait) < 200
    assert driver.execute_script("return [...document.querySelectorAll('#pairs details')].every(d => d.open)")


def test_everything_can_be_read_without_script(show: Open) -> None:
    driver = show("full", script=False)
    assert driver.find_elements("css selector", "thead button") == []
    text = driver.find_element("tag name", "body").text
    for wanted in ("Top-1 accuracy on test", "Next step", "Each class", "t-shirt", "val selects", "0.0005"):
        assert wanted in text
    assert driver.find_element("css selector", "#classes table").is_displayed()
    assert driver.find_element("css selector", "table.matrix").is_displayed()


def test_what_the_token_learned_fits_a_phone_without_script(show: Open) -> None:
    driver = show("distilled", PHONE, dark=True, script=False)
    part = driver.find_element("css selector", "#token")
    for wanted in ("What the token learned", "Who disagrees with whom", "Label or teacher", "11.2", "0.930"):
        assert wanted in part.text
    for table in part.find_elements("css selector", ":scope > .scroll"):
        assert table.rect["x"] + table.rect["width"] <= PHONE[0]


def test_light_and_dark_differ_and_drawings_follow(show: Open) -> None:
    def colours() -> tuple[str, str, str]:
        found = driver.execute_script(
            "const s = (q) => getComputedStyle(document.querySelector(q));"
            "return [s('body').backgroundColor, s('body').color, s('.plot text').fill]"
        )
        return tuple(found)

    driver = show("full")
    light = colours()
    driver = show("full", dark=True)
    dark = colours()
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert light[0] == "rgb(255, 254, 251)"
    assert dark[0] == "rgb(22, 21, 19)"


def test_names_from_outside_stay_text(show: Open) -> None:
    driver = show("hostile")
    assert driver.execute_script("return document.querySelectorAll('script').length") == 1
    assert (
        driver.execute_script("return document.querySelectorAll('img[onerror], [onload], [onmouseover]').length")
        == 0
    )
    assert "<img src=x onerror=alert(1)>" in driver.find_element("tag name", "body").text
    assert driver.title.startswith("</title>") or "deitft report" in driver.title


def test_the_policy_stops_a_script_and_a_picture_that_are_not_ours(
    driver: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    """The control: were a name to become markup, the page's policy would still hold it."""
    page = tmp_path / "injected.html"
    evil = "<script>window.owned = 1</script><img src='http://127.0.0.1:9/x.png' onerror='window.owned = 2'>"
    page.write_text(pages["bare"].read_text().replace("</main>", f"{evil}</main>"))
    driver.get_log("browser")
    driver.get(page.as_uri())
    assert driver.execute_script("return window.owned") is None
    told = " ".join(entry["message"] for entry in driver.get_log("browser"))
    assert told.count("Content Security Policy") >= 2


@pytest.mark.parametrize("page", ["full", "sixty"])
def test_printing_gives_all_of_it_on_paper(show: Open, page: str) -> None:
    """Also the long tables that the screen keeps folded, whether the page may run its script or not."""
    driver = show(page)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert not driver.find_element("tag name", "nav").is_displayed()
    for table in driver.find_elements("css selector", "details:not(.shut) table"):
        assert table.size["height"] > 100
    assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 100_000
    folded = driver.execute_script("return document.querySelectorAll('details:not([open], .shut)').length")
    assert folded == 0
