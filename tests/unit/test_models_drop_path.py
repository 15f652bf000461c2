"""Stochastic depth by key."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from models_kit import images, tiny
from timm.layers import DropPath
from torch import nn

from deitft.models.drop_path import DropPathMasks, KeyedDropPath, draw_masks, install

RATES = (0.0, 0.25, 0.5, 1.0)


def test_masks_follow_timms_rule() -> None:
    values = draw_masks(RATES, 4000, key=7).values
    assert values.shape == (4, 4000)
    for row, rate in zip(values, RATES, strict=True):
        kept = row[row > 0]
        assert kept.numel() / 4000 == pytest.approx(1 - rate, abs=0.03)
        if rate < 1:
            torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)))  # scale_by_keep
            assert row.mean() == pytest.approx(1, abs=0.06)  # the expectation is kept


def test_masks_against_a_slow_reference() -> None:
    chance = np.random.Generator(np.random.Philox(key=99)).random((2, 6))
    want = [
        [1 / keep if chance[layer, photo] < keep else 0.0 for photo in range(6)]
        for layer, keep in enumerate((0.75, 0.4))
    ]
    torch.testing.assert_close(draw_masks((0.25, 0.6), 6, key=99).values, torch.tensor(want))


def test_masks_golden() -> None:
    values = draw_masks((0.5, 0.5), 6, key=123456789).values
    assert values.tolist() == [[0.0, 2.0, 2.0, 0.0, 2.0, 0.0], [2.0, 2.0, 2.0, 2.0, 0.0, 0.0]]


def test_masks_depend_on_the_key_alone() -> None:
    torch.manual_seed(1)
    first = draw_masks(RATES, 16, key=1)
    torch.manual_seed(2)
    np.random.seed(3)
    assert torch.equal(first.values, draw_masks(RATES, 16, key=1).values)
    assert not torch.equal(first.values, draw_masks(RATES, 16, key=2).values)
    assert len(first) == 16
    assert torch.equal(first.part(4, 9).to("cpu").values, first.values[:, 4:9])


def test_micro_batches_see_their_part_of_the_global_masks() -> None:
    classifier = tiny(drop_path=0.4, overrides={"depth": 4, "embed_dim": 24, "num_heads": 3})
    classifier.train()
    photos = images(6)
    masks = draw_masks(classifier.drop_path_rates, 6, key=5)
    classifier.set_drop_path(masks)
    whole = classifier(photos)
    for start, stop in ((0, 2), (2, 6)):
        classifier.set_drop_path(masks.part(start, stop))
        part = classifier(photos[start:stop])
        torch.testing.assert_close(part.class_logits, whole.class_logits[start:stop])
        torch.testing.assert_close(part.distill_logits, whole.distill_logits[start:stop])
    classifier.eval()
    assert not torch.allclose(whole.class_logits, classifier(photos).class_logits), "nothing was dropped"


def test_equals_timm_with_the_same_draws() -> None:
    """timm's block with a drop of our choice: the mask multiplies the branch, photo by photo."""
    classifier = tiny(drop_path=0.5)
    classifier.train()
    masks = draw_masks(classifier.drop_path_rates, 4, key=3)
    classifier.set_drop_path(masks)
    got = classifier(images()).class_logits

    class Fixed(nn.Module):
        def __init__(self, row: torch.Tensor) -> None:
            super().__init__()
            self.row = row

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.row.reshape(-1, 1, 1)

    twin = copy.deepcopy(classifier)
    block = twin.net.blocks[1]
    block.drop_path1, block.drop_path2 = Fixed(masks.values[0]), Fixed(masks.values[1])
    torch.testing.assert_close(twin(images()).class_logits, got)


def test_every_timm_layer_is_replaced_and_rates_rise() -> None:
    classifier = tiny(drop_path=0.3, overrides={"depth": 4, "embed_dim": 24, "num_heads": 3})
    assert not [module for module in classifier.modules() if isinstance(module, DropPath)]
    assert classifier.drop_path_rates == pytest.approx((0.1, 0.1, 0.2, 0.2, 0.3, 0.3))
    assert classifier.drop_path_layers == 6
    assert tiny().drop_path_layers == 0


def test_a_layer_called_twice_has_two_rows() -> None:
    classifier = tiny("mixer_b16_224.goog_in21k_ft_in1k", drop_path=0.2, overrides={"mlp_ratio": (0.1, 0.1)})
    assert classifier.drop_path_layers == 24  # 12 blocks, each drops tokens and channels apart
    classifier.train()
    values = torch.ones(24, 4)
    values[-1] = 0  # the last channel mixing alone
    classifier.set_drop_path(DropPathMasks(values))
    dropped = classifier.features(images())
    again = classifier.features(images())
    assert torch.equal(dropped, again), "each forward begins at the first row"
    classifier.set_drop_path(DropPathMasks(torch.ones(24, 4)))
    assert not torch.allclose(dropped, classifier.features(images()))


def test_a_layer_never_called_needs_no_row() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = DropPath(0.2), DropPath(0.2)
            self.shared = self.used

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shared(self.used(x))

    net = Net()
    layers = install(net, 8)
    assert [layer.calls for layer in layers] == [2]
    assert net.used is net.shared
    assert isinstance(net.idle, KeyedDropPath)
    assert net.training
    assert "rate=0.200, calls=2" in repr(net)


def test_training_without_masks_is_our_bug() -> None:
    classifier = tiny(drop_path=0.3)
    classifier.train()
    with pytest.raises(RuntimeError, match="set_drop_path"):
        classifier(images())
    classifier.set_drop_path(draw_masks(classifier.drop_path_rates, 3, key=1))
    with pytest.raises(RuntimeError, match="masks for 3 photos"):
        classifier(images(4))
    with pytest.raises(RuntimeError, match="masks for 5 layers"):
        classifier.set_drop_path(draw_masks((0.1,) * 5, 4, key=1))


def test_evaluation_ignores_masks() -> None:
    classifier = tiny(drop_path=0.9)
    classifier.eval()
    free = classifier(images()).class_logits
    classifier.set_drop_path(draw_masks(classifier.drop_path_rates, 4, key=1))
    assert torch.equal(free, classifier(images()).class_logits)
    classifier.set_drop_path(None)
    assert torch.equal(free, classifier(images()).class_logits)


def test_a_rate_of_zero_is_the_identity() -> None:
    x = images()
    assert KeyedDropPath(0.0).train()(x) is x


def test_half_precision_stays_half() -> None:
    layer = KeyedDropPath(0.5)
    layer.set_masks(torch.tensor([[2.0, 0.0]]))
    assert layer(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
