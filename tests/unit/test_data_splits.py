from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from deitft.core.records import csv_text
from deitft.data.catalog import NONE, TEST, TRAIN, VAL, Catalog, object_column
from deitft.data.splits import COLUMNS, _Carving, assign, held_out_share, read_splits, write_splits
from deitft.data.units import _uniform
from deitft.errors import DataError, MissingInputError


def catalog_of(counts: dict[str, int], *, given: int = NONE, start: int = 0) -> Catalog:
    """An inspected catalog; photo number n has the content "n" (from ``start`` on)."""
    names = tuple(sorted(counts))
    rows = [(name, number) for name in names for number in range(counts[name])]
    total = len(rows)
    return Catalog(
        root=Path("/photos"),
        classes=names,
        paths=[f"{name}/{number:05d}.jpg" for name, number in rows],
        labels=np.array([names.index(name) for name, _ in rows], np.int32),
        given=np.full(total, given, np.int8),
        sizes=np.full(total, 1000, np.int64),
        stamps=np.zeros((total, 3), np.int64),
        digests=object_column([sha256(f"{start}/{name}/{number}".encode()).digest() for name, number in rows]),
        widths=np.full(total, 400, np.int32),
        heights=np.full(total, 300, np.int32),
        notes=np.zeros(total, np.uint16),
    )


def counts_by_class(catalog: Catalog, split: np.ndarray, side: int) -> list[int]:
    return np.bincount(catalog.labels[split == side], minlength=len(catalog.classes)).tolist()


def test_shares_shrink_in_bands_and_never_hold_out_fewer_photos():
    assert [held_out_share(n) for n in (1, 10_000, 10_001, 999_999, 1_000_000, 10**8)] == [
        0.10,
        0.10,
        0.08,
        0.015,
        0.01,
        0.01,
    ]
    edges = [1, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 999_999]
    for edge in edges:
        assert held_out_share(edge + 1) <= held_out_share(edge)
        if edge >= 50_000:
            assert held_out_share(edge + 1) * (edge + 1) >= held_out_share(edge) * edge * 0.65


def test_a_golden_split():
    """The rule is part of the format: another version must give the same split."""
    catalog = catalog_of({"a": 12, "b": 5})
    sides = "".join("RVT"[side] for side in assign(catalog, seed=0).split)
    assert sides == GOLDEN
    assert "".join("RVT"[side] for side in assign(catalog, seed=1).split) != GOLDEN


GOLDEN = "VRRRTRTRRRRR" + "RRTRR"


def test_the_least_of_several_hashes_is_spread_evenly():
    """Five photos of an article stand for it by the least of their hashes: it must not be drawn more often."""
    draws = np.random.default_rng(0).integers(0, 2**64, (20_000, 5), dtype=np.uint64, endpoint=False)
    for values in (draws[:, 0], draws.min(axis=1)):
        spread = _uniform(values)
        assert 0 <= spread.min() < spread.max() < 1
        counts = np.histogram(spread, bins=10, range=(0, 1))[0]
        assert abs(counts / 2_000 - 1).max() < 0.1
    raw = np.histogram(draws.min(axis=1) / 2**64, bins=10, range=(0, 1))[0]
    assert raw[0] > 1.8 * 2_000


def test_shares_are_kept_on_average():
    catalog = catalog_of({"a": 3000, "b": 3000})
    split = assign(catalog, seed=3).split
    for side in (VAL, TEST):
        assert abs((split == side).mean() - 0.10) < 3 * np.sqrt(0.1 * 0.9 / 6000)


def test_a_given_split_is_kept_whole():
    catalog = catalog_of({"a": 30, "b": 30})
    given = np.tile([TRAIN, TRAIN, TRAIN, VAL, TEST], 12).astype(np.int8)
    splits = assign(replace(catalog, given=given), seed=0)
    assert splits.split.tolist() == given.tolist()
    assert (splits.notices, splits.note) == ((), "as the folders say")


@pytest.mark.parametrize(("there", "missing"), [(VAL, TEST), (TEST, VAL)])
def test_what_is_missing_is_carved_from_train_alone(there, missing):
    catalog = catalog_of({"a": 100, "b": 100})
    given = np.tile([TRAIN, TRAIN, TRAIN, TRAIN, there], 40).astype(np.int8)
    splits = assign(replace(catalog, given=given), seed=0)
    assert (splits.split[given == there] == there).all()
    assert set(splits.split[given == TRAIN].tolist()) == {TRAIN, missing}
    assert min(counts_by_class(catalog, splits.split, missing)) >= 1
    # The rule is the same as where nothing is given: the same photos go to that side.
    alone = assign(replace(catalog, given=np.full(200, TRAIN, np.int8)), seed=0).split
    assert ((splits.split == missing) == ((alone == missing) & (given == TRAIN))).all()


def test_train_alone_is_carved_on_both_sides():
    catalog = catalog_of({"a": 50, "b": 50}, given=TRAIN)
    assert assign(catalog, seed=0).split.tolist() == assign(catalog_of({"a": 50, "b": 50}), seed=0).split.tolist()


def test_content_that_stands_on_a_given_side_draws_nothing_after_it():
    catalog = catalog_of({"a": 60, "b": 60})
    carved = assign(replace(catalog, given=np.full(120, TRAIN, np.int8)), seed=0).split
    row = int(np.flatnonzero(carved == TEST)[0])
    given = np.full(120, TRAIN, np.int8)
    twin = (row + 1) % 60
    given[twin] = VAL
    digests = catalog.digests.copy()
    digests[twin] = digests[row]
    assert assign(replace(catalog, given=given, digests=digests), seed=0).split[row] == TRAIN


def test_unlabelled_photos_are_left_out():
    catalog = catalog_of({"a": 20, "b": 20})
    labels = catalog.labels.copy()
    labels[::4] = -1
    split = assign(replace(catalog, labels=labels), seed=0).split
    assert (split[::4] == NONE).all()
    assert (np.delete(split, np.s_[::4]) != NONE).all()
    assert assign(replace(catalog, labels=np.full(40, -1, np.int32)), seed=0).indices(TRAIN).tolist() == []


def test_equal_content_goes_to_one_side():
    catalog = catalog_of({"a": 60, "b": 60})
    digests = catalog.digests.copy()
    for first in range(0, 60, 3):
        digests[first : first + 3] = digests[first]
    for seed in range(30):
        split = assign(replace(catalog, digests=digests), seed=seed).split
        assert (split[0:60:3] == split[1:60:3]).all()
        assert (split[0:60:3] == split[2:60:3]).all()


def test_units_are_counted_not_photos():
    """Nine different contents in 40 photos are a class of nine."""
    catalog = catalog_of({"a": 40, "b": 40})
    digests = catalog.digests.copy()
    for row in range(40):
        digests[row] = digests[row % 9]
    held = [
        counts_by_class(catalog, assign(replace(catalog, digests=digests), seed=s).split, TEST)[0]
        for s in range(40)
    ]
    assert min(held) == 0
    assert min(counts_by_class(catalog, assign(catalog, seed=s).split, TEST)[0] for s in range(40)) >= 1


def test_a_content_with_two_labels_stays_together():
    catalog = catalog_of({"a": 30, "b": 30, "c": 2})
    digests = catalog.digests.copy()
    digests[30:45] = digests[0:15]
    digests[60] = digests[20]  # class c is tiny: what it shares stays in train
    for seed in range(60):
        split = assign(replace(catalog, digests=digests), seed=seed).split
        assert (split[30:45] == split[0:15]).all()
        assert split[60] == split[20] == TRAIN
        for side in (VAL, TEST):
            assert min(counts_by_class(catalog, split, side)[:2]) >= 1


def test_a_forced_photo_never_empties_another_class():
    """Class b has three contents, all of them also in a: holding out must leave it one."""
    catalog = catalog_of({"a": 10, "b": 3})
    digests = catalog.digests.copy()
    digests[10:13] = digests[0:3]
    for seed in range(200):
        split = assign(replace(catalog, digests=digests), seed=seed).split
        assert min(counts_by_class(catalog, split, TRAIN)) >= 1
        assert (split[10:13] == split[0:3]).all()


def carve(classes: list[list[int]], hashes: list[float], share: float) -> str:
    """Sides of units whose hashes are chosen; ``classes`` lists the units of each class."""
    units = np.array([unit for members in classes for unit in members])
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes]).astype(np.int32)
    return "".join("RVT"[side] for side in _Carving(units, labels, np.array(hashes), share, [TEST, VAL]).sides())


def test_a_side_borrows_from_the_far_end_of_the_other_half():
    """Else a unit that leaves test, where the share shrinks, would be the next one forced into val."""
    low = [0.05, 0.09, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.49]
    assert carve([list(range(10))], low, 0.10) == "TTRRRRRRRV"
    assert carve([list(range(10))], low, 0.08) == "TRRRRRRRRV"
    high = [value + 0.5 for value in low]
    assert carve([list(range(10))], high, 0.10) == "VVRRRRRRRT"
    assert carve([list(range(10))], high, 0.08) == "VRRRRRRRRT"


def test_the_last_of_another_class_in_train_is_not_forced_out():
    """Unit 0 lies nearest to test, but it is all that the second class has in train."""
    hashes = [0.11, 0.51, 0.52, 0.12, 0.2, 0.3, 0.4, 0.7, 0.8, 0.9]
    assert carve([list(range(10))], hashes, 0.10) == "TVVRRRRRRR"
    assert carve([list(range(10)), [0, 1, 2]], hashes, 0.10) == "RVVTRRRRRR"


def test_where_all_would_be_held_out_the_one_farthest_inside_stays():
    assert carve([[0, 1, 2]], [0.01, 0.09, 0.55], 0.10) == "TRV"


def test_groups_are_kept_whole_and_go_by_their_name():
    catalog = catalog_of({"a": 200, "b": 200})
    groups = [f"product {row // 4}" for row in range(400)]
    split = assign(catalog, seed=5, groups=groups).split
    assert (split.reshape(100, 4) == split.reshape(100, 4)[:, :1]).all()
    assert {TRAIN, VAL, TEST} == set(split.tolist())
    other = catalog_of({"a": 200, "b": 200}, start=9)  # other content, same groups
    assert assign(other, seed=5, groups=groups).split.tolist() == split.tolist()
    assert assign(catalog, seed=6, groups=groups).split.tolist() != split.tolist()


def test_no_groups_is_the_same_as_empty_names():
    catalog = catalog_of({"a": 40, "b": 40})
    assert assign(catalog, seed=1, groups=[""] * 80).split.tolist() == assign(catalog, seed=1).split.tolist()
    some = ["x" if row in (3, 50) else "" for row in range(80)]
    split = assign(catalog, seed=1, groups=some).split
    assert split[3] == split[50]
    rest = [row for row in range(80) if row not in (3, 50)]
    assert (split[rest] == assign(catalog, seed=1).split[rest]).mean() > 0.95  # but for forced ones


def test_groups_that_share_a_photo_become_one_and_are_named():
    catalog = catalog_of({"a": 30, "b": 30})
    groups = [f"g{row // 3}" for row in range(60)]
    digests = catalog.digests.copy()
    digests[3] = digests[0]  # g0 and g1
    digests[31] = digests[4]  # g1 and g10
    splits = assign(replace(catalog, digests=digests), seed=0, groups=groups)
    assert len({int(side) for side in splits.split[[0, 1, 2, 3, 4, 5, 30, 31, 32]]}) == 1
    notice = next(notice for notice in splits.notices if notice.id == "GROUPS")
    assert notice.text == '3 groups share photos and are kept together, first: "g0" and "g1"'
    assert notice.details["merged"] == [["g0", "g1", "g10"]]


def test_small_classes_are_named():
    splits = assign(catalog_of({"a": 40, "b": 1, "c": 2}), seed=0)
    assert [(notice.id, notice.severity, notice.line) for notice in splits.notices] == [
        ("D15", "info", 'val has no photos of "b" and 1 more — a class of 10 photos or more gets some'),
        ("D15", "info", 'test has no photos of "b" and 1 more — a class of 10 photos or more gets some'),
    ]
    assert splits.notices[0].details == {"split": "val", "classes": ["b", "c"]}
    assert splits.note == "val and test: 10.0% of the photos each, by content, seed 0"


def test_a_class_of_many_photos_in_few_groups_is_a_warning_that_says_so():
    catalog = catalog_of({"a": 40, "b": 40})
    groups = [f"g{row % 40 // 20}" for row in range(80)]
    notices = assign(catalog, seed=0, groups=groups).notices
    why = "by --group-by or likeness its photos stay together in fewer than 10 groups"
    assert {(notice.severity, notice.hint) for notice in notices if notice.id == "D15"} == {("warning", why)}


def test_a_photo_without_content_stands_for_itself():
    catalog = catalog_of({"a": 30, "b": 30})
    digests = catalog.digests.copy()
    digests[[1, 2, 3]] = b""
    split = assign(replace(catalog, digests=digests), seed=0).split
    assert (split >= 0).all()
    rest = np.delete(np.arange(60), [1, 2, 3])
    assert (split[rest] == assign(catalog, seed=0).split[rest]).mean() > 0.95


def test_an_empty_catalog_gives_an_empty_split():
    assert assign(catalog_of({"a": 1}).select([]), seed=0).split.tolist() == []


def test_splits_need_no_torch_and_no_scipy():
    code = (
        "import sys, deitft.data.splits, deitft.data.audit; print({'torch', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


# --- splits.csv


def test_write_and_read(tmp_path):
    catalog = catalog_of({"=cmd": 30, "b": 30, "c": 3})
    paths = [path.replace("00003", "-1+2\n, \"é'") for path in catalog.paths]
    catalog = replace(catalog, paths=paths)
    labels = catalog.labels.copy()
    labels[7] = -1
    catalog = replace(catalog, labels=labels)
    splits = assign(catalog, seed=2)
    file = tmp_path / "splits.csv"
    write_splits(file, splits, catalog)
    assert "\n'=cmd/00000.jpg,'=cmd,train," in file.read_text()
    again = read_splits(file, catalog)
    assert (again.split.tolist(), again.notices, again.note) == (splits.split.tolist(), (), "as splits.csv says")
    order = np.random.default_rng(0).permutation(63)
    assert read_splits(file, catalog.select(order)).split.tolist() == splits.split[order].tolist()


@pytest.fixture
def pinned(tmp_path):
    catalog = catalog_of({"a": 20, "b": 20})
    rows = assign(catalog, seed=0).table(catalog)
    return catalog, rows, tmp_path / "splits.csv"


def write(file: Path, rows: list[dict[str, object]], columns: tuple[str, ...] = COLUMNS) -> Path:
    file.write_text(csv_text(rows, columns))
    return file


def mistake(file: Path, catalog: Catalog) -> DataError:
    with pytest.raises(DataError) as caught:
        read_splits(file, catalog)
    assert caught.value.exit_code == 65
    assert "\n" not in caught.value.line
    return caught.value


def test_path_and_split_are_enough(pinned):
    catalog, rows, file = pinned
    want = assign(catalog, seed=0).split.tolist()
    assert read_splits(write(file, rows, ("split", "path")), catalog).split.tolist() == want
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_splits(file, catalog).split.tolist() == want


def test_photos_not_named_are_left_out_with_a_word(pinned):
    catalog, rows, file = pinned
    splits = read_splits(write(file, rows[:-2]), catalog)
    assert splits.split[-2:].tolist() == [NONE, NONE]
    assert [notice.text for notice in splits.notices] == [
        "2 photos are not in splits.csv and left out, first: b/00018.jpg"
    ]
    one = read_splits(write(file, rows[:-1]), catalog)
    assert one.notices[0].text == "1 photo is not in splits.csv and left out, first: b/00019.jpg"


def test_a_row_without_a_side_leaves_its_photo_out_and_need_not_exist(pinned):
    catalog, rows, file = pinned
    rows[0]["split"] = ""
    rows.append({"path": "a/left out.jpg", "label": "a", "split": "", "sha256": ""})
    splits = read_splits(write(file, rows), catalog)
    assert (splits.split[0], splits.notices) == (NONE, ())


@pytest.mark.parametrize(
    ("row", "change", "want"),
    [
        (12, {"path": "shoes/99.jpg"}, "splits.csv row 14: file shoes/99.jpg does not exist among the photos"),
        (12, {"path": "../../etc/passwd"}, "file ../../etc/passwd does not exist among the photos"),
        (3, {"split": "holdout {x}"}, 'row 5: "holdout {x}" is not a split (train, val, test or empty)'),
        (3, {"label": "b"}, 'row 5: file a/00003.jpg has the label "b", its folder is "a"'),
        (3, {"sha256": "00" * 32}, "row 5: file a/00003.jpg has changed since (another sha256)"),
        (4, {"path": "a/00003.jpg", "sha256": ""}, "row 6: file a/00003.jpg stands here a second time"),
        (0, {"path": "a\0b"}, r"file a\x00b does not exist among the photos"),
    ],
)
def test_rows_that_do_not_fit_are_named(pinned, row, change, want):
    catalog, rows, file = pinned
    rows[row] |= change
    error = mistake(write(file, rows), catalog)
    assert want in error.what
    assert (error.id, error.hint) == ("D19", "fix the rows or remove them")


def test_many_mistakes_are_counted_by_kind(pinned):
    catalog, rows, file = pinned
    for row in (5, 9, 11):
        rows[row]["path"] = f"gone/{row}.jpg"
    rows[2]["path"] = "line\nbreak.jpg"
    rows[2]["split"] = ""
    rows[20]["label"] = "x"
    error = mistake(write(file, rows), catalog)
    assert error.what == "splits.csv row 8: file gone/5.jpg does not exist among the photos (3 such rows)"
    assert error.details == {"path": [8, 12, 14], "label": [23]}


@pytest.mark.parametrize(
    ("content", "want"),
    [
        (b"path,split\na/caf\xe9.jpg,train\n", "splits.csv is not UTF-8 (byte 0xe9 in row 2)"),
        (b"\xff\xfe" + "path,split\n".encode("utf-16-le"), "splits.csv is not UTF-8 (UTF-16)"),
        (b"path;split\na;train\n", "splits.csv has no columns path and split in its first line"),
        (b"", "splits.csv has no columns path and split in its first line"),
        (b"path,split,path\n", "splits.csv has no columns path and split in its first line"),
        (b"path,split\na,train\n\nb,train,x\n", "splits.csv row 4: 3 cells, want 2"),
        (b'path,split\na,train\n"b,train\n', "splits.csv row 3: unexpected end of data"),
    ],
)
def test_files_that_are_no_such_table(pinned, content, want):
    catalog, _, file = pinned
    file.write_bytes(content)
    error = mistake(file, catalog)
    assert (error.id, error.what) == ("D19", want)


def test_a_missing_file(pinned):
    catalog, _, file = pinned
    with pytest.raises(MissingInputError) as caught:
        read_splits(file, catalog)
    assert (caught.value.id, caught.value.exit_code) == ("D19", 66)


def test_what_is_no_file_is_never_opened(pinned, tmp_path):
    """A device may never end when it is read, and a pipe that nobody writes to never begins."""
    catalog, _, _ = pinned
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(MissingInputError, match="is not a file") as caught:
            read_splits(path, catalog)
        assert (caught.value.id, caught.value.hint) == ("D19", "check the path")


def test_train_keeps_every_class(pinned):
    catalog, rows, file = pinned
    for row in rows[20:]:
        row["split"] = "test"
    assert mistake(write(file, rows), catalog).what == 'splits.csv leaves no train photo of "b"'


def test_one_photo_on_two_sides_is_a_leak(pinned):
    catalog, rows, file = pinned
    digests = catalog.digests.copy()
    digests[1] = digests[0]
    catalog = replace(catalog, digests=digests)
    rows[0]["split"], rows[1]["split"], rows[1]["sha256"] = "train", "test", rows[0]["sha256"]
    error = mistake(write(file, rows), catalog)
    assert (error.id, error.what) == (
        "D11",
        "splits.csv puts the same photo into test and train: a/00001.jpg = a/00000.jpg",
    )
    assert read_splits(file, catalog, allow_leak=True).split[:2].tolist() == [TRAIN, TEST]
