"""Where the tokens look: attention of the last block, as arrays. Computed beside the forward, which stays as is.

Legend: B images, T tokens, N heads, D head width, h x w patches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deitft.models.build import Classifier


def token_attention(classifier: Classifier, images: Tensor) -> npt.NDArray[np.float32] | None:
    """Attention from the class token (and the distillation token) to the patches, heads averaged.

    ``images`` [B, 3, H, W], normalised. Returns [B, tokens (1 or 2), h, w], float32: shares of the token's whole
    attention, so a map sums to at most 1 (the rest goes to the tokens themselves). None for a model without a
    class token or without plain attention over patches.
    """
    net: Any = classifier.net
    if not isinstance(net, VisionTransformer) or getattr(net, "cls_token", None) is None:
        return None
    attention = getattr(net.blocks[-1], "attn", None)
    if not isinstance(attention, Attention):
        return None
    tokens = 2 if classifier.two_heads else 1
    maps: list[Tensor] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps.append(_attention(module, inputs[0], tokens))

    hook = attention.register_forward_pre_hook(watch)
    was_training = classifier.training
    classifier.eval()
    try:
        with torch.no_grad():
            classifier(images)
    finally:
        hook.remove()
        classifier.train(was_training)
    h, w = images.shape[-2] // net.patch_embed.patch_size[0], images.shape[-1] // net.patch_embed.patch_size[1]
    to_patches = maps[0][:, :, net.num_prefix_tokens :]
    return to_patches.reshape(len(images), tokens, h, w).float().cpu().numpy()


def _attention(module: Any, x_BTC: Tensor, tokens: int) -> Tensor:
    """softmax(q k / sqrt(D)) of the first ``tokens`` tokens, averaged over heads: [B, tokens, T]."""
    B, T, _ = x_BTC.shape
    qkv = module.qkv(x_BTC).reshape(B, T, 3, module.num_heads, module.head_dim).permute(2, 0, 3, 1, 4)
    q_BNTD, k_BNTD = module.q_norm(qkv[0, :, :, :tokens]), module.k_norm(qkv[1])
    share: Tensor = (q_BNTD * module.scale @ k_BNTD.transpose(-2, -1)).softmax(dim=-1)
    return share.mean(dim=1)
