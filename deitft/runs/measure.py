"""What a plan will cost here, from a few real steps: seconds, memory, disk. And the plan that fits a limit."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deitft.compute.allocator import freed_memory_kept
from deitft.compute.device import peak_memory, synchronise
from deitft.compute.group import ALONE, Group
from deitft.core.progress import Progress, Silent, StopFlag
from deitft.data.catalog import TRAIN, VAL
from deitft.data.photos import PhotoSet, photo_set
from deitft.data.stream import EvalStream, TrainStream
from deitft.evaluation.predict import predict
from deitft.models.build import Classifier
from deitft.recipe.plan_types import Plan
from deitft.recipe.steps import full_size_step
from deitft.runs.judge import eval_batch
from deitft.runs.learning import learning_of
from deitft.runs.prepare import Prepared
from deitft.runs.teaching_costs import ALL_SECONDS, WAYS, Teaching, Way, teaching_costs
from deitft.training.state import new_state
from deitft.training.step import Objective, take_step

WARM_STEPS = 2
"""Steps before the clock: the first ones pay for allocations and for kernels that are chosen once."""
STEP_SECONDS = 12.0
"""The clock runs at least this long or for ``MOST_STEPS``, whichever comes first, for each training size."""
MOST_STEPS = 6
REPORT_SECONDS = 12.0
"""Report, bundles, thumbnails, attention: measured 6 to 10 s on two cores with DeiT-Ti."""
USED_SHARE = 0.85
"""Share of a time limit that is planned for; the rest is for a machine that gets busy."""
LEAST_PROBED = 20
"""Train photos a class that the probe sees in the mean, however short the limit: fewer make no baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Measured on this machine: seconds a training step by image side, seconds a photo looked at."""

    step_seconds: dict[int, float]
    photo_seconds: float
    peak_bytes: int
    measured_steps: int
    teaching: Teaching | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a plan will take: seconds by part, peak memory and disk in bytes."""

    seconds: dict[str, float]
    memory_bytes: int
    disk_bytes: int

    @property
    def total_seconds(self) -> float:
        """Everything together."""
        return sum(self.seconds.values())


@freed_memory_kept()
def measure(
    classifier: Classifier,
    plan: Plan,
    prepared: Prepared,
    progress: Progress,
    stop: StopFlag,
    *,
    limit: float | None = None,
    ways: Sequence[Way] = WAYS,
    cache: Path | None = None,
    group: Group = ALONE,
) -> Costs:
    """Take a few real steps, decoding included, on a copy of the model: the run itself starts untouched.

    Where a step takes long, the second one is the last: half a minute is enough for a plan of hours.

    Of a ``group`` of processes each has its rows of a batch: the leader measures its own, without what they tell
    each other. Where the whole command has a ``limit`` in seconds, less than a third of it is spent here. With a
    teacher each of these ``ways`` of asking it is measured.
    """
    from deitft.runs.train import place

    trial = copy.deepcopy(classifier)
    place(trial, plan)
    sizes = sorted({plan.size_at(0), plan.size_at(plan.total_steps - 1)}) if plan.total_steps else []
    seconds: dict[int, float] = {}
    taken = 0
    allowed = STEP_SECONDS if limit is None else min(STEP_SECONDS, 0.1 * limit / max(len(sizes), 1))
    train, teaching = prepared.photos(TRAIN), None
    most = None if plan.distill is not None else len(sizes) * (WARM_STEPS + MOST_STEPS)
    with progress.task("measuring this machine's speed", most, unit="steps") as task:

        def times_of(one: Plan, objective: Objective, within: float) -> list[float]:
            rows = group.rows(one.batch, paired=one.mixing.on)
            return _step_seconds(trial, one, objective, train, stop, task.advance, within, rows)

        if plan.distill is not None and sizes:
            all_of_it = min(ALL_SECONDS, 0.1 * limit) if limit is not None else ALL_SECONDS
            teaching = teaching_costs(
                plan, train, times_of, ways=ways, cache=cache, allowed=all_of_it, world=group.world
            )
            seconds = {size: teaching.step_seconds(size) for size in sizes}
            taken = teaching.steps
        else:
            for size in sizes:
                at_size = replace(plan, train_size=size, full_size_from_step=WARM_STEPS + MOST_STEPS)
                times = times_of(at_size, learning_of(plan, train, Silent()).objective, allowed)
                seconds[size] = float(np.median(times))
                taken += len(times)
    return Costs(
        teaching=teaching,
        step_seconds=seconds,
        photo_seconds=_photo_seconds(trial, plan, prepared, stop, within=allowed / 2),
        peak_bytes=peak_memory(plan.device),
        measured_steps=taken,
    )


def _step_seconds(
    trial: Classifier,
    plan: Plan,
    objective: Objective,
    train: PhotoSet,
    stop: StopFlag,
    advance: Callable[[int], None],
    allowed: float,
    rows: slice,
) -> list[float]:
    """Seconds of each measured step at one size."""
    state = new_state(plan, trial)
    stream = TrainStream(plan, train, rows)
    times: list[float] = []
    try:
        began = clock = time.perf_counter()
        for number, batch in enumerate(stream.from_step(0, WARM_STEPS + MOST_STEPS)):
            take_step(plan, state, batch, objective)
            synchronise(plan.device)
            took, clock = time.perf_counter() - clock, time.perf_counter()
            advance(1)
            so_far = time.perf_counter() - began
            # a first step of many seconds has paid for what it allocates; the second is as good as the third
            if number >= WARM_STEPS or (number and so_far > allowed / 2):
                times.append(took)
            if times and (stop.by_signal or so_far > allowed):
                break
    finally:
        stream.close()
    if stop.by_signal:
        raise stop.error("while measuring", "nothing was written")
    return times


def look_seconds(
    classifier: Classifier, plan: Plan, prepared: Prepared, progress: Progress, stop: StopFlag
) -> float:
    """Seconds a photo looked at, by a copy of the model."""
    from deitft.runs.train import place

    trial = copy.deepcopy(classifier)
    place(trial, plan)
    with progress.task("measuring this machine's speed"):
        return _photo_seconds(trial, plan, prepared, stop, within=STEP_SECONDS / 2)


def _photo_seconds(trial: Classifier, plan: Plan, prepared: Prepared, stop: StopFlag, *, within: float) -> float:
    """Seconds a photo looked at, without gradients, decoding included."""
    batch = eval_batch(plan)
    rows = prepared.splits.indices(VAL)
    rows = rows if len(rows) else prepared.splits.indices(TRAIN)
    times: list[float] = []
    for _ in range(2):  # the first look pays for the kernels, and says how many photos the second has time for
        count = max(8, min(3 * batch, int(within / times[0]))) if times else batch
        few = photo_set(prepared.catalog, rows[:count])
        began = time.perf_counter()
        predict(
            trial,
            EvalStream(few, plan.preprocessing, batch=batch, workers=plan.workers),
            pre=plan.preprocessing,
            device=plan.device,
            precision=plan.precision,
            channels_last=plan.channels_last,
            stop=stop,
        )
        times.append((time.perf_counter() - began) / len(few))
    return min(times)


def forecast(plan: Plan, costs: Costs, parameters: int, *, elapsed: float, probe_photos: int) -> Forecast:
    """Seconds, memory and disk of a whole run. ``elapsed``: seconds spent already, on imports and photos."""
    full = plan.preprocessing.size
    small_steps = min(plan.full_size_from_step, plan.total_steps)
    by_size = {plan.train_size: small_steps, full: 0}
    by_size[full] += plan.total_steps - small_steps
    train = sum(steps * costs.step_seconds[size] for size, steps in by_size.items() if steps)
    looks = -(-plan.total_steps // plan.validate_every) * (1 if plan.ema_decay is None else 2)
    looks += plan.head_start == "probe"
    photos = plan.photos
    return Forecast(
        seconds={
            "photos and start": elapsed,
            "frozen probe": probe_photos * costs.photo_seconds,
            "training": train,
            "validation": looks * photos["val"] * costs.photo_seconds,
            "test": (photos["val"] + photos["test"]) * costs.photo_seconds,
            "report": REPORT_SECONDS,
        },
        memory_bytes=costs.peak_bytes,
        disk_bytes=disk_bytes(plan, parameters),
    )


def disk_bytes(plan: Plan, parameters: int) -> int:
    """Bytes a run leaves: checkpoints (weights, moments, average), the best weights, two bundles, the report."""
    weights = 4 * parameters
    moments = {"adamw": 2, "lamb": 2, "sgd": 1}[plan.optim.name]
    trained = {"all": 1.0, "attention": 0.34, "head": 0.01}[plan.trainable]
    state = weights * (1 + (plan.ema_decay is not None)) + weights * moments * trained
    return round(plan.keep_checkpoints * state + weights + 2 * weights + 3_000_000)


def probed_within(
    plan: Plan, costs: Costs, parameters: int, *, limit: float, elapsed: float, held_out: int
) -> int:
    """Train photos that the frozen probe may look at where ``limit`` seconds have room for hardly a step.

    ``held_out`` are the val and test photos that it has to look at beside them. Heads that begin as the probe get
    all the time: ten steps gain less than photos to solve them on. Where the probe is a baseline alone, it sees as
    few as make one.
    """
    least = LEAST_PROBED * len(plan.classes)
    if plan.head_start != "probe":
        return min(plan.probe_photos, least)
    one_step = limit_of(1, plan, costs, parameters, elapsed=elapsed, probe_photos=0)
    photos = int(USED_SHARE * (limit - one_step) / costs.photo_seconds)
    return min(plan.probe_photos, max(least, photos - held_out))


def steps_within(
    plan: Plan, costs: Costs, parameters: int, *, limit: float, elapsed: float, probe_photos: int
) -> int:
    """The largest number of steps with which the whole command ends within its share of ``limit`` seconds."""
    low, high = 0, plan.total_steps
    while low < high:
        middle = (low + high + 1) // 2
        wanted = limit_of(middle, plan, costs, parameters, elapsed=elapsed, probe_photos=probe_photos)
        low, high = (middle, high) if wanted <= limit else (low, middle - 1)
    return low


def limit_of(steps: int, plan: Plan, costs: Costs, parameters: int, *, elapsed: float, probe_photos: int) -> float:
    """The time limit in seconds with which the whole command ends within its share of it, after so many steps."""
    small_share = plan.full_size_from_step / max(plan.total_steps, 1)
    shorter = replace(plan, total_steps=steps, full_size_from_step=full_size_step(small_share, steps))
    outlook = forecast(shorter, costs, parameters, elapsed=elapsed, probe_photos=probe_photos)
    return outlook.total_seconds / USED_SHARE


def free_bytes(place: Path) -> int:
    """Bytes free where the run will be written."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
