"""The cache of a run's teacher, filled in advance or compared with the teacher again."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deitft.compute.allocator import freed_memory_kept
from deitft.compute.device import deterministic
from deitft.compute.group import Group, SharedStop
from deitft.core.keys import permutation
from deitft.core.progress import Progress, Silent, StopFlag, catch_stop_signals
from deitft.core.units import format_bytes
from deitft.data.bad_photo import pixel_limit
from deitft.data.catalog import TRAIN, counted, shown
from deitft.data.photos import PhotoSet
from deitft.data.stream import Batch, TrainStream
from deitft.errors import DataError, GateError, MissingInputError, OutputError, RecipeError, UsageError
from deitft.objectives.teacher_cache import HEADER, CacheHeader, TeacherCache, Words
from deitft.recipe.plan_types import Plan
from deitft.runs.folder import RunFolder, check_outside
from deitft.runs.learning import FOLDER, LazyTeacher, cache_header, remembering, view_steps
from deitft.runs.measure import free_bytes
from deitft.runs.request import TrainRequest
from deitft.runs.resume import machine_of, photos_of, refuse_changes

ENOUGH = 0.999
"""Share of the labels of a sample that must be the same."""
FLUSH_SECONDS = 60.0
"""What an interruption costs at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheResult:
    """What is in a cache now. ``checked``: figures of a comparison, empty where it was filled."""

    folder: Path
    views: int
    known: int
    bytes: int
    asked: int = 0
    checked: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        figures = {"views": self.views, "known": self.known, "bytes": self.bytes, "asked": self.asked}
        return {"cache": str(self.folder), **figures, "checked": self.checked or None}

    def summary(self) -> list[tuple[str, str]]:
        """(name, figure) rows for people."""
        rows = [
            ("Cache", str(self.folder)),
            ("Views", f"{self.known:,} of {self.views:,} have the teacher's answer"),
            ("Size", format_bytes(self.bytes)),
        ]
        if self.checked:
            found = self.checked
            rows.append(("Compared", f"{found['views']:,} views of {found['steps']:,} steps"))
            rows.append(("The same class", f"{found['same_class']:.2%}"))
            rows.append(("The same bits", f"{found['same_bits']:.2%}"))
        else:
            rows.append(("Asked now", f"{self.asked:,} views"))
        return rows


@dataclass(frozen=True, slots=True)
class _Place:
    """A plan with its train photos, and the cache that belongs to them."""

    plan: Plan
    photos: PhotoSet
    folder: Path
    share: int
    """Rows of a batch that one process of the run has: the teacher is shown as many at once as it shows there."""

    @property
    def steps(self) -> int:
        """Steps whose views differ."""
        return view_steps(self.plan)

    @property
    def header(self) -> CacheHeader:
        """What a cache of this place says of itself."""
        return cache_header(self.plan, self.photos, self.share)

    def parts_of(self, batch: Batch) -> list[Batch]:
        """A step's batch as the run's teacher sees it, on the plan's device."""
        ready = batch.to(self.plan.device)
        return [part for rows in ready.split(self.share) for part in rows.split(self.plan.micro_batch)]


@dataclass(frozen=True, slots=True)
class _Order:
    """What the other processes need to ask along."""

    place: _Place
    left: list[int]
    max_pixels: int | None


def teacher_cache_of(
    run: RunFolder, plan: Plan, request: TrainRequest, *, verify: float | None, processes: int = 1
) -> CacheResult:
    """See ``jobs.teacher_cache``. The run trains in so many ``processes``; those of ``request.group`` ask."""
    if plan.distill is None:
        raise UsageError(
            f"{run.name} has no teacher: nothing to remember",
            "name a run that was begun with --teacher",
            id="CACHE",
        )
    if request.teacher_cache is not None and verify is None:
        check_outside(request.teacher_cache, request.data, "teacher's cache", "--teacher-cache")
    machine = machine_of(plan, request)
    deterministic(machine.threads)
    stop = StopFlag()
    with catch_stop_signals(stop, request.progress):
        prepared, changed = photos_of(run, plan, request, machine, stop)
        refuse_changes(changed, ())
        here = replace(
            plan,
            device=machine.device,
            precision=machine.precision,
            threads=machine.threads,
            workers=machine.workers,
        )
        folder = request.teacher_cache or run.path / FOLDER
        place = _Place(here, prepared.photos(TRAIN), folder, max(1, plan.batch // processes))
        if verify is not None:
            return _verified(place, request, verify, stop)
        return _filled(place, request, stop)


def _filled(place: _Place, request: TrainRequest, stop: StopFlag) -> CacheResult:
    batch, group = place.plan.batch, request.group
    cache = TeacherCache(place.folder, place.header)
    known = cache.known_steps(place.steps)
    left = np.flatnonzero(~known).tolist()
    size, there = cache.header.bytes_for(place.steps), cache.bytes_on_disk()
    request.progress.say(f"{int(known.sum()) * batch:,} of {place.steps * batch:,} views are known")
    if left and cache.inexact:
        raise RecipeError(
            f"{place.folder} was made elsewhere ({cache.inexact}): what is asked now would not be the same bits",
            "ask with those settings, or name another --teacher-cache",
            id="CACHE",
        )
    if size - there > free_bytes(place.folder):
        raise OutputError(
            f"the cache takes {format_bytes(size)}, "
            f"{place.folder} has room for {format_bytes(free_bytes(place.folder))}",
            "name another place with --teacher-cache, or reuse views with --cache-views",
            id="CACHE",
        )
    if not group.alone:
        request.progress.say(f"{group.world} processes share what is left")
        group.order(_Order(place, left, request.max_pixels))
    asked = _ask(place, left, group, request.progress, stop)
    now = int(cache.known_steps(place.steps).sum())
    if now < place.steps and stop.by_signal:
        what = f"{now * batch:,} of {place.steps * batch:,} views are known"
        raise stop.error(what, "run the same command again: it goes on")
    return CacheResult(
        folder=place.folder,
        views=place.steps * batch,
        known=now * batch,
        bytes=cache.bytes_on_disk(),
        asked=asked,
    )


def ask_along(group: Group) -> None:
    """A process that does not lead: it asks about its part of what is left, until the leader has no more.

    Raises:
        DeitftError: what ended the leader, or another process.
    """
    stop = StopFlag()
    with catch_stop_signals(stop, Silent()):
        while (order := group.next_order()) is not None:
            deterministic(order.place.plan.threads)
            with pixel_limit(order.max_pixels):
                _ask(order.place, order.left, group, Silent(), stop)


@freed_memory_kept()
def _ask(place: _Place, left: list[int], group: Group, progress: Progress, stop: StopFlag) -> int:
    """Ask about these steps, each process about as many in a row, so that their chunks hardly overlap.

    All processes stop where one is told to. Returns how many views all of them asked about.
    """
    plan, mine = place.plan, np.array_split(left, group.world)[group.rank].astype(int).tolist()
    part, share = f"fill-{group.rank}", place.share
    memory = remembering(plan, place.photos, progress, place.folder, LazyTeacher(plan), part=part, share=share)
    stream, stopped = TrainStream(plan, place.photos), SharedStop(stop, group)
    flushed = time.monotonic()
    try:
        with progress.task("asking the teacher", len(mine) * plan.batch, unit="views") as task:
            batches = stream.at_steps(mine)
            for _ in range(math.ceil(len(left) / group.world)):
                stopped.look()
                if stopped.by_signal:
                    break
                one = next(batches, None)  # the last process may have a step less
                for images in place.parts_of(one) if one is not None else ():
                    memory(images)
                task.advance(len(one) if one is not None else 0)
                if time.monotonic() - flushed > FLUSH_SECONDS:
                    memory.close()
                    flushed = time.monotonic()
    finally:
        stream.close()
        memory.close()
    return sum(group.everyones(memory.asked))


def _verified(place: _Place, request: TrainRequest, share: float, stop: StopFlag) -> CacheResult:
    """Chunks against their digests, and a sample of steps against the teacher.

    Raises:
        MissingInputError: no cache there, or nothing in it (id CACHE).
        DataError: damaged chunks, all of them named (id CACHE).
        GateError: the teacher says something else of more than one view in a thousand (id CACHE).
    """
    plan, folder = place.plan, place.folder
    if not (folder / HEADER).is_file():
        raise MissingInputError(f"no cache at {folder}", "without --verify it is filled", id="CACHE")
    cache = TeacherCache(folder, place.header)
    damaged = cache.damaged()
    if damaged:
        raise DataError(
            f"{counted(len(damaged), 'damaged chunk')} in {folder}, first: {damaged[0].name}",
            "delete what is damaged: the teacher is asked again",
            id="CACHE",
            files=[str(path) for path in damaged],
        )
    known = np.flatnonzero(cache.known_steps(place.steps))
    if not len(known):
        raise MissingInputError(
            f"{folder} has no whole step to compare", "without --verify it is filled", id="CACHE"
        )
    count = min(len(known), max(1, math.ceil(share * len(known))))
    chosen = np.sort(known[permutation(len(known), "verify", plan.seed)[:count]]).tolist()
    compared = _Compared()
    voice, stream = LazyTeacher(plan), TrainStream(plan, place.photos)
    try:
        with request.progress.task("asking the teacher again", count * plan.batch, unit="views") as task:
            for one in stream.at_steps(chosen):
                said = torch.cat([voice(part) for part in place.parts_of(one)])
                compared.add(one, cache.read(one.step), said, cache.header.kept)
                task.advance(len(one))
                if stop.by_signal:
                    raise stop.error("while comparing", "run the same command again")
    finally:
        stream.close()
    result = CacheResult(
        folder=folder,
        views=place.steps * plan.batch,
        known=len(known) * plan.batch,
        bytes=cache.bytes_on_disk(),
        checked=compared.record() | {"made_elsewhere": cache.inexact},
    )
    if result.checked["same_class"] < ENOUGH:
        raise _disagrees(place, compared, cache.inexact)
    return result


class _Compared:
    """Answers that were kept beside answers of now."""

    def __init__(self) -> None:
        self.steps = self.views = self.same_class = self.same_bits = 0
        self.largest = 0.0
        self.first: tuple[int, int, int, int, int] | None = None  # step, row, photo, class kept, class now

    def add(self, batch: Batch, kept: Words, said: torch.Tensor, classes_kept: int) -> None:
        """One step more: ``said`` classes [B] (hard) or log-probabilities [B, C]."""
        now = said.cpu()
        best = now if not classes_kept else now.argmax(dim=1)
        was = torch.from_numpy(kept["classes"][:, 0].astype(np.int64))
        same = was == best
        bits = same
        if classes_kept:
            columns = torch.from_numpy(kept["classes"].astype(np.int64))
            values = now.gather(1, columns).numpy().astype(kept["log"].dtype)
            self.largest = max(self.largest, float(np.abs(values.astype(np.float64) - kept["log"]).max()))
            bits = same & torch.from_numpy((values == kept["log"]).all(axis=1))
        self.steps += 1
        self.views += len(same)
        self.same_class += int(same.sum())
        self.same_bits += int(bits.sum())
        if self.first is None and not bool(same.all()):
            row = int((~same).nonzero()[0])
            self.first = (batch.step, row, int(batch.sample_ids[row]), int(was[row]), int(best[row]))

    def record(self) -> dict[str, Any]:
        """Plain data; ``largest_difference`` is of log-probabilities."""
        return {
            "steps": self.steps,
            "views": self.views,
            "same_class": self.same_class / self.views,
            "same_bits": self.same_bits / self.views,
            "largest_difference": self.largest,
        }


def _disagrees(place: _Place, compared: _Compared, inexact: str) -> GateError:
    record, first = compared.record(), ""
    if compared.first is not None:
        step, row, photo, was, now = compared.first
        names = place.plan.classes
        first = (
            f", first: step {step}, view {row} ({shown(place.photos.paths[photo])}) is kept as "
            f'"{shown(names[was])}", the teacher says "{shown(names[now])}"'
        )
    made = f"; it was made with {inexact}" if inexact else ""
    return GateError(
        f"{place.folder} has the teacher's answer for {record['same_class']:.2%} of {compared.views:,} views "
        f"({ENOUGH:.1%} are wanted){first}{made}",
        "delete it, and fill it again",
        id="CACHE",
        details=record,
    )
