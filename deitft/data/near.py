"""Which photos may be near-duplicates: candidates from their looks, in memory and time that grow with N.

A photo's look is turned into those of its usual crops, mirrored and not, and each is looked up among the looks as
they are: in several tables, by the signs of fixed random projections. Nothing in a look-up depends on other photos
but how many neighbours it considers. Candidates that are alike enough are compared by their pixels
(``near_pixels``): a hash alone takes ten white shirts on one table for one.

Legend: N photos, K numbers of a look, V views (crop, mirrored or not), T tables, B bits of a key.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deitft.core.keys import generator, key
from deitft.data.looks import CHANNELS, FREQUENCIES, LOOK_BYTES, crop_matrix, frequencies_of, mirror_signs

NEAR_VERSION = 2
"""Raise it whenever other pairs may come out."""
TABLES, KEY_BITS = 8, 32
ALIKE = 0.97
"""Least cosine of two looks: crops of up to 10 % a side reach it (measured: benchmarks/near_duplicates.py)."""
FAINT = 4.0
"""Photos whose looks vary by fewer grey levels (root mean square) have nothing to be recognised by."""
PARTNERS = 4
"""Candidates of a photo that are kept: the most alike ones. A chain of copies stays connected."""
COLOUR_WEIGHT = 1.5
COMPARED = 8
"""Highest u + v that is compared; what a crop brings in from beyond the stored ones disturbs the others."""

_BLOCK = 1 << 16
_SHIFTS = tuple((right, down) for down in (-1, 0, 1) for right in (-1, 0, 1))
_CORNERS = ((-1, -1), (1, 1), (-1, 1), (1, -1))
VIEWS: tuple[tuple[float, float, float, bool], ...] = (
    (1.0, 0.0, 0.0, False),
    *((0.95, 0.025 * right, 0.025 * down, False) for right, down in _SHIFTS),
    *((0.9, 0.05 * right, 0.05 * down, False) for right, down in ((0, 0), *_CORNERS)),
    *((scale, 0.0, 0.0, True) for scale in (1.0, 0.95, 0.9)),
)
"""(scale, right, down, mirrored before that) of the views that are looked for."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """M pairs that look alike: ``second`` looks like the view ``views`` of ``first``; best first."""

    first: npt.NDArray[np.int64]  # [M] rows
    second: npt.NDArray[np.int64]  # [M] rows
    views: npt.NDArray[np.int64]  # [M]
    alike: npt.NDArray[np.float32]  # [M] cosine

    def __len__(self) -> int:
        return len(self.first)


@functools.cache
def _weights() -> npt.NDArray[np.float32]:
    """[K] what each frequency counts."""
    total = FREQUENCIES.sum(axis=1)
    weights = np.where(CHANNELS == 0, 1.0, COLOUR_WEIGHT)
    weights[(total == 0) | (total > COMPARED)] = 0
    return weights.astype(np.float32)


@functools.cache
def _views() -> tuple[npt.NDArray[np.float32], ...]:
    """V matrices [K, K]: frequencies of a photo -> weighted frequencies of its view."""
    straight = np.ones(LOOK_BYTES, np.float32)
    return tuple(
        (mirror_signs() if mirrored else straight)[:, None] * crop_matrix(scale, right, down).T * _weights()
        for scale, right, down, mirrored in VIEWS
    )


@functools.cache
def _projections() -> npt.NDArray[np.float32]:
    """[K, T * B] fixed directions."""
    drawn = generator(key("near")).standard_normal((LOOK_BYTES, TABLES * KEY_BITS))
    return drawn.astype(np.float32)


def has_look(looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """[N] whether there is enough to be recognised by."""
    there = np.zeros(len(looks), np.bool_)
    for at in range(0, len(looks), _BLOCK):
        there[at : at + _BLOCK] = (
            np.linalg.norm(frequencies_of(looks[at : at + _BLOCK]) * _weights(), axis=1) > FAINT
        )
    return there


def candidates(looks: npt.NDArray[np.uint8]) -> Candidates:
    """Pairs of rows of ``looks`` [N, K] that may be near-duplicates, each once."""
    count = len(looks)
    if count < 2:
        return _none()
    own = _signatures(looks, None)
    places = np.argsort(own.T, axis=1, kind="stable").astype(np.int32)  # [T, N]
    ordered = np.take_along_axis(own.T, places, axis=1)
    found: list[npt.NDArray[np.float64]] = []
    bits = int(np.clip(np.ceil(np.log2(count)), 8, 24))
    for view in range(len(VIEWS)):
        for at in range(0, count, _BLOCK):
            block = np.arange(at, min(at + _BLOCK, count))
            asked = own[block] if view == 0 else _signatures(looks[block], view)
            pairs = _met(asked, block, own, ordered, places, bits)
            found.append(_measured(looks, pairs, view))
        if sum(map(len, found)) > 4 * PARTNERS * count:
            found = [_best(np.concatenate(found), count)]
    return _ordered(_best(np.concatenate(found), count))


def _none() -> Candidates:
    nothing = np.zeros(0, np.int64)
    return Candidates(nothing, nothing, nothing, np.zeros(0, np.float32))


def _signatures(looks: npt.NDArray[np.uint8], view: int | None) -> npt.NDArray[np.uint32]:
    """[N, T] keys of looks, or of one view of them."""
    matrix = _views()[view or 0] @ _projections()
    keys = np.empty((len(looks), TABLES), np.uint32)
    for at in range(0, len(looks), 1 << 13):
        signs = frequencies_of(looks[at : at + (1 << 13)]) @ matrix > 0
        packed = np.packbits(signs, axis=1)
        keys[at : at + (1 << 13)] = packed.view(">u4")
    return keys


def _met(
    asked: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    own: npt.NDArray[np.uint32],
    ordered: npt.NDArray[np.uint32],
    places: npt.NDArray[np.int32],
    bits: int,
) -> npt.NDArray[np.int64]:
    """[M, 2] (row, other row) whose keys share their first ``bits`` in some table, each pair once.

    Of a crowded bucket the ``REACH`` nearest in the order of the whole keys are looked at. Pairs whose signatures
    differ in more bits than alike looks do are dropped here.
    """
    count, low_bits = len(own), np.uint32(KEY_BITS - bits)
    pairs = []
    for table in range(TABLES):
        keys, column = asked[:, table], ordered[table]
        here = np.searchsorted(column, keys)
        for step in range(-REACH // 2, REACH // 2):
            at = np.clip(here + step, 0, count - 1)
            met = np.flatnonzero((column[at] ^ keys) >> low_bits == 0)
            other = places[table][at[met]]
            far = np.bitwise_count(asked[met] ^ own[other]).sum(axis=1, dtype=np.int64)
            near = (far <= MOST_BITS) & (rows[met] != other)
            pairs.append(rows[met[near]] * count + other[near])
    return np.stack(np.divmod(np.unique(np.concatenate(pairs)), count), axis=1)


MOST_BITS = 36
"""Bits of T * B that alike looks differ in at most: at the cosine ``ALIKE`` 18 are expected, give or take 4."""
REACH = 16
"""Neighbours in the order of a table that are looked at."""


def _measured(looks: npt.NDArray[np.uint8], pairs: npt.NDArray[np.int64], view: int) -> npt.NDArray[np.float64]:
    """[M, 4] (first, second, view, cosine) of the pairs that are alike."""
    kept = []
    for at in range(0, len(pairs), _BLOCK):
        some = pairs[at : at + _BLOCK]
        one = frequencies_of(looks[some[:, 0]]) @ _views()[view]
        two = frequencies_of(looks[some[:, 1]]) * _weights()
        length = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        cosine = np.einsum("mk,mk->m", one, two) / np.maximum(length, 1e-6)
        good = cosine >= ALIKE
        kept.append(np.column_stack((some[good], np.full(good.sum(), view), cosine[good])))
    return np.concatenate([np.zeros((0, 4)), *kept])


def _best(found: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Each unordered pair once, by its best view; of each photo the ``PARTNERS`` most alike."""
    found = found[np.lexsort((found[:, 2], -found[:, 3]))]
    small, large = np.minimum(found[:, 0], found[:, 1]), np.maximum(found[:, 0], found[:, 1])
    _, once = np.unique(small * count + large, return_index=True)
    found = found[np.sort(once)]
    wanted = np.zeros(len(found), np.bool_)
    for column in (0, 1):
        order = np.argsort(found[:, column], kind="stable")
        sorted_rows = found[order, column]
        starts = np.searchsorted(sorted_rows, sorted_rows, "left")
        wanted[order[np.arange(len(order)) - starts < PARTNERS]] = True
    return found[wanted]


def _ordered(found: npt.NDArray[np.float64]) -> Candidates:
    whole = found[:, :3].astype(np.int64)
    return Candidates(whole[:, 0], whole[:, 1], whole[:, 2], found[:, 3].astype(np.float32))
