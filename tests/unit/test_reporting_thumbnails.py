from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from deitft.reporting.thumbnails import attention_overlay, thumbnail


def opened(uri: str) -> Image.Image:
    head, data = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.mark.parametrize(("shape", "size"), [((533, 400), (120, 160)), ((40, 48), (48, 40)), ((1, 900), (160, 1))])
def test_thumbnail_keeps_the_shape_and_enlarges_nothing(shape: tuple[int, int], size: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), (200, 40, 90), np.uint8)
    small = opened(thumbnail(photo))
    assert small.size == size
    assert np.abs(np.asarray(small, dtype=int) - (200, 40, 90)).max() <= 4


def test_thumbnail_is_the_same_text_every_time_and_small() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    assert thumbnail(photo) == thumbnail(photo.copy())
    assert len(thumbnail(photo)) < 20_000
    assert thumbnail(photo[:, ::-1]) != thumbnail(photo)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3)),
    ],
)
def test_thumbnail_refuses_what_is_no_photo(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="want an RGB photo"):
        thumbnail(wrong)


def test_overlay_glows_where_attention_is_on_black_and_on_white() -> None:
    attention = np.zeros((14, 14), np.float32)
    attention[2:6, 2:6] = 1
    for level in (0, 255):
        photo = np.full((112, 112, 3), level, np.uint8)
        lit = attention_overlay(photo, attention).astype(int)
        assert lit.shape == photo.shape
        hot, cold = lit[32, 32], lit[90, 90]
        assert hot[0] - hot[2] > 60, "warm where it looks"
        assert np.ptp(cold) <= 2, "grey where it does not"
        assert np.abs(hot - cold).max() > 60


def test_overlay_of_a_flat_or_broken_map_is_even() -> None:
    photo = np.full((28, 28, 3), 128, np.uint8)
    for attention in (np.ones((7, 7)), np.full((7, 7), np.nan)):
        assert np.ptp(attention_overlay(photo, attention).reshape(-1, 3), axis=0).max() == 0


def test_overlay_does_not_depend_on_the_scale_of_the_map() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    attention = np.random.default_rng(2).random((7, 7))
    np.testing.assert_array_equal(
        attention_overlay(photo, attention), attention_overlay(photo, 64 * attention + 8)
    )
