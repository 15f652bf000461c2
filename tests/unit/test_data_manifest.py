"""Tables of photos: what their faults test leaves open. Faults are in ``tests/faults/test_D19.py``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from photo_kit import put, write_classes
from source_kit import labels_of, look, refusal, samples, tar_bytes, write_csv

from deitft.core.progress import Silent
from deitft.data.catalog import NONE, TEST, TRAIN, VAL
from deitft.data.scan import scan
from deitft.data.source import Source
from deitft.errors import DeitftError, UnavailableError, UsageError

ROWS = [(f"{name}/{number:03d}.jpg", name) for name in "ab" for number in range(4)]


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path / "p", {"a": 4, "b": 4})


def test_columns_in_any_order_and_others_beside_them(root):
    rows = [("x", label, "note, with a comma", path) for path, label in ROWS]
    table = write_csv(root / "t.csv", rows, ("sku", "label", "note", "path"))
    found = look(table)
    assert labels_of(found) == dict(ROWS)
    assert (found.groups, found.root) == (None, table)
    assert found.places.read("a/001.jpg")[1] == (root / "a/001.jpg").read_bytes()
    status = (root / "a/001.jpg").stat()
    assert found.stamps[1].tolist() == [status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    assert found.sizes[1] == status.st_size


def test_splits_in_every_usual_word(root):
    words = ["train", "Training", "val", "DEV", " test ", "holdout", "", "train"]
    table = write_csv(
        root / "t.csv", [(*row, word) for row, word in zip(ROWS, words, strict=True)], ("path", "label", "split")
    )
    assert look(table).given.tolist() == [TRAIN, TRAIN, VAL, VAL, TEST, TEST, NONE, TRAIN]


def test_a_class_that_only_test_has(root):
    rows = [(path, label, "test" if label == "b" else "train") for path, label in ROWS]
    error = refusal(write_csv(root / "t.csv", rows, ("path", "label", "split")))
    assert (error.id, error.exit_code) == ("D9", 65)
    assert (
        error.line
        == 'test has a class the model does not know: "b" — add it to train or remove its rows from t.csv'
    )


def test_one_class(root):
    error = refusal(write_csv(root / "t.csv", [(path, "all") for path, _ in ROWS]))
    assert (error.id, error.what) == ("D1", 'only one class ("all")')


def test_groups(root):
    rows = [(*row, f"sku {number // 2}", "") for number, row in enumerate(ROWS)]
    table = write_csv(root / "t.csv", rows, ("path", "label", "group", "empty"))
    assert look(table).groups.tolist() == [f"sku {number // 2}" for number in range(8)]
    assert look(table, group_by="label").groups.tolist() == [label for _, label in ROWS]
    assert look(table, group_by="empty").groups is None
    error = refusal(table, group_by="sku")
    assert (error.id, error.what) == ("D19", 't.csv has no column "sku"')
    assert look(table, group_by=r"(\d)\.jpg$").groups.tolist() == list("01230123")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sku", "would be a column of a table"),
        ("(", "neither a column nor"),
        (r"^(\d{9})", "no file name matches"),
    ],
)
def test_groups_that_are_none(root, asked, words):
    error = refusal(root, group_by=asked)
    assert (error.id, error.exit_code) == ("GROUPS", 2)
    assert words in error.line


def test_groups_of_several_brackets_and_of_none():
    from deitft.data.groups import by_expression, is_column

    paths = ["x/ab-1-red.jpg", "y/ab-2-red.jpg", "x/AB.jpg"]
    assert by_expression(paths, r"^(\w+)-\d-(\w+)") == ["ab\x1fred", "ab\x1fred", ""]
    assert by_expression(paths, r"^ab") == ["ab", "ab", ""]
    assert by_expression(paths, r"-(\d)-(x)?") == ["1\x1f", "2\x1f", ""]
    assert [is_column(text) for text in ("sku", "article no", "a-b", r"\d+", "(sku)", "a.b", "^a")] == [
        True
    ] * 3 + [False] * 4


def test_a_table_elsewhere_names_its_root(root, tmp_path):
    table = write_csv(tmp_path / "t.csv", ROWS)
    assert refusal(table).id == "D19"
    assert labels_of(look(table, roots=[root])) == dict(ROWS)
    error = refusal(root, roots=[root])
    assert (error.id, error.exit_code) == ("USAGE", 2)
    assert refusal(table, roots=[tmp_path / "none"]).exit_code == 66


def test_several_roots_go_by_their_names(root, tmp_path):
    other = write_classes(tmp_path / "q" / "p", {"a": 2, "c": 2}, seed=5)
    both = look(root, other)
    assert both.paths == [f"p-2/{path}" for path in look(other).paths] + [f"p/{path}" for path in look(root).paths]
    assert both.classes == ("a", "b", "c")
    table = write_csv(tmp_path / "t.csv", labels_of(both).items())
    again = look(table, roots=[root, other])
    assert labels_of(again) == labels_of(both)
    assert [again.places.read(path)[1] for path in again.paths] == [
        both.places.read(path)[1] for path in both.paths
    ]
    error = refusal(write_csv(tmp_path / "t.csv", ROWS), roots=[root, other])
    assert error.what == 't.csv row 2: file a/000.jpg begins with none of "p/", "p-2/" (8 such rows)'
    for outside in ("../x.jpg", "p/../../x.jpg", "/etc/passwd", "p-2/../../q/x.jpg"):
        assert refusal(write_csv(tmp_path / "t.csv", [(outside, "a")]), roots=[root, other]).id == "S4", outside
    inside = str(other / "a/000.jpg")
    rows = [(inside, "a"), ("p/b/000.jpg", "b")]
    assert look(write_csv(tmp_path / "t.csv", rows), roots=[root, other]).paths == ["p-2/a/000.jpg", "p/b/000.jpg"]


def test_two_tables_of_one_folder(root):
    one, two = write_csv(root / "1.csv", ROWS[:5]), write_csv(root / "2.csv", ROWS[5:])
    assert labels_of(look(one, two)) == dict(ROWS)


def test_photos_in_shards(root, tmp_path):
    photos = [(f"in/{number}.jpg", (root / path).read_bytes()) for number, (path, _) in enumerate(ROWS)]
    shards = tmp_path / "s" / "part"
    shards.mkdir(parents=True)
    (shards / "x.tar").write_bytes(tar_bytes(samples(photos, ["what", "ever"] * 4)))
    rows = [(f"part/x.tar/{name}", label) for (name, _), (_, label) in zip(photos, ROWS, strict=True)]
    found = look(write_csv(tmp_path / "t.csv", rows), roots=[tmp_path / "s"])
    assert labels_of(found) == dict(rows)
    assert [found.places.read(path)[1] for path in found.paths] == [content for _, content in photos]
    alone = look(shards)
    assert (alone.sizes.tolist(), alone.stamps.tolist()) == (found.sizes.tolist(), found.stamps.tolist())
    error = refusal(
        write_csv(tmp_path / "t.csv", [*rows, ("part/x.tar/in/9.jpg", "a"), ("y.tar/1.jpg", "a")]),
        roots=[tmp_path / "s"],
    )
    assert error.what == "t.csv row 10: file part/x.tar/in/9.jpg does not exist (2 such rows)"


def test_rows_of_several_lines_and_quotes(root):
    put(root, 'a/odd "name",\n.jpg', (root / "a/000.jpg").read_bytes())
    table = write_csv(root / "t.csv", [('a/odd "name",\n.jpg', "a"), ("b/none.jpg", "b")])
    assert refusal(table).what == "t.csv row 4: file b/none.jpg does not exist"
    table = write_csv(root / "t.csv", [('a/odd "name",\n.jpg', "a"), *ROWS])
    assert len(look(table)) == 9


def test_labels_in_two_forms_of_letters_are_one(root):
    rows = [
        (path, "cafe\u0301" if number % 2 else "caf\u00e9") for number, (path, _) in enumerate(ROWS[:4])
    ] + ROWS[4:]
    found = look(write_csv(root / "t.csv", rows))
    assert (found.classes, found.notices) == (("b", "caf\u00e9"), ())


def test_a_hundred_thousand_rows_are_quick(tmp_path):
    """Bounded time and one look at each folder: the rows name ten files in many ways."""
    import time

    root = write_classes(tmp_path / "p", {"a": 5, "b": 5})
    for number in range(300):
        (root / "a" / f"l{number}.jpg").hardlink_to(root / "a/000.jpg")
    rows = [(f"a/l{number}.jpg", "a") for number in range(300)] + [("b/000.jpg", "b")]
    began = time.process_time()
    assert len(scan(Source((write_csv(root / "t.csv", rows),)), progress=Silent())) == 301
    assert time.process_time() - began < 2


# Parquet


def test_without_a_reader_of_parquet(root, monkeypatch):
    put(root, "t.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refusal(root / "t.parquet")
    assert isinstance(error, UnavailableError)
    assert (error.id, error.exit_code) == ("EXTRA", 69)
    assert error.line == (
        't.parquet is a Parquet file, and nothing is installed to read it — pip install "deitft[parquet]"'
    )


def write_parquet(file: Path, /, **columns: object) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), file)
    return file


def test_parquet(root):
    paths, labels = map(list, zip(*ROWS, strict=True))
    table = write_parquet(root / "t.parquet", path=paths, label=labels, group=list(range(8)), price=[1.5] * 8)
    found = look(table)
    assert labels_of(found) == dict(ROWS)
    assert found.groups.tolist() == list(map(str, range(8)))
    numbers = write_parquet(root / "t.parquet", path=paths, label=np.array([1, 10] * 4))
    assert look(numbers).classes == ("1", "10")
    words = ["NA", "null", "001", "1", "True", "", None, "x"]
    error = refusal(write_parquet(root / "t.parquet", path=paths, label=words))
    assert (error.id, error.what) == ("D19", "t.parquet row 6: file b/001.jpg has no label (2 such rows)")


@pytest.mark.parametrize(
    ("labels", "words"), [([0.5] * 8, 'row 1: "label" is of type float, not text'), ([True] * 8, "of type bool")]
)
def test_parquet_of_other_types(root, labels, words):
    error = refusal(write_parquet(root / "t.parquet", path=[path for path, _ in ROWS], label=labels))
    assert (error.id, error.exit_code) == ("D19", 65)
    assert words in error.what


def test_parquet_rows_that_lead_outside(root):
    paths = [path for path, _ in ROWS[:-1]] + ["../../etc/passwd"]
    error = refusal(write_parquet(root / "t.parquet", path=paths, label=["a", "b"] * 4))
    assert (error.id, error.what) == ("S4", f"t.parquet row 8: ../../etc/passwd is outside {root}")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"not parquet at all, but long enough to look", b"PAR1" + bytes(100) + b"PAR1"]
)
def test_a_file_that_is_not_parquet(root, content):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    put(root, "t.parquet", content)
    error = refusal(root / "t.parquet")
    assert (error.id, error.exit_code) == ("D19", 65)
    assert "t.parquet is not a Parquet file that can be read" in error.what
    with pytest.raises(DeitftError):
        look(root / "none.parquet")


@pytest.mark.parametrize("expression", ["(", "a{999999999999}", "(" * 5000 + ")" * 5000])
def test_what_is_no_expression_is_told_in_one_line(expression):
    from deitft.data.groups import by_expression

    with pytest.raises(UsageError) as caught:
        by_expression(["p/a.jpg"], expression)
    assert caught.value.id == "GROUPS"
    assert len(caught.value.what) < 300


def test_an_expression_that_tries_everything_is_ended(monkeypatch):
    from deitft.data import groups

    monkeypatch.setattr(groups, "SECONDS", 0.2)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(UsageError, match="takes more than"):
        groups.by_expression([f"p/{'a' * 60}1.jpg"], "(a+)+b")
    assert signal.getsignal(signal.SIGALRM) is before
    assert groups.by_expression(["p/a1.jpg"], "(a)") == ["a"]
