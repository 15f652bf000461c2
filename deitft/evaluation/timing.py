"""Samples of what models cost, taken in this process: turn by turn, warm, and the device waited for.

The figures are made of them in ``evaluation.cost``. A process that measures does nothing else; who starts one:
``runs.costing``. Legend: B photos in a batch, S pixels a side.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deitft.compute.bystanders import Bystanders
from deitft.compute.device import (
    Machine,
    autocast,
    device_memory,
    free_cache,
    peak_memory,
    reset_peak_memory,
    synchronise,
)
from deitft.compute.limits import forget_high_water
from deitft.core.records import version_of
from deitft.data.loading import Reader, Request
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalViews
from deitft.data.transforms import normalise
from deitft.evaluation.cost import GAIN, CostSettings, best_batch
from deitft.models.build import Classifier, build, logit_mean
from deitft.recipe.preprocessing import Preprocessing

WARM_CALLS = 3
"""Before the clock, and as long as a slice: allocations, kernels chosen once, the processor's frequency."""
MOST_CALLS = 100
CPU_BATCH, GPU_BATCH = 32, 1024
"""The largest batches tried where nobody says: more gains nothing on a processor (measured at 8 already)."""
GPU_SHARE, CPU_SHARE = 0.8, 0.5
"""Of the device's memory, or of what is free on a processor: what the next batch may need at most."""

Call = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure: on its device, in evaluation mode. ``temperature`` divides the logits."""

    classifier: Classifier
    pre: Preprocessing
    temperature: float


@dataclass(slots=True)
class Samples:
    """Seconds of single calls, a list a round; ``batches`` are of whole batches. ``error`` ends a model's turn."""

    latency: list[list[float]] = field(default_factory=list)
    photo: list[list[float]] = field(default_factory=list)
    batches: list[list[float]] = field(default_factory=list)
    batch: int = 1
    tried: list[tuple[int, float]] = field(default_factory=list)
    stopped: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Samples a subject, the load average around them, and the share of the cores that others used meanwhile."""

    samples: tuple[Samples, ...]
    load: tuple[float, float] | None
    others: float | None


def flops_of(timm_name: str, *, num_classes: int, image_size: int) -> int:
    """FLOPs of one photo, by torch's ``FlopCounterMode``: see ``counter_name`` for what it counts.

    Counted on shapes alone, so that no machine and no kernel makes a difference.
    """
    shape = build(timm_name, num_classes=num_classes, image_size=image_size, device="meta").eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        shape(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops())


def counter_name() -> str:
    """Which counter, of which version, and what it counts."""
    return (
        f"torch.utils.flop_counter.FlopCounterMode of torch {version_of('torch')}: products of matrices, "
        "convolutions and attention, a multiplication and an addition as 2 (a MAC is 2 FLOPs); normalisation, "
        "activations and softmax are not counted"
    )


def take(
    subjects: Sequence[Subject],
    photos: PhotoSet,
    machine: Machine,
    settings: CostSettings,
    *,
    at: Callable[[int, int], None] = lambda subject, round: None,
) -> Taken:
    """Samples of all subjects, turn by turn. ``at(subject, round)`` is told what comes next; round 0 is warm-up.

    A subject that fails is left out from there, with its error; the others go on.
    """
    found = tuple(Samples() for _ in subjects)
    with torch.inference_mode(), autocast(machine.device, machine.precision):
        turns: dict[int, _Turn] = {}
        for number, subject in enumerate(subjects):
            at(number, 0)
            turn = _guarded(found[number], partial(_Turn, subject, photos, machine, settings, found[number]))
            if turn is not None:
                turns[number] = turn
        load, watch = _load(), Bystanders()
        for round in range(settings.rounds):
            order = sorted(turns)
            first = round % max(1, len(order))
            for number in [*order[first:], *order[:first]]:  # nobody is always the one after the heaviest
                at(number, round + 1)
                if _guarded(found[number], turns[number].go) is None:
                    del turns[number]
        after = _load()
    return Taken(found, None if load is None or after is None else (load, after), watch.share())


def _guarded(samples: Samples, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or None and the reason in ``samples``: one model's failure is its own."""
    try:
        return work()
    except (RuntimeError, MemoryError, OSError, ValueError, AssertionError) as error:
        samples.error = " ".join(str(error).split())[:300] or type(error).__name__
        return None


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


class _Turn:
    """One subject, warm and ready, and what it does in each round."""

    def __init__(
        self, subject: Subject, photos: PhotoSet, machine: Machine, settings: CostSettings, samples: Samples
    ) -> None:
        self.calls = Calls(subject, photos, machine.device)
        self.samples, self.seconds = samples, settings.slice_seconds
        self.one = self.calls.model(1)
        self.of_one = _count(_warm(self.one, self.seconds), self.seconds, 3)
        self.of_photo = _count(_warm(self.calls.photo, self.seconds), self.seconds, 3)
        limit = settings.batch_limit or (GPU_BATCH if machine.device.startswith("cuda") else CPU_BATCH)
        room = _Room(machine.device)
        samples.tried, samples.stopped = search(self._rate, limit, too_large=room.too_small)
        free_cache(machine.device)
        samples.batch = best_batch(samples.tried)
        self.many = self.calls.model(samples.batch)
        self.of_many = _count(_warm(self.many, self.seconds), self.seconds, 1)

    def _rate(self, batch: int) -> float:
        """Photos a second at a batch, in short: the first call warms."""
        call = self.calls.model(batch)
        call()
        return batch / median(_clocked(call, max(2, _count(_clocked(call, 1)[0], self.seconds, 1))))

    def go(self) -> bool:
        """One round."""
        samples = self.samples
        samples.latency.append(_clocked(self.one, self.of_one))
        samples.photo.append(_clocked(self.calls.photo, self.of_photo))
        samples.batches.append(_clocked(self.many, self.of_many))
        return True


class Calls:
    """What is timed of one subject: the function that ``evaluation.predict`` runs, from two beginnings."""

    def __init__(self, subject: Subject, photos: PhotoSet, device: str) -> None:
        self.subject, self.device = subject, device
        self._reader = Reader(photos, EvalViews(subject.pre), subject.pre.background)
        self._next = itertools.cycle(range(len(photos)))

    def _view(self) -> Tensor:
        """The next photo, read and decoded: uint8 [1, 3, S, S].

        Raises:
            RuntimeError: it cannot be had.
        """
        loaded = self._reader.__getitems__([Request(next(self._next), 0, self.subject.pre.size)])
        if loaded.faults:
            raise RuntimeError(f"a photo of the sample cannot be read: {loaded.faults[0].reason}")
        return loaded.images

    def model(self, batch: int) -> Call:
        """Normalised photos [B, 3, S, S] that lie on the device -> logits [B, C], waited for."""
        views = torch.cat([self._view() for _ in range(min(batch, 8))])
        views = views.repeat(-(-batch // len(views)), 1, 1, 1)[:batch]
        images = normalise(views.to(self.device), self.subject.pre)
        classifier = self.subject.classifier

        def call() -> Tensor:
            logits = logit_mean(classifier(images))
            synchronise(self.device)
            return logits

        return call

    def photo(self) -> Tensor:
        """The next photo's file -> its probabilities [1, C] here: read, decoded, resized, moved, judged."""
        images = normalise(self._view().to(self.device, non_blocking=True), self.subject.pre)
        logits = logit_mean(self.subject.classifier(images)).float().cpu()
        return (logits / self.subject.temperature).softmax(dim=-1)


def search(
    rate_of: Callable[[int], float], limit: int, *, too_large: Callable[[], bool] = lambda: False
) -> tuple[list[tuple[int, float]], str]:
    """(batch, photos a second) of 1, 2, 4, … and why it ended: two that did not pay, memory, the limit.

    ``rate_of(batch)`` measures; ``too_large()`` says after it whether there is no room for twice as many.
    """
    tried: list[tuple[int, float]] = []
    poor, batch = 0, 1
    while batch <= limit:
        try:
            rate = rate_of(batch)
        except (torch.OutOfMemoryError, MemoryError):
            if not tried:
                raise
            return tried, f"no memory for {batch}"
        poor = poor + 1 if tried and rate < GAIN * max(found for _, found in tried) else 0
        tried.append((batch, rate))
        if poor == 2:
            return tried, f"{batch // 2} and {batch} did not pay"
        if too_large():
            return tried, f"memory would not do for {2 * batch}"
        batch *= 2
    return tried, f"the limit of {limit}"


class _Room:
    """Whether there is memory for twice the batch that was tried last."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = 0 if device.startswith("cuda") else psutil.Process().memory_info().rss
        reset_peak_memory(device)

    def too_small(self) -> bool:
        if self.device.startswith("cuda"):
            return 2 * peak_memory(self.device) > GPU_SHARE * device_memory(self.device)
        grown = psutil.Process().memory_info().rss - self.before
        return 2 * grown > CPU_SHARE * psutil.virtual_memory().available


def _warm(call: Call, seconds: float) -> float:
    """Call until it is warm; the median seconds of the later half."""
    samples: list[float] = []
    began = time.perf_counter()
    while len(samples) < WARM_CALLS or time.perf_counter() - began < seconds:
        samples += _clocked(call, 1)
    return median(samples[len(samples) // 2 :])


def _count(one: float, seconds: float, least: int) -> int:
    return max(least, min(MOST_CALLS, int(seconds / max(one, 1e-6))))


def _clocked(call: Call, count: int) -> list[float]:
    """Seconds of each of ``count`` calls; each waits for the device before it returns."""
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        samples.append(time.perf_counter() - began)
    return samples


@dataclass(frozen=True, slots=True)
class Peaks:
    """Bytes: see ``cost.Memory``."""

    one: int
    best: int
    includes_loading: bool


def peaks_of(subject: Subject, photos: PhotoSet, machine: Machine, batch: int) -> Peaks:
    """The most memory in use at batch 1 and at ``batch``, counted from here. Alone in its process."""
    device = machine.device
    calls = Calls(subject, photos, device)
    found = []
    forgotten = True
    with torch.inference_mode(), autocast(device, machine.precision):
        for size in (1, batch):
            reset_peak_memory(device)
            if device == "cpu":
                forgotten = forget_high_water() and forgotten
            call = calls.model(size)
            for _ in range(WARM_CALLS):
                call()
            if size == 1:
                calls.photo()
            found.append(peak_memory(device))
    return Peaks(one=found[0], best=found[1], includes_loading=not forgotten)
