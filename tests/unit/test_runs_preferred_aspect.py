"""Which of crop, pad and squash ``image.aspect: auto`` takes, from the sizes of the photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from photo_kit import write_classes

from deitft.core.progress import Silent
from deitft.data.catalog import Catalog
from deitft.data.scan import scan
from deitft.runs.assemble import preferred_aspect

WIDE, HIGH, USUAL, HALF = (210, 100), (100, 210), (100, 133), (200, 100)


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root: Path = write_classes(tmp_path_factory.mktemp("aspect") / "p", {"a": 10, "b": 10})
    return scan(root, progress=Silent())


def of(catalog: Catalog, *sizes: tuple[int, int]) -> Catalog:
    """The catalog with these sizes; the others are of the usual one."""
    whole = [*sizes, *[USUAL] * (len(catalog) - len(sizes))]
    widths, heights = np.array(whole, np.int32).T
    return dataclasses.replace(catalog, widths=widths, heights=heights)


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([], "crop"),
        ([HIGH] * 2, "crop"),  # a tenth
        ([HIGH] * 3, "pad"),
        ([HIGH, WIDE, WIDE], "pad"),
        ([HIGH] * 10, "pad"),  # half of them
        ([HIGH] * 11, "squash"),
        ([WIDE] * 20, "squash"),
        ([HIGH] * 11 + [WIDE] * 2, "squash"),
        ([HIGH] * 11 + [WIDE] * 3, "pad"),  # they would be bent in two ways
        ([HALF] * 20, "crop"),  # not longer than 2 : 1
    ],
)
def test_by_how_many_are_long_and_which_way(twenty, sizes, taken):
    assert preferred_aspect(of(twenty, *sizes)) == taken


def test_unread_photos_say_nothing(twenty):
    assert preferred_aspect(twenty) == "crop"
    assert preferred_aspect(of(twenty, *[(0, 0)] * 18, HIGH, HIGH)) == "squash"
