"""Ticks are round numbers, two at least, and their labels are told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deitft.core.units import format_bytes, format_seconds
from deitft.reporting.compare_plots import _ms
from deitft.reporting.plot_ticks import LEAST_RATIO, log_ticks, log_view, time_ticks


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([9.1e6, 22e6], ["10.0 MB", "15.0 MB", "20.0 MB"]),
        ([22e6, 22.01e6], ["20.0 MB", "25.0 MB"]),
        ([14e6, 350e6], ["10.0 MB", "30.0 MB", "100.0 MB", "300.0 MB"]),
    ],
)
def test_sizes(values: list[float], ticks: list[str]) -> None:
    assert [format_bytes(tick) for tick in log_ticks(*log_view(values))] == ticks


def test_a_log_axis_has_at_least_two_readable_ticks_whatever_it_shows() -> None:
    draw = np.random.default_rng(0)
    for _ in range(2_000):
        first = 10 ** draw.uniform(-4.5, 1.5)
        values = [first, first * 10 ** draw.choice([0.0, 1e-4, 0.05, 0.3, 0.8, 1.5, 3.0]) * draw.uniform(1, 1.2)]
        low, high = log_view(values)
        assert low < min(values) <= max(values) < high
        assert high / low >= LEAST_RATIO * (1 - 1e-9)
        for ticks, shown in ((log_ticks(low, high), _ms), (log_ticks(low * 1e7, high * 1e7), format_bytes)):
            labels = [shown(tick) for tick in ticks]
            assert 2 <= len(labels) == len(set(labels)) <= 6, (values, labels)
            assert "e+" not in "".join(labels)


def test_times_are_counted_as_clocks_do() -> None:
    assert [format_seconds(tick) for tick in time_ticks(809)] == ["0.0 s", "5 min", "10 min"]
    assert [format_seconds(tick) for tick in time_ticks(100)] == ["0.0 s", "30 s", "1 min", "1 min 30 s"]
    for longest in (0.0, 0.3, 7, 61, 3_000, 40_000, 3e6):
        assert 2 <= len(time_ticks(longest)) <= 6
        assert len({format_seconds(tick) for tick in time_ticks(longest)}) == len(time_ticks(longest))
        assert math.isclose(time_ticks(longest)[0], 0)
