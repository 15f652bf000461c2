"""The strict YAML reader and writer."""

from __future__ import annotations

import pytest

from deitft.errors import RecipeError
from deitft.recipe.strict_yaml import plain_scalar, read_yaml, visible, write_yaml


def read(text: str) -> object:
    value, mistakes = read_yaml(text.encode(), source="r.yaml")
    assert mistakes == []
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 0.0005),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("-0", 0),
        ("0", 0),
        ("0.0", 0.0),
        ("00.5", 0.5),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("007", "007"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("e5", "e5"),
        (".", "."),
        ("-", "-"),
        ("yes", "yes"),
        ("nUll", "nUll"),
        ("١٢", "١٢"),
    ],
)
def test_plain_words_have_one_meaning(text: str, value: object) -> None:
    read_back = plain_scalar(text)
    assert read_back == value
    assert type(read_back) is type(value)


def test_quotes_make_text_and_blocks_are_text() -> None:
    assert read("a: '5'\nb: \"true\"\nc: |\n  1\nd: >\n  null\n") == {
        "a": "5",
        "b": "true",
        "c": "1\n",
        "d": "null\n",
    }


def test_keys_are_always_text() -> None:
    assert read("1: a\ntrue: b\n~: c\n'': d\n") == {"1": "a", "true": "b", "~": "c", "": "d"}


def test_lists_sections_and_nesting() -> None:
    assert read("a: [1, {b: 2}]\nc:\n- d\n-\n  e: 3\n") == {"a": [1, {"b": 2}], "c": ["d", {"e": 3}]}


def test_an_empty_document_is_nothing_and_a_mark_at_the_front_is_allowed() -> None:
    assert read("") is None
    assert read("# only a comment\n") is None
    assert read("\ufeffa: 1") == {"a": 1}
    assert read("---\na: 1\n...\n") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "r.yaml line 1: not valid YAML (expected ',' or ']'"),
        ("a: b: c", "r.yaml line 1: not valid YAML (mapping values are not allowed here)"),
        ("a: 1\n\tb: 2", "r.yaml line 2: not valid YAML (found character '\\t'"),
        ("{a: 1}: 2", "r.yaml line 1: a list or a section cannot be a key"),
        ("? [a]\n: 2", "r.yaml line 1: a list or a section cannot be a key"),
        ("a: 1\n...\n---\nb: 2", "r.yaml line 3: a second document begins"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text.encode(), source="r.yaml")
    assert caught.value.line.startswith(said)
    assert (caught.value.id, caught.value.exit_code) == ("S2", 78)


def test_mistakes_inside_are_collected_with_their_lines() -> None:
    value, mistakes = read_yaml(b"a: .inf\nb: 1\nb: 2\n", source="r.yaml")
    assert value == {"a": ".inf", "b": 2}
    assert mistakes == ["line 1: .inf is not a finite number", 'line 3: the key "b" appears twice']


@pytest.mark.parametrize(
    "text",
    [
        "5e-4",
        "1e400",
        ".nan",
        "no",
        "null",
        "",
        "12:30",
        " a ",
        "a: b",
        "# x",
        "é\u202e\n",
        "\x85",
        "\u2028x",
        "\ufeff",
        "&a",
        "- x",
    ],
)
def test_text_is_written_so_that_it_comes_back_as_text(text: str) -> None:
    assert read(write_yaml({"a": text, "b": [text], text: 1})) == {"a": text, "b": [text], text: 1}


def test_writing_repeats_what_is_shared_and_keeps_short_lists_on_a_line() -> None:
    shared = [1, 2]
    assert write_yaml({"a": shared, "b": shared}) == "a: [1, 2]\nb: [1, 2]\n"


def test_visible_is_one_short_line() -> None:
    assert visible("a\n\x1b\u202e") == "a\\n\\x1b\\u202e"
    assert visible("é 漢") == "é 漢"
    assert visible("x" * 100, 10) == "x" * 9 + "…"
