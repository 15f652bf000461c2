"""Quantities with their units: durations of training ("30 epochs", "2000 steps", "30m"), bytes, money."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

LengthUnit = Literal["epochs", "steps", "seconds"]

_TIME = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {
    "epoch": "epochs",
    "epochs": "epochs",
    "step": "steps",
    "steps": "steps",
    "s": "s",
    "sec": "s",
    "seconds": "s",
    "m": "m",
    "min": "m",
    "minutes": "m",
    "h": "h",
    "hours": "h",
    "d": "d",
    "days": "d",
}


@dataclass(frozen=True, slots=True)
class Length:
    """How long to train. Lengths of different units do not compare: that is a mistake, not an order."""

    value: float
    unit: LengthUnit

    def __str__(self) -> str:
        return format_seconds(self.value) if self.unit == "seconds" else f"{self.value:g} {self.unit}"


def parse_length(text: str, *, least: Literal[0, 1] = 1) -> Length:
    """Read "30 epochs", "2000 steps", "30m", "1.5h" or "1h30m". With ``least`` 0, "0 steps" is a length too.

    Raises:
        ValueError: anything else, a bare number too: 30 of what?
    """
    words = text.strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", words)
    unit = _WORDS.get(match.group(2)) if match else None
    if match and unit in ("epochs", "steps"):
        value = float(match.group(1))
        if value <= 0 and least:
            raise ValueError(f'"{text}" is not above 0')
        return Length(value, "epochs" if unit == "epochs" else "steps")
    try:
        return Length(parse_seconds(text), "seconds")
    except ValueError as error:
        raise ValueError(str(error).replace('write "90s"', 'write "8 epochs", "2000 steps"')) from None


def parse_seconds(text: str) -> float:
    """Seconds of "90s", "30m", "1.5h", "1h30m", "2 days".

    Raises:
        ValueError: no such duration, or not above 0.
    """
    words = text.strip().lower().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]+)", words)
    if not parts or "".join(number + unit for number, unit in parts) != words:
        raise ValueError(f'"{text}" is not a duration (write "90s", "30m" or "1h30m")')
    total = 0.0
    for number, unit in parts:
        known = _WORDS.get(unit)
        if known not in _TIME:
            raise ValueError(f'"{unit}" is not a unit of time (write s, m, h or d)')
        total += float(number) * _TIME[known]
    if total <= 0:
        raise ValueError(f'"{text}" is not above 0')
    return total


def format_seconds(seconds: float) -> str:
    """A duration as people say it: "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def format_bytes(count: float) -> str:
    """Decimal bytes, as disks and weights are sold: "22.9 MB", "1.3 GB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def format_money(amount: float, currency: str = "$") -> str:
    """An amount of money: "$ 4.20"."""
    return f"{currency} {amount:.2f}"
