"""Arrays become small pictures inside the page: ``data:`` URIs, encoded by Pillow. No photo is opened here."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from deitft.reporting.check_data import Pixels

SIDE = 160
"""Pixels of a thumbnail's longer side."""

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Red, green, blue to brightness (ITU-R BT.601)."""

GLOW = np.array([255, 178, 64], dtype=np.float32)
"""The colour of what is attended to, RGB: unlike any grey, for every kind of colour vision."""

LARGE_SIDE = 320
"""The same for the photos on the first screen, which are shown larger."""


def thumbnail(image: Pixels, *, side: int = SIDE, quality: int = 82) -> str:
    """A ``data:image/jpeg`` URI of a photo [H, W, 3] uint8, its longer side at most ``side`` pixels.

    Nothing is enlarged, and the same array always gives the same text.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"want an RGB photo [H, W, 3] of uint8, got {image.dtype} {image.shape}")
    photo = Image.fromarray(np.ascontiguousarray(image))
    photo.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    photo.save(out, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def attention_overlay(image: Pixels, attention: npt.NDArray[np.floating]) -> Pixels:
    """The photo [H, W, 3] in dim grey, glowing where ``attention`` [h, w] is high: dark things glow too.

    The map is stretched from its lower quartile to its 99th percentile: one patch often outshines the rest.
    A map of one value glows half everywhere.
    """
    low, high = (float(value) for value in np.percentile(attention, (25, 99)))
    flat = not np.isfinite([low, high]).all() or high <= low
    share = np.full(attention.shape, 0.5) if flat else np.clip((attention - low) / (high - low), 0, 1)
    height, width = image.shape[:2]
    coarse = Image.fromarray(share.astype(np.float32), mode=None)
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    grey = (image.astype(np.float32) @ GREY)[..., None] / 255
    dim, glow = 20 + 125 * grey, GLOW * (0.55 + 0.45 * grey)
    lit: Pixels = (dim * (1 - 0.85 * smooth) + glow * 0.85 * smooth).round().clip(0, 255).astype(np.uint8)
    return lit
