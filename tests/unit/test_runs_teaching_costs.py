"""When a cache pays: the formula, by hand and by counting runs; and what a run that uses one costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_objectives_teacher import plan_with
from training_kit import SIZE, tiny_plan

from deitft.compute.group import Group
from deitft.compute.rank import Rank
from deitft.recipe.plan_types import Plan
from deitft.runs.learning import LazyTeacher
from deitft.runs.teaching_costs import Teaching, Way, _trial_batch, pays_from, run_seconds
from deitft.training.step import Objective

WAYS: dict[Way, float] = {"undistilled": 1.0, "live": 3.0, "cold": 3.5, "warm": 1.1}


@pytest.mark.parametrize(
    ("live", "cold", "warm", "run"),
    [(3.0, 3.5, 1.1, 2), (3.0, 3.0, 2.9, 2), (3.0, 9.0, 1.0, 5), (2.0, 2.0, 2.0, None)],
)
def test_pays_from_by_hand(live: float, cold: float, warm: float, run: int | None) -> None:
    assert pays_from(live, cold, warm) == run


@given(live=st.integers(1, 50), more=st.integers(0, 50), less=st.integers(1, 50))
def test_it_is_the_first_run_at_which_the_sums_cross(live: int, more: int, less: int) -> None:
    warm, cold = max(0, live - less), live + more
    run = pays_from(float(live), float(cold), float(warm))
    first = next((n for n in range(1, 200) if cold + (n - 1) * warm < n * live), None)
    assert run == first


def test_what_is_known_is_not_asked() -> None:
    plan = replace(tiny_plan(), total_steps=20)
    seconds = {SIZE: WAYS}
    assert run_seconds(plan, seconds, "live") == pytest.approx(60)
    assert Teaching(seconds=seconds, bytes=0).step_seconds(SIZE) == 3.0
    cold = Teaching(seconds=seconds, bytes=0, cached=True)
    assert cold.step_seconds(SIZE) == 3.5
    assert replace(cold, known=1.0).step_seconds(SIZE) == 1.1
    assert replace(cold, known=0.5).step_seconds(SIZE) == pytest.approx(2.3)
    assert replace(cold, fresh=0.1).step_seconds(SIZE) == pytest.approx(0.1 * 3.5 + 0.9 * 1.1)
    assert cold.pays_from(plan) == 2
    assert replace(cold, fresh=0.1).pays_from(plan) == 1  # views that come again pay at once
    lucky = Teaching(seconds={SIZE: {**WAYS, "cold": 2.0}}, bytes=0)
    assert lucky.pays_from(plan) == 2  # a first run cannot be cheaper than asking


def test_both_sizes_of_a_run_count() -> None:
    plan = replace(tiny_plan(), total_steps=20, train_size=4, full_size_from_step=15)
    half: dict[Way, float] = {way: value / 2 for way, value in WAYS.items()}
    assert run_seconds(plan, {4: half, SIZE: WAYS}, "live") == pytest.approx(15 * 1.5 + 5 * 3.0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_smaller_batch_is_shared_out_as_the_whole_one(world: int) -> None:
    """What the leader's share of a step takes, scaled: the time of its share of the whole batch."""
    group = Group(Rank(0, world))
    plan = replace(tiny_plan(), batch=192, distill=plan_with().distill)

    def times(one: Plan, objective: Objective, within: float) -> list[float]:
        rows = group.rows(one.batch, paired=one.mixing.on)
        return [0.5 * (rows.stop - rows.start)]

    batch = _trial_batch(plan, times, LazyTeacher(plan), 20.0, world)
    assert batch < plan.batch
    share = group.rows(batch, paired=True).stop
    assert share * plan.batch / batch == group.rows(plan.batch, paired=True).stop
