"""The learning rate by step number: no step is wasted at 0, nothing is shifted by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deitft.training.schedule import lr_share_at

KINDS = ("cosine", "linear", "constant")


def test_golden_values_of_a_run_of_ten() -> None:
    cosine = [lr_share_at(step, 10, 3, "cosine", 0.0) for step in range(10)]
    wanted = [1 / 3, 2 / 3, 1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]
    assert cosine == pytest.approx(wanted, abs=1e-6)
    linear = [lr_share_at(step, 10, 3, "linear", 0.2) for step in range(10)]
    assert linear == pytest.approx([1 / 3, 2 / 3, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    assert [lr_share_at(step, 4, 2, "constant", 0.5) for step in range(4)] == [0.5, 1, 1, 1]


def test_cosine_equals_torchs_scheduler_shifted_to_the_peak() -> None:
    import torch

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.1)
    for step in range(50):
        assert lr_share_at(step, 50, 0, "cosine", 0.1) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()


@given(
    total=st.integers(1, 500),
    warmup=st.integers(0, 600),
    kind=st.sampled_from(KINDS),
    final=st.floats(0, 1),
)
def test_every_step_moves_and_none_exceeds_the_peak(total: int, warmup: int, kind: str, final: float) -> None:
    shares = [lr_share_at(step, total, warmup, kind, final) for step in range(total)]
    assert all(0 < share <= 1 for share in shares)
    peak = max(warmup, 1) - 1
    rising = shares[: peak + 1]
    assert rising == sorted(rising)
    falling = shares[peak:]
    assert falling == sorted(falling, reverse=True)
    if peak < total:
        assert shares[peak] == 1
    if kind != "constant" and final < 1 and peak < total - 1:
        assert shares[-1] > final - 1e-12  # the value of the step after the last, which is not taken
        assert len(set(falling)) > 1


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_share_would_reach_its_end_one_step_after_the_last(kind: str) -> None:
    assert lr_share_at(30, 30, 4, kind, 0.25) == pytest.approx(0.25)
    before = lr_share_at(29, 30, 4, kind, 0.25)
    step = 0.75 / 27 if kind == "linear" else 0.75 * 0.5 * (1 - math.cos(math.pi / 27))
    assert before == pytest.approx(0.25 + step)


def test_a_warm_up_as_long_as_the_run_only_rises() -> None:
    assert [lr_share_at(step, 4, 8, "cosine", 0.0) for step in range(4)] == [0.125, 0.25, 0.375, 0.5]
