from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from parsed_page import Page
from report_sample import bare, history, sample

from deitft.reporting import html as report_html
from deitft.reporting.html import TEMPLATES, render_report, write_report
from deitft.reporting.report_data import Calibration, Estimate, ReportData


@pytest.fixture(scope="module")
def data() -> ReportData:
    return sample()


@pytest.fixture(scope="module")
def page(data: ReportData) -> Page:
    return Page(render_report(data))


def test_the_page_is_well_formed_and_its_ids_are_unique(page: Page) -> None:
    assert not page.open
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = {
        (element.attributes.get("href") or "")[1:]
        for element in page.all("a")
        if (element.attributes.get("href") or "").startswith("#")
    }
    assert links <= set(ids)


def test_the_first_screen_says_what_must_be_said_first(data: ReportData, page: Page) -> None:
    first = page.all("header", "first")[0].text
    assert f"{100 * (data.top1.value or 0):.1f}" in first
    assert f"{100 * (data.top1.low or 0):.1f}–{100 * (data.top1.high or 0):.1f}" in first
    assert "n = 372 photos" in first
    assert "Frozen probe" in first
    assert "Largest class (shoes)" in re.sub(r"\s+", " ", first)
    assert "Next step" in first
    for pair in data.pairs[:3]:
        assert f"{pair.count} of {pair.n}" in first
    header = page.elements.index(page.all("header", "first")[0])
    end = page.elements.index(page.all("nav")[0])
    assert sum(element.tag == "img" for element in page.elements[header:end]) == 3


def test_every_part_is_there(page: Page) -> None:
    headings = [element.text for element in page.all("h2")] + [element.text for element in page.all("h3")]
    for wanted in (
        "Scores", "Each class", "What is taken for what", "Training", "Photos worth a look",
        "Where the model looks",
        "What training saw", "Data", "How it was made", "What these figures say, and what not", "Head by head",
        "The most confused pairs", "Worst mistakes", "Likeliest label errors", "Findings", "Splits", "Command",
        "Starting weights", "Plan", "Time and cost", "Environment",
    ):  # fmt: skip
        assert wanted in headings
    assert "deitft finetune clothing-small --model deit_ti --set 'train.length=12 epochs'" in page.text
    assert "3 test photos look almost the same as train photos" in page.text
    assert "the temperature 1.312" in page.text
    assert "val selects" in page.text


def test_nothing_can_be_loaded_and_the_script_is_the_one_allowed(data: ReportData, page: Page) -> None:
    policy = next(
        element.attributes["content"]
        for element in page.all("meta")
        if element.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    (script,) = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert script.attributes == {}
    assert script.text == (TEMPLATES / "script.js").read_text(), "static: no data in it"
    for element in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            target = element.attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), (element.tag, name, target[:60])
        assert not [name for name in element.attributes if name.startswith("on")]
    style = page.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"https?://", page.source.replace("http://www.w3.org/", ""))


def test_pictures_tables_and_parts_are_named_for_those_who_do_not_see_them(page: Page) -> None:
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("img")
    assert all((element.attributes.get("alt") or "").strip() for element in page.all("img"))
    assert all(element.attributes.get("scope") in ("row", "col") for element in page.all("th"))
    assert all(element.attributes.get("aria-label") for element in page.all("div", "scroll"))
    assert len(page.all("h1")) == 1
    levels = [int(element.tag[1]) for element in page.elements if re.fullmatch("h[1-6]", element.tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_class_table_holds_every_figure(data: ReportData, page: Page) -> None:
    text = re.sub(r"\s+", " ", page.by_id("classes").text)
    for row in data.per_class:
        for score in (row.recall, row.precision, row.f1):
            assert f"{100 * (score.value or 0):.1f}" in text
            assert f"{100 * (score.low or 0):.1f}–{100 * (score.high or 0):.1f}" in text


def test_the_page_is_small_and_always_the_same(data: ReportData, tmp_path: Path) -> None:
    size = write_report(tmp_path / "report.html", data)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert size == (tmp_path / "report.html").stat().st_size < 2_000_000
    assert text == render_report(sample())
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_a_flood_of_photos_is_cut_to_a_page(data: ReportData) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    case = dataclasses.replace(data.mistakes[0], image=noise)
    flood = dataclasses.replace(
        data,
        mistakes=[case] * 2000,
        label_errors=[case] * 2000,
        pairs=[dataclasses.replace(pair, photos=[case] * 500) for pair in data.pairs] * 10,
        views=[dataclasses.replace(data.views[0], views=[noise] * 50, names=["hat"] * 50)] * 100,
        attention=[dataclasses.replace(data.attention[0], image=noise)] * 100,
    )
    assert len(render_report(flood)) < 10_000_000


def test_the_least_report_says_so_and_claims_nothing_about_training() -> None:
    page = Page(render_report(bare()))
    assert "No mistake on 44 photos." in page.text
    assert "with 2 classes it would say nothing" in page.text
    for absent in ("val selects", "Training", "Findings", "How it was made", "Frozen probe", "None", "nan"):
        assert absent not in page.text
    assert "Were any of them used to train the model" in page.text
    nav = page.all("nav")[0].text
    assert re.findall(r"\w+", nav) == ["Scores", "Confusions", "Limits"]


@pytest.mark.parametrize(
    "changes",
    [
        {"history": None, "calibration": None},
        {"history": dataclasses.replace(history(), score_name="loss"), "claim_split": "val"},
        {"history": history(val=False), "calibration": "no after"},
        {"history": history(ema=False), "heads": (), "head_agreement": None},
        {"top5": None, "probe": None, "majority": None, "loss": None, "macro_f1": Estimate(None)},
        {"pairs": (), "mistakes": (), "label_errors": (), "attention": (), "views": ()},
        {"top1": Estimate(None, reason="no photo has a label"), "n": 0},
        {"plan": None, "weights": None, "splits": None, "findings": (), "environment": {}, "seconds": {}},
        {"seed": None, "made": "", "model": "", "data_name": "", "command": (), "costs": ()},
        {"per_class": (), "banners": ("5 test photos are also in train.",), "allowed_changes": ("optim.lr",)},
        {"mistakes": "no image", "pairs": "no photos"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_missing_parts_leave_a_whole_page(data: ReportData, changes: dict[str, object]) -> None:
    changes = {"views": (), "attention": (), "label_errors": data.label_errors[:2], **changes}
    if changes.get("calibration") == "no after" and data.calibration:
        changes["calibration"] = dataclasses.replace(
            data.calibration, after=None, temperature=None, reason="no val photos"
        )
    if changes.get("pairs"):
        changes["mistakes"] = [dataclasses.replace(data.mistakes[0], image=None, label_probability=None, label=-1)]
        changes["pairs"] = [dataclasses.replace(pair, photos=()) for pair in data.pairs]
    page = Page(render_report(dataclasses.replace(data, **changes)))  # type: ignore[arg-type]
    assert not page.open
    assert not re.search(r"\bNone\b|\bnan\b|Undefined", page.text)
    ids = {element.attributes.get("id") for element in page.elements}
    for link in page.all("a"):
        assert (link.attributes.get("href") or "")[1:] in ids
    if "banners" in changes:
        assert page.all("p", "banner")[0].text == "5 test photos are also in train."
    if changes.get("claim_split") == "val":
        assert "val claims" not in page.text
        assert "0.9" in page.by_id("training").text
        assert "measured on the photos that chose the model" in page.text
    if changes.get("n") == 0:
        assert "no photo has a label" in page.all("header", "first")[0].text


def test_a_run_without_a_step_shows_neither_views_nor_curves_but_says_why(data: ReportData) -> None:
    words = "No step was trained: the heads were solved on the frozen features of 64 train photos."
    page = Page(render_report(dataclasses.replace(data, history=None, views=(), untrained=words)))
    training = page.by_id("training")
    assert training.text.split() == ["Training", *words.split()]
    assert "What training saw" not in page.text
    assert "#training" in [element.attributes.get("href") for element in page.all("a")]


def test_a_temperature_that_makes_it_worse_is_said_to(data: ReportData) -> None:
    assert data.calibration is not None
    before, after = data.calibration.before, data.calibration.after
    assert after is not None

    def text(one: float, two: float, split: str = "test", photos: int = 40) -> str:
        calibration = Calibration(
            before=dataclasses.replace(before, error=Estimate(one)),
            after=dataclasses.replace(after, error=Estimate(two)),
            temperature=0.153,
            fitted_photos=photos,
        )
        page = Page(render_report(dataclasses.replace(data, calibration=calibration, claim_split=split)))
        return re.sub(r"\s+", " ", page.by_id("calibration").text)

    worse = "the calibration error is higher with the temperature than without: fitted on "
    carried = ", it did not carry over to these"
    assert f"On these 372 test photos {worse}40 val photos{carried}" in text(0.047, 0.059)
    assert f"{worse}1 val photo{carried}" in text(0.047, 0.059, photos=1)
    assert f"{worse}val{carried}" in text(0.047, 0.059, photos=0)
    assert "carry over" not in text(0.059, 0.047)
    assert "carry over" not in text(0.0471, 0.0474)  # the page shows 4.7 % twice
    assert "fitted for the smallest loss, and leaves a higher" in text(0.047, 0.059, "val")


def test_a_path_breaks_between_its_parts() -> None:
    broken = report_html._breakable("train/shoes/my_<b>_photo.of.a.cmyk.jpg\u202e")
    assert broken == "train/<wbr>shoes/<wbr>my_<wbr>&lt;b&gt;_<wbr>photo.of.a.cmyk.jpg\\u202e"
    assert report_html._breakable("cmyk.jpg") == "cmyk.jpg"


def test_a_thousand_classes_make_a_page_that_can_be_read() -> None:
    names = [f"class {number}" for number in range(1000)]
    page = Page(render_report(sample(names, [2] * 1000, noise=2.0)))
    assert "Shown are the 30 of 1000 classes with most mistakes." in re.sub(r"\s+", " ", page.text)
    assert len(page.all("table", "matrix")) == 1
    assert sum(element.tag == "td" and "title" in element.attributes for element in page.elements) == 30 * 30
    folded = [element for element in page.all("details") if "1000 classes" in element.text]
    assert len(folded) == 2
    assert all("open" not in element.attributes for element in folded)
    assert len(page.source) < 3_000_000


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_light_dark_and_print() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    style = (TEMPLATES / "style.css").read_text()
    palettes = [
        dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(palettes) == 3
    for palette in palettes:
        full = {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
            for name, value in palette.items()
        }
        for text in ("ink", "soft", "accent"):
            for ground in ("paper", "wash"):
                assert contrast(full[text], full[ground]) >= 4.5, (text, ground)


def test_matrix_cells_have_contrast_at_their_strongest() -> None:
    style = (TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    for block in blocks:
        palette = dict(re.findall(r"--([\w-]+): ([^;]+);", block))
        short = palette["paper"]
        paper_hex = short if len(short) == 7 else "#" + "".join(2 * c for c in short[1:])
        paper = [int(paper_hex[i : i + 2], 16) for i in (1, 3, 5)]
        ink = palette["ink"] if len(palette["ink"]) == 7 else "#" + "".join(2 * c for c in palette["ink"][1:])
        for name, alpha in (("accent-rgb", 0.65), ("ink-rgb", 0.65 * 0.38)):
            colour = [int(part) for part in palette[name].split()]
            mixed = [round(alpha * c + (1 - alpha) * p) for c, p in zip(colour, paper, strict=True)]
            assert contrast(ink, "#" + "".join(f"{part:02x}" for part in mixed)) >= 4.5


def test_templates_escape_by_default_and_refuse_unknown_names() -> None:
    environment = report_html._environment()
    assert environment.autoescape is True
    assert environment.from_string("{{ x }}").render(x='<b a="1">\x1b') == r"&lt;b a=&#34;1&#34;&gt;\x1b"
    assert environment.from_string("{{ x }}").render(x=None) == "n/a"
    with pytest.raises(Exception, match="missing"):
        environment.from_string("{{ missing }}").render()


def test_wrong_shapes_are_refused(data: ReportData) -> None:
    with pytest.raises(ValueError, match="confusion is"):
        dataclasses.replace(data, classes=("a", "b"))
    with pytest.raises(ValueError, match="per_class has 1 rows"):
        dataclasses.replace(data, per_class=data.per_class[:1])
