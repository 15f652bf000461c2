"""D8: animated GIF, WebP, APNG, multi-page TIFF."""

from __future__ import annotations

import io

import numpy as np
import pytest
from photo_kit import clean, encoded, judge, put, said, write_classes
from PIL import Image

from deitft.data.decode import decode

RED, GREEN, BLUE = (Image.new("RGB", (40, 40), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


def moving(kind: str) -> bytes:
    out = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    RED.save(out, kind, save_all=True, append_images=[GREEN, BLUE], **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_D8_the_first_frame_is_used(kind):
    rgb = decode(moving(kind))
    assert rgb.shape == (40, 40, 3)
    assert np.abs(rgb.astype(int) - (255, 0, 0)).max() <= 4


def test_D8_a_gif_that_begins_empty():
    empty = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    out = io.BytesIO()
    empty.save(out, "GIF", save_all=True, append_images=[RED.convert("RGBA")])
    assert (decode(out.getvalue()) == 255).all()


def test_D8_is_said(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    put(root, "a/still.gif", encoded(RED, "GIF"))
    clean(root, "D8")
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        put(root, f"b/moving.{kind.lower()}", moving(kind))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert ("D8", "warning", "5 files are animations, only the first frame is used") in said(catalog, findings)
