"""D10: extreme aspect ratio and 1 x 1 pixels."""

from __future__ import annotations

import numpy as np
import pytest
from photo_kit import clean, encoded, jpeg, judge, put, refused, said, write_classes
from PIL import Image

from deitft.data.decode import BadPhotoError, decode

SMALL = [(1, 1), (1, 20000), (20000, 1), (3, 65000), (7, 500)]


@pytest.mark.parametrize("size", SMALL)
def test_D10_too_small_is_refused(tmp_path, size):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    clean(root, "D10")
    put(root, "shoes/017.png", encoded(Image.new("RGB", size), "PNG"))
    error = refused(root, strict=True)
    assert (error.id, error.exit_code) == ("D10", 65)
    width, height = size
    assert error.what == f"1 photo is smaller than 8 x 8 pixels, first: shoes/017.png ({width} x {height})"


def test_D10_several_are_counted(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    for number, size in enumerate(SMALL):
        put(root, f"shoes/small{number}.png", encoded(Image.new("RGB", size, (number, 0, 0)), "PNG"))
    assert refused(root).what == "5 photos are smaller than 8 x 8 pixels, first: shoes/small0.png (1 x 1)"


def test_D10_a_header_of_no_height():
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 7] = b"\0\0"
    with pytest.raises(BadPhotoError) as caught:
        decode(bytes(data))
    assert caught.value.id in ("D2", "D10")


@pytest.mark.parametrize(
    ("size", "want"), [((8, 20000), (160, 8)), ((20000, 10), (10, 200)), ((20, 400), (400, 20))]
)
def test_D10_long_photos_are_bounded_around_their_middle(size, want):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    rgb = decode(encoded(Image.fromarray(pixels), "PNG"))
    assert rgb.shape[:2] == want
    assert rgb.flags.c_contiguous
    assert rgb.sum() == pixels.sum()  # the middle is there


def test_D10_long_photos_are_said(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    put(root, "a/long.png", encoded(Image.new("RGB", (8, 161)), "PNG"))
    put(root, "b/just.png", encoded(Image.new("RGB", (8, 160)), "PNG"))
    catalog, findings = judge(root)
    findings.raise_errors()
    want = "1 photo is longer than 20 : 1, its middle is used, first: a/long.png"
    assert ("D10", "warning", want) in said(catalog, findings)
    row = catalog.paths.index("a/long.png")
    assert (catalog.widths[row], catalog.heights[row]) == (8, 161)
