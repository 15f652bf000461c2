"""Where the ticks of an axis stand: at numbers that people count in, two at least, none on another's label."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

LEAST_RATIO = 1.6
"""Of a log axis, the largest by the smallest number shown: with less there are no round numbers between them."""
_ROOM = 1.3
"""What is shown of a log axis, by what the points take of it."""
_APART = 0.2
"""Two labels side by side need this share of the axis, at the size of the page's drawings (measured)."""
_STEPS: tuple[tuple[float, ...], ...] = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_CLOCK = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds from tick to tick."""
_MOST_TIMES = 4.5
"""Steps of a time axis at most."""


def log_view(values: Sequence[float]) -> tuple[float, float]:
    """What a log axis shows of these positive numbers: all of them with some room, and never next to nothing."""
    low, high = math.log(min(values)), math.log(max(values))
    half = max(_ROOM * (high - low), math.log(LEAST_RATIO)) / 2
    middle = (low + high) / 2
    return math.exp(middle - half), math.exp(middle + half)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between the ends of a log axis: two at least where the larger end is ``LEAST_RATIO`` times the
    smaller one."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _STEPS:
        ticks = _apart([step * 10.0**decade for decade in decades for step in steps], low, high)
        if len(ticks) > 2:
            return ticks
    return _apart([float(tick) for tick in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)], low, high)


def _apart(ticks: Sequence[float], low: float, high: float) -> list[float]:
    """Those that are shown, without those whose label would stand on that of the one before."""
    least = (high / low) ** _APART
    kept: list[float] = []
    for tick in ticks:
        if low <= tick <= high and (not kept or tick / kept[-1] >= least):
            kept.append(tick)
    return kept


def time_ticks(longest: float) -> list[float]:
    """Seconds from 0 on, in steps as clocks have them."""
    days = 86400.0 * math.ceil(longest / 86400 / _MOST_TIMES)
    step = next((step for step in _CLOCK if longest / step <= _MOST_TIMES), days)
    return [number * step for number in range(max(2, math.floor(longest / step) + 1))]
