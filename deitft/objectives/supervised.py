"""What labels alone push down: cross-entropy or binary cross-entropy, with soft targets.

Legend: B images, C classes. Mixing happens upstream, so targets are [B, C] with rows that sum to 1; label
smoothing happens here. Every loss is a mean over the B images, never over weights or positives, so that a batch
cut into micro-batches and weighted by their share of B gives the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from deitft.errors import RecipeError
from deitft.recipe.plan_types import LossPlan

if TYPE_CHECKING:
    from deitft.data.stream import Batch
    from deitft.models.build import Heads


def smooth(targets: Tensor, smoothing: float) -> Tensor:
    """Label smoothing: ``(1 - e) * targets + e / C``, rows still sum to 1 (Szegedy et al. 2016, section 7).

    Mixing and smoothing are both linear, so smoothing after mixing equals timm's smoothing inside its Mixup.
    """
    return targets * (1.0 - smoothing) + smoothing / targets.shape[1]


def wide(logits: Tensor) -> Tensor:
    """Losses are computed in float32 at least: a log-sum-exp in 16 bits loses the rare classes."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _weighted_mean(per_image: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
    if class_weights is not None:
        per_image = per_image * (targets @ class_weights)
    return per_image.mean()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    logit_shift: Tensor | None = None,
) -> Tensor:
    """Cross-entropy in nats with soft targets, summed over classes, mean over images; a 0-d tensor.

    ``-sum_c t_c log softmax(z)_c`` with ``t`` smoothed. ``class_weights`` [C] multiplies an image's loss by the
    weight of its own (mixed, not yet smoothed) classes. The sum is divided by B, not by the weights' sum as
    ``torch.nn.functional.cross_entropy(weight=...)`` does: that quotient depends on what else is in the batch.
    ``logit_shift`` [C] is added to the logits before the softmax (see ``logit_adjustment``).
    """
    logits = wide(logits) if logit_shift is None else wide(logits) + logit_shift
    targets = targets.to(logits.dtype)
    with torch.autocast(logits.device.type, enabled=False):
        per_image = -(smooth(targets, label_smoothing) * F.log_softmax(logits, dim=1)).sum(1)
        return _weighted_mean(per_image, targets, class_weights)


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """One yes-or-no question a class, in nats: mean over classes, then mean over images; a 0-d tensor.

    Equals ``timm.loss.BinaryCrossEntropy``: smoothing moves a target to ``(1 - e) * t + e / C``, and mixed
    targets keep their shares. Targets are not binarised. DeiT's code turns every target above 0 into 1
    (engine.py); after any smoothing that makes every class a positive one.
    """
    logits = wide(logits)
    targets = targets.to(logits.dtype)
    with torch.autocast(logits.device.type, enabled=False):
        per_image = F.binary_cross_entropy_with_logits(
            logits, smooth(targets, label_smoothing), reduction="none"
        ).mean(1)
        return _weighted_mean(per_image, targets, class_weights)


def logit_adjustment(train_counts: Sequence[int], tau: float) -> Tensor:
    """``tau * log prior`` [C], added to the logits in the training loss only (Menon et al. 2021, eq. 10).

    The model then learns scores for balanced classes: served logits are left as they are.

    Raises:
        RecipeError: a class without train photos has no prior (id LOSS).
    """
    if min(train_counts) < 1:
        raise RecipeError(
            "loss.logit_adjustment needs at least one train photo of every class",
            "set loss.logit_adjustment to 0",
            id="LOSS",
        )
    counts = torch.tensor(train_counts, dtype=torch.float64)
    return (tau * (counts / counts.sum()).log()).float()


class Supervised:
    """The loss of a plan, for one head or two.

    With two heads and no teacher both learn from the labels: ``total`` is the mean of both heads' losses.
    """

    def __init__(self, loss: LossPlan, train_counts: Sequence[int], device: torch.device | str) -> None:
        self._loss = loss
        weights, tau = loss.class_weights, loss.logit_adjustment
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
        self._shift = logit_adjustment(train_counts, tau).to(device) if tau else None

    def of_one_head(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of one head's logits [B, C]; a 0-d tensor."""
        smoothing = self._loss.label_smoothing
        if self._loss.name == "bce":
            return binary_cross_entropy(logits, targets, label_smoothing=smoothing, class_weights=self._weights)
        return cross_entropy(
            logits,
            targets,
            label_smoothing=smoothing,
            class_weights=self._weights,
            logit_shift=self._shift,
        )

    def __call__(self, heads: Heads, batch: Batch) -> dict[str, Tensor]:
        """Losses by name, each a 0-d mean over the B images; ``total`` is the one to push down.

        ``label`` is the class head's, ``label_distill`` the distillation head's where there is one.
        """
        label = self.of_one_head(heads.class_logits, batch.targets)
        if heads.distill_logits is None:
            return {"total": label, "label": label}
        label_distill = self.of_one_head(heads.distill_logits, batch.targets)
        return {"total": (label + label_distill) / 2, "label": label, "label_distill": label_distill}
