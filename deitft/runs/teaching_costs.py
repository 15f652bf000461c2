"""What a teacher costs here: real steps without it, with it, and with a cold and a warm cache of its answers.

Four ways of one run, measured one after the other on the same first steps. A step that is too long to be taken so
often is measured on fewer images, and scaled.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from deitft.core.progress import Silent
from deitft.data.photos import PhotoSet
from deitft.objectives.supervised import Supervised
from deitft.objectives.teacher_cache import HEADER, TeacherCache
from deitft.recipe.plan_types import Plan
from deitft.runs.learning import LazyTeacher, Learning, cache_header, heard, remembering, view_steps
from deitft.runs.request import TrainRequest
from deitft.training.step import Objective

Way = Literal["undistilled", "live", "cold", "warm"]
WAYS: tuple[Way, ...] = ("undistilled", "live", "cold", "warm")
"""Without a teacher; asking it at every batch; asking and keeping; reading what was kept."""
ALL_SECONDS = 32.0
"""The clock of all four together: with the imports and the photos a dry run stays below a minute."""
STEPS_A_WAY = 4
"""Steps that each way takes at least, those before the clock included."""

Times = Callable[[Plan, Objective, float], list[float]]
"""Seconds of each measured step of a plan with an objective, within about so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """Seconds a step by size and way. ``known``: share of the views whose answer the cache has already.

    ``fresh``: share of the steps that show views for the first time (1 unless views come again); ``bytes``: of the
    full cache; ``cached``: whether this run uses one; ``steps`` were measured, of ``batch`` images.
    """

    seconds: dict[int, dict[Way, float]]
    bytes: int
    cached: bool = False
    known: float = 0.0
    fresh: float = 1.0
    steps: int = 0
    batch: int = 0

    def step_seconds(self, size: int) -> float:
        """Seconds a step of the run that was asked for, on average."""
        ways = self.seconds[size]
        if not self.cached:
            return ways["live"]
        asked = self.fresh * (1 - self.known)
        return asked * ways["cold"] + (1 - asked) * ways["warm"]

    def pays_from(self, plan: Plan) -> int | None:
        """The number of runs from which on a cache takes less time than asking every time; None never."""
        live, cold, warm = (run_seconds(plan, self.seconds, way) for way in ("live", "cold", "warm"))
        # A first run asks as often as a live one: where it was measured to be faster, that is chance.
        cold = max(cold, live)
        return pays_from(live, self.fresh * cold + (1 - self.fresh) * warm, warm)


def ways_of(request: TrainRequest) -> tuple[Way, ...]:
    """What is worth measuring: all for a dry run, else the ways that the run will take."""
    if request.dry_run:
        return WAYS
    return ("live",) if request.teacher_cache is None else ("cold", "warm")


def run_seconds(plan: Plan, seconds: dict[int, dict[Way, float]], way: Way) -> float:
    """Seconds of all steps of a plan in one of the ways."""
    small = min(plan.full_size_from_step, plan.total_steps) if plan.train_size != plan.preprocessing.size else 0
    by_size = {plan.train_size: small, plan.preprocessing.size: plan.total_steps - small}
    return math.fsum(steps * seconds[size][way] for size, steps in by_size.items() if steps)


def pays_from(live: float, cold: float, warm: float) -> int | None:
    """The first number of runs of the same views that take less time with a cache than without; None never.

    Seconds a run. ``n`` runs take ``n live`` without, ``cold + (n - 1) warm`` with it.
    """
    if warm >= live:
        return None
    return max(1, math.floor((cold - warm) / (live - warm)) + 1)


def teaching_costs(
    plan: Plan,
    photos: PhotoSet,
    times: Times,
    *,
    ways: Sequence[Way],
    cache: Path | None,
    allowed: float = ALL_SECONDS,
    world: int = 1,
) -> Teaching:
    """Measure the ways at each size that the plan trains at. ``photos`` are the train photos.

    ``world`` processes share a batch: a smaller one can be shared out, too, so that what is measured scales.

    Raises:
        RecipeError: ``cache`` is of other views (id CACHE).
    """
    sizes = sorted({plan.size_at(0), plan.size_at(plan.total_steps - 1)})
    voice = LazyTeacher(plan)
    known = _known_share(plan, photos, cache)
    trial = replace(plan, batch=_trial_batch(plan, times, voice, allowed / (len(ways) * len(sizes)), world))
    scale, taken = plan.batch / trial.batch, 0
    seconds: dict[int, dict[Way, float]] = {}
    for size in sizes:
        at_size = replace(trial, train_size=size, full_size_from_step=10**9)
        seconds[size] = {}
        with tempfile.TemporaryDirectory(prefix="deitft-") as folder:
            for way in ways:
                learning = _learning(at_size, photos, voice, way, Path(folder) / "cache")
                found = times(at_size, learning.objective, allowed / (len(ways) * len(sizes)))
                learning.close()
                seconds[size][way] = sorted(found)[len(found) // 2] * scale
                taken += len(found)
    size_on_disk = cache_header(plan, photos).bytes_for(view_steps(plan))
    return Teaching(
        seconds=seconds,
        bytes=size_on_disk,
        cached=cache is not None,
        known=known,
        fresh=view_steps(plan) / plan.total_steps,
        steps=taken,
        batch=trial.batch,
    )


def _trial_batch(plan: Plan, times: Times, voice: LazyTeacher, allowed: float, world: int = 1) -> int:
    """Images a step: the plan's, or as many as leave time for each way's steps.

    A multiple of what every process can have a share of, with pairs and repeats whole.
    """
    unit = math.lcm(2 * world, plan.augment.repeats)
    few = min(plan.batch, unit * math.ceil(8 / unit))
    if few >= plan.batch:
        return plan.batch
    small = replace(plan, batch=few, train_size=plan.preprocessing.size, full_size_from_step=10**9)
    per_image = min(times(small, heard(small, voice), 0.0)) / few
    fitting = int(allowed / STEPS_A_WAY / per_image) // unit * unit
    return plan.batch if fitting >= plan.batch else max(few, fitting)


def _learning(plan: Plan, photos: PhotoSet, voice: LazyTeacher, way: Way, folder: Path) -> Learning:
    if way == "undistilled":
        return Learning(Supervised(plan.loss, plan.train_counts, plan.device))
    if way == "live":
        return Learning(heard(plan, voice))
    memory = remembering(plan, photos, Silent(), folder, voice)
    return Learning(heard(plan, memory), memory)


def _known_share(plan: Plan, photos: PhotoSet, cache: Path | None) -> float:
    """Of the views that this run will show; nothing is written."""
    if cache is None or not (cache / HEADER).is_file():
        return 0.0
    steps = view_steps(plan)
    return float(TeacherCache(cache, cache_header(plan, photos)).known_steps(steps).mean())
