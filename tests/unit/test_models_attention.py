"""Where the tokens look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_kit import DEIT, PLAIN, images, tiny
from torch import nn

from deitft.models.attention import token_attention

SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2), "window_size": 2}


@pytest.mark.parametrize(
    ("name", "tokens"),
    [(DEIT, 2), (PLAIN, 1), ("deit3_small_patch16_224.fb_in1k", 1), ("vit_base_patch16_clip_224.openai", 1)],
)
def test_against_timms_own_unfused_attention(name: str, tokens: int) -> None:
    """timm's slow path lets its softmax be caught where it is dropped out."""
    classifier = tiny(name, size=64).eval()
    got = token_attention(classifier, images(3, 64))
    caught: list[torch.Tensor] = []

    class Catch(nn.Module):
        def forward(self, attention: torch.Tensor) -> torch.Tensor:
            caught.append(attention)
            return attention

    last = classifier.net.blocks[-1].attn
    last.fused_attn, last.attn_drop = False, Catch()
    classifier(images(3, 64))
    prefix = classifier.net.num_prefix_tokens
    want = caught[0].mean(1)[:, :tokens, prefix:].reshape(3, tokens, 4, 4)
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-5, atol=1e-7)
    assert got.dtype == np.float32
    assert (got.sum(axis=(2, 3)) < 1).all()


def test_queries_and_keys_that_are_normalised() -> None:
    overrides = {"depth": 2, "embed_dim": 24, "num_heads": 3, "qk_norm": True}
    classifier = tiny(PLAIN, size=64, overrides=overrides)
    with torch.no_grad():
        classifier.net.blocks[-1].attn.q_norm.weight.mul_(30)
    classifier.train()
    with_norm = token_attention(classifier, images(2, 64))
    assert classifier.training, "the mode is put back"
    classifier.net.blocks[-1].attn.q_norm = nn.Identity()
    assert not np.allclose(with_norm, token_attention(classifier, images(2, 64)))


def test_photos_in_another_order_give_maps_in_that_order() -> None:
    classifier = tiny(size=64).eval()
    photos = images(3, 64)
    np.testing.assert_allclose(
        token_attention(classifier, photos.flip(0)), token_attention(classifier, photos)[::-1], rtol=1e-5
    )


def test_photos_that_are_not_square_keep_their_grid() -> None:
    assert token_attention(tiny(size=64).eval(), torch.randn(1, 3, 32, 96)).shape == (1, 2, 2, 6)


def test_even_attention_is_one_over_the_tokens() -> None:
    classifier = tiny(size=64).eval()
    with torch.no_grad():
        classifier.net.blocks[-1].attn.qkv.weight.zero_()
        classifier.net.blocks[-1].attn.qkv.bias.zero_()
    np.testing.assert_allclose(
        token_attention(classifier, images(1, 64)), np.full((1, 2, 4, 4), 1 / 18), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("swin_base_patch4_window7_224.ms_in1k", SWIN),
        ("resnet50.a1_in1k", {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8)}),
        ("vit_base_patch16_siglip_224.webli", None),
        ("vit_relpos_base_patch16_224.sw_in1k", None),
    ],
)
def test_none_where_no_token_attends_to_patches(name: str, overrides: dict | None) -> None:
    assert token_attention(tiny(name, size=64, overrides=overrides), images(1, 64)) is None


def test_none_for_another_kind_of_attention() -> None:
    classifier = tiny(PLAIN).eval()
    classifier.net.blocks[-1].attn = nn.Identity()
    assert token_attention(classifier, images(1)) is None
