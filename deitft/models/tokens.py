"""How alike class token and distillation token are: when they go in, and when they come out.

DeiT's begin almost at right angles (cosine 0.06) and end close (0.93), but not equal; a second class token ends
equal (0.999) and brings nothing (arXiv 2012.12877, section 4).

Legend: B images, T tokens, D width, L blocks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deitft.models.build import Classifier


def input_cosine(classifier: Classifier) -> float | None:
    """Cosine of the two learned tokens as they are put in, without their positions; None with one token."""
    if not classifier.two_heads:
        return None
    net: Any = classifier.net
    return float(F.cosine_similarity(net.cls_token.detach().flatten(), net.dist_token.detach().flatten(), dim=0))


@torch.no_grad()
def layer_cosines(classifier: Classifier, images: Tensor) -> Tensor | None:
    """Cosine of the two tokens after each block and, last, as the heads see them: [B, L + 1]; None with one token.

    ``images`` [B, 3, H, W], normalised; the classifier is in evaluation mode.
    """
    if not classifier.two_heads:
        return None
    net: Any = classifier.net
    found: list[Tensor] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], tokens_BTD: Tensor) -> None:
        found.append(F.cosine_similarity(tokens_BTD[:, 0].float(), tokens_BTD[:, 1].float(), dim=1))

    hooks = [block.register_forward_hook(watch) for block in net.blocks]
    try:
        last = output_cosines(classifier, images)
    finally:
        for hook in hooks:
            hook.remove()
    assert last is not None, "it has two heads"
    return torch.stack([*found, last], dim=1)


@torch.no_grad()
def output_cosines(classifier: Classifier, images: Tensor) -> Tensor | None:
    """Cosine of what comes out of the two tokens, [B], for images [B, 3, H, W]; None with one token."""
    if not classifier.two_heads:
        return None
    first, second = classifier.head_inputs(images)
    return F.cosine_similarity(first.float(), second.float(), dim=1)
