"""The only source of chance: 64-bit keys from blake2b, and generators made of them.

A key is a function of what it is for (a purpose, the seed, the epoch, the photo, the repeat, the step), never
of a worker, a process or what was drawn before. So a run can start at any step without replaying the others,
and a photo's view is the same whoever computes it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def key(purpose: str, *parts: int) -> int:
    """A 64-bit key for one purpose and some whole numbers.

    >>> key("view", 0, 1, 2, 0) == key("view", 0, 1, 2, 0)
    True
    """
    digest = blake2b(digest_size=8, person=purpose.encode()[:16])
    for part in parts:
        digest.update(int(part).to_bytes(16, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")


def uniform(value: int) -> float:
    """The key as a number in [0, 1), of 53 bits."""
    return (value >> 11) * 2.0**-53


def generator(value: int) -> np.random.Generator:
    """A numpy generator that gives the same draws for the same key (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(key=value))


def permutation(count: int, purpose: str, *parts: int) -> npt.NDArray[np.int64]:
    """A permutation of ``range(count)`` for one purpose and some whole numbers."""
    return generator(key(purpose, *parts)).permutation(count).astype(np.int64, copy=False)


@contextlib.contextmanager
def seeded_globals(value: int) -> Iterator[None]:
    """Seed python's and numpy's global generators, and put them back as they were.

    For code that we do not own and that draws from the globals (timm's RandAugment).
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
