"""Large folders are walked by several processes: listing a million files is mostly waiting for the system.

What comes out is what one walk would have found, in the same order. Where a folder could be reached twice (a mount
inside another folder), the walk is made again in one process, which knows where it has been.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from deitft.core.forked import as_child
from deitft.data.walk import Walker

ALONE = 20_000
"""Photos up to which one process is as quick."""
MOST = 8
"""Processes at most."""


@dataclass(frozen=True, slots=True)
class Part:
    """What lies below one folder."""

    names: str  # paths, with a NUL between two: one text is handed over faster than many
    numbers: bytes
    ignored: list[tuple[str, str]]
    links: list[str]
    seen: set[tuple[int, int]]
    met_twice: list[str]


def walk_folders(walker: Walker, folders: Sequence[str]) -> Iterator[int]:
    """Walk each folder as ``walker.walk`` does; how many photos each has, in order.

    Raises:
        DataError, StorageError: as ``walker.walk``.
    """
    walker.reserve(folders)
    for index, folder in enumerate(folders):
        rest = folders[index:]
        if len(walker.photos.paths) >= ALONE and len(rest) > 1 and (processes := _processes(len(rest))) > 1:
            parts = _apart(walker.root, rest, processes)
            if parts is not None and _are_apart(walker, rest, parts):
                for each, part in zip(rest, parts, strict=True):
                    yield _take(walker, each, part)
                return
            yield from map(walker.walk, rest)
            return
        yield walker.walk(folder)


def _processes(folders: int) -> int:
    """How many; one where processes cannot be forked."""
    if sys.platform == "darwin" or "fork" not in multiprocessing.get_all_start_methods():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST, cores, folders)


def _apart(root: str, folders: Sequence[str], processes: int) -> list[Part] | None:
    """The parts, each walked as if it were alone; None where a process was killed."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=as_child) as pool:
        try:
            return list(pool.map(_walk_one, [root] * len(folders), folders))
        except BrokenProcessPool:
            return None


def _walk_one(root: str, folder: str) -> Part:
    walker = Walker(root)
    walker.walk(folder)
    names, numbers = "\0".join(walker.photos.paths), walker.photos.numbers.tobytes()
    return Part(names, numbers, walker.ignored, walker.links, walker.seen, walker.met_twice)


def _are_apart(walker: Walker, folders: Sequence[str], parts: Sequence[Part]) -> bool:
    """Whether no folder was met by two of them, or before."""
    union = walker.seen.union(*(part.seen for part in parts))
    alone = len(walker.seen) + sum(len(part.seen) for part in parts)
    return len(union) == alone and not any(part.met_twice for part in parts)


def _take(walker: Walker, folder: str, part: Part) -> int:
    """Add a part to the walk."""
    paths = part.names.split("\0") if part.names else []
    numbers = array("q")
    numbers.frombytes(part.numbers)
    walker.photos.paths += paths
    walker.photos.numbers += numbers
    walker.ignored += part.ignored
    walker.links += part.links
    walker.seen |= part.seen
    return len(paths)
