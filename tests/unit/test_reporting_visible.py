from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deitft.reporting.visible import shortened, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name", "plain name"),
        ("café 猫 שמלה", "café 猫 שמלה"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028sep", r"line\u2028sep"),
        ("bad\udcffbyte", r"bad\udcffbyte"),
        ("c1\x9b", r"c1\x9b"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("end\uffff", r"end\uffff"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("می\u200cشود", "می\u200cشود"),
        ("a\u200db", r"a\u200db"),
        ("\u200dstart", r"\u200dstart"),
        ("é\u200d\u200dx", "é\u200d\\u200dx"),
        ("", ""),
    ],
)
def test_visible_shows_what_hides(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters()))
def test_visible_leaves_nothing_that_hides_and_changes_nothing_else(text: str) -> None:
    shown = visible(text)
    bad = [
        c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\u200c\u200d"
    ]
    assert not bad
    shown.encode("utf-8")
    assert visible(shown) == shown
    if all(unicodedata.category(c)[0] in "LNPS" for c in text):
        assert all(c in shown for c in text)


@given(st.text(max_size=300), st.integers(5, 60))
def test_shortened_keeps_both_ends_within_the_limit(text: str, limit: int) -> None:
    short, whole = shortened(text, limit), visible(text)
    assert len(short) <= limit
    if len(whole) <= limit:
        assert short == whole
    else:
        assert "…" in short
        assert whole.startswith(short[0])


def test_shortened_tells_long_names_of_one_beginning_apart() -> None:
    assert shortened("w" * 250 + "1", 28) != shortened("w" * 250 + "2", 28)
