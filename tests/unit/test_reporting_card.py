"""The model card: what it says, and that no name in it becomes markup."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest
import yaml
from markdown_it import MarkdownIt

from deitft.reporting.card import CLASSES_SHOWN, CardFacts, code_block, escaped, model_card

EVIL = (
    "<img src=x onerror=alert(1)>",
    "=1+1",
    "[link](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "a|b|c",
    "`code` **bold** _it_ ~~no~~ # head",
    "http://evil.example www.evil.example a@b.c",
    "\x1b[31mred\u202eturned\nnew line",
    "- item",
    "1. item",
    "<!-- comment -->",
    "&lt;b&gt; &amp; </script>",
    "---",
    "\\",
    "```",
    "` a",
    "7) item",
    "+ item",
    "===",
    ":smile: $x$ ~a~",
)


def per_class(names: tuple[str, ...]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"name": name, "n": 10, "predicted": 9, "precision": 0.9, "recall": 0.81, "f1": 0.85} for name in names
    ]
    rows[1] |= {"n": 0, "precision": None, "recall": None, "f1": None}
    return rows


def facts(names: tuple[str, ...], **changed: object) -> CardFacts:
    given: dict[str, object] = {
        "title": names[0],
        "model": "deit_small_distilled_patch16_224.fb_in1k",
        "short_name": "deit_s",
        "parameters": 21_700_000,
        "two_heads": True,
        "classes": names,
        "photos": {"train": 3068, "val": 341, "test": 372},
        "train_counts": [100] * len(names),
        "data_fingerprint": "ab12",
        "preprocessing": {
            **{"size": 224, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bicubic"},
            **{"crop_share": 0.9, "aspect": "crop", "background": (255, 255, 255)},
        },
        "metrics": {
            **{"n": 372, "top1": 0.8575, "top5": None, "macro_f1": 0.84, "nll": 0.43, "majority": 0.2},
            "intervals": {"top1": [0.818, 0.8894]},
            "heads": {"class": {"top1": 0.85}, "both": {"top1": 0.8575}},
            "per_class": per_class(names),
            "notices": [{"what": f"test has no photos of {names[1]}", "hint": "its row shows n/a"}],
        },
        "probe_top1": 0.858,
        "temperature": 1.2345678,
        "weights": {"kind": "hub", "tag": "fb_in1k", "license": "apache-2.0", "architecture": names[0]},
        "command": ("deitft", "finetune", f"photos {names[0]}"),
        "recipe": names[0],
        "training": {"which": names[0]},
        "limits": (names[0],),
        "versions": {"torch": "2.15.0", "timm": None},
        "created": "2025-01-01T00:00:00+00:00",
    }
    return CardFacts(**(given | changed))  # type: ignore[arg-type]


class Structure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(markdown: str) -> Structure:
    """As GitHub shows it: tables, raw HTML and strike-through on."""
    body = markdown.split("---\n", 2)[2]
    parsed = Structure()
    parsed.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(body))
    return parsed


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_no_name_becomes_markup(evil: str) -> None:
    names = (evil, "hat")
    plain, shown = page(model_card(facts(("c0", "hat")))), page(model_card(facts(names)))
    assert shown.tags == plain.tags
    assert {tag for tag, _ in shown.tags} <= {
        *("h1", "h2", "strong", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "pre")
    }
    assert "\x1b" not in shown.text
    assert "\u202e" not in shown.text


def test_names_read_as_they_are() -> None:
    text = page(model_card(facts((EVIL[0], EVIL[5], "café 👟")))).text
    for name in (EVIL[0], EVIL[5], "café 👟"):
        assert name in text


def test_the_figures_are_there_with_their_intervals() -> None:
    text = page(model_card(facts(("hat", "shoe")))).text
    for part in ("85.8 %", "81.8 to 88.9 %", "0.430", "372 test photos", "21.7 M parameters", "class 85.0 %"):
        assert part in text
    assert "Top-5" not in text
    assert "Logistic regression on frozen features" in text
    assert "the mean of their logits is served" in text
    assert "1.235" in text
    assert "apache-2.0" in text
    assert "test has no photos of shoe: its row shows n/a." in text
    rows = [line for line in model_card(facts(("hat", "shoe"))).splitlines() if line.startswith("| shoe")]
    assert rows == ["| shoe | 100 | 0 | n/a | n/a | n/a |"]


def test_figures_of_the_photos_that_chose_the_model_are_called_flattering() -> None:
    assert "that chose nothing" in model_card(facts(("a", "b")))
    card = model_card(facts(("a", "b"), claim_split="val"))
    assert "that chose nothing" not in card
    assert "these figures flatter the model" in card


def test_plain_names_stay_readable() -> None:
    assert escaped("t-shirt, size 3.5 (new)") == "t-shirt, size 3.5 (new)"
    assert escaped("-rf") == "\\-rf"
    assert escaped("10. place") == "10\\. place"
    assert escaped("www.evil.example") == "www\\.evil.example"


def test_front_matter_is_plain_yaml() -> None:
    card = model_card(facts(("a", "b"), weights={"license": "no: [x]\n- !!python/object y"}))
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "timm"
    assert front["license"] == "no: [x]\\n- !!python/object y"
    assert "license" not in yaml.safe_load(model_card(facts(("a", "b"), weights={})).split("---\n")[1])


def test_nothing_measured_is_said() -> None:
    card = model_card(facts(("a", "b"), metrics={}))
    assert "Nothing was measured" in card
    assert "| a | 100 |  |  |  |  |" in card


def test_licences() -> None:
    def licence(**weights: str) -> str:
        return page(model_card(facts(("a", "b"), weights=weights))).text.rpartition("Licence")[2]

    assert "random start" in licence(kind="none")
    assert "not known" in licence(kind="file")
    assert "weights of others, vit.x (sha256 ab)." in licence(kind="hub", architecture="vit", tag="x", sha256="ab")
    assert "Their licence is mit." in licence(kind="hub", license="mit", tag="x")


@pytest.mark.parametrize(
    ("aspect", "words"), [("pad", "padded to a square"), ("squash", "whatever its sides were")]
)
def test_what_happens_to_photos_not_square(aspect: str, words: str) -> None:
    given = facts(("a", "b"))
    text = page(
        model_card(dataclasses.replace(given, preprocessing={**given.preprocessing, "aspect": aspect}))
    ).text
    assert words in text
    assert ("timm's transform pads with the mean colour" in text) == (aspect == "pad")


@pytest.mark.parametrize(("temperature", "words"), [(1.0, "no temperature was fitted"), (1.25, "fitted on val")])
def test_a_temperature_that_was_not_fitted_is_not_claimed(temperature: float, words: str) -> None:
    assert words in model_card(dataclasses.replace(facts(("a", "b")), temperature=temperature))


def test_many_classes_are_cut_and_counted() -> None:
    names = tuple(f"c{index}" for index in range(CLASSES_SHOWN + 7))
    card = model_card(facts(names))
    assert "7 more classes stand in" in card
    assert len(re.findall(r"^\| c\d+ \|", card, flags=re.MULTILINE)) == CLASSES_SHOWN


def test_code_cannot_leave_its_fence() -> None:
    block = code_block("a\n```\n<b>\n````", "console")
    assert block.splitlines()[0] == "`````console"
    assert page(f"---\n---\n{block}").tags == [("pre", ()), ("code", ("class",))]
    assert escaped(" a*b ") == "a\\*b"
