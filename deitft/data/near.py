"""Which photos may be near-duplicates: candidates from their looks, in memory and time that grow with N.

A photo's look is turned into those of its usual crops, mirrored and not, and each is looked up among the looks as
they are: in several tables, by the signs of fixed random projections. Where it is not crowded, whether two photos
are candidates depends on nothing but these two. Candidates that are alike enough are compared by their pixels
(``near_pixels``): a hash alone takes ten white shirts on one table for one.

Legend: N photos, K numbers of a look, C of them compared, V views (crop, mirrored
or not), T tables, B bits of a key.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from deitft.core.keys import generator, key
from deitft.data.looks import CHANNELS, FREQUENCIES, LOOK_BYTES, crop_matrix, frequencies_of, mirror_signs

NEAR_VERSION = 4
"""Raise it whenever other pairs may come out."""
TABLES, KEY_BITS = 8, 32
ALIKE = {1.0: 0.975, 0.95: 0.975, 0.9: 0.968}
"""Least cosine of two looks, by the scale of the view (measured: benchmarks/near_duplicates.py)."""
FAINT = 4.0
"""Photos whose looks vary by fewer grey levels (root mean square) have nothing to be recognised by."""
PARTNERS = 4
"""Candidates of a photo that are kept: the most alike ones. A chain of copies stays connected."""
COLOUR_WEIGHT = 1.5
COMPARED = 8
"""Highest u + v that is compared; what a crop brings in from beyond the stored ones disturbs the others."""

_BLOCK = 1 << 14
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
def _compared() -> npt.NDArray[np.int64]:
    """[C] the frequencies that count."""
    return np.flatnonzero(_weights())


@functools.cache
def _views() -> tuple[npt.NDArray[np.float32], ...]:
    """V matrices [K, C]: frequencies of a photo -> weighted frequencies of its view."""
    straight = np.ones(LOOK_BYTES, np.float32)
    return tuple(
        ((mirror_signs() if mirrored else straight)[:, None] * crop_matrix(*crop).T * _weights())[:, _compared()]
        for *crop, mirrored in VIEWS
    )


@functools.cache
def _projections() -> npt.NDArray[np.float32]:
    """[C, T * B] fixed directions."""
    drawn = generator(key("near")).standard_normal((len(_compared()), TABLES * KEY_BITS))
    return drawn.astype(np.float32)


def _own(looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """[N, C] weighted frequencies of looks as they are."""
    values: npt.NDArray[np.float32] = frequencies_of(looks[:, _compared()]) * _weights()[_compared()]
    return values


def has_look(looks: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """[N] whether there is enough to be recognised by."""
    there = np.zeros(len(looks), np.bool_)
    for at in range(0, len(looks), _BLOCK):
        there[at : at + _BLOCK] = np.linalg.norm(_own(looks[at : at + _BLOCK]), axis=1) > FAINT
    return there


def candidates(
    looks: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64] | None = None, *, threads: int = 1
) -> Candidates:
    """Pairs of rows of ``looks`` [N, K] that may be near-duplicates, each once; only ``rows`` are looked at."""
    rows = np.arange(len(looks)) if rows is None else rows
    if len(rows) < 2:
        return _none()
    # One thread a product: these are many and small, and how they are split would show in the last bits.
    with threadpool_limits(1, user_api="blas"):
        return _candidates(looks, rows, threads)


def _candidates(looks: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], threads: int) -> Candidates:
    """The same of two rows at least."""
    count = len(rows)
    own = np.concatenate([_keys(_own(looks[rows[at : at + _BLOCK]])) for at in range(0, count, _BLOCK)])
    places = np.stack([np.argsort(own[:, table], kind="stable").astype(np.int32) for table in range(TABLES)])
    ordered = np.stack([own[place, table] for table, place in enumerate(places)])  # [T, N] like ``places``

    first_block = frequencies_of(looks[rows[:_BLOCK]])  # of most folders that is all

    def alike_in(view: int) -> npt.NDArray[np.float64]:
        found = []
        for at in range(0, count, _BLOCK):
            block = np.arange(at, min(at + _BLOCK, count))
            seen = (frequencies_of(looks[rows[block]]) if at else first_block) @ _views()[view]
            pairs = _met(_keys(seen), block, own, ordered, places)
            found.append(_measured(seen, at, looks, rows, pairs, view))
        return _best(np.concatenate(found), count)

    best = np.zeros((0, 4))
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(alike_in, range(len(VIEWS))):
            best = _best(np.concatenate((best, found)), count)
    first, second, views = best[:, :3].astype(np.int64).T
    return Candidates(rows[first], rows[second], views, best[:, 3].astype(np.float32))


def _none() -> Candidates:
    nothing = np.zeros(0, np.int64)
    return Candidates(nothing, nothing, nothing, np.zeros(0, np.float32))


def _keys(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """[N, T] keys of weighted frequencies [N, C]."""
    keys: npt.NDArray[np.uint32] = np.packbits(values @ _projections() > 0, axis=1).view(">u4").astype(np.uint32)
    return keys


def _met(
    asked: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    own: npt.NDArray[np.uint32],
    ordered: npt.NDArray[np.uint32],
    places: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """[M, 2] (row, other row) whose keys stand beside each other in the order of some table, each pair once.

    However crowded it is there, ``REACH`` neighbours are looked at. Pairs whose keys, all together, differ in more
    bits than those of alike looks do are dropped here.
    """
    count, steps = len(own), np.arange(-REACH // 2, REACH // 2)
    asked64, own64 = asked.view(np.uint64), own.view(np.uint64)  # [n, T / 2]
    pairs = []
    for table in range(TABLES):
        keys, column = asked[:, table], ordered[table]
        at = np.searchsorted(column, keys)[:, None] + steps
        beside = column.take(at, mode="clip")
        beside ^= keys[:, None]
        met = np.flatnonzero(np.bitwise_count(beside) <= MOST_KEY_BITS)
        here, other = met // REACH, places[table].take(at.ravel()[met], mode="clip")
        far = np.zeros(len(met), np.int64)
        for two in range(TABLES // 2):
            far += np.bitwise_count(asked64[here, two] ^ own64[other, two])
        near = (far <= MOST_BITS) & (rows[here] != other)
        pairs.append(rows[here[near]] * count + other[near])
    return np.stack(np.divmod(np.unique(np.concatenate(pairs)), count), axis=1)


MOST_BITS, MOST_KEY_BITS = 40, 10
"""Bits of all keys, and of one, that alike looks differ in at most; at a cosine of 0.97 they do in 20 and 2.5."""
REACH = 8
"""Neighbours in the order of a table that are looked at."""


def _measured(
    seen: npt.NDArray[np.float32],
    start: int,
    looks: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    pairs: npt.NDArray[np.int64],
    view: int,
) -> npt.NDArray[np.float64]:
    """[M, 4] (first, second, view, cosine) of pairs that are alike; ``seen`` [n, C] begins at row ``start``."""
    lengths = np.maximum(np.linalg.norm(seen, axis=1), 1e-6)
    kept = [np.zeros((0, 4))]
    for at in range(0, len(pairs), _BLOCK):
        some = pairs[at : at + _BLOCK]
        here, other = some[:, 0] - start, _own(looks[rows[some[:, 1]]])
        cosine = np.einsum("mc,mc->m", seen[here], other) / lengths[here]
        cosine /= np.maximum(np.sqrt(np.einsum("mc,mc->m", other, other)), 1e-6)
        good = cosine >= ALIKE[VIEWS[view][0]]
        kept.append(np.column_stack((some[good], np.full(good.sum(), view), cosine[good])))
    return np.concatenate(kept)


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
