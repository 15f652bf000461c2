"""What a photo looks like, in 112 bytes and two numbers, from the one decode that the audit makes.

``pixels`` is a hash of decoded, upright, flattened pixels (the luma of each, the colours at 32 x 32): equal for
the same picture under other EXIF, PNG compression or chunk order. A large JPEG is decoded at reduced scale here,
so it does not equal its own copy as a PNG: that one is found as a near-duplicate. ``look`` is a tiny picture,
kept as the lowest frequencies of luma and colour: it can be cropped, mirrored and compared without the photo.
``contrast`` and ``sharpness`` are of the grey photo at 256 pixels on the longer side, or up to an eighth more.

Legend: N photos, K bytes of a look, u and v frequencies (half waves a side).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

LOOKS_VERSION = 3
"""Raise it whenever ``look_at`` gives other values."""
LONGER_SIDE = 256
"""Pixels on the longer side of the grey photo that contrast and sharpness are measured on."""
AS_IT_IS = LONGER_SIDE * 9 // 8
"""So many pixels are not reduced to that: a small reduction blurs, and takes longer than the rest of measuring."""
PIXEL_BYTES = 16
COPIED_PIXELS = 4_000_000
"""Pixels of an image that are copied out at once."""
LUMA, COLOUR = 10, 4
"""Highest u + v that is kept of luma and of each of the two colours."""
RANGE = 140.0
"""The largest value that a frequency of 8-bit pixels takes, in grey levels (root mean square); larger is cut."""


def triangle(highest: int) -> npt.NDArray[np.int64]:
    """[n, 2] the (v, u) of a triangle of frequencies, in their order."""
    return np.array([(v, u) for v in range(highest + 1) for u in range(highest + 1 - v)], np.int64)


FREQUENCIES = np.concatenate([triangle(LUMA), triangle(COLOUR), triangle(COLOUR)])  # [K, 2] (v, u)
CHANNELS = np.repeat([0, 1, 2], [len(triangle(LUMA)), len(triangle(COLOUR)), len(triangle(COLOUR))])  # [K]
LOOK_BYTES = len(FREQUENCIES)

_SIDE = 32
_PLACES = [FREQUENCIES[channel == CHANNELS] @ (_SIDE, 1) for channel in range(3)]
"""Where the frequencies of each channel, which stand one after the other, are in its 32 x 32 waves."""
_YCC = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)


@dataclass(frozen=True, slots=True)
class Looks:
    """What one photo looks like."""

    pixels: bytes  # PIXEL_BYTES
    look: npt.NDArray[np.uint8]  # [K]
    contrast: float  # standard deviation of grey, 0 to 127.5
    sharpness: float  # variance of the Laplacian of grey


def look_at_image(rgb: Image.Image, size: tuple[int, int]) -> Looks:
    """``look_at`` of an upright, flattened image. A large one is copied out in pieces, and looked at reduced."""
    rows = max(1, COPIED_PIXELS // rgb.width)
    if rows >= rgb.height:
        return look_at(np.asarray(rgb), size)
    luma = (_grey(np.asarray(piece)) for piece in _pieces(rgb, rows))
    reduced = np.asarray(rgb.reduce(max(1, min(rgb.size) // LONGER_SIDE)))
    return _described(reduced, _grey(reduced), luma, size)


def look_at(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> Looks:
    """Describe decoded pixels [H, W, 3], upright and flattened.

    ``size`` is the photo's width and height before any reduction.
    """
    grey = _grey(rgb)
    return _described(rgb, grey, [grey], size)


def _pieces(rgb: Image.Image, rows: int) -> Iterator[Image.Image]:
    for top in range(0, rgb.height, rows):
        yield rgb.crop((0, top, rgb.width, min(top + rows, rgb.height)))


def _grey(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import cv2  # views and batches do without

    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _described(
    rgb: npt.NDArray[np.uint8],
    grey: npt.NDArray[np.uint8],
    luma: Iterable[npt.NDArray[np.uint8]],
    size: tuple[int, int],
) -> Looks:
    import cv2

    tiny = _tiny(rgb)
    # Twice as fast as blake2b where processors know it.
    state = hashlib.sha256(b"%d %d\n" % size)
    for piece in luma:
        state.update(piece.data)
    state.update(tiny.data)
    height, width = grey.shape
    if max(height, width) > AS_IT_IS:
        scale = LONGER_SIDE / max(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        # Below a half, a mean of two pixels is as good as one of areas, and four times as fast.
        how = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
        grey = cv2.resize(grey, target, interpolation=how).astype(np.uint8, copy=False)
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    mean = cv2.sumElems(edges)[0] / edges.size
    return Looks(
        pixels=state.digest()[:PIXEL_BYTES],
        look=_look(tiny),
        contrast=float(cv2.meanStdDev(grey)[1][0, 0]),
        sharpness=cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean**2,
    )


def _tiny(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[32, 32, 3], squashed."""
    import cv2

    while min(rgb.shape[:2]) >= 2 * _SIDE:  # halves are fast, odd shares are not
        height, width = rgb.shape[:2]
        even = rgb[: height - height % 2, : width - width % 2]
        rgb = cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False
        )
    shrinks = min(rgb.shape[:2]) >= _SIDE
    tiny = cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return tiny.astype(np.uint8, copy=False)


def _look(tiny: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import cv2

    planes = cv2.split(cv2.transform(tiny.astype(np.float32), _YCC))
    waves = [cv2.dct(plane).ravel().take(places) for plane, places in zip(planes, _PLACES, strict=True)]
    values = np.concatenate(waves) / _SIDE
    # Most frequencies are faint: steps grow with the square.
    steps = np.sqrt(np.minimum(np.abs(values) / RANGE, 1)) * 127
    look: npt.NDArray[np.uint8] = (128 + np.rint(np.copysign(steps, values))).astype(np.uint8)
    return look


@functools.cache
def _values() -> npt.NDArray[np.float32]:
    steps = np.arange(256, dtype=np.float32) - 128
    values: npt.NDArray[np.float32] = (np.copysign((steps / 127) ** 2, steps) * RANGE).astype(np.float32)
    return values


def frequencies_of(looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """[N, K] the frequencies that looks stand for, in grey levels."""
    return _values()[looks]


def mirror_signs() -> npt.NDArray[np.float32]:
    """[K] what each frequency is multiplied by when a photo is mirrored left to right."""
    return np.where(FREQUENCIES[:, 1] % 2 == 1, -1, 1).astype(np.float32)


def crop_matrix(scale: float, right: float, down: float) -> npt.NDArray[np.float32]:
    """[K, K] frequencies of a photo -> frequencies of its crop.

    The crop keeps ``scale`` of each side; its middle lies ``right`` and ``down`` of the photo's, in shares of the
    sides.
    """
    grid = (np.arange(_SIDE) + 0.5) / _SIDE
    moved = np.zeros((LOOK_BYTES, LOOK_BYTES), np.float32)
    waves = np.arange(LUMA + 1)
    basis = _waves(grid, waves) / _SIDE
    across = basis.T @ _waves(0.5 + scale * (grid - 0.5) + right, waves)
    along = basis.T @ _waves(0.5 + scale * (grid - 0.5) + down, waves)
    for channel in range(3):
        rows = np.flatnonzero(channel == CHANNELS)
        v, u = FREQUENCIES[rows, 0], FREQUENCIES[rows, 1]
        moved[np.ix_(rows, rows)] = along[np.ix_(v, v)] * across[np.ix_(u, u)]
    return moved


def _waves(at: npt.NDArray[np.float64], waves: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    height = np.where(waves == 0, 1.0, np.sqrt(2.0))
    values: npt.NDArray[np.float64] = height * np.cos(np.pi * at[:, None] * waves)
    return values
