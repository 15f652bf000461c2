"""C8: exact resume in the middle of an epoch, with real photos, the real stream and its workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_kit import CLASSES, Bar, Run, TinyNet, fingerprint, resumed, stop_at, tiny_plan

from deitft.data.stream import PhotoSet, TrainStream
from deitft.recipe.plan_types import Plan
from deitft.recipe.preprocessing import Preprocessing

PHOTOS, BATCH = 20, 8
STEPS = 8  # 3.2 epochs: the third one is cut by the end, and steps 3, 5 and 8 hold two epochs each


@pytest.fixture
def photos(make_photos: Any) -> PhotoSet:
    root = make_photos(dict.fromkeys(CLASSES, 7), size=(20, 24))
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))[:PHOTOS]
    labels = np.array([CLASSES.index(path.split("/")[0]) for path in paths])
    return PhotoSet(root=root, paths=paths, labels=labels)


def settings(workers: int, **changes: Any) -> Plan:
    plan = tiny_plan(
        total_steps=STEPS, steps_per_epoch=3, validate_every=3, workers=workers, log_every=1, micro_batch=4
    )
    augment = replace(
        plan.augment,
        policy="randaugment",
        magnitude=9.0,
        magnitude_std=0.5,
        operations=2,
        crop="random_resized",
        scale=(0.5, 1.0),
        flip=0.5,
        erasing=0.5,
    )
    return replace(plan, augment=augment, preprocessing=Preprocessing(size=16), train_size=16, **changes)


class Traced(Run):
    """A run over real photos that writes down what each step saw and what came of it."""

    def __init__(self, folder: Path, plan: Plan, *, photos: PhotoSet | None = None) -> None:
        super().__init__(folder, plan, model=TinyNet())
        self.trace: list[tuple[Any, ...]] = []
        if photos is not None:
            self.watch(photos)

    def watch(self, photos: PhotoSet) -> None:
        source = TrainStream(self.plan, photos)
        self.source, run = source, self

        class Watching:
            photos = source.photos

            def from_step(self, step: int, total: int) -> Any:
                for batch in source.from_step(step, total):
                    run.trace.append(
                        (batch.step, batch.sample_ids.tolist(), batch.keys, float(batch.images.sum()).hex())
                    )
                    yield batch

        self.stream = Watching()
        self.task = Losses()


class Losses(Bar):
    def advance(self, count: int = 1, **shown: float | str) -> None:
        if count:  # a step, and not what a validation shows
            self.shown.append({name: float(shown[name]).hex() for name in ("loss", "lr")})


def go_on(run: Traced, photos: PhotoSet, **plan: Any) -> Traced:
    other = resumed(run, **plan)
    again = Traced(run.folder, other.plan, photos=photos)
    again.state, again.log = other.state, other.log
    return again


@pytest.fixture
def whole(photos: PhotoSet, tmp_path: Path) -> Traced:
    run = Traced(tmp_path / "whole", settings(0), photos=photos)
    run.fit()
    return run


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6, 7])
def test_c8_stop_anywhere_in_an_epoch(whole: Traced, photos: PhotoSet, tmp_path: Path, stop: int) -> None:
    run = Traced(tmp_path / "run", whole.plan, photos=photos)
    stop_at(run, stop)
    run.fit()
    again = go_on(run, photos)
    again.fit()
    assert run.trace[:stop] + again.trace == whole.trace
    assert run.task.shown + again.task.shown == whole.task.shown
    assert fingerprint(again.state) == fingerprint(whole.state)


def test_c8_c11_twice_in_one_epoch_with_another_number_of_workers_each_time(
    whole: Traced, photos: PhotoSet, tmp_path: Path
) -> None:
    run = Traced(tmp_path / "run", replace(whole.plan, workers=1), photos=photos)
    losses, trace = [], []
    for stop, workers in ((4, 2), (5, 0)):
        stop_at(run, stop)
        run.fit()
        run.source.close()
        trace += run.trace[: stop - len(trace)]
        losses += run.task.shown
        run = go_on(run, photos, workers=workers)
    run.fit()
    assert trace + run.trace == whole.trace
    assert losses + run.task.shown == whole.task.shown
    assert fingerprint(run.state) == fingerprint(whole.state)


def test_c8_each_epoch_shows_every_photo_once(whole: Traced) -> None:
    seen = [number for _, ids, *_ in whole.trace for number in ids]
    for epoch in range(3):
        assert sorted(seen[epoch * PHOTOS : (epoch + 1) * PHOTOS]) == list(range(PHOTOS))


def test_c8_control_starting_one_step_late_shows(whole: Traced, photos: PhotoSet, tmp_path: Path) -> None:
    run = Traced(tmp_path / "run", whole.plan, photos=photos)
    stop_at(run, 4)
    run.fit()
    again = go_on(run, photos)
    source = again.stream

    class Late:
        photos = source.photos

        def from_step(self, step: int, total: int) -> Any:
            batches = source.from_step(step, total)
            next(batches)
            yield from batches

    again.stream = Late()
    again.fit()
    assert fingerprint(again.state) != fingerprint(whole.state)
