"""Mixup, cutmix and erasing: against timm's formulas, invariant to slicing, and with golden values."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_sample import mixing_plan

from deitft.core import keys
from deitft.data.mixing import cutmix_box, draw_mix, erase, erasing_box, mix
from deitft.errors import RecipeError


def a_batch(count: int = 8, size: int = 12, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, size, size, generator=source)
    targets = torch.eye(classes)[torch.arange(count) % classes]
    return images, targets


def in_timms_order(values: torch.Tensor) -> torch.Tensor:
    """Put our partners (i, i XOR 1) where timm's are (i, B - 1 - i)."""
    return torch.cat([values[0::2], values[1::2].flip(0)])


class FixedDraws:
    """timm's chance, told what to draw."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: float, middle: tuple[int, int]) -> None:
        self.middles = list(middle)
        monkeypatch.setattr(np.random, "beta", lambda *_: share)
        monkeypatch.setattr(np.random, "randint", lambda *_, **__: self.middles.pop(0))


def test_mixup_equals_timms_mixup_of_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.data.mixup import Mixup

    images, targets = a_batch()
    plan = mixing_plan(mixup=0.8, cutmix=0.0)
    drawn = draw_mix(17, plan, images.shape[-1])
    assert drawn.box is None
    assert 0 < drawn.share < 1
    ours, our_targets = mix(images, targets, step_key=17, mixing=plan)
    FixedDraws(monkeypatch, drawn.share, (0, 0))
    theirs, their_targets = Mixup(mixup_alpha=0.8, label_smoothing=0.0, num_classes=5)(
        in_timms_order(images).clone(), in_timms_order(targets).argmax(1)
    )
    torch.testing.assert_close(in_timms_order(ours), theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(in_timms_order(our_targets), their_targets, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.77, 0.999])
@pytest.mark.parametrize("middle", [(0, 0), (5, 9), (11, 3)])
def test_cutmix_box_and_share_equal_timms(
    share: float, middle: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from timm.data.mixup import cutmix_bbox_and_lam

    size = 12
    FixedDraws(monkeypatch, share, middle)
    theirs, corrected = cutmix_bbox_and_lam((4, 3, size, size), share)
    top, bottom, left, right = cutmix_box(share, size, middle[0] / size, middle[1] / size)
    assert (top, bottom, left, right) == tuple(int(edge) for edge in theirs)
    assert 1 - (bottom - top) * (right - left) / size**2 == pytest.approx(corrected, abs=1e-12)


def test_cutmix_equals_timms_cutmix_of_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.data import mixup as timm_mixup

    images, targets = a_batch()
    plan = mixing_plan(mixup=0.0, cutmix=1.0)
    drawn = draw_mix(5, plan, images.shape[-1])
    assert drawn.box is not None
    top, bottom, left, right = drawn.box
    ours, our_targets = mix(images, targets, step_key=5, mixing=plan)
    monkeypatch.setattr(
        timm_mixup, "cutmix_bbox_and_lam", lambda *_, **__: ((top, bottom, left, right), drawn.share)
    )
    theirs, their_targets = timm_mixup.Mixup(0.0, 1.0, label_smoothing=0.0, num_classes=5)(
        in_timms_order(images).clone(), in_timms_order(targets).argmax(1)
    )
    assert torch.equal(in_timms_order(ours), theirs)
    torch.testing.assert_close(in_timms_order(our_targets), their_targets, rtol=1e-6, atol=1e-6)


def test_a_cutmix_target_says_how_many_pixels_are_whose() -> None:
    images = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 16, 16).clone()
    for key in range(40):
        mixed, targets = mix(images, torch.eye(2), step_key=key, mixing=mixing_plan(mixup=0.0))
        assert targets[0, 1].item() == pytest.approx(mixed[0].mean().item(), abs=1e-6)
        assert targets[1, 0].item() == pytest.approx(1 - mixed[1].mean().item(), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(key=st.integers(0, 2**64 - 1), pairs=st.integers(1, 4), cut=st.booleans())
def test_mixing_a_slice_is_slicing_the_mix_and_targets_still_sum_to_one(key: int, pairs: int, cut: bool) -> None:
    images, targets = a_batch()
    before = images.clone()
    plan = mixing_plan(mixup=0.0 if cut else 0.8, cutmix=1.0 if cut else 0.0)
    whole, whole_targets = mix(images, targets, step_key=key, mixing=plan)
    part, part_targets = mix(images[: 2 * pairs], targets[: 2 * pairs], step_key=key, mixing=plan)
    assert torch.equal(part, whole[: 2 * pairs])
    assert torch.equal(part_targets, whole_targets[: 2 * pairs])
    torch.testing.assert_close(whole_targets.sum(1), torch.ones(8))
    assert torch.equal(images, before)


def test_pairs_swap_roles() -> None:
    """The partner of i is i XOR 1: exchanging the two of each pair exchanges the results."""
    images, targets = a_batch()
    swap = [1, 0, 3, 2, 5, 4, 7, 6]
    for key in range(6):
        straight = mix(images, targets, step_key=key, mixing=mixing_plan())
        swapped = mix(images[swap], targets[swap], step_key=key, mixing=mixing_plan())
        assert torch.equal(straight[0][swap], swapped[0])
        assert torch.equal(straight[1][swap], swapped[1])


def test_chance_switch_and_off() -> None:
    images, targets = a_batch()
    for off in (mixing_plan(chance=0.0), mixing_plan(mixup=0.0, cutmix=0.0)):
        same, same_targets = mix(images, targets, step_key=1, mixing=off)
        assert same is images
        assert same_targets is targets
    drawn = [draw_mix(key, mixing_plan(chance=0.6, switch=0.25), 32) for key in range(2000)]
    mixed = [one for one in drawn if one.share < 1]
    assert len(mixed) / 2000 == pytest.approx(0.6, abs=0.04)
    assert sum(one.box is not None for one in mixed) / len(mixed) == pytest.approx(0.25, abs=0.04)
    assert all(one.box is not None for one in (draw_mix(key, mixing_plan(mixup=0.0), 32) for key in range(9)))


def test_lambda_has_the_moments_of_its_beta() -> None:
    shares = np.array([draw_mix(key, mixing_plan(mixup=0.8, cutmix=0.0), 32).share for key in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.005)  # Beta(a, a)


def test_golden_draws() -> None:
    first = draw_mix(keys.key("mix", 0, 0), mixing_plan(), 224)
    second = draw_mix(keys.key("mix", 0, 1), mixing_plan(), 224)
    assert (first, second) == GOLDEN_MIX


GOLDEN_MIX = ((0.867805325255102, (6, 105, 0, 67)), (0.9744524800452966, None))


def test_an_odd_batch_is_refused_in_one_line() -> None:
    images, targets = a_batch(count=3)
    with pytest.raises(RecipeError, match="a batch has 3") as caught:
        mix(images, targets, step_key=1, mixing=mixing_plan())
    assert caught.value.id == "MIXING"
    assert "even" in caught.value.line


# Erasing


def timms_boxes(count: int, size: int) -> list[tuple[int, int, int, int]]:
    """Top, left, height, width of boxes that timm's RandomErasing erased."""
    from timm.data.random_erasing import RandomErasing

    eraser = RandomErasing(probability=1.0, mode="const", device="cpu")
    boxes = []
    for _ in range(count):
        rows, columns = torch.nonzero(eraser(torch.ones(3, size, size))[0] == 0, as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        boxes.append((top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1))
    return boxes


def test_erasing_boxes_are_distributed_like_timms() -> None:
    from scipy.stats import ks_2samp

    random.seed(0)
    theirs = np.array(timms_boxes(1500, 64))
    ours = np.array([erasing_box(64, keys.generator(key)) for key in range(1500)])
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    areas = [ks[:, 2] * ks[:, 3] for ks in (ours, theirs)]
    assert ks_2samp(*areas).pvalue > 1e-3
    assert (ours[:, 0] + ours[:, 2]).max() <= 64
    assert ours[:, 2:].max() < 64  # never a whole side, as timm
    assert ours[:, 2:].min() >= 1


def test_erasing_touches_one_box_of_normal_noise_in_its_share_of_photos() -> None:
    count = 400
    images = torch.full((count, 3, 32, 32), 7.0)
    out = erase(images, range(count), 0.25)
    assert out is images
    touched = [bool((photo != 7).any()) for photo in out]
    assert sum(touched) / count == pytest.approx(0.25, abs=0.06)
    noise = out[out != 7]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    photo = out[touched.index(True)]
    rows, columns = torch.nonzero(photo[0] != 7, as_tuple=True)
    height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
    assert len(rows) == height * width  # a full rectangle
    assert 0.01 < height * width / 32**2 < 0.37


def test_erasing_depends_on_the_view_alone() -> None:
    """Neither on the neighbours nor on the place in the batch."""
    source = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 16, 16, generator=source)
    keys_of_views = [keys.key("view", 0, 0, number, 0) for number in range(6)]
    whole = erase(images.clone(), keys_of_views, 0.6)
    order = [4, 0, 5, 2, 1, 3]
    turned = erase(images[order].clone(), [keys_of_views[number] for number in order], 0.6)
    assert torch.equal(whole[order], turned)
    assert torch.equal(erase(images.clone(), keys_of_views, 0.0), images)


def test_golden_box() -> None:
    assert erasing_box(224, keys.generator(keys.key("erase", 1))) == GOLDEN_BOX
    assert math.isclose(keys.generator(1).standard_normal(dtype=np.float32), GOLDEN_NOISE, rel_tol=1e-6)


GOLDEN_BOX = (73, 27, 63, 147)
GOLDEN_NOISE = 1.0916891


def test_where_no_box_fits_nothing_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    from deitft.data import mixing

    monkeypatch.setattr(mixing, "ERASED_AREA", (1.0, 1.0))  # one side is always too long
    assert erasing_box(16, keys.generator(0)) is None
    assert torch.equal(erase(torch.ones(2, 3, 16, 16), (1, 2), 1.0), torch.ones(2, 3, 16, 16))
