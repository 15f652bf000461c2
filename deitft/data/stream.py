"""Batches as a pure function of (seed, step), and photos in file order for evaluation.

The order of samples is an endless row of epochs, each a permutation keyed by (seed, epoch), cut into batches;
a view is keyed by (seed, epoch, sample, repeat), mixing by (seed, step). So any step can be the first, the
number of workers changes nothing, and a photo is seen once an epoch.

Legend: B images, C classes, S pixels a side.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from deitft.core import keys
from deitft.data.catalog import shown
from deitft.data.crops import Pixels
from deitft.data.decode import BadPhotoError, bad_photo_text
from deitft.data.loading import Fault, Loaded, Reader, Request, fetch
from deitft.data.mixing import erase, mix
from deitft.data.photos import Lost, PhotoSet, photo_set
from deitft.data.transforms import EvalTransform, TrainTransform, needed_side, normalise
from deitft.errors import DeitftError
from deitft.recipe.plan_types import AugmentPlan, Plan
from deitft.recipe.preprocessing import Preprocessing

__all__ = ["Batch", "EvalStream", "OnBad", "PhotoSet", "TrainStream", "photo_set"]

Indices = npt.NDArray[np.int64]
OnBad = Callable[[str, DeitftError], None]
"""Told the path of a photo that cannot be had, as in the photo set, and why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from.

    ``images`` float32 [B, 3, S, S], normalised, erased and mixed; ``targets`` float32 [B, C], one-hot and mixed
    but not smoothed; ``sample_ids`` int64 [B], positions in the photo set; ``keys`` the key of each view. A part
    of a step's batch knows the place of its first image in the whole one: ``first_row``.
    """

    step: int
    images: Tensor
    targets: Tensor
    sample_ids: Tensor
    keys: tuple[int, ...]
    first_row: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        images = self.images.to(device, non_blocking=True)
        targets = self.targets.to(device, non_blocking=True)
        return replace(self, images=images, targets=targets, sample_ids=self.sample_ids.to(device))

    def split(self, micro_batch: int) -> Iterator[Batch]:
        """Consecutive parts of at most ``micro_batch`` images."""
        for start in range(0, len(self), micro_batch):
            part = slice(start, start + micro_batch)
            yield replace(
                self,
                images=self.images[part],
                targets=self.targets[part],
                sample_ids=self.sample_ids[part],
                keys=self.keys[part],
                first_row=self.first_row + start,
            )


class SampleOrder:
    """Which photos a step shows: pure functions of the plan's seed and the step."""

    def __init__(self, plan: Plan, labels: Indices) -> None:
        self.seed, self.balance, self.labels = plan.seed, plan.balance, labels
        self.repeats = plan.augment.repeats
        self.batch = plan.batch
        self.photos_a_step = -(-plan.batch // self.repeats)
        self._epoch = lru_cache(maxsize=4)(self._make_epoch)

    def at(self, step: int) -> tuple[Indices, Indices, Indices]:
        """Sample ids, epochs and repeats of a step, [B] each.

        Repeated augmentation shows the step's photos ``repeats`` times. Each time they are turned by one place,
        so that neighbours, which mixing pairs up, are not the same two photos again, nor one photo with itself.
        Where ``repeats`` does not divide the batch, the last photos are shown once less. A batch may be larger
        than the set: it then goes on with the next epochs' orders, whose views are others.
        """
        count = len(self.labels)
        places = step * self.photos_a_step + np.arange(self.photos_a_step)
        epochs = places // count
        ids, seen = np.empty_like(places), np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            order, earlier = self._epoch(int(epoch))
            ids[here] = order[places[here] % count]
            seen[here] = earlier[places[here] % count]
        turns = [
            (np.roll(ids, -turn), np.roll(epochs, -turn), np.roll(seen * self.repeats + turn, -turn))
            for turn in range(self.repeats)
        ]
        first, second, third = (np.concatenate([turn[part] for turn in turns])[: self.batch] for part in range(3))
        return first, second, third

    def _make_epoch(self, epoch: int) -> tuple[Indices, Indices]:
        """One epoch: sample ids, and how often each was shown earlier in it (a balanced draw repeats photos)."""
        count = len(self.labels)
        if self.balance == "none":
            return keys.permutation(count, "order", self.seed, epoch), np.zeros(count, np.int64)
        ids = balanced_draw(self.labels, self.balance, keys.key("order", self.seed, epoch))
        return ids, earlier_occurrences(ids)


def balanced_draw(labels: Indices, balance: str, key: int) -> Indices:
    """As many samples as there are photos, drawn with replacement.

    ``class``: every class that has photos is equally likely; ``sqrt``: by the root of its count.
    """
    by_class = np.argsort(labels, kind="stable")
    counts = np.unique(labels, return_counts=True)[1]
    weights = np.sqrt(counts) if balance == "sqrt" else np.ones(len(counts))
    bounds = np.cumsum(weights) / weights.sum()
    draws = keys.generator(key).random((2, len(labels)))
    which = np.minimum(np.searchsorted(bounds, draws[0], side="right"), len(counts) - 1)
    starts = np.cumsum(counts) - counts
    inside = (draws[1] * counts[which]).astype(np.int64)
    drawn: Indices = by_class[starts[which] + inside].astype(np.int64, copy=False)
    return drawn


def earlier_occurrences(ids: Indices) -> Indices:
    """For each place, how often its number stands before it."""
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0])
    lengths = np.diff(np.r_[starts, len(ids)])
    earlier = np.empty(len(ids), np.int64)
    earlier[order] = np.arange(len(ids)) - np.repeat(starts, lengths)
    return earlier


def views_of(plan: Plan) -> Callable[[int], int]:
    """The step whose views a step shows: itself, or where views come again (``distill.cache_views``) an earlier
    one.
    """
    again = plan.distill.cache_views if plan.distill is not None else None
    if again is None:
        return lambda step: step
    period = again * plan.steps_per_epoch
    return lambda step: step % period


class TrainViews:
    """Training views at each size that the plan trains at."""

    def __init__(self, augment: AugmentPlan, pre: Preprocessing, sizes: Sequence[int]) -> None:
        self.augment, self.pre = augment, pre
        self.transforms = {size: TrainTransform(augment, pre, size) for size in sizes}

    def __call__(self, rgb: Pixels, request: Request) -> Tensor:
        return self.transforms[request.size](rgb, request.key)

    def needed_side(self, size: int) -> int:
        """Pixels the shorter side must keep in decoding."""
        return needed_side(self.pre, self.augment, size)


class EvalViews:
    """The evaluation view."""

    def __init__(self, pre: Preprocessing) -> None:
        self.transform = EvalTransform(pre)

    def __call__(self, rgb: Pixels, request: Request) -> Tensor:
        return self.transform(rgb)

    def needed_side(self, size: int) -> int:
        """Pixels the shorter side must keep in decoding."""
        return needed_side(self.transform.pre)


class TrainStream:
    """Training batches of a plan; the batch of a step is the same whatever step was the first.

    ``rows`` are those of the global batch that are made here, where several processes share it: an even number
    from an even place, where photos are mixed. ``retries`` counts the reads that had to be repeated.
    """

    def __init__(self, plan: Plan, photos: PhotoSet, rows: slice | None = None) -> None:
        self.plan, self.photos = plan, photos
        self.rows = rows or slice(0, plan.batch)
        self.retries = 0
        self._order = SampleOrder(plan, photos.labels)
        sizes = sorted({plan.train_size, plan.preprocessing.size})
        views = TrainViews(plan.augment, plan.preprocessing, sizes)
        self._reader = Reader(photos, views, plan.preprocessing.background)
        self._views_of = views_of(plan)
        self._running: weakref.ref[Generator[Batch, None, None]] | None = None

    def sample_order(self, step: int) -> tuple[Indices, Indices, Indices]:
        """Sample ids, epochs and repeats of a step, [B] each."""
        return self._order.at(self._views_of(step))

    def view_keys(self, step: int) -> tuple[int, ...]:
        """The key of each view of a step."""
        parts = zip(*(values.tolist() for values in self.sample_order(step)), strict=True)
        return tuple(keys.key("view", self.plan.seed, epoch, sample, again) for sample, epoch, again in parts)

    def from_step(self, step: int, total_steps: int) -> Iterator[Batch]:
        """The batches of steps ``step`` to ``total_steps - 1``. Another iterator of this stream is closed.

        Raises:
            StorageError: a photo vanished or cannot be read (id D16).
            DataError: a photo is not what it was (id D16), or cannot be decoded (its own id).
            StoppedError: a worker died (id N5).
        """
        return self.at_steps(range(step, total_steps))

    def at_steps(self, steps: Sequence[int]) -> Iterator[Batch]:
        """The batches of any steps, in this order. Raises as ``from_step``."""
        self.close()
        running = self._batches(steps)
        self._running = weakref.ref(running)
        return running

    def close(self) -> None:
        """Stop the workers, if any are running."""
        running = self._running() if self._running is not None else None
        if running is not None:
            running.close()
        self._running = None

    def _batches(self, steps: Sequence[int]) -> Generator[Batch, None, None]:
        requests = (self._requests(number) for number in steps)
        source = fetch(self._reader, requests, workers=self.plan.workers)
        try:
            for loaded, number in zip(source, steps, strict=True):
                self.retries += loaded.retries
                if loaded.faults:
                    raise self._error(number, loaded.faults[0])
                yield self._batch(number, loaded)
        finally:
            _close(source)

    def _requests(self, step: int) -> list[Request]:
        ids, size = self.sample_order(step)[0][self.rows].tolist(), self.plan.size_at(step)
        return [Request(index, key, size) for index, key in zip(ids, self._keys_here(step), strict=True)]

    def _keys_here(self, step: int) -> tuple[int, ...]:
        return self.view_keys(step)[self.rows]

    def _batch(self, step: int, loaded: Loaded) -> Batch:
        plan, view_keys = self.plan, self._keys_here(step)
        ids = torch.tensor(loaded.indices)
        labels = torch.from_numpy(self.photos.labels[ids.numpy()])
        # A photo without a label (-1) has targets of zeros: nothing of it is pushed down by the labels.
        targets = F.one_hot(labels.clamp(min=0), len(plan.classes)).to(torch.float32) * (labels >= 0)[:, None]
        images = erase(normalise(loaded.images, plan.preprocessing), view_keys, plan.augment.erasing)
        step_key = keys.key("mix", plan.seed, self._views_of(step))
        images, targets = mix(images, targets, step_key=step_key, mixing=plan.mixing)
        return Batch(step, images, targets, ids, view_keys, first_row=self.rows.start)

    def _error(self, step: int, fault: Fault) -> DeitftError:
        ids, epochs, _ = self.sample_order(step)
        epoch = int(epochs[ids.tolist().index(fault.index)])
        place = f"epoch {epoch + 1}, step {step + 1}"
        hint = "restore it and run the same command with --resume"
        return _photo_error(self.photos, fault, during="training", place=place, hint=hint)


class EvalStream:
    """Photos in their order, each exactly once: uint8 images [B, 3, S, S] and their positions int64 [B].

    The caller normalises (``transforms.normalise``). With ``on_bad`` a photo that cannot be had is reported and
    left out, so a batch may be smaller; without it the first one is an error, which names the ``way_on``.
    ``turn`` (r, n): only batches r, r + n, … of those, so that n processes see each photo once, in the batches
    that one process would make.
    """

    def __init__(
        self,
        photos: PhotoSet,
        pre: Preprocessing,
        *,
        batch: int,
        workers: int = 0,
        on_bad: OnBad | None = None,
        way_on: str = "run the same command again",
        turn: tuple[int, int] = (0, 1),
    ) -> None:
        self.photos, self.pre, self.batch, self.workers = photos, pre, batch, workers
        self.on_bad, self.way_on, self.turn = on_bad, way_on, turn
        self._reader = Reader(photos, EvalViews(pre), pre.background, stop_at_fault=on_bad is None)

    def __len__(self) -> int:
        """Photos, not batches."""
        return len(self.photos)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in order.

        Raises:
            StorageError, DataError: a photo cannot be had, and there is no ``on_bad``.
            StoppedError: a worker died (id N5).
        """
        source = self._fetch(self._batches(range(len(self.photos))))
        try:
            yield from self.views(source)
        finally:
            _close(source)

    def in_parts(self, size: int) -> Generator[EvalStream, None, None]:
        """Streams of ``size`` photos after ``size`` photos, each to be gone through once before the next is asked
        for. The workers are the same for all of them, and read ahead into the next. To be closed where not all
        are asked for. A batch ends where a part ends.
        """
        parts = [range(len(self.photos))[start : start + size] for start in range(0, len(self.photos), size)]
        source = self._fetch(batch for part in parts for batch in self._batches(part))
        try:
            for part in parts:
                count = sum(1 for _ in self._batches(part))
                yield EvalPart(self, part, islice(source, count))
        finally:
            _close(source)

    def views(self, source: Iterator[Loaded]) -> Iterator[tuple[Tensor, Tensor]]:
        """What was loaded, as ``__iter__`` gives it."""
        for loaded in source:
            for fault in loaded.faults:
                hint = f"restore it and {self.way_on}"
                error = _photo_error(self.photos, fault, during="evaluation", place="", hint=hint)
                if self.on_bad is None:
                    raise error
                self.on_bad(self.photos.paths[fault.index], error)
            if loaded.indices:
                yield loaded.images, torch.tensor(loaded.indices)

    def _fetch(self, batches: Iterator[range]) -> Iterator[Loaded]:
        workers = min(self.workers, -(-len(self.photos) // self.batch))
        requests = ([Request(index, 0, self.pre.size) for index in batch] for batch in batches)
        return fetch(self._reader, requests, workers=workers)

    def _batches(self, rows: range) -> Iterator[range]:
        first, every = self.turn
        for start in range(first * self.batch, len(rows), every * self.batch):
            yield rows[start : start + self.batch]


class EvalPart(EvalStream):
    """Some photos of a stream, whose views come out of the workers of the whole. It can be gone through once."""

    def __init__(self, whole: EvalStream, rows: range, source: Iterator[Loaded]) -> None:
        super().__init__(whole.photos.part(rows), whole.pre, batch=whole.batch)
        self._whole, self._first, self._source = whole, rows.start, source

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, indices in self._whole.views(self._source):
            yield images, indices - self._first


def _photo_error(photos: PhotoSet, fault: Fault, *, during: str, place: str, hint: str) -> DeitftError:
    """The error of a fault, with the photo's name in front."""
    if isinstance(fault.reason, Lost):
        return fault.reason.error(during=during, place=place, hint=hint)
    path, reason = photos.paths[fault.index], fault.reason
    what = bad_photo_text(reason.id, shown(path), reason.reason)
    return BadPhotoError(what, reason.hint, id=reason.id, files=(path,), details=reason.details)


def _close(source: Iterator[Loaded]) -> None:
    """End a source early: its workers leave now, not when the garbage is collected."""
    if isinstance(source, Generator):
        source.close()
