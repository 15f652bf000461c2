"""C9: what else draws random numbers changes no view, order or mix; and streams change no one's numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stream_sample import train_plan, write_photos

from deitft.data.photos import PhotoSet
from deitft.data.stream import Batch, EvalStream, TrainStream

SPECS = ({"RandomBrightnessContrast": {"p": 0.9}}, {"OneOf": [{"GaussNoise": {"p": 1}}, {"MotionBlur": {"p": 1}}]})
POLICIES = ["light", "randaugment", "three_augment", "albumentations"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    return write_photos(tmp_path_factory.mktemp("photos"), 9)


def stream_of(photos: PhotoSet, policy: str, workers: int = 0) -> TrainStream:
    specs = SPECS if policy == "albumentations" else ()
    return TrainStream(train_plan(workers=workers, augment={"policy": policy, "albumentations": specs}), photos)


def burn(amount: int) -> None:
    """Draw from every global generator, as an evaluation or a report may."""
    random.seed(amount)
    np.random.seed(amount)
    torch.manual_seed(amount)
    for _ in range(amount):
        random.random()
        np.random.rand()
        torch.rand(3)


def states() -> tuple[Any, ...]:
    name, words, *rest = np.random.get_state()
    return random.getstate(), (name, words.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


def same(first: list[Batch], second: list[Batch]) -> bool:
    return all(
        one.keys == other.keys
        and torch.equal(one.images, other.images)
        and torch.equal(one.targets, other.targets)
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_C9_a_burnt_numbers_between_steps_change_nothing(policy: str, photos: PhotoSet) -> None:
    burn(1)
    expected = list(stream_of(photos, policy).from_step(0, 5))
    found = []
    for batch in stream_of(photos, policy).from_step(0, 3):
        found.append(batch)
        burn(7 + batch.step)
    burn(100)
    found += stream_of(photos, policy).from_step(3, 5)  # a resumed run
    assert same(found, expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_C9_b_workers_and_burnt_numbers_together_change_nothing(policy: str, photos: PhotoSet) -> None:
    expected = list(stream_of(photos, policy).from_step(0, 4))
    burn(31)
    found = list(stream_of(photos, policy, workers=2).from_step(0, 2))
    burn(32)
    found += stream_of(photos, policy, workers=1).from_step(2, 4)
    assert same(found, expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("policy", POLICIES)
def test_C9_c_streams_leave_every_global_generator_as_it_was(policy: str, workers: int, photos: PhotoSet) -> None:
    stream = stream_of(photos, policy, workers)
    burn(5)
    before = states()
    list(stream.from_step(0, 2))
    list(EvalStream(photos, stream.plan.preprocessing, batch=4, workers=workers))
    assert states() == before


def test_C9_d_control_a_stream_of_another_seed_differs(photos: PhotoSet) -> None:
    expected = list(stream_of(photos, "light").from_step(0, 2))
    other = list(TrainStream(train_plan(seed=4), photos).from_step(0, 2))
    assert not same(expected, other)


def test_C9_e_control_without_the_keyed_seed_the_numbers_do_leak(
    photos: PhotoSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The guard taken off: timm's operations then follow the globals, and this test file would go red."""
    import contextlib

    from deitft.core import keys

    monkeypatch.setattr(keys, "seeded_globals", lambda key: contextlib.nullcontext())
    burn(1)
    first = list(stream_of(photos, "randaugment").from_step(0, 3))
    burn(2)
    assert not same(first, list(stream_of(photos, "randaugment").from_step(0, 3)))
