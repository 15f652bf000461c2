"""What cannot be parted: photos of one content, near-duplicates, declared groups. Each such unit has a hash."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from deitft.core.keys import key
from deitft.data.catalog import Catalog, normal, shown
from deitft.errors import Notice


def units_of(
    catalog: Catalog, seed: int, groups: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], list[Notice]]:
    """(unit of each row [N], hash of each unit in [0, 1) [U], notices of groups that merged)."""
    salt = key("split", seed).to_bytes(8, "little")
    contents = catalog.pictures
    # A photo that could not be read has no content: it stands for itself, by its path.
    alone = np.flatnonzero(contents < 0)
    contents[alone] = contents.max(initial=-1) + 1 + np.arange(len(alone))
    count, contents = _dense(contents)
    own = np.zeros(len(catalog), np.uint64)
    for row, (digest, path) in enumerate(zip(catalog.digests, catalog.paths, strict=True)):
        data = digest or b"path\0" + normal(path).encode()
        own[row] = int.from_bytes(blake2b(data, digest_size=8, key=salt).digest(), "little")
    values = np.full(count, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(values, contents, own)
    pairs = np.stack((contents[catalog.pairs.first], contents[catalog.pairs.second]))
    if (groups is None or not any(groups)) and not pairs.size:
        return contents, _uniform(values), []
    return _merged(contents, values, groups or [""] * len(catalog), pairs, salt)


def _dense(numbers: npt.NDArray[np.int64]) -> tuple[int, npt.NDArray[np.int64]]:
    """(how many different ones there are, the same renamed 0, 1, 2, … in their order)."""
    there = np.zeros(int(numbers.max(initial=-1)) + 1, np.bool_)
    there[numbers] = True
    places = np.cumsum(there, dtype=np.int64)
    places -= 1
    return int(there.sum()), places[numbers]


def _merged(
    contents: npt.NDArray[np.int64],
    values: npt.NDArray[np.uint64],
    groups: Sequence[str],
    pairs: npt.NDArray[np.int64],
    salt: bytes,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], list[Notice]]:
    """Units of near-duplicates [2, M] and declared groups: what is connected is one.

    It goes by its group's hash, without a group by the least of its photos'.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = sorted({name for name in groups if name})
    number_of = {name: len(values) + index for index, name in enumerate(names)}
    rows = [row for row, name in enumerate(groups) if name]
    nodes = len(values) + len(names)
    named = np.stack((contents[rows], np.array([number_of[groups[row]] for row in rows], np.int64)))
    ends = np.concatenate((named, pairs), axis=1)
    graph = coo_array((np.ones(ends.shape[1], np.int8), tuple(ends)), shape=(nodes, nodes))
    count, unit_of = connected_components(graph, directed=False)
    own = [blake2b(b"group\0" + name.encode(), digest_size=8, key=salt).digest() for name in names]
    merged = np.full(count, np.iinfo(np.uint64).max, np.uint64)
    inside = np.bincount(unit_of[len(values) :], minlength=count)
    single = np.flatnonzero(inside[unit_of[: len(values)]] == 0)
    np.minimum.at(merged, unit_of[single], values[single])
    group_values = np.array([int.from_bytes(value, "little") for value in own], np.uint64)
    np.minimum.at(merged, unit_of[len(values) :], group_values)
    units = unit_of[contents].astype(np.int64)
    return units, _uniform(merged), _merging_notices(names, unit_of[len(values) :], inside)


def _uniform(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """64-bit values as numbers in [0, 1), spread evenly whatever their size.

    The least of several hashes is small: taken as it is, it would send units of many photos to test more often
    than others (five photos: 41 % instead of 10 %). So each value is hashed once more, by the last steps of
    splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
    """
    mixed = values.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _merging_notices(
    names: Sequence[str], unit_of: npt.NDArray[np.int32], inside: npt.NDArray[np.int64]
) -> list[Notice]:
    together: dict[int, list[str]] = {}
    for name, unit in zip(names, unit_of.tolist(), strict=True):
        if inside[unit] > 1:
            together.setdefault(unit, []).append(name)
    if not together:
        return []
    first = " and ".join(f'"{shown(name)}"' for name in next(iter(together.values()))[:2])
    count = sum(map(len, together.values()))
    text = f"{count} groups share photos and are kept together, first: {first}"
    return [
        Notice(id="GROUPS", severity="warning", text=text, details={"merged": list(together.values())}),
    ]
