from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from deitft.data import looks as room
from deitft.data.decode import decode, examine
from deitft.data.looks import (
    CHANNELS,
    FREQUENCIES,
    LOOK_BYTES,
    Looks,
    crop_matrix,
    frequencies_of,
    look_at,
    look_at_image,
    mirror_signs,
)


def smooth(seed: int = 0, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """A photo whose detail is all coarse: [H, W, 3]."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).copy()


def looked(rgb: np.ndarray) -> Looks:
    return look_at_image(Image.fromarray(rgb), (rgb.shape[1], rgb.shape[0]))


def values(rgb: np.ndarray) -> np.ndarray:
    return frequencies_of(looked(rgb).look[None])[0]


def test_a_look_is_small_and_says_what_it_stands_for():
    assert LOOK_BYTES == 66 + 15 + 15 == len(FREQUENCIES) == len(CHANNELS) <= 100
    rgb = smooth()
    tiny = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA).astype(float)
    grey = tiny @ [0.299, 0.587, 0.114]
    # An independent transform: sums of cosines, written out.
    points = (np.arange(32) + 0.5) / 32
    for v, u in ((0, 0), (1, 0), (2, 3), (0, 10)):
        wave = np.outer(np.cos(np.pi * v * points), np.cos(np.pi * u * points))
        wave *= (2 if u else np.sqrt(2)) * (2 if v else np.sqrt(2)) / 2
        want = (grey * wave).mean()
        at = int(np.flatnonzero((CHANNELS == 0) & ((v, u) == FREQUENCIES).all(axis=1))[0])
        step = 2 * np.sqrt(abs(want) * room.RANGE) / 127 + room.RANGE / 127**2
        assert values(rgb)[at] == pytest.approx(np.clip(want, -room.RANGE, room.RANGE), abs=step)


def test_a_mirrored_photo_has_mirrored_frequencies():
    rgb = smooth(1)
    assert np.abs(values(rgb[:, ::-1]) - values(rgb) * mirror_signs()).max() < 1.5


@pytest.mark.parametrize("crop", [(1.0, 0.0, 0.0), (0.9, 0.05, -0.05), (0.95, -0.025, 0.025)])
def test_the_look_of_a_crop_is_told_from_the_look_of_the_photo(crop):
    scale, right, down = crop
    rgb = smooth(2, (400, 400))
    left, top = (round(400 * (0.5 + move - scale / 2)) for move in (right, down))
    part = rgb[top : top + round(400 * scale), left : left + round(400 * scale)]
    told, true = crop_matrix(*crop) @ values(rgb), values(part)
    low = (FREQUENCIES.sum(axis=1) <= 6) & (CHANNELS == 0)  # beyond lies what a crop brings in from above
    assert np.linalg.norm((told - true)[low]) < 0.05 * np.linalg.norm(true[low])


def test_contrast_and_sharpness():
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((16, 16)))[..., None] * np.full(3, 200)
    sharp = board.astype(np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 4)
    assert looked(sharp).contrast == pytest.approx(100)
    grey = sharp[..., 0].astype(np.float64)
    assert looked(sharp).sharpness == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var())
    assert looked(soft).sharpness < 0.05 * looked(sharp).sharpness
    flat = looked(np.full((20, 30, 3), 77, np.uint8))
    assert (flat.contrast, flat.sharpness) == (0, 0)


def test_large_photos_are_measured_at_one_size():
    small = smooth(3, (256, 192))
    large = cv2.resize(small, (1024, 768), interpolation=cv2.INTER_CUBIC)
    assert looked(large).contrast == pytest.approx(looked(small).contrast, rel=0.02)
    assert looked(large).sharpness == pytest.approx(looked(small).sharpness, rel=0.3)


@pytest.mark.parametrize(("longer", "as_it_is"), [(256, True), (288, True), (289, False)])
def test_a_little_larger_is_measured_as_it_is(longer, as_it_is):
    noise = np.random.default_rng(6).integers(0, 255, (longer, 200, 1), np.uint8).repeat(3, axis=2)
    plain = cv2.Laplacian(noise[..., 0].astype(np.float64), cv2.CV_64F).var()
    assert (abs(looked(noise).sharpness / plain - 1) < 1e-6) == as_it_is


def test_the_digest_is_of_pixels_and_size():
    rgb = smooth(4, (64, 48))
    other = rgb.copy()
    other[47, 63, 1] ^= 2
    digests = {looked(rgb).pixels, looked(other).pixels, looked(rgb.reshape(64, 48, 3)).pixels}
    assert len(digests) == 3
    assert looked(rgb.copy()).pixels == looked(rgb).pixels == look_at(rgb, (64, 48)).pixels


def test_a_large_image_is_copied_in_pieces(monkeypatch):
    rgb = smooth(5, (600, 500))
    whole = looked(rgb)
    monkeypatch.setattr(room, "COPIED_PIXELS", 10_000)
    pieces = looked(rgb)
    assert looked(rgb.copy()).pixels == pieces.pixels
    changed = rgb.copy()
    changed[-1, -1] ^= 2
    assert looked(changed).pixels != pieces.pixels
    far = frequencies_of(pieces.look[None]) - frequencies_of(whole.look[None])
    assert np.abs(far).max() < 2
    assert pieces.contrast == pytest.approx(whole.contrast, rel=0.02)


def test_examine_looks_at_upright_flattened_pixels():
    rgb = smooth(6, (300, 200))

    def png(image: Image.Image, **options: object) -> bytes:
        out = io.BytesIO()
        image.save(out, "PNG", **options)
        return out.getvalue()

    image = Image.fromarray(rgb)
    plain = examine(png(image)).looks
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = examine(png(image.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())).looks
    opaque = image.convert("RGBA")
    clear = Image.new("RGBA", (300, 260), (250, 0, 0, 0))
    clear.paste(opaque, (0, 0))
    white = Image.new("RGB", (300, 260), "white")
    white.paste(image, (0, 0))
    assert plain is not None
    assert turned is not None
    assert plain.pixels == turned.pixels == examine(png(opaque)).looks.pixels
    assert examine(png(clear)).looks.pixels == examine(png(white)).looks.pixels


@pytest.mark.parametrize("size", [(8, 8), (9, 400), (400, 9), (31, 33)])
def test_small_and_long_photos_have_a_look(size):
    rgb = smooth(7, size)
    found = looked(rgb)
    assert found.look.shape == (LOOK_BYTES,)
    assert found.contrast > 0


def test_a_reduced_jpeg_looks_like_the_whole():
    out = io.BytesIO()
    Image.fromarray(smooth(8, (1600, 1200))).save(out, "JPEG", quality=95)
    reduced = examine(out.getvalue()).looks
    assert reduced is not None
    whole = looked(decode(out.getvalue()))
    assert np.abs(frequencies_of(reduced.look[None]) - frequencies_of(whole.look[None])).max() < 2
    assert reduced.contrast == pytest.approx(whole.contrast, rel=0.01)
