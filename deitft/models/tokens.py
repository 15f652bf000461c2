"""How alike class token and distillation token are: when they go in, and when they come out.

DeiT's begin almost at right angles (cosine 0.06) and end close (0.93), but not equal; a second class token ends
equal (0.999) and brings nothing (arXiv 2012.12877, section 4).

Legend: B images, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deitft.models.build import Classifier


def input_cosine(classifier: Classifier) -> float | None:
    """Cosine of the two learned tokens as they are put in, without their positions; None with one token."""
    if not classifier.two_heads:
        return None
    net: Any = classifier.net
    return float(F.cosine_similarity(net.cls_token.detach().flatten(), net.dist_token.detach().flatten(), dim=0))


@torch.no_grad()
def output_cosines(classifier: Classifier, images: Tensor) -> Tensor | None:
    """Cosine of what comes out of the two tokens, [B], for images [B, 3, H, W]; None with one token."""
    if not classifier.two_heads:
        return None
    first, second = classifier.head_inputs(images)
    return F.cosine_similarity(first.float(), second.float(), dim=1)
