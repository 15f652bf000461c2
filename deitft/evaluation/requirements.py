"""What a model must reach: "top1>=0.9", "latency_ms<=5", read and judged. Units are known, mistakes are named.

No torch here.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from deitft.errors import UsageError
from deitft.evaluation.metrics import HIGHER_IS_BETTER

_SHARE = {"": 1.0, "%": 0.01}
_MILLISECONDS = {"": 1.0, "ms": 1.0, "s": 1000.0}
_MEGABYTES = {"": 1.0, "mb": 1.0, "kb": 1e-3, "gb": 1e3}
_MINUTES = {"": 1.0, "m": 1.0, "min": 1.0, "h": 60.0, "s": 1 / 60}
_NUMBER = {"": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that can be asked for: which direction is better, and its units (lower case, to its own one)."""

    higher_is_better: bool
    units: Mapping[str, float]

    @property
    def is_share(self) -> bool:
        """Does it lie between 0 and 1?"""
        return "%" in self.units


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        name: Figure(higher_is_better=higher, units=_SHARE)
        for name, higher in HIGHER_IS_BETTER.items()
        if name != "nll"  # no table has it: it could never be met
    }
    | {
        "latency_ms": Figure(higher_is_better=False, units=_MILLISECONDS),
        "latency_p95_ms": Figure(higher_is_better=False, units=_MILLISECONDS),
        "photos_per_second": Figure(higher_is_better=True, units=_NUMBER),
        "size_mb": Figure(higher_is_better=False, units=_MEGABYTES),
        "memory_mb": Figure(higher_is_better=False, units=_MEGABYTES),
        "training_memory_mb": Figure(higher_is_better=False, units=_MEGABYTES),
        "training_minutes": Figure(higher_is_better=False, units=_MINUTES),
        "cost": Figure(higher_is_better=False, units=_NUMBER),
        "parameters_m": Figure(higher_is_better=False, units={"": 1.0, "m": 1.0}),
        "gflops": Figure(higher_is_better=False, units=_NUMBER),
    }
)
"""Every figure that ``--require`` knows; latency is the median at batch 1, MB are 10^6 bytes."""

MEASURED = frozenset(("latency_ms", "latency_p95_ms", "photos_per_second", "memory_mb", "parameters_m", "gflops"))
"""Figures that are known only where costs are measured."""

_SIGNS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
)
_FORM = re.compile(r"\s*([A-Za-z]\w*)\s*(>=|<=|==|=|>(?!=)|<(?!=))\s*(\S.*?)\s*")
_VALUE = re.compile(r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+)\s*([a-z%]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A figure, a sign and a value in the figure's own unit."""

    name: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.value:g}"

    def holds(self, seen: float | None) -> bool:
        """Is it met? What is not known (None, NaN) is not."""
        return seen is not None and not math.isnan(seen) and _SIGNS[self.sign](seen, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A requirement, what was seen (None: not known), and whether it is met."""

    requirement: Requirement
    seen: float | None
    met: bool

    @property
    def sentence(self) -> str:
        """ "top1 is 0.884, wanted >= 0.9"."""
        wanted = f"wanted {self.requirement.sign} {self.requirement.value:g}"
        seen = "not known" if self.seen is None else f"{self.seen:.4g}"
        return f"{self.requirement.name} is {seen}, {wanted}"


def parse_requirements(texts: Sequence[str]) -> tuple[Requirement, ...]:
    """Read requirements: each text is one or several of them, joined by commas or "and".

    A value is in the figure's own unit, or says its unit: "size_mb<=0.1GB", "top1>=90%".

    Raises:
        UsageError: a name, sign, value or unit that cannot be; all of them in one line (USAGE).
    """
    found, mistakes = [], []
    for text in texts:
        for part in re.split(r",|\band\b", text):
            read = _read(part)
            if isinstance(read, str):
                mistakes.append(read)
            else:
                found.append(read)
    if mistakes:
        raise UsageError(
            f"--require: {'; '.join(mistakes)}", 'write it like "top1>=0.9" or "latency_ms<=5"', id="USAGE"
        )
    return tuple(found)


def at_most(name: str, text: str, option: str = "") -> Requirement:
    """The limit ``name`` <= ``text``, a number with or without its unit ("5ms", "100MB"), as ``option`` gave it.

    Raises:
        UsageError: a value or unit that cannot be (USAGE).
    """
    read = _read(f"{name}<={text}")
    if isinstance(read, str):
        raise UsageError(f"{option}: {read}" if option else read, "write a number with its unit", id="USAGE")
    return read


def judge(requirements: Sequence[Requirement], figures: Mapping[str, float | None]) -> tuple[Outcome, ...]:
    """Each requirement against the figures of one model; a figure that is missing is not known."""
    outcomes = []
    for requirement in requirements:
        seen = figures.get(requirement.name)
        outcomes.append(Outcome(requirement=requirement, seen=seen, met=requirement.holds(seen)))
    return tuple(outcomes)


def known_figure(name: str) -> Figure | str:
    """The figure of this name, or what to say: with the nearest names, if some are near."""
    if name in FIGURES:
        return FIGURES[name]
    near = difflib.get_close_matches(name.lower(), FIGURES, n=2, cutoff=0.6)
    guess = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(FIGURES)}"
    return f'no such figure: "{name}", {guess}'


def _read(text: str) -> Requirement | str:
    """A requirement, or what is wrong with it."""
    form = _FORM.fullmatch(text)
    if form is None:
        return f'"{text.strip()}" is not a name, one of {" ".join(_SIGNS)} and a number'
    name, sign, value = form.groups()
    figure = known_figure(name)
    if isinstance(figure, str):
        return figure
    better = ">=" if figure.higher_is_better else "<="
    if sign not in _SIGNS or sign[0] != better[0]:
        return f'"{text.strip()}": {name} is better when {"higher" if better == ">=" else "lower"}, write {better}'
    number = _VALUE.fullmatch(value)
    if number is None:
        return f'"{value}" is no number from 0 on'
    unit = number.group(2).lower()
    if unit not in figure.units:
        known = ", ".join(each for each in figure.units if each)
        return f'"{unit}" is no unit of {name}' + (f" (known: {known})" if known else "")
    amount = float(number.group(1)) * figure.units[unit]
    if figure.is_share and amount > 1:
        return f"{name} is a share: {value} cannot be, write {amount / 100:g} or {amount:g}%"
    return Requirement(name=name, sign=sign, value=amount)
