"""D19: tables of photos with bad rows, another encoding, or missing files."""

from __future__ import annotations

import pytest
from photo_kit import write_classes
from source_kit import labels_of, look, refusal, write_csv

from deitft.errors import DataError

GOOD = [(f"{name}/{number:03d}.jpg", name) for name in ("cat", "dog") for number in range(10)]


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"cat": 10, "dog": 10})
    found = look(write_csv(root / "labels.csv", GOOD))  # the control
    assert found.notices == ()
    assert labels_of(found) == dict(GOOD)
    return root


def write(root, text: str | bytes, name: str = "labels.csv"):
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return root / name


def text_of(rows, columns="path,label") -> str:
    return "\n".join([columns, *(",".join(row) for row in rows)]) + "\n"


def refused(root, text: str | bytes) -> DataError:
    error = refusal(write(root, text))
    assert (error.id, error.exit_code) == ("D19", 65)
    return error


def test_D19_a_latin_1(root):
    (root / "caf\u00e9").mkdir()
    error = refused(root, b"path,label\ncaf\xe9/1.jpg,cat\n")
    assert error.line == "labels.csv is not UTF-8 (byte 0xe9 in row 2) — save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_D19_a_utf_16(root, encoding):
    mark = b"" if encoding == "utf-16" else {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}[encoding]
    assert "is not UTF-8 (UTF-16)" in refused(root, mark + text_of(GOOD).encode(encoding)).line


def test_D19_a_a_byte_order_mark_is_accepted(root):
    assert labels_of(look(write(root, text_of(GOOD).encode("utf-8-sig")))) == dict(GOOD)


def test_D19_b_semicolons(root):
    error = refused(root, text_of(GOOD).replace(",", ";"))
    assert error.what == 'labels.csv has no column "path"'
    assert "separated by semicolons" in error.hint


def test_D19_c_a_short_row_and_a_long_row(root):
    rows = text_of(GOOD)
    short = refused(root, rows.replace("cat/003.jpg,cat", "cat/003.jpg"))
    assert short.what == "labels.csv row 5: 1 cells, the first row has 2"
    long = refused(root, rows.replace("cat/003.jpg,cat", "cat/003.jpg,cat,"))
    assert long.what == "labels.csv row 5: 3 cells, the first row has 2"


def test_D19_c_every_row_one_cell_too_long(root):
    error = refused(root, "path,label\n" + "".join(f"{path},{label},x\n" for path, label in GOOD))
    assert error.what == "labels.csv row 2: 3 cells, the first row has 2 (20 such rows)"


def test_D19_d_a_quote_that_is_not_closed(root):
    error = refused(root, text_of(GOOD).replace("dog/001.jpg,dog", '"dog/001.jpg,dog'))
    assert error.what.startswith("labels.csv row 13: ")


def test_D19_e_labels_are_text_exactly_as_written(root):
    labels = ["NA", "null", "None", "001", "1", "True", "nan", "1e3", "-", "0x1"]
    rows = [(path, labels[number % 10]) for number, (path, _) in enumerate(GOOD)]
    assert labels_of(look(write(root, text_of(rows)))) == dict(rows)


def test_D19_e_labels_that_differ_only_in_spaces_or_case_are_named_and_kept(root):
    rows = [
        (path, " cat" if number == 3 else "Cat" if number == 4 else label)
        for number, (path, label) in enumerate(GOOD)
    ]
    found = look(write(root, text_of(rows)))
    assert labels_of(found) == dict(rows)
    notice = found.notices[0]
    assert (notice.id, notice.severity, len(found.notices)) == ("D19", "warning", 1)
    assert notice.details == {"labels": [[" cat", "Cat", "cat"]]}


def test_D19_f_a_nul_byte(root):
    assert (
        refused(root, text_of(GOOD).replace("dog/001", "dog/0\x001")).what == "labels.csv row 13: holds a NUL byte"
    )


def test_D19_g_a_path_twice_and_a_column_twice(root):
    error = refused(root, text_of([*GOOD, GOOD[2], ("./cat//004.jpg", "dog")]))
    assert error.what == "labels.csv row 22: file cat/002.jpg stands here a second time (2 such rows)"
    assert refused(root, text_of(GOOD, "path,path")).what == 'labels.csv has the column "path" twice'


def test_D19_h_missing_files_are_counted(root):
    rows = [*GOOD[:12], ("shoes/99.jpg", "cat"), ("shoes/98.jpg", "cat"), *GOOD[12:], ("dog", "dog")]
    error = refused(root, text_of(rows))
    assert error.line == (
        "labels.csv row 14: file shoes/99.jpg does not exist (3 such rows) — fix the rows or remove them"
    )
    assert error.details == {"path": [14, 15, 24]}


def test_D19_h_paths_that_begin_somewhere_else(root):
    error = refused(root, text_of([("hat/1.jpg", "hat"), ("cap/2.jpg", "cap")]))
    assert error.line == (
        "labels.csv row 2: file hat/1.jpg does not exist (2 such rows) — "
        "name the folder that the paths begin at with --root"
    )


@pytest.mark.parametrize("text", ["path,label\n", "path,label"])
def test_D19_i_header_only(root, text):
    error = refusal(write(root, text))
    assert (error.id, error.exit_code, error.what) == ("D19", 66, "labels.csv has no rows")


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n"])
def test_D19_i_empty(root, text):
    assert refused(root, text).what == "labels.csv is empty"


def test_D19_k_backslashes(root):
    error = refused(root, text_of([*GOOD[:-1], ("dog\\009.jpg", "dog")]))
    assert (
        error.what
        == 'labels.csv row 21: file dog\\009.jpg does not exist (it would with "/" in the place of "\\")'
    )
    (root / "dog\\009.jpg").write_bytes((root / "dog/009.jpg").read_bytes())
    assert len(look(write(root, text_of([*GOOD[:-1], ("dog\\009.jpg", "dog")])))) == 20


def test_D19_other_words_in_the_columns(root):
    rows = [(path, label, "sideways" if number == 4 else "train") for number, (path, label) in enumerate(GOOD)]
    error = refused(root, text_of(rows, "path,label,split"))
    assert error.what == 'labels.csv row 6: "sideways" is not a split (train, val, test or empty)'
    rows = [(path, "" if number > 17 else label) for number, (path, label) in enumerate(GOOD)]
    assert refused(root, text_of(rows)).what == "labels.csv row 20: file dog/008.jpg has no label (2 such rows)"
    assert refused(root, text_of(GOOD, "file,label")).what == 'labels.csv has no column "path"'
    assert refused(root, text_of(GOOD, "path,class")).what == 'labels.csv has no column "label"'


def test_D19_every_kind_of_mistake_is_in_the_details(root):
    rows = [("", "cat"), GOOD[0], GOOD[0], ("x", "dog"), (GOOD[1][0], " ")]
    error = refused(root, text_of(rows))
    assert error.what == "labels.csv row 2: the path is empty (2 such rows)"
    assert error.details == {"path": [2, 5], "twice": [4], "label": [6]}


def test_D19_tables_of_other_programs(root):
    for name in ("labels.tsv", "labels.xlsx", "labels.json"):
        error = refusal(write(root, "x", name))
        assert (error.id, error.exit_code, error.hint) == ("D19", 65, "save it as CSV or Parquet")
    error = refusal(root / "none.csv")
    assert (error.id, error.exit_code, error.what) == ("D1", 66, f"no such file: {root}/none.csv")


def test_D19_two_tables_that_name_one_photo(root):
    write(root, text_of(GOOD))
    write(root, text_of(GOOD[:1]), "more.csv")
    error = refusal(root / "labels.csv", root / "more.csv")
    assert (error.id, error.exit_code) == ("D19", 65)
    assert error.what.startswith("cat/000.jpg is named by two of ")
