"""Samples of real small models: what is timed is what is served, turns, the search, and a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from models_kit import tiny
from photo_kit import jpeg

from deitft.compute.bystanders import Bystanders
from deitft.compute.device import Machine, choose
from deitft.compute.limits import forget_high_water, high_water
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.evaluation.cost import CostSettings, noise_of
from deitft.evaluation.predict import predict
from deitft.evaluation.timing import Calls, Subject, counter_name, flops_of, peaks_of, search, take
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.classifier import loose_photos

PRE = Preprocessing(size=32)
QUICK = CostSettings(rounds=4, slice_seconds=0.005, batch_limit=4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    folder = tmp_path_factory.mktemp("sample")
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    return loose_photos(sorted(folder.iterdir()))


@pytest.fixture
def machine() -> Machine:
    return choose("cpu", threads=1, workers=0, precision="fp32")


def subject(**more: float) -> Subject:
    return Subject(tiny(classes=7).eval(), PRE, more.get("temperature", 1.0))


def by_hand(*, tokens: int, patches: int, width: int, depth: int, classes: int, heads: int) -> int:
    """2 x the multiply-adds of a ViT: patches, then per layer QKV, two products of attention, projection, MLP."""
    layer = tokens * width * width * (3 + 1 + 8) + 2 * tokens * tokens * width
    return 2 * (patches * width * 3 * 16 * 16 + depth * layer + heads * width * classes)


def test_flops_are_those_of_the_formula() -> None:
    found = flops_of("deit_tiny_distilled_patch16_224.fb_in1k", num_classes=1000, image_size=224)
    assert found == by_hand(tokens=198, patches=196, width=192, depth=12, classes=1000, heads=2)
    assert found == 2_522_007_552
    assert found == pytest.approx(2 * 1.27e9, rel=0.01)  # as published, in multiply-adds
    small = flops_of("deit_tiny_patch16_224.fb_in1k", num_classes=10, image_size=32)
    assert small == by_hand(tokens=5, patches=4, width=192, depth=12, classes=10, heads=1)
    assert torch.__version__.partition("+")[0] in counter_name()


def test_what_is_timed_is_what_is_served(photos: PhotoSet) -> None:
    served = subject(temperature=2.0)
    expected = predict(served.classifier, EvalStream(photos, PRE, batch=1), pre=PRE, device="cpu")
    calls = Calls(served, photos, "cpu")
    with torch.inference_mode():
        answers = torch.cat([calls.photo() for _ in range(4)])
        logits = Calls(served, photos, "cpu").model(5)()
    np.testing.assert_allclose(answers[:3], expected.probabilities(temperature=2.0), atol=1e-6)
    assert torch.equal(answers[3], answers[0])  # the sample begins again
    np.testing.assert_allclose(logits, expected.logits()[[0, 1, 2, 0, 1]], atol=1e-5)


def test_models_take_turns_and_a_failure_stays_one(photos: PhotoSet, machine: Machine) -> None:
    broken = Subject(tiny(classes=7, size=64).eval(), Preprocessing(size=8), 1.0)  # no patch fits into it
    order: list[tuple[int, int]] = []
    taken = take([subject(), broken, subject()], photos, machine, QUICK, at=lambda *turn: order.append(turn))
    first, failed, third = taken.samples
    assert failed.error
    assert first.error is third.error is None
    for found in (first, third):
        assert len(found.latency) == len(found.photo) == len(found.batches) == 4
        assert all(len(calls) >= 3 for calls in (*found.latency, *found.photo))
        assert found.batch in [batch for batch, _ in found.tried]
    assert order[:3] == [(0, 0), (1, 0), (2, 0)]
    assert order[3:] == [(0, 1), (2, 1), (2, 2), (0, 2), (0, 3), (2, 3), (2, 4), (0, 4)]


def test_the_search_for_a_batch_ends_where_it_no_longer_pays() -> None:
    tried, why = search(lambda batch: 100.0, 64)
    assert (tried, why) == ([(1, 100.0), (2, 100.0), (4, 100.0)], "2 and 4 did not pay")
    slow_start = {1: 100.0, 2: 101.0, 4: 180.0, 8: 181.0, 16: 182.0}
    assert search(slow_start.__getitem__, 64) == (list(slow_start.items()), "8 and 16 did not pay")
    assert search(float, 8)[1] == "the limit of 8"

    def small(batch: int) -> float:
        if batch > 16:
            raise torch.OutOfMemoryError
        return float(batch)

    assert [batch for batch, _ in search(small, 64)[0]] == [1, 2, 4, 8, 16]
    assert search(small, 64)[1] == "no memory for 32"
    assert search(float, 64, too_large=lambda: True) == ([(1, 1.0)], "memory would not do for 2")
    with pytest.raises(torch.OutOfMemoryError):
        search(lambda batch: small(32), 64)


@pytest.fixture
def busy() -> Iterator[None]:
    """This process on one core, and another one that is always at work on the same."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("a process cannot be bound to a core here")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.1)
        yield
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("busy")
def test_a_busy_machine_is_told(photos: PhotoSet, machine: Machine) -> None:
    settings = CostSettings(rounds=4, slice_seconds=0.02, batch_limit=1)
    taken = take([subject()], photos, machine, settings)
    assert taken.others is not None
    assert taken.others > 0.2
    found = noise_of([], load=taken.load, others=taken.others)
    assert found.noisy
    assert found.reasons[-1].startswith("other processes used ")


def test_own_work_is_nobody_elses() -> None:
    """Cores that are busy with this process alone count as free: what others do here is not more than all."""
    watch = Bystanders()
    began, own = time.perf_counter(), time.process_time()
    while time.process_time() - own < 0.3:
        pass
    share = watch.share()
    passed = time.perf_counter() - began
    assert share is None or 0 <= share <= 1 - 0.25 / (passed * len(os.sched_getaffinity(0)))


def test_a_peak_can_be_forgotten(photos: PhotoSet, machine: Machine) -> None:
    big = torch.ones(50_000_000)
    before = high_water()
    del big
    if before is None or not forget_high_water():
        pytest.skip("the system does not forget a process's peak")
    after = high_water()
    assert after is not None
    assert after < before - 150_000_000
    peaks = peaks_of(subject(), photos, machine, 2)
    assert not peaks.includes_loading
    assert 0 < peaks.one < before


def test_a_photo_that_cannot_be_read_is_the_models_error(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 nothing")
    (found,) = take([subject()], loose_photos([tmp_path / "a.jpg"]), machine, QUICK).samples
    assert found.error is not None
    assert found.error.startswith("a photo of the sample cannot be read: ")
