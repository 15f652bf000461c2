"""What is counted on the device, and what comes of it when it is read."""

from __future__ import annotations

import math

import pytest
import torch
from training_kit import TinyNet, tiny_plan

from deitft.training.state import Guard, Meter, all_finite, new_state


def part(value: float) -> torch.Tensor:
    return torch.tensor(value)


def note(guard: Guard, *, skip: bool, suspicious: bool | None = None, loss: float = 1.0, step: int = 0) -> None:
    flags = torch.tensor(skip), torch.tensor(skip if suspicious is None else suspicious)
    guard.note(skip=flags[0], suspicious=flags[1], loss=torch.tensor(loss), step=step)


def test_a_meter_gives_means_over_applied_steps() -> None:
    meter = Meter()
    assert meter.read() == {}
    meter.add({"total": part(1.0), "skipped": part(0.0)})
    meter.add({"total": part(0.0), "skipped": part(1.0)})
    meter.add({"total": part(2.0), "skipped": part(0.0)})
    assert meter.read() == {"total": 1.5, "skipped": 1.0}
    meter.clear()
    meter.add({"total": part(0.0), "skipped": part(1.0)})
    assert math.isnan(meter.read()["total"])


def test_a_meter_comes_back_as_it_was() -> None:
    meter, again = Meter(), Meter()
    for value in (0.1, 0.7, 1e-3):
        meter.add({"total": part(value), "skipped": part(0.0)})
    again.load(meter.record(), "cpu")
    for each in (meter, again):
        each.add({"total": part(0.3), "skipped": part(0.0)})
    assert meter.read() == again.read()


def test_a_guard_counts_rows_of_faults_and_where_the_first_of_three_began() -> None:
    guard = Guard.new("cpu")
    plan = [(1, False), (2, True), (3, True), (4, False), (5, True), (6, True), (7, True), (8, False), (9, True)]
    for step, bad in plan:
        note(guard, skip=bad, loss=math.nan if bad else step / 10, step=step)
    record = guard.record()
    assert record["applied"] == 3
    assert record["skipped"] == record["faults"] == 6
    assert record["in_row"] == 1
    assert record["longest"] == 3
    assert record["first_bad"] == 5
    assert record["last_loss"] == pytest.approx(0.8)


def test_what_fp16_expects_is_skipped_but_no_fault_and_breaks_no_row() -> None:
    guard = Guard.new("cpu")
    note(guard, skip=True, step=1)
    note(guard, skip=True, suspicious=False, step=2)
    note(guard, skip=True, step=3)
    record = guard.record()
    assert (record["skipped"], record["faults"], record["in_row"]) == (3, 2, 2)


def test_a_guard_comes_back_as_it_was_with_whole_numbers() -> None:
    guard = Guard.new("cpu")
    note(guard, skip=True, loss=math.inf, step=4)
    again = Guard.new("cpu")
    again.load(guard.record())
    for each in (guard, again):
        note(each, skip=True, step=5)
    assert guard.record()["first_bad"] == again.record()["first_bad"] == 4
    assert isinstance(again.record()["skipped"], int)
    assert again.record()["in_row"] == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_all_finite_sees_one_bad_number_anywhere(value: float) -> None:
    tensors = [torch.randn(5, 3), torch.tensor(7), torch.randn(2)]
    assert bool(all_finite([*tensors, torch.tensor([3e38, -3e38])]))
    tensors[2][1] = value
    assert not bool(all_finite(tensors))


def test_a_new_state_follows_its_plan() -> None:
    state = new_state(tiny_plan(), TinyNet())
    assert state.ema is not None
    assert state.ema.decay == 0.9
    assert state.scaler is None
    assert state.device == torch.device("cpu")
    bare = new_state(tiny_plan(ema_decay=None, precision="fp16"), TinyNet())
    assert bare.ema is None
    assert bare.scaler is not None
    assert new_state(tiny_plan(compile=True), TinyNet()).compiled is not None
