"""fixes.csv: what waits for a decision, what a spreadsheet makes of it, and what decisions come to."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photo_kit import read, write_classes
from run_kit import fails

from deitft.core.records import parse_csv_text
from deitft.data.catalog import TEST, TRAIN, Catalog
from deitft.errors import DataError, MissingInputError, Notice
from deitft.runs.fixes import (
    COLUMNS,
    Fix,
    apply,
    carried,
    fixes_text,
    labels_text,
    proposals,
    read_fixes,
    without_empty_classes,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return read(write_classes(tmp_path / "photos", {"boots": 3, "hat": 3, "shoes": 3}))


def found(**details: object) -> Notice:
    return Notice(id="X", severity="warning", text="found", details=details)


def labels_of(catalog: Catalog) -> dict[str, str]:
    return {
        path: catalog.classes[label] for path, label in zip(catalog.paths, catalog.labels.tolist(), strict=True)
    }


def test_pairs_of_two_labels_and_suspects_wait_once_each(catalog: Catalog) -> None:
    pairs = [
        ("boots/000.jpg", "hat/001.jpg", "the same picture", 0),
        ("boots/001.jpg", "boots/002.jpg", "almost the same", 3),  # one label: nothing to decide
    ]
    suspects = [("boots/000.jpg", "boots", "shoes", 0.01), ("shoes/002.jpg", "shoes", "hat", 0.034)]
    assert proposals([found(suspects=suspects), found(pairs=pairs)], catalog) == [
        Fix("boots/000.jpg", "boots", "hat", "the same picture: hat/001.jpg"),
        Fix("hat/001.jpg", "hat", "boots", "the same picture: boots/000.jpg"),
        Fix("shoes/002.jpg", "shoes", "hat", "looks like hat, its label got 3.4 %"),
    ]
    assert proposals([found()], catalog) == []


def test_decisions_of_an_earlier_file_are_carried_over_and_none_is_lost() -> None:
    fresh = [Fix("a", "x", "y", "new"), Fix("b", "x", "y", "new")]
    old = [Fix("b", "x", "y", "old", "keep"), Fix("c", "x", "y", "old", "y"), Fix("d", "x", "y", "old")]
    assert carried(fresh, old) == [
        Fix("a", "x", "y", "new"),
        Fix("b", "x", "y", "new", "keep"),
        Fix("c", "x", "y", "old", "y"),
    ]
    assert carried([], []) == []


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), unique_by=lambda row: row[0], max_size=6))
def test_S5_any_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    fixes = [Fix(*row) for row in rows]
    file = tmp_path_factory.mktemp("fixes") / "fixes.csv"
    file.write_text(fixes_text(fixes), "utf-8", newline="")
    assert read_fixes(file) == fixes


def saved_by_a_spreadsheet(text: str, delimiter: str = ",", ending: str = "\r\n") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=ending).writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_save_is_read(tmp_path: Path, delimiter: str, encoding: str) -> None:
    fixes = [Fix("=a/ü, b;.jpg", "boots", "hat", "why", "hat"), Fix("c.jpg", "hat", "boots", "why")]
    text = saved_by_a_spreadsheet(fixes_text(fixes), delimiter) + f"{delimiter * 4}\r\n"  # an empty row at its end
    (tmp_path / "fixes.csv").write_bytes(text.encode(encoding))
    assert read_fixes(tmp_path / "fixes.csv") == fixes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"path,label\na,b\n", 'no column "decision"'),
        (b"", 'no column "path"'),
        (b"path,label,decision\na,b,c,d\n", "row 2 has more cells"),
        (b"path,label,decision\na,b,\na,b,c\n", "names a twice"),
        (b'path,label,decision\n"a,b,c\n', "unexpected end of data"),
        ("path,label,decision\ncafé,b,\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_what_is_no_list_of_decisions_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "fixes.csv").write_bytes(data)
    with fails(DataError, "FIXES") as caught:
        read_fixes(tmp_path / "fixes.csv")
    assert words in caught.value.what


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    with fails(MissingInputError, "FIXES"):
        read_fixes(tmp_path / "nothing.csv")


def test_an_untouched_file_changes_nothing(catalog: Catalog) -> None:
    fixes = [Fix(path, label, "hat", "why") for path, label in labels_of(catalog).items()]
    applied = apply(catalog, fixes, "fixes.csv")
    assert (applied.moved, applied.dropped, applied.kept, applied.undecided) == (0, 0, 0, 9)
    assert labels_of(applied.catalog) == labels_of(catalog)
    assert applied.catalog.fingerprint == catalog.fingerprint


def test_each_decision_does_what_it_says_and_nothing_else(catalog: Catalog) -> None:
    before = labels_of(catalog)
    fixes = [
        Fix("boots/000.jpg", "boots", "hat", "why", "hat"),
        Fix("boots/001.jpg", "boots", "hat", "why", " Keep "),
        Fix("hat/000.jpg", "hat", "boots", "why", "DROP"),
        Fix("hat/001.jpg", "hat", "boots", "why"),
        Fix("shoes/000.jpg", "shoes", "hat", "why", "shoes"),  # as it was: not moved
    ]
    fixes = [Fix(*(getattr(fix, name) for name in COLUMNS[:4]), fix.decision.strip()) for fix in fixes]
    applied = apply(catalog, fixes, "fixes.csv")
    assert (applied.moved, applied.dropped, applied.kept, applied.undecided) == (1, 1, 1, 1)
    assert applied.line == "1 moved, 1 dropped, 1 kept, 1 without decision"
    expected = before | {"boots/000.jpg": "hat"}
    del expected["hat/000.jpg"]
    assert labels_of(applied.catalog) == expected
    assert labels_of(catalog) == before  # the photos' own labels stay


def test_what_does_not_fit_is_named_all_of_it_and_nothing_is_applied(catalog: Catalog) -> None:
    fixes = [
        Fix("gone.jpg", "boots", "", "", "hat"),
        Fix("hat/000.jpg", "shoes", "", "", "hat"),
        Fix("hat/001.jpg", "hat", "", "", "boot"),
        Fix("hat/002.jpg", "hat", "", "", "umbrella"),
    ]
    with fails(DataError, "FIXES") as caught:
        apply(catalog, fixes, "fixes.csv")
    assert caught.value.what == "fixes.csv: gone.jpg is not among the photos (3 more rows of this kind)"
    assert caught.value.files == ("gone.jpg", "hat/000.jpg", "hat/001.jpg", "hat/002.jpg")
    rows = caught.value.details["rows"]
    assert rows[1] == 'hat/000.jpg is labelled "hat", not "shoes"'
    with fails(DataError, "FIXES") as caught:
        apply(catalog, fixes[2:3], "fixes.csv")
    assert caught.value.hint == 'did you mean "boots"?'
    with fails(DataError, "FIXES") as caught:
        apply(catalog, fixes[3:], "fixes.csv")
    assert caught.value.hint == 'write "keep", "drop" or a class: boots, hat, shoes'


def test_a_class_called_drop_is_not_mixed_up_with_dropping(tmp_path: Path) -> None:
    catalog = read(write_classes(tmp_path / "photos", {"drop": 2, "hat": 2}))
    for decision, expected in (("class:drop", "drop"), ("photo:drop", None), ("photo:keep", "hat")):
        applied = apply(catalog, [Fix("hat/000.jpg", "hat", "", "", decision)], "fixes.csv")
        assert labels_of(applied.catalog).get("hat/000.jpg") == expected
    with fails(DataError, "FIXES") as caught:
        apply(catalog, [Fix("hat/000.jpg", "hat", "", "", "drop")], "fixes.csv")
    assert "also a class" in caught.value.what
    assert "class:drop" in caught.value.hint
    assert "photo:drop" in caught.value.hint


def test_a_class_that_loses_all_its_photos_is_gone(catalog: Catalog) -> None:
    fixes = [Fix(f"hat/00{number}.jpg", "hat", "", "", "drop" if number else "shoes") for number in range(3)]
    applied = apply(catalog, fixes, "fixes.csv")
    assert applied.catalog.classes == ("boots", "shoes")
    assert labels_of(applied.catalog)["hat/000.jpg"] == "shoes"
    assert without_empty_classes(catalog) is catalog


def test_a_list_of_labels_holds_sides_and_groups_where_there_are_any(tmp_path: Path, catalog: Catalog) -> None:
    rows = parse_csv_text(labels_text(catalog))
    assert list(rows[0]) == ["path", "label"]
    assert {row["path"]: row["label"] for row in rows} == labels_of(catalog)
    split = read(write_classes(tmp_path / "split", {"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1}))
    object.__setattr__(split, "groups", np.array([f"g{row}" for row in range(6)], object))
    rows = parse_csv_text(labels_text(split))
    assert list(rows[0]) == ["path", "label", "split", "group"]
    assert {row["split"] for row in rows} == {"train", "test"}
    assert set(split.given.tolist()) == {TRAIN, TEST}
    assert [row["group"] for row in rows] == [f"g{row}" for row in range(6)]


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    file = tmp_path / "fixes.csv"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with fails(DataError, "FIXES"):
        read_fixes(file)
