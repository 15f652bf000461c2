from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deitft.core.files import canonical_json
from deitft.core.records import csv_text, parse_csv_text
from deitft.data.audit import audit
from deitft.data.catalog import NONE, TEST, TRAIN, VAL, BadPhoto, Catalog, object_column
from deitft.data.colour import PhotoNote
from deitft.errors import DataError


def catalog_of(counts: dict[str, int], *, given: int = NONE, **columns: object) -> Catalog:
    """An inspected catalog of photos that are all different and good."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values())).astype(np.int32)
    total = len(labels)
    names = tuple(counts)
    numbers = [number for count in counts.values() for number in range(count)]
    base = Catalog(
        root=Path("/photos"),
        classes=names,
        paths=[f"{names[label]}/{number}.jpg" for label, number in zip(labels, numbers, strict=True)],
        labels=labels,
        given=np.full(total, given, np.int8),
        sizes=np.full(total, 1000, np.int64),
        stamps=np.zeros((total, 3), np.int64),
        digests=object_column([row.to_bytes(32, "big") for row in range(1, total + 1)]),
        widths=np.full(total, 400, np.int32),
        heights=np.full(total, 300, np.int32),
        notes=np.zeros(total, np.uint16),
    )
    return replace(base, **columns)


def same_content(catalog: Catalog, *groups: list[int]) -> Catalog:
    digests = catalog.digests.copy()
    for group in groups:
        digests[group] = digests[group[0]]
    return replace(catalog, digests=digests)


def lines(findings) -> list[tuple[str, str, str]]:
    return [(item.id, item.severity, item.notice().line) for item in findings]


def cut(rows: range) -> dict[int, BadPhoto]:
    return {row: BadPhoto("D2", f"file ends early at byte {row}") for row in rows}


def test_good_photos_give_no_findings():
    findings = audit(catalog_of({"a": 10, "b": 10}))
    assert (len(findings), findings.quarantined.tolist(), findings.quarantine_rows()) == (0, [], [])
    findings.raise_errors()


@pytest.mark.parametrize(
    ("total", "bad", "refused"),
    [(20, 1, False), (20, 2, True), (199, 1, False), (200, 2, False), (200, 3, True), (1000, 10, False)],
)
def test_one_percent_and_at_least_one_may_be_left_out(total, bad, refused):
    catalog = catalog_of({"a": total // 2, "b": total - total // 2}, bad=cut(range(bad)))
    findings = audit(catalog)
    assert bool(findings.errors) == refused
    assert len(findings.quarantined) == (0 if refused else bad)
    assert findings.record()[0]["files"] == catalog.paths[:bad]
    left = audit(catalog, skip_bad=True)
    assert (left.errors, left.quarantined.tolist()) == ([], list(range(bad)))
    assert audit(catalog, strict=True).errors
    assert audit(catalog, strict=True, skip_bad=True).errors


def test_sentences_of_left_out_and_refused():
    few = catalog_of({"a": 50, "b": 50}, bad=cut(range(3, 4)))
    assert lines(audit(few)) == [
        ("D2", "warning", "1 photo cannot be read, first: a/3.jpg (file ends early at byte 3) — left out by name")
    ]
    many = replace(few, bad=cut(range(3)))
    assert lines(audit(many)) == [
        (
            "D2",
            "error",
            "3 photos cannot be read, first: a/0.jpg (file ends early at byte 0) — fix them or add --skip-bad",
        )
    ]


def test_quarantine_is_by_name_and_survives_a_table():
    catalog = catalog_of({"=a": 100, "b": 100}, bad={5: BadPhoto("D2", "file is empty")})
    findings = audit(catalog)
    rows = [{"path": "=a/5.jpg", "id": "D2", "reason": "file is empty"}]
    assert findings.quarantine_rows() == rows
    assert parse_csv_text(csv_text(rows, ("path", "id", "reason"))) == rows


@pytest.mark.parametrize("skip", [False, True])
def test_a_whole_class_is_never_left_out(skip):
    catalog = catalog_of({"a": 400, "b": 2}, bad=cut(range(400, 402)))
    errors = audit(catalog, skip_bad=skip).errors
    assert [(error.id, error.text) for error in errors] == [
        ("D2", 'no photo of "b" can be used, first: b/0.jpg (file ends early at byte 400)')
    ]
    assert not len(audit(catalog, skip_bad=skip).quarantined)


def test_a_whole_class_is_counted_in_train():
    given = np.array([TRAIN] * 200 + [TEST] * 2, np.int8)
    labels = np.array([0] * 199 + [1] * 3, np.int32)
    catalog = replace(catalog_of({"a": 199, "b": 3}), given=given, labels=labels, bad=cut(range(199, 200)))
    assert [error.text for error in audit(catalog).errors] == [
        'no photo of "b" can be used, first: b/0.jpg (file ends early at byte 199)'
    ]


def test_kinds_of_bad_are_counted_together_and_told_apart():
    bad = {
        0: BadPhoto("D10", "is smaller than 8 x 8 pixels (1 x 20000)"),
        1: BadPhoto("D3", 'is not an image (starts with "<!doctype html")'),
        2: BadPhoto("D4", "claims 13000 x 13000 pixels (limit 100 million)"),
        3: BadPhoto("D18", "is HEIC and no HEIC reader is installed"),
        4: BadPhoto("D6", "has floating-point pixels with no known range"),
    }
    catalog = catalog_of({"a": 20, "b": 20}, bad=bad)
    assert [line for _, _, line in lines(audit(catalog))] == [
        'a/1.jpg is not an image (starts with "<!doctype html") — delete it or add --skip-bad',
        "a/2.jpg claims 13000 x 13000 pixels (limit 100 million) "
        "— resize it, raise --max-pixels, or add --skip-bad",
        "a/4.jpg has floating-point pixels with no known range — save it as 8-bit RGB or add --skip-bad",
        "1 photo is smaller than 8 x 8 pixels, first: a/0.jpg (1 x 20000) — delete it or find a larger version "
        "or add --skip-bad",
        '1 of 40 photos is HEIC and no HEIC reader is installed — pip install "deitft[heic]", convert it, '
        "or add --skip-bad",
    ]
    double = replace(catalog, bad=bad | {row + 5: found for row, found in bad.items()})
    assert [item.text for item in audit(double)] == [
        '2 files are not images, first: a/1.jpg is not an image (starts with "<!doctype html")',
        "2 photos claim more than a photo should, first: a/2.jpg claims 13000 x 13000 pixels (limit 100 million)",
        "2 photos have pixels that cannot be turned into 8-bit RGB, first: a/4.jpg has floating-point pixels with "
        "no known range",
        "2 photos are smaller than 8 x 8 pixels, first: a/0.jpg (1 x 20000)",
        "2 of 40 photos are HEIC and no HEIC reader is installed",
    ]
    with pytest.raises(DataError) as caught:
        audit(catalog).raise_errors()
    assert (caught.value.id, caught.value.exit_code) == ("D3", 65)
    assert caught.value.hint.endswith("(4 more errors)")
    assert len(caught.value.details["errors"]) == 5


def test_two_labels_on_one_picture():
    catalog = same_content(catalog_of({"a": 200, "b": 200}), [3, 205])
    assert lines(audit(catalog)) == [
        (
            "D13",
            "warning",
            "1 photo carries two labels, first: a/3.jpg and b/5.jpg are the same picture — left out by name",
        )
    ]
    assert audit(catalog).quarantined.tolist() == [3, 205]
    small = same_content(catalog_of({"a": 20, "b": 20, "c": 9}), [3, 25], [4, 5, 26, 41])
    assert lines(audit(small))[0] == (
        "D13",
        "error",
        "2 photos carry two labels, first: a/3.jpg and b/5.jpg are the same picture — keep one",
    )
    kept = audit(small, allow_conflicts=True)
    assert (kept.errors, kept.quarantined.tolist()) == ([], [])
    assert ("D13", "warning") in [(item.id, item.severity) for item in kept]


def test_a_bad_photo_is_not_judged_a_second_time():
    catalog = same_content(catalog_of({"a": 200, "b": 200}), [3, 205])
    catalog = replace(catalog, bad={3: BadPhoto("D2", "file is empty"), 205: BadPhoto("D2", "file is empty")})
    assert {item.id for item in audit(catalog)} == {"D2"}


def given_catalog() -> Catalog:
    given = np.array([TRAIN] * 10 + [VAL] * 5 + [TEST] * 5 + [TRAIN] * 10, np.int8)
    return replace(catalog_of({"a": 20, "b": 10}), given=given)


def test_the_same_photo_on_two_given_sides():
    catalog = same_content(given_catalog(), [0, 15, 16], [1, 10], [11, 17])
    errors = audit(catalog).errors
    assert [(error.id, error.text) for error in errors] == [
        ("D11", "2 test photos are also in train, first: a/15.jpg = a/0.jpg"),
        ("D11", "1 val photo is also in train, first: a/10.jpg = a/1.jpg"),
        ("D11", "1 test photo is also in val, first: a/17.jpg = a/11.jpg"),
    ]
    assert errors[0].details["twins"] == ["a/0.jpg", "a/0.jpg"]
    assert audit(catalog, skip_bad=True).errors
    allowed = audit(catalog, allow_leak=True)
    assert (allowed.errors, len(allowed.warnings), allowed.quarantined.tolist()) == ([], 3, [])
    assert audit(given_catalog()).errors == []


def test_copies_that_do_no_harm_are_a_fact():
    catalog = same_content(catalog_of({"a": 20, "b": 20}), [1, 2, 3], [25, 26])
    assert lines(audit(catalog)) == [
        ("COPIES", "info", "3 photos are copies of others, kept on one side of the split, first: a/2.jpg")
    ]


def test_unread_photos_are_no_copies_of_each_other():
    catalog = catalog_of({"a": 200, "b": 200})
    digests = catalog.digests.copy()
    digests[[0, 1, 200]] = b""
    gone = {row: BadPhoto("D2", "permission denied") for row in (0, 1, 200)}
    assert {item.id for item in audit(replace(catalog, digests=digests, bad=gone))} == {"D2"}


@pytest.mark.parametrize(
    ("note", "count", "want"),
    [
        (PhotoNote.NO_END_MARKER, 4, ("D2", "warning", "4 JPEGs lack their end marker, read anyway")),
        (PhotoNote.NO_END_MARKER, 1, ("D2", "warning", "1 JPEG lacks its end marker, read anyway")),
        (
            PhotoNote.DAMAGED,
            2,
            ("D2", "warning", "the decoder reported damage in 2 photos, first: a/0.jpg — look at them"),
        ),
        (PhotoNote.WRONG_EXTENSION, 12, ("D3", "info", "12 files have an extension that does not match")),
        (PhotoNote.BAD_EXIF, 2, ("D5", "warning", "2 photos have unreadable EXIF, used as stored")),
        (PhotoNote.SIXTEEN_BIT, 14, ("D6", "warning", "14 photos are 16-bit, scaled to 8-bit by value / 257")),
        (PhotoNote.PLAIN_CMYK, 1, ("D6", "warning", "1 photo is CMYK without profile, colours may be off")),
        (
            PhotoNote.TRANSPARENT,
            1,
            ("D7", "warning", "1 photo is fully transparent (a blank square after flattening), first: a/0.jpg"),
        ),
        (PhotoNote.ANIMATED, 6, ("D8", "warning", "6 files are animations, only the first frame is used")),
        (PhotoNote.ANIMATED, 1, ("D8", "warning", "1 file is an animation, only the first frame is used")),
    ],
)
def test_what_is_special_is_said(note, count, want):
    notes = np.zeros(40, np.uint16)
    notes[:count] = note | PhotoNote.NO_END_MARKER if note == PhotoNote.NO_END_MARKER else note
    findings = audit(catalog_of({"a": 20, "b": 20}, notes=notes))
    assert lines(findings) == [want]
    assert len(findings.items[0].paths) == count


def test_every_note_is_said():
    notes = np.array([int(note) for note in PhotoNote] + [0] * 12, np.uint16)
    assert len(audit(catalog_of({"a": 10, "b": len(notes) - 10}, notes=notes))) == len(PhotoNote)


def test_bad_photos_have_no_notes():
    notes = np.full(20, int(PhotoNote.ANIMATED), np.uint16)
    notes[1:] = 0
    catalog = catalog_of({"a": 10, "b": 10}, notes=notes, bad=cut(range(1)))
    assert [item.id for item in audit(catalog)] == ["D2"]


def test_long_photos_are_named():
    widths = np.full(20, 400, np.int32)
    widths[[3, 4]] = (6001, 6000)
    catalog = catalog_of({"a": 10, "b": 10}, widths=widths)
    assert lines(audit(catalog)) == [
        ("D10", "warning", "1 photo is longer than 20 : 1, its middle is used, first: a/3.jpg"),
        (
            "ASPECT",
            "info",
            "1 photo is longer than 4 : 1, first: a/4.jpg — image.aspect=pad or squash keeps all of them",
        ),
    ]


@pytest.mark.parametrize(
    ("counts", "want"),
    [
        ({"a": 9, "sandals": 1}, ['"sandals" has 1 photo — it stays in train and cannot be tested']),
        ({"a": 9, "sandals": 2}, ['"sandals" has 2 photos — they stay in train and cannot be tested']),
        ({"a": 9, "b": 3}, []),
        (
            {"a": 9, "b": 1, "c": 2},
            ['2 classes have 1 or 2 photos, first: "b" (1 photo) — these stay in train and cannot be tested'],
        ),
    ],
)
def test_tiny_classes(counts, want):
    assert [item.notice().line for item in audit(catalog_of(counts)) if item.id == "D15"] == want


def test_tiny_classes_of_a_whole_given_split_are_the_users_choice():
    given = np.array([TRAIN] * 10 + [VAL, TEST], np.int8)
    catalog = replace(catalog_of({"a": 11, "b": 1}), given=given)
    assert [item.id for item in audit(replace(catalog, labels=np.array([0] * 9 + [1, 1, 1], np.int32)))] == []
    half = replace(catalog, given=np.where(given == TEST, TRAIN, given).astype(np.int8))
    assert [item.id for item in audit(half)] == ["D15", "IMBALANCE"]


def test_classes_of_very_different_size():
    assert lines(audit(catalog_of({"a": 300, "b": 30})))[0] == (
        "IMBALANCE",
        "info",
        'the largest class has 10 times the photos of the smallest: "a" (300), "b" (30) '
        "— balanced accuracy and macro F1 count every class alike",
    )
    assert len(audit(catalog_of({"a": 299, "b": 30}))) == 0


def test_names_from_the_data_are_shown_with_escapes():
    catalog = catalog_of({"a\x1b[31m": 50, "b": 50}, bad=cut(range(1)))
    assert "a\\x1b[31m/0.jpg" in audit(catalog).items[0].text


def test_records_are_plain_json():
    catalog = same_content(given_catalog(), [0, 15])
    catalog = replace(catalog, bad=cut(range(3, 4)))
    for record in audit(catalog).record():
        assert json.loads(canonical_json(record)) == record


def test_the_order_of_rows_changes_no_verdict():
    catalog = same_content(catalog_of({"a": 30, "b": 20, "c": 1}), [0, 35], [1, 2])
    catalog = replace(catalog, bad={7: BadPhoto("D2", "x"), 40: BadPhoto("D3", "y")})
    order = np.random.default_rng(0).permutation(len(catalog))
    one, other = audit(catalog, skip_bad=True), audit(catalog.select(order), skip_bad=True)
    assert {(item.id, item.severity, frozenset(item.paths)) for item in one if item.id != "COPIES"} == {
        (item.id, item.severity, frozenset(item.paths)) for item in other if item.id != "COPIES"
    }
    assert {row["path"] for row in one.quarantine_rows()} == {row["path"] for row in other.quarantine_rows()}
