"""How alike the two tokens are, layer by layer."""

from __future__ import annotations

import pytest
import torch
from models_kit import DEIT, PLAIN, images, tiny

from deitft.models.tokens import input_cosine, layer_cosines, output_cosines


def test_each_layer_is_the_cosine_of_what_timm_computes_there() -> None:
    classifier = tiny(DEIT, size=64).eval()
    pictures = images(3, 64)
    found = layer_cosines(classifier, pictures)
    assert found is not None
    net = classifier.net
    with torch.no_grad():
        x = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(pictures))))
        want = []
        for block in net.blocks:
            x = block(x)
            first, second = x[:, 0].double(), x[:, 1].double()
            want.append((first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)))
    assert found.shape == (3, len(net.blocks) + 1)
    torch.testing.assert_close(found[:, :-1].double(), torch.stack(want, dim=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[:, -1], output_cosines(classifier, pictures))
    assert not any(block._forward_hooks for block in net.blocks), "nothing stays behind"


def test_two_equal_tokens_stay_equal_and_opposite_ones_begin_at_minus_one() -> None:
    classifier = tiny(DEIT, size=64).eval()
    net = classifier.net
    with torch.no_grad():
        net.dist_token.copy_(-net.cls_token)
        assert input_cosine(classifier) == pytest.approx(-1, abs=1e-6)
        net.dist_token.copy_(net.cls_token)
        net.pos_embed[:, 1].copy_(net.pos_embed[:, 0])
    assert input_cosine(classifier) == pytest.approx(1, abs=1e-6)
    found = layer_cosines(classifier, images(2, 64))
    assert found is not None
    torch.testing.assert_close(found, torch.ones_like(found))


def test_one_token_has_no_cosine() -> None:
    classifier = tiny(PLAIN, size=64).eval()
    assert input_cosine(classifier) is None
    assert layer_cosines(classifier, images(2, 64)) is None
