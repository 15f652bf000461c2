"""Size, mean, std, crop, aspect, background: one frozen value, used by every verb and stored in the bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from deitft.errors import DataError

Aspect = Literal["crop", "pad", "squash"]
Interpolation = Literal["bicubic", "bilinear", "lanczos", "nearest"]

MAX_SIDE = 2048
"""Pixels a side at most: what a bundle may ask for before anything is allocated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What happens to an upright RGB photo before the model sees it.

    ``size`` is the side of the square in pixels; ``crop_share`` the share of the resized shorter side that the
    centre crop keeps (timm's ``crop_pct``); ``mean`` and ``std`` are per channel, of values in 0..1;
    ``background`` is what transparency is composited on, RGB 0..255.
    """

    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"
    crop_share: float = 0.9
    aspect: Aspect = "crop"
    background: tuple[int, int, int] = (255, 255, 255)

    @property
    def resize_to(self) -> int:
        """Pixels of the shorter side before the centre crop (timm floors)."""
        return math.floor(self.size / self.crop_share)

    def at(self, size: int) -> Preprocessing:
        """The same at another size."""
        return replace(self, size=size)

    def record(self) -> dict[str, Any]:
        """Plain data, for ``plan.json`` and the bundle."""
        return asdict(self)


def preprocessing_from(value: Mapping[str, Any], *, where: str) -> Preprocessing:
    """Read a stored preprocessing, every value checked (fault S6).

    Raises:
        DataError: unknown or missing field, wrong type, value out of range; ``where`` names the file.
    """
    known = set(Preprocessing.__slots__)
    problems = [f'unknown field "{name}"' for name in value if name not in known]
    problems += [f'"{name}" is missing' for name in known if name not in value]
    if not problems:
        problems = _range_problems(value)
    if problems:
        raise DataError(f"{where}: preprocessing: {problems[0]}", "check where the bundle comes from", id="S6")
    return Preprocessing(
        size=value["size"],
        mean=_three(value["mean"]),
        std=_three(value["std"]),
        interpolation=value["interpolation"],
        crop_share=float(value["crop_share"]),
        aspect=value["aspect"],
        background=(value["background"][0], value["background"][1], value["background"][2]),
    )


def _three(values: Any) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _range_problems(value: Mapping[str, Any]) -> list[str]:
    problems = []
    size, share = value["size"], value["crop_share"]
    if not isinstance(size, int) or isinstance(size, bool) or not 16 <= size <= MAX_SIDE:
        problems.append(f"size is {size!r} (allowed 16 to {MAX_SIDE})")
    if not _is_number(share) or not 0.1 <= share <= 1:
        problems.append(f"crop_share is {share!r} (allowed 0.1 to 1)")
    for name, low, high in (("mean", 0.0, 1.0), ("std", 1e-3, 10.0)):
        items = value[name]
        right = isinstance(items, list | tuple) and len(items) == 3
        if not right or not all(_is_number(item) and low <= item <= high for item in items):
            problems.append(f"{name} is {items!r} (want three numbers from {low:g} to {high:g})")
    colour = value["background"]
    right = isinstance(colour, list | tuple) and len(colour) == 3
    if not right or not all(isinstance(item, int) and 0 <= item <= 255 for item in colour):
        problems.append(f"background is {colour!r} (want three whole numbers from 0 to 255)")
    if value["interpolation"] not in ("bicubic", "bilinear", "lanczos", "nearest"):
        problems.append(f"interpolation is {value['interpolation']!r}")
    if value["aspect"] not in ("crop", "pad", "squash"):
        problems.append(f"aspect is {value['aspect']!r}")
    return problems
