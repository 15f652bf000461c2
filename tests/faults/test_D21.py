"""D21: class folder names that are odd."""

from __future__ import annotations

import os

import pytest
from photo_kit import clean, judge, put, read, refused, write_classes

from deitft.data.catalog import shown

CLASHES = {
    "a": (("caf\u00e9", "cafe\u0301"), 'the form of their Unicode letters: "cafe\\u0301" and "caf\\xe9"'),
    "b": (("Cat", "cat"), 'case: "Cat" and "cat"'),
    "b_sharp": (("stra\u00dfe", "STRASSE"), 'case: "STRASSE" and "stra\\xdfe"'),
    "c": (("cat ", "cat"), 'spaces: "cat" and "cat "'),
    "c_tab": (("\tcat", "cat"), 'spaces: "\\tcat" and "cat"'),
}


@pytest.mark.parametrize("case", CLASHES)
def test_D21_abc_names_that_people_would_confuse(tmp_path, case):
    names, text = CLASHES[case]
    root = write_classes(tmp_path / "p", {names[0]: 2, "dog": 2})
    clean(root, "D21")
    write_classes(root, {names[1]: 2}, seed=1)
    error = refused(root)
    assert (error.id, error.exit_code, error.line) == (
        "D21",
        65,
        f"two class folders differ only in {text} — rename one",
    )


def test_D21_a_two_forms_on_two_sides_are_one_class(tmp_path):
    root = write_classes(tmp_path / "p", {"train/caf\u00e9": 3, "train/b": 3, "val/cafe\u0301": 2, "val/b": 2})
    catalog = read(root)
    assert catalog.classes == ("b", "caf\u00e9")
    assert {int(label) for path, label in zip(catalog.paths, catalog.labels, strict=True) if "caf" in path} == {1}


def test_D21_b_case_across_sides(tmp_path):
    root = write_classes(tmp_path / "p", {"train/cat": 3, "train/b": 3, "val/Cat": 2, "val/b": 2})
    assert refused(root).id == "D21"


ODD = [
    "\U0001f600 shoes",
    "a\u202eb",
    "line\nbreak",
    "\x1b[31mred",
    "x" * 255,
    "-rf",
    "<img src=x onerror=alert(1)>",
    "=1+1",
    "[red]",
    "{{7*7}}",
    "%s",
    "CON",
    "NUL",
    "aux.",
    "__metadata__",
]


def test_D21_d_to_h_odd_names_are_kept_exactly_and_shown_escaped(tmp_path):
    root = tmp_path / "p"
    write_classes(root, dict.fromkeys(ODD, 1))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert catalog.classes == tuple(sorted(ODD))
    for line in [notice.line for notice in catalog.notices] + [item.text for item in findings]:
        assert line.isprintable()
    assert [shown(name) for name in ODD[1:4]] == ["a\\u202eb", "line\\nbreak", "\\x1b[31mred"]


def test_D21_d_an_odd_name_in_an_error_is_shown_escaped(tmp_path):
    error = refused(write_classes(tmp_path / "p", {"\x1b]52;c;x\x07": 3}))
    assert error.what == 'only one class ("\\x1b]52;c;x\\x07")'


def test_D21_e_a_leading_dot_is_hidden(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1, ".c": 1})
    assert read(root).classes == ("a", "b")


@pytest.mark.parametrize("place", ["class", "photo", "train"])
def test_D21_i_names_that_are_not_utf8(tmp_path, place):
    root = write_classes(tmp_path / "p", {"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1})
    clean(root, "D21")
    odd = os.fsdecode(b"\xff\xfe")
    if place == "photo":
        put(root, f"train/a/{odd}.jpg", (root / "train/a/000.jpg").read_bytes())
        want = "1 file name is not valid UTF-8, first: train/a/\\xff\\xfe.jpg"
    else:
        put(root, f"{'test' if place == 'class' else 'train'}/{odd}/x.jpg", b"")
        want = 'the name of class folder "\\xff\\xfe" is not valid UTF-8'
    error = refused(root)
    assert (error.id, error.exit_code, error.what) == ("D21", 65, want)


def test_D21_j_order_is_that_of_code_points(tmp_path):
    root = write_classes(tmp_path / "p", {"1": 1, "2": 1, "10": 1, "b": 1, "B2": 1})
    put(root, "\u00e9/x.jpg", (root / "1/000.jpg").read_bytes())
    assert read(root).classes == ("1", "10", "2", "B2", "b", "\u00e9")
