from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deitft.data.catalog import NONE, TEST, TRAIN, VAL, Catalog, NearPairs, object_column
from deitft.data.leaks import Leaks, leaks_from
from deitft.evaluation.predictions import Predictions
from deitft.evaluation.statistics import wilson_interval
from deitft.runs.leak_figures import leak_figures, leak_rows, leak_sentence
from deitft.runs.suspects import by_others

RIGHT = np.array([1, 1, 1, 0, 0, 1, 0, 1], bool)


def predictions() -> Predictions:
    labels = np.arange(8) % 2
    said = np.where(RIGHT, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[said] * 3
    return Predictions(paths=tuple(f"{row}.jpg" for row in range(8)), labels=labels, class_logits=logits)


def leaks(same: list[int], near: list[int]) -> Leaks:
    found = Leaks(np.zeros(8, bool), np.zeros(8, bool))
    found.same[same] = True
    found.near[near] = True
    return found


def test_nothing_leaks():
    assert leak_figures(predictions(), leaks([], [])) is None
    assert leak_rows(None) == []
    assert leak_sentence(None, "test") == ""


def test_with_and_without():
    figures = leak_figures(predictions(), leaks([0, 1], [2]))
    assert figures is not None
    assert (figures["same"], figures["near"]) == (2, 1)
    assert [(figures[name]["n"], figures[name]["top1"]) for name in ("all", "without_same")] == [
        (8, 5 / 8),
        (6, 3 / 6),
    ]
    assert figures["without_same_and_near"]["top1"] == 2 / 5
    assert figures["without_same_and_near"]["interval"] == list(wilson_interval(2, 5))
    assert [name for name, _ in leak_rows(figures)] == [
        "Top-1 without leaks",
        "Top-1 without near leaks too",
    ]
    assert leak_sentence(figures, "test").startswith(
        "2 test photos are also among those the model was trained or chosen on and 1 test photo is almost the "
        "same as such a photo: without them top-1 is 40.0% ("
    )


@pytest.mark.parametrize(("same", "near", "rows"), [([3], [], 1), ([], [3], 1), ([3], [4], 2)])
def test_only_what_there_is_is_said(same, near, rows):
    assert len(leak_rows(leak_figures(predictions(), leaks(same, near)))) == rows


def test_with_their_figures_the_names_fit_a_terminal():
    for same in ([], [0]):
        rows = leak_rows(leak_figures(predictions(), leaks(same, [2])))
        assert rows[-1][0] == ("Top-1 without near leaks too" if same else "Top-1 without near leaks")
        assert all(len(name) <= 28 and len(text) <= 50 for name, text in rows)


def test_all_leak():
    figures = leak_figures(predictions(), leaks(list(range(8)), []))
    assert figures is not None
    assert figures["without_same"] == {"n": 0, "top1": None, "interval": None}
    assert leak_rows(figures) == [("Top-1 without leaks", "no photo is left")]
    assert leak_sentence(figures, "val").endswith(": none is left without them.")


def catalog(digests: list[bytes], pairs: list[tuple[int, int]]) -> Catalog:
    count = len(digests)
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    near = NearPairs(ends[:, 0], ends[:, 1], np.zeros(len(ends), bool), np.zeros(len(ends), np.float32))
    return Catalog(
        root=Path("/p"),
        classes=("a", "b"),
        paths=[f"a/{row}" for row in range(count)],
        labels=np.zeros(count, np.int32),
        given=np.full(count, NONE, np.int8),
        sizes=np.ones(count, np.int64),
        stamps=np.zeros((count, 3), np.int64),
        digests=digests,  # type: ignore[arg-type]
        widths=np.full(count, 9, np.int32),
        heights=np.full(count, 9, np.int32),
        notes=np.zeros(count, np.uint16),
        pairs=near,
    )


def test_leaks_by_bytes_by_likeness_and_along_a_chain():
    contents = [bytes([number]) * 32 for number in (1, 2, 3, 1, 5, 6, 7, 6)]
    split = np.array([TRAIN, TRAIN, VAL, TEST, TEST, TEST, TEST, TEST], np.int8)
    # 4 is almost 1; 5 (and its copy 7) is almost 4; 6 is like nothing
    found = leaks_from(catalog(contents, [(1, 4), (4, 5)]), split, (TRAIN, VAL))
    assert np.flatnonzero(found.same).tolist() == [3]
    assert np.flatnonzero(found.near).tolist() == [4, 5, 7]
    assert np.flatnonzero(leaks_from(catalog(contents, [(2, 6)]), split, (TRAIN,)).near).tolist() == []
    assert np.flatnonzero(leaks_from(catalog(contents, [(2, 6)]), split, (TRAIN, VAL)).near).tolist() == [6]


def test_photos_that_were_not_read_are_no_leak():
    split = np.array([TRAIN, TEST], np.int8)
    assert not leaks_from(catalog([b"", b""], []), split, (TRAIN,)).same.any()


def test_photos_that_are_alike_are_judged_by_others():
    """Each photo twice under a drawn label: whoever sees the twin knows the answer, else it is a guess."""
    draw = np.random.default_rng(2)
    features = np.tile(draw.normal(size=(100, 200)).astype(np.float32), (2, 1))
    labels = np.tile(draw.integers(0, 2, 100), 2)
    twins = [(row, row + 100) for row in range(100)]

    def right(pairs: list[tuple[int, int]], **more: object) -> float:
        photos = replace(catalog([row.to_bytes(32, "big") for row in range(200)], pairs), labels=labels, **more)
        said = by_others(photos, np.arange(200), features, seed=0)
        return float((said.argmax(axis=1) == labels).mean())

    pixels = np.tile(draw.integers(1, 255, (100, 16), np.uint8), (2, 1))
    assert right([]) > 0.8
    assert right(twins) < 0.65
    assert right([], pixels=pixels) < 0.65
    assert right([], groups=object_column([str(row % 100) for row in range(200)])) < 0.65
