"""Facts: what a recipe meets. Photos, weights and machine, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deitft.recipe.auto_rules import Family
from deitft.recipe.plan_types import Precision, TeacherPlan
from deitft.recipe.preprocessing import Aspect, Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a recipe meets: photos, weights and machine.

    ``train_counts`` are train photos a class; ``photos`` counts train, val and test; ``precision`` is what the
    hardware does well; ``memory_bytes`` is what the device has; ``seconds_per_image`` is measured for one training
    view at full size, forward and backward, or None. ``fixed_size``: the model takes one size only;
    ``linear_heads``: its heads are linear layers, which a probe can fill; ``two_heads``: it has a distillation
    token. ``unlabelled`` names the splits without a single label.
    """

    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    photos: Mapping[str, int]
    data: str
    data_fingerprint: str
    model: str
    short_name: str | None
    weights: Mapping[str, Any]
    pretrained: bool
    family: Family
    parameters: int
    depth: int
    weights_preprocessing: Preprocessing
    preferred_aspect: Aspect
    device: str
    precision: Precision
    threads: int
    workers: int
    memory_bytes: int
    seconds_per_image: float | None
    fixed_size: bool = False
    linear_heads: bool = True
    two_heads: bool = True
    unlabelled: tuple[str, ...] = ()
    teachers: tuple[TeacherPlan, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the train photos have labels."""
        return "train" not in self.unlabelled
