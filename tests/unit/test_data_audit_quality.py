"""Photos with nothing on them, nothing sharp, odd shapes and sizes: real photos, read and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_kit import encoded, judge, picture, put, read, said, write_classes
from PIL import Image, ImageFilter

from deitft.data.audit import audit
from deitft.runs.check_album import CHECK, Album, parts_of
from deitft.runs.check_files import detail_rows


def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "p", {"hats": 6, "shoes": 6}, size=(320, 240))


def found(root: Path, id: str) -> list[tuple[str, str]]:
    catalog, findings = judge(root)
    return [(severity, line) for name, severity, line in said(catalog, findings) if name == id]


def test_control_good_photos_are_not_named(tmp_path):
    root = folder(tmp_path)
    for id in ("BLANK", "BLUR", "ASPECT", "SIZE"):
        assert found(root, id) == []


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 90)])
def test_one_plain_colour(tmp_path, colour):
    root = folder(tmp_path)
    put(root, "hats/plain.jpg", encoded(Image.new("RGB", (300, 200), colour)))
    assert found(root, "BLANK") == [
        ("warning", "1 photo is one plain colour, first: hats/plain.jpg — look at them")
    ]
    assert found(root, "BLUR") == []


def test_a_transparent_photo_is_not_named_twice(tmp_path):
    root = folder(tmp_path)
    put(root, "hats/nothing.png", encoded(Image.new("RGBA", (300, 200), (9, 9, 9, 0)), "PNG"))
    assert found(root, "BLANK") == []
    assert len(found(root, "D7")) == 1


def test_a_low_contrast_photo_is_neither_blank_nor_blurred(tmp_path):
    """A white product on a white ground: few edges, but sharp ones."""
    root = folder(tmp_path)
    pixels = np.full((240, 320, 3), 235, np.uint8)
    pixels[60:180, 80:240] = 252
    put(root, "hats/white.png", encoded(Image.fromarray(pixels), "PNG"))
    assert (found(root, "BLANK"), found(root, "BLUR")) == ([], [])


def test_real_photos_blurred(tmp_path, shared):
    photos = sorted((shared / "data/clothing-small/test").rglob("*.jpg"))[::18]
    for number, photo in enumerate(photos):
        kind = "hats" if number % 2 else "shoes"
        with Image.open(photo) as image:
            put(tmp_path / "sharp", f"{kind}/{number:02d}.jpg", photo.read_bytes())
            radius = 3 * max(image.size) / 256
            blurred = image.filter(ImageFilter.GaussianBlur(radius))
            put(tmp_path / "blurred", f"{kind}/{number:02d}.jpg", encoded(blurred))
    assert found(tmp_path / "sharp", "BLUR") == []
    _, findings = judge(tmp_path / "blurred")
    named = [path for finding in findings if finding.id == "BLUR" for path in finding.paths]
    assert len(named) >= 0.9 * len(photos)


def test_long_photos_lose_most_in_a_square(tmp_path):
    root = folder(tmp_path)
    put(root, "hats/long.jpg", encoded(picture(70, (900, 200))))
    assert found(root, "ASPECT") == [
        (
            "info",
            "1 photo is longer than 4 : 1, first: hats/long.jpg — image.aspect=pad or squash keeps all of them",
        )
    ]
    put(root, "hats/longer.png", encoded(picture(71, (64 * 21, 64)), "PNG"))
    assert len(found(root, "ASPECT")) == 1  # longer than 20 : 1 is D10
    assert len(found(root, "D10")) == 1


def test_small_and_odd_sizes(tmp_path):
    root = folder(tmp_path)
    put(root, "hats/icon.png", encoded(picture(72, (32, 40)), "PNG"))
    assert found(root, "SIZE") == [
        ("info", "1 photo has a side of less than 64 pixels and is enlarged, first: hats/icon.png")
    ]
    put(root, "hats/poster.jpg", encoded(picture(73, (2400, 1800))))
    assert ("info", "1 photo is far larger or smaller than the others, first: hats/poster.jpg") in found(
        root, "SIZE"
    )


def test_a_folder_of_small_photos_says_so_once(tmp_path):
    root = write_classes(tmp_path / "p", {"hats": 10, "shoes": 9}, size=(28, 28))
    put(root, "shoes/large.png", encoded(picture(74, (100, 80)), "PNG"))
    catalog, findings = judge(root)
    (finding,) = [item for item in findings if item.id == "SIZE"]
    assert finding.text == "95 % of the photos have a side of less than 64 pixels and are enlarged"
    assert len(finding.paths) == 19
    assert len(list(detail_rows([finding.notice()]))) == 19
    (part,) = parts_of([finding.notice()], Album(catalog), CHECK)
    assert part.shown == 0
    (root / "shoes/large.png").unlink()
    assert found(root, "SIZE")[0][1].startswith("all of the photos have a side of less than 64 pixels")
    for number in range(3):
        put(root, f"shoes/large{number}.png", encoded(picture(75 + number, (100, 80)), "PNG"))
    assert found(root, "SIZE")[0][1].startswith("19 photos have a side of less than 64 pixels and are enlarged, f")


def test_where_nobody_measured_nothing_is_said(tmp_path):
    catalog = read(folder(tmp_path))
    assert not [item.id for item in audit(replace(catalog, contrast=None, sharpness=None))]
