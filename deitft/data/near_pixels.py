"""Are two photos one picture? Laid over each other, refined by least squares, compared by their fine structure.

Coarse likeness proves nothing: shirts on one table share outline and colour. What decides is the correlation of a
band of fine detail after the one photo is laid on the other (shift, scale, turn, shear). Copies re-encoded,
resized, cropped, brightened or shot again from nearly the same place reach 0.9, different things do not (measured:
benchmarks/near_duplicates.py).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from deitft.data.near import VIEWS

SIDE = 96
"""Pixels a side at which two photos are compared, whatever their shape."""
DECODED_SIDE = 2 * SIDE
"""Pixels that the shorter side is decoded with at least: stripes of a shirt come out otherwise at every scale."""
SAME = 0.90
"""Least correlation of the fine structure of one picture."""
PLAIN = 1.0
"""A photo whose fine structure has fewer grey levels (root mean square) has none to compare."""
HOPELESS = 0.80
"""Below this correlation at half the size no refinement helps: 3,483 copies of all kinds had 0.88 at least
(looked at once; benchmarks/near_duplicates.py measures what is found with it)."""

Plane = npt.NDArray[np.float32]


def plane_of(rgb: npt.NDArray[np.uint8]) -> Plane:
    """Decoded pixels as they are compared: grey, square, [SIDE, SIDE]."""
    shrinks = min(rgb.shape[:2]) >= SIDE
    small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def likeness(first: Plane, second: Plane, view: int) -> float:
    """How well ``view`` of the first (``near.VIEWS``) and the second are one picture: a correlation, 1 at best.

    0 where one of them is too plain to say.
    """
    scale, right, down, mirrored = VIEWS[view]
    if mirrored:
        first = np.ascontiguousarray(first[:, ::-1])
    # Across: [scale, shear, shift]; down: [shear, scale, shift]; in shares of the side, from the middle.
    place = np.array([scale, 0, right, 0, scale, down], np.float32)
    half = [_halved(plane) for plane in (first, second)]
    place = _refined(half[0], half[1], place, 1.5)
    if _fine_correlation(half[0], half[1], place) < HOPELESS:
        return 0.0
    place = _refined(first, second, place, 1.2)
    return _fine_correlation(first, second, place)


def _halved(plane: Plane) -> Plane:
    half = cv2.resize(plane, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    return half.astype(np.float32, copy=False)


@functools.cache
def _grid(side: int) -> tuple[Plane, Plane]:
    """(across, down) of each pixel, in shares of the side, from the middle."""
    line = ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)
    across, down = np.meshgrid(line, line)
    return across, down


def _laid(plane: Plane, place: npt.NDArray[np.float32]) -> Plane:
    side, middle = len(plane), (len(plane) - 1) / 2
    matrix = place.reshape(2, 3).astype(np.float64)
    matrix[:, 2] = middle + matrix[:, 2] * side - matrix[:, :2].sum(axis=1) * middle
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(plane, matrix, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return laid.astype(np.float32, copy=False)


def _inside(side: int, place: npt.NDArray[np.float32], margin: float) -> npt.NDArray[np.bool_]:
    """Where the laid photo has pixels of its own, ``margin`` of them away from its border."""
    across, down = _grid(side)
    limit = 0.5 - margin / side
    inside: npt.NDArray[np.bool_] = np.abs(place[0] * across + place[1] * down + place[2]) <= limit
    inside &= np.abs(place[3] * across + place[4] * down + place[5]) <= limit
    return inside


def _refined(first: Plane, second: Plane, place: npt.NDArray[np.float32], blur: float) -> npt.NDArray[np.float32]:
    """Two steps of Gauss and Newton (Lucas and Kanade) on blurred photos, brightness fitted along."""
    side = len(first)
    first, second = _blurred(first, blur), _blurred(second, blur)
    across, down = _grid(side)
    for _ in range(2):
        laid = _laid(first, place)
        inside = _inside(side, place, 1)
        inside[[0, -1]] = inside[:, [0, -1]] = False
        used = inside.astype(np.float32)
        total = float(used.sum())
        if total < 0.3 * side * side:
            return place
        slopes = np.empty((6, side, side), np.float32)
        for at, (x, y) in ((0, (1, 0)), (3, (0, 1))):
            slope = np.multiply(
                cv2.Sobel(laid, cv2.CV_32F, x, y, ksize=3, scale=side / 8), used, out=slopes[at + 2]
            )
            np.multiply(slope, across, out=slopes[at])
            np.multiply(slope, down, out=slopes[at + 1])
        one = ((laid - np.vdot(laid, used) / total) * used).ravel()
        two = ((second - np.vdot(second, used) / total) * used).ravel()
        gain = float(np.clip(one @ two / (one @ one + 1), 0.5, 2))
        flat = slopes.reshape(6, -1)
        normal = flat @ flat.T * gain**2
        normal += np.eye(6, dtype=np.float32) * (1e-3 * np.trace(normal) / 6 + 1)
        step = np.linalg.solve(normal, flat @ (two - gain * one) * gain)
        place = place + np.clip(step, -0.05, 0.05).astype(np.float32)
    return place


def _fine_correlation(first: Plane, second: Plane, place: npt.NDArray[np.float32]) -> float:
    side = len(first)
    inside = _inside(side, place, side / 32)
    if inside.sum() < 0.3 * side * side:
        return 0.0
    one, two = _fine(_laid(first, place))[inside], _fine(second)[inside]
    one, two = one - one.mean(), two - two.mean()
    energy = float(one @ one), float(two @ two)
    if min(energy) < PLAIN**2 * len(one):
        return 0.0
    return float(float(one @ two) / np.sqrt(energy[0] * energy[1]))


def _fine(plane: Plane) -> Plane:
    return _blurred(plane, 0.7) - _blurred(plane, 2.5)


def _blurred(plane: Plane, sigma: float) -> Plane:
    return cv2.GaussianBlur(plane, (0, 0), sigma).astype(np.float32, copy=False)
