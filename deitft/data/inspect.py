"""Catalog -> Catalog with content: every photo is read and decoded once, in parallel, and remembered.

What is found wrong with a photo is a fact beside it; what follows from it is decided by ``audit``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.progress import Progress, StopFlag, Task
from deitft.data import near_pairs, photo_cache, photo_reader
from deitft.data.catalog import BadPhoto, Catalog, NearPairs, shown
from deitft.data.digests import Digests
from deitft.data.forking import still_opencv
from deitft.data.photo_cache import PhotoFacts
from deitft.data.places import Places
from deitft.data.reading_limits import Watch
from deitft.errors import Notice, OutputError, StorageError

CHUNK = 32
"""Photos a worker reads before it reports: a stop is noticed within one chunk."""

PAIRS_CHUNK = 8
"""Pairs a worker compares before it reports: few, so that no worker waits for the last of another's."""

default_cache_dir = photo_cache.default_cache_dir


def inspect(
    catalog: Catalog,
    *,
    workers: int,
    progress: Progress,
    cache_dir: Path | None,
    stop: StopFlag | None = None,
    near: bool = True,
) -> Catalog:
    """Read every photo wholly: SHA-256, size in pixels, what it looks like, what is special, what is wrong.

    ``near`` looks for near-duplicates as well.

    Reads in ``workers`` processes (at least one). Photos whose path, size, times and inode are those of an
    earlier look are taken from the cache below ``cache_dir``; None reads everything and keeps nothing.

    Raises:
        StoppedError: ``stop`` was set; what was read so far is kept in the cache.
        OutputError: ``cache_dir`` lies inside the data (id CACHE).
        OutsideError: a photo leads outside its root by now (id S4).
        DataError: a shard does not hold what its list promises (id D20).
        StorageError: a reading process died (id N5).
    """
    file = (
        None if cache_dir is None else photo_cache.cache_file(_outside(cache_dir, catalog.places), catalog.places)
    )
    facts = photo_cache.recall(file, catalog.paths, catalog.sizes, catalog.stamps)
    pending = np.flatnonzero(~facts.known)
    if len(pending):
        try:
            with progress.task("Reading photos", len(pending), unit="photos") as task:
                _read(catalog.places, facts, pending, max(1, workers), task, stop)
        finally:
            if file is not None:
                _save(file, facts, progress)
    seen = _completed(catalog, facts)
    catalog.places.check(seen.paths, seen.digests)
    return replace(seen, pairs=_near(seen, max(1, workers), progress, file, stop)) if near else seen


def _near(
    catalog: Catalog, workers: int, progress: Progress, file: Path | None, stop: StopFlag | None
) -> NearPairs:
    """The near-duplicates, looked for among the looks, compared by pixels in reading processes."""
    search = near_pairs.Search(catalog, None if file is None else file.parent.parent / "pairs" / file.name)
    if search.known is not None:
        return search.known
    jobs = search.jobs(workers)
    if not jobs:
        return search.done([])
    watch = Watch(_context(), workers)
    pool = _pool(min(workers, -(-len(jobs) // PAIRS_CHUNK)), catalog.places, watch)
    found: list[float] = []
    try:
        with progress.task("Comparing photos that look alike", len(jobs), unit="pairs") as task:
            chunks = [jobs[at : at + PAIRS_CHUNK] for at in range(0, len(jobs), PAIRS_CHUNK)]
            for answer in pool.map(photo_reader.compare_photos, chunks):
                found += answer
                task.advance(len(answer))
                if stop:
                    raise stop.error(
                        f"all photos read and remembered, {len(found):,} of {len(jobs):,} pairs compared",
                        "run the same command again",
                    )
    except BrokenProcessPool as error:
        raise StorageError(
            "a process that compared photos died (killed: often out of memory)",
            "run again with fewer workers",
            id="N5",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        watch.close()
    return search.done(found)


def _outside(cache_dir: Path, places: Places) -> Path:
    if places.holds(cache_dir):
        raise OutputError(
            f"the cache folder {shown(str(cache_dir))} lies inside the photos",
            "set XDG_CACHE_HOME to another place",
            id="CACHE",
        )
    return cache_dir


def _save(file: Path, facts: PhotoFacts, progress: Progress) -> None:
    try:
        photo_cache.save(file, facts)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"cannot write the cache {file} ({reason}), the next run reads all photos again"
        progress.warn(Notice(id="CACHE", severity="warning", text=text))


def _read(
    places: Places,
    facts: PhotoFacts,
    pending: npt.NDArray[np.int64],
    workers: int,
    task: Task,
    stop: StopFlag | None,
) -> None:
    """Read what is pending. A photo that ends its reading process is named, and the others are read by another."""
    left, done = pending, 0
    while len(left):
        watch = Watch(_context(), workers)
        pool = _pool(min(workers, -(-len(left) // CHUNK)), places, watch)
        chunks = iter([left[at : at + CHUNK] for at in range(0, len(left), CHUNK)])
        try:
            for rows, answer in _answers(pool, facts.paths, chunks, 2 * workers, stop):
                _fill(facts, rows, answer)
                done += len(rows)
                task.advance(len(rows))
            break
        except BrokenProcessPool as error:
            processes = list((pool._processes or {}).values())
            pool.shutdown(cancel_futures=True)
            culprits = watch.culprits(processes)
            if not culprits:
                raise StorageError(
                    "a process that read photos died (killed: often out of memory), "
                    f"{done:,} of {len(pending):,} read",
                    "run again with fewer workers",
                    id="N5",
                ) from error
            facts.bad |= culprits
            done += len(culprits)
            task.advance(len(culprits))
            left = np.array([row for row in left.tolist() if not (facts.known[row] or row in facts.bad)], np.int64)
        finally:
            pool.shutdown(cancel_futures=True)
            watch.close()
    if stop and done < len(pending):
        what = f"{done:,} of {len(pending):,} photos read and remembered"
        raise stop.error(what, "run the same command again")


def _context() -> BaseContext:
    # Forked workers start at once and need no guard in the user's script; elsewhere they are spawned.
    return get_context("fork" if "fork" in get_all_start_methods() and sys.platform != "darwin" else "spawn")


def _pool(workers: int, places: Places, watch: Watch) -> ProcessPoolExecutor:
    still_opencv()
    start = photo_reader.start
    return ProcessPoolExecutor(workers, _context(), initializer=start, initargs=(os.getpid(), places, watch))


def _answers(
    pool: ProcessPoolExecutor,
    paths: list[str],
    chunks: Iterator[npt.NDArray[np.int64]],
    ahead: int,
    stop: StopFlag | None,
) -> Iterator[tuple[npt.NDArray[np.int64], photo_reader.Answer]]:
    """Answers as they come, with ``ahead`` chunks under way; ends early, in order, when ``stop`` is set."""
    running: dict[Future[photo_reader.Answer], npt.NDArray[np.int64]] = {}
    while True:
        while len(running) < ahead and not stop and (rows := next(chunks, None)) is not None:
            names = [paths[row] for row in rows.tolist()]
            running[pool.submit(photo_reader.read_photos, names, rows.tolist())] = rows
        if not running:
            return
        ready, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ready:
            yield running.pop(future), future.result()


def _fill(facts: PhotoFacts, rows: npt.NDArray[np.int64], answer: photo_reader.Answer) -> None:
    for name in photo_cache.COLUMNS:
        getattr(facts, name)[rows] = getattr(answer, name)
    facts.bad |= {int(rows[at]): bad for at, bad in answer.bad.items()}


def _completed(catalog: Catalog, facts: PhotoFacts) -> Catalog:
    known = facts.known
    bad = dict(sorted(facts.bad.items()))
    unread = np.flatnonzero(~known)
    bad |= {row: BadPhoto("D2", "was not read") for row in unread.tolist() if row not in bad}
    facts.stamps[unread] = np.column_stack((catalog.sizes[unread], catalog.stamps[unread]))
    return replace(
        catalog,
        sizes=facts.stamps[:, 0],
        stamps=facts.stamps[:, 1:],
        digests=Digests(facts.digests, known),
        widths=facts.shapes[:, 0],
        heights=facts.shapes[:, 1],
        notes=facts.notes,
        pixels=facts.pixels,
        looks=facts.looks,
        contrast=facts.contrast,
        sharpness=facts.sharpness,
        bad=bad,
    )
