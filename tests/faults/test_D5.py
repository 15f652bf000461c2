"""D5: EXIF orientation."""

from __future__ import annotations

import numpy as np
import pytest
from photo_kit import clean, encoded, judge, picture, put, said, write_classes
from PIL import Image

from deitft.data.decode import decode, photo_size

# What undoes orientation n: stored = upright turned by this.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored(upright: Image.Image, orientation: int, kind: str, **options: object) -> bytes:
    turn = STORED.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(upright if turn is None else upright.transpose(turn), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_D5_all_eight_are_the_same_upright_picture(kind, orientation):
    upright = picture(0, (96, 64))
    data = stored(upright, orientation, kind)
    rgb = decode(data)
    assert rgb.shape == (64, 96, 3)
    assert np.abs(rgb.astype(int) - np.asarray(upright)).mean() < 7
    assert photo_size(data) == (96, 64)
    if kind == "JPEG":
        assert decode(data, at_least=16).shape == (16, 24, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_D5_values_that_mean_nothing_change_nothing(orientation):
    upright = picture(0, (96, 64))
    assert np.array_equal(decode(stored(upright, orientation, "PNG")), np.asarray(upright))


def test_D5_garbled_blocks_are_said_and_ignored(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    put(root, "a/turned.jpg", stored(picture(0, (96, 64)), 6, "JPEG"))
    clean(root, "D5")
    for number, block in enumerate((b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff")):
        put(root, f"b/garbled{number}.jpg", encoded(picture(number, (96, 64)), exif=block))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert ("D5", "warning", "2 photos have unreadable EXIF, used as stored") in said(catalog, findings)
    sizes = {
        path: (int(w), int(h)) for path, w, h in zip(catalog.paths, catalog.widths, catalog.heights, strict=True)
    }
    assert sizes["a/turned.jpg"] == sizes["b/garbled0.jpg"] == (96, 64)
