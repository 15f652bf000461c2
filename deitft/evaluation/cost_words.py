"""Costs in words for people: "the shortest time for one photo (165 ms)". No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class CostWords:
    """How one cost is spoken of: its name, the least of it, less of it (after "with"), and an amount."""

    name: str
    least: str
    less: str
    amount: Callable[[float], str]


def _digits(value: float) -> str:
    """Three digits, and never "1.2e+03"."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _in(unit: str) -> Callable[[float], str]:
    return lambda value: f"{_digits(value)} {unit}"


_MEGABYTES, _MILLISECONDS = _in("MB"), _in("ms")

COST_WORDS: Mapping[str, CostWords] = MappingProxyType(
    {
        "latency_ms": CostWords(
            name="time for one photo",
            least="shortest time for one photo",
            less="a shorter time for one photo",
            amount=_MILLISECONDS,
        ),
        "latency_p95_ms": CostWords(
            name="time that 95 of 100 photos keep within",
            least="shortest time that 95 of 100 photos keep within",
            less="a shorter time that 95 of 100 photos keep within",
            amount=_MILLISECONDS,
        ),
        "size_mb": CostWords(
            name="size of the weights", least="smallest weights", less="smaller weights", amount=_MEGABYTES
        ),
        "memory_mb": CostWords(
            name="memory in use", least="least memory in use", less="less memory in use", amount=_MEGABYTES
        ),
        "training_memory_mb": CostWords(
            name="memory in training",
            least="least memory in training",
            less="less memory in training",
            amount=_MEGABYTES,
        ),
        "training_minutes": CostWords(
            name="time of training", least="shortest training", less="a shorter training", amount=_in("min")
        ),
        "cost": CostWords(
            name="price of training", least="cheapest training", less="a cheaper training", amount="{:.2f}".format
        ),
        "parameters_m": CostWords(
            name="number of parameters",
            least="fewest parameters",
            less="fewer parameters",
            amount=_in("million"),
        ),
        "gflops": CostWords(
            name="computing for one photo",
            least="least computing for one photo",
            less="less computing for one photo",
            amount=_in("GFLOPs"),
        ),
        "calibration_error": CostWords(
            name="calibration error",
            least="smallest calibration error",
            less="a smaller calibration error",
            amount=lambda value: f"{_digits(100 * value)} %",
        ),
    }
)
"""Every figure of ``requirements.FIGURES`` that is better when lower: what "cheapest" may be judged by."""
