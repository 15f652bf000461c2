"""What the choice is told of a line of the table."""

from __future__ import annotations

import pytest
from unit.compare_sample import row

from deitft.reporting.compare_data import Cost
from deitft.runs.compare_verdict import _spreads_of, figures_of


def test_the_spread_of_a_time_is_in_the_unit_of_its_figure() -> None:
    one = row(0, "a")
    assert _spreads_of(one) == {"latency_ms": pytest.approx(0.4), "latency_p95_ms": pytest.approx(0.4)}
    assert _spreads_of(one).keys() <= figures_of(one).keys()
    assert figures_of(one)["latency_ms"] == pytest.approx(23.1)
    assert _spreads_of(row(0, "a", cost=Cost())) == {}
