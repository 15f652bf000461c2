"""Everything in a plan that is counted in steps: batch, length, warm-up, validation, full size.

An epoch is as many views as there are train photos: ``ceil(photos / batch)`` steps, whatever ``augment.repeats``
says (with repeats, an epoch shows fewer photos more often, as DeiT counts it). The order of the photos has no
seam there: a batch that begins at the end of one order goes on with the next, so every batch is whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from deitft.core.units import Length, parse_length
from deitft.recipe import auto_rules
from deitft.recipe.facts import Facts
from deitft.recipe.plan_types import Precision
from deitft.recipe.preprocessing import Preprocessing
from deitft.recipe.schema import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Batch and micro-batch in photos; the rest in steps."""

    batch: int
    micro_batch: int
    epoch: int
    total: int
    warmup: int
    validate: int
    full_size_from: int


@dataclass(frozen=True, slots=True)
class _Converter:
    """Turns lengths into steps; a time without a known speed is a mistake."""

    epoch: int
    seconds_per_step: float | None
    mistakes: list[str] = field(default_factory=list)

    def steps(self, name: str, text: str, *, auto_epochs: float, least: Literal[0, 1] = 1) -> int:
        """What is begun is counted, so at least 1 but for a length of 0; of a time only whole steps fit in."""
        length = Length(auto_epochs, "epochs") if text == "auto" else parse_length(text, least=least)
        if not length.value:
            return 0
        if length.unit != "seconds":
            each = self.epoch if length.unit == "epochs" else 1
            return max(1, math.ceil(round(length.value * each, 6)))
        if self.seconds_per_step is None:
            self.mistakes.append(
                f"{name} is {text}, but how long a step takes is not known: write epochs or steps"
            )
            return 1
        return max(1, math.floor(length.value / self.seconds_per_step))


def precision_of(recipe: Recipe, facts: Facts) -> Precision:
    """As asked, else what the hardware does well."""
    return facts.precision if recipe.train.precision == "auto" else recipe.train.precision


def count_steps(
    recipe: Recipe,
    facts: Facts,
    pre: Preprocessing,
    train_size: int,
    max_steps: int | None,
    mistakes: list[str],
) -> Steps:
    """Batch first, then everything that is counted in steps of that batch. ``mistakes`` is added to."""
    train, photos = recipe.train, facts.photos["train"]
    batch, micro = _batches(recipe, facts, pre, mistakes)
    epoch = max(1, math.ceil(photos / batch))
    small_share = train.full_size_from if train_size < pre.size else 0.0
    speed = _seconds_per_step(facts, batch, small_share, train_size / pre.size)
    convert = _Converter(epoch, speed, mistakes)

    auto_epochs = auto_rules.epochs(photos, pretrained=facts.pretrained) * train.length_factor
    total = convert.steps("train.length", train.length, auto_epochs=auto_epochs, least=0)
    warmup = 0
    if recipe.optim.warmup != "auto":
        warmup = convert.steps("optim.warmup", recipe.optim.warmup, auto_epochs=0.0)
        if warmup >= max(total, 1):
            mistakes.append(
                f"optim.warmup {recipe.optim.warmup} leaves nothing of train.length ({total} steps): "
                "take a shorter one, as --set optim.warmup=auto"
            )
    if max_steps is not None and max_steps < 1:
        mistakes.append(f"max_steps is {max_steps}, want at least 1")
    elif max_steps is not None and max_steps < total:
        warmup, total = min(warmup * max_steps // total, max_steps - 1), max_steps
    if recipe.optim.warmup == "auto":
        warmup = auto_rules.warmup_steps(total, epoch)
    return Steps(
        batch=batch,
        micro_batch=micro,
        epoch=epoch,
        total=total,
        warmup=warmup,
        validate=min(max(total, 1), convert.steps("train.validate_every", train.validate_every, auto_epochs=1.0)),
        full_size_from=full_size_step(small_share, total),
    )


def full_size_step(small_share: float, total: int) -> int:
    """The first step at full size. A share below 1 asks for an end at full size, also in a run of a few steps."""
    return min(math.ceil(round(small_share * total, 6)), total if small_share == 1 else max(total - 1, 0))


def _seconds_per_step(facts: Facts, batch: int, small_share: float, size_share: float) -> float | None:
    """Mean over the run; work grows with the pixels."""
    if facts.seconds_per_image is None:
        return None
    return facts.seconds_per_image * batch * (1 - small_share * (1 - size_share**2))


def _batches(recipe: Recipe, facts: Facts, pre: Preprocessing, mistakes: list[str]) -> tuple[int, int]:
    """Batch and micro-batch."""
    train, photos, repeats = recipe.train, facts.photos["train"], recipe.augment.repeats
    if train.batch == "auto":
        batch = auto_rules.batch(photos, repeats=repeats)
    else:
        batch = train.batch
        # Repeated augmentation shows photos several times anyway: on a small folder more often than asked.
        if repeats == 1 and batch > photos:
            mistakes.append(f"train.batch {batch} is more than the {photos} train photos")
    if train.micro_batch != "auto":
        # The schema has seen to a given batch; the auto batch is known only here.
        if train.batch == "auto" and batch % train.micro_batch:
            mistakes.append(f"train.micro_batch {train.micro_batch} does not divide the batch of {batch}")
        return batch, train.micro_batch
    image_bytes = auto_rules.bytes_per_image(
        family=facts.family,
        parameters=facts.parameters,
        depth=facts.depth,
        size=pre.size,
        half=precision_of(recipe, facts) != "fp32",
    )
    return batch, auto_rules.micro_batch(
        batch,
        memory_bytes=facts.memory_bytes,
        device=facts.device,
        parameters=facts.parameters,
        image_bytes=image_bytes,
    )
