"""D7: palette and transparency."""

from __future__ import annotations

import numpy as np
import pytest
from photo_kit import clean, encoded, judge, picture, put, said, write_classes
from PIL import Image

from deitft.data.decode import decode


def cut_out(hidden: tuple[int, int, int], kind: str = "PNG") -> bytes:
    """A disc, and around it full transparency over a hidden colour."""
    y, x = np.mgrid[0:64, 0:64]
    inside = (x - 32) ** 2 + (y - 32) ** 2 < 400
    pixels = np.dstack([np.where(inside[..., None], (40, 90, 160), hidden), np.where(inside, 255, 0)])
    return encoded(
        Image.fromarray(pixels.astype(np.uint8)), kind, **({"lossless": True} if kind == "WEBP" else {})
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_D7_a_hidden_colours_never_show(kind):
    red, black = decode(cut_out((255, 0, 0), kind)), decode(cut_out((0, 0, 0), kind))
    assert np.array_equal(red, black)
    assert red[0, 0].tolist() == [255, 255, 255]
    assert red[32, 32].tolist() == [40, 90, 160]
    assert decode(cut_out((255, 0, 0), kind), background=(1, 2, 3))[0, 0].tolist() == [1, 2, 3]


def test_D7_bc_palettes():
    indices = np.zeros((40, 40), np.uint8)
    indices[10:30, 10:30] = 1
    image = Image.fromarray(indices, "P") if False else Image.frombytes("P", (40, 40), indices.tobytes())
    image.putpalette([255, 0, 0, 0, 0, 255])
    for transparency in (0, bytes([0, 255])):
        rgb = decode(encoded(image, "PNG", transparency=transparency))
        assert (rgb[0, 0].tolist(), rgb[20, 20].tolist()) == ([255, 255, 255], [0, 0, 255])
    half = decode(encoded(image, "PNG", transparency=bytes([128, 255])))
    assert np.abs(half[0, 0].astype(int) - (255, 127, 127)).max() <= 1
    gif = decode(encoded(image, "GIF", transparency=0))
    assert (gif[0, 0].tolist(), gif[20, 20].tolist()) == ([255, 255, 255], [0, 0, 255])


def test_D7_d_grey_with_alpha():
    image = Image.merge("LA", [Image.new("L", (40, 40), 10), Image.linear_gradient("L").resize((40, 40))])
    rgb = decode(encoded(image, "PNG"))
    assert rgb[0].mean() > 245
    assert rgb[-1].mean() < 20


def test_D7_e_a_colour_that_means_transparent():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = (255, 0, 255)
    rgb = decode(encoded(Image.fromarray(pixels), "PNG", transparency=(255, 0, 255)))
    assert (rgb[:20] == 255).all()
    assert (rgb[20:] == 0).all()
    grey = decode(encoded(Image.fromarray(pixels[..., 0]), "PNG", transparency=255))
    assert (grey[:20] == 255).all()
    assert (grey[20:] == 0).all()


def test_D7_f_a_blank_square_is_said(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/cut.png", cut_out((9, 9, 9)))
    clean(root, "D7")
    empty = picture().convert("RGBA")
    empty.putalpha(0)
    put(root, "shoes/empty.png", encoded(empty, "PNG"))
    catalog, findings = judge(root)
    findings.raise_errors()
    want = "1 photo is fully transparent (a blank square after flattening), first: shoes/empty.png"
    assert ("D7", "warning", want) in said(catalog, findings)
