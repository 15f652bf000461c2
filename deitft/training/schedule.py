"""How large is a step, by its number? A pure function of the step: nothing to save, nothing to replay."""

from __future__ import annotations

import math
from typing import Literal


def lr_share_at(
    step: int,
    total: int,
    warmup: int,
    schedule: Literal["cosine", "linear", "constant"],
    final_share: float,
) -> float:
    """The learning rate of update number ``step`` (0 is the first) as a share of the peak, in (0, 1].

    Warm-up: ``(step + 1) / warmup``, so the first update already moves and number ``warmup - 1`` is the peak.
    Without warm-up the first update is the peak. After the peak the share falls so that it would reach
    ``final_share`` at update number ``total``, the one after the last: the last one taken is still above it,
    and no update is spent at a learning rate of 0. The usual ``scheduler.step(epoch)`` after an epoch runs the
    first two epochs at the warm-up start and shifts all others (facebookresearch/deit#145); there is no such
    state here.
    """
    peak_at = max(warmup, 1) - 1
    if step <= peak_at:
        return (step + 1) / max(warmup, 1)
    if schedule == "constant":
        return 1.0
    progress = (step - peak_at) / (total - peak_at)
    falling = 1 - progress if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return final_share + (1 - final_share) * falling
