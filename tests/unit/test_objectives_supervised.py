"""Losses against torch and timm in float64, their invariances, and one golden number each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor

from deitft.errors import RecipeError
from deitft.models.build import Heads
from deitft.objectives.supervised import (
    Supervised,
    binary_cross_entropy,
    cross_entropy,
    logit_adjustment,
    smooth,
)
from deitft.recipe.plan_types import LossPlan

B, C = 12, 5


@dataclass
class Said:
    """A batch as far as a loss looks at it."""

    targets: Tensor


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor]:
    """Logits [B, C], labels [B], soft targets [B, C] with rows of sum 1; float64."""
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(B, C, generator=draw, dtype=torch.float64) * 3
    labels = torch.randint(0, C, (B,), generator=draw)
    share = torch.rand(B, 1, generator=draw, dtype=torch.float64)
    hard = F.one_hot(labels, C).double()
    return logits, labels, share * hard + (1 - share) * hard.roll(1, 0)


def plan(**changes: object) -> LossPlan:
    values = {"name": "cross_entropy", "label_smoothing": 0.0, "class_weights": None, "logit_adjustment": 0.0}
    return LossPlan(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_cross_entropy_equals_torch_for_labels_and_for_soft_targets(case, smoothing: float) -> None:
    logits, labels, soft = case
    hard = F.one_hot(labels, C).double()
    ours = cross_entropy(logits, hard, label_smoothing=smoothing)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=smoothing))
    ours = cross_entropy(logits, soft, label_smoothing=smoothing)
    torch.testing.assert_close(ours, F.cross_entropy(logits, soft, label_smoothing=smoothing))


def test_cross_entropy_equals_timms_losses(case) -> None:
    logits, labels, soft = case
    torch.testing.assert_close(cross_entropy(logits, soft), SoftTargetCrossEntropy()(logits, soft))
    hard = F.one_hot(labels, C).double()
    timms = LabelSmoothingCrossEntropy(0.1)(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, hard, label_smoothing=0.1), timms)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_equals_timms_for_labels_and_for_mixed_targets(case, smoothing: float) -> None:
    logits, labels, soft = case
    hard = F.one_hot(labels, C).double()
    torch.testing.assert_close(
        binary_cross_entropy(logits, hard, label_smoothing=smoothing),
        BinaryCrossEntropy(smoothing=smoothing)(logits, labels),
    )
    # timm expects mixed targets to be smoothed upstream: smoothing here equals smoothing inside its Mixup.
    torch.testing.assert_close(
        binary_cross_entropy(logits, soft, label_smoothing=smoothing),
        BinaryCrossEntropy(smoothing=smoothing)(logits, soft * (1 - smoothing) + smoothing / C),
    )


def test_smoothing_does_not_turn_every_class_into_a_positive_one_in_bce(case) -> None:
    _, labels, _ = case
    logits = torch.zeros(B, C, dtype=torch.float64, requires_grad=True)
    binary_cross_entropy(logits, F.one_hot(labels, C).double(), label_smoothing=0.1).backward()
    pushed_up = logits.grad < 0
    assert torch.equal(pushed_up, F.one_hot(labels, C).bool())


def test_smoothing_after_mixing_is_mixing_after_smoothing(case) -> None:
    _, labels, _ = case
    one, other = F.one_hot(labels, C).double(), F.one_hot(labels.roll(1), C).double()
    before = 0.3 * smooth(one, 0.1) + 0.7 * smooth(other, 0.1)
    torch.testing.assert_close(smooth(0.3 * one + 0.7 * other, 0.1), before)


def test_class_weights_multiply_an_images_own_loss(case) -> None:
    logits, labels, soft = case
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.25], dtype=torch.float64)
    hard = F.one_hot(labels, C).double()
    torchs = F.cross_entropy(logits, labels, weight=weights, reduction="none").mean()
    torch.testing.assert_close(cross_entropy(logits, hard, class_weights=weights), torchs)
    slow = 0.0
    for row in range(B):  # a mixed image has the mixture of its classes' weights, smoothing or not
        smoothed = [0.9 * float(soft[row, c]) + 0.1 / C for c in range(C)]
        norm = math.log(sum(math.exp(float(z)) for z in logits[row]))
        loss = -sum(t * (float(z) - norm) for t, z in zip(smoothed, logits[row], strict=True))
        slow += loss * sum(float(t * w) for t, w in zip(soft[row], weights, strict=True)) / B
    ours = cross_entropy(logits, soft, label_smoothing=0.1, class_weights=weights)
    assert float(ours) == pytest.approx(slow, rel=1e-12)


def test_logit_adjustment_is_the_papers_formula(case) -> None:
    logits, labels, _ = case
    counts = [50, 5, 20, 20, 5]
    shift = logit_adjustment(counts, tau=1.5).double()
    slow = 0.0
    for row, label in enumerate(labels.tolist()):  # Menon et al. 2021, equation 10, written out
        adjusted = [float(logits[row, c]) + 1.5 * math.log(counts[c] / 100) for c in range(C)]
        slow += math.log(sum(math.exp(a - adjusted[label]) for a in adjusted)) / B
    ours = cross_entropy(logits, F.one_hot(labels, C).double(), logit_shift=shift)
    assert float(ours) == pytest.approx(slow, rel=1e-6)
    balanced = logit_adjustment([7] * C, tau=1.5).double()
    same = cross_entropy(logits, F.one_hot(labels, C).double(), logit_shift=balanced)
    assert float(same) == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-6)


def test_logit_adjustment_refuses_a_class_without_photos() -> None:
    with pytest.raises(RecipeError, match="every class") as caught:
        logit_adjustment([3, 0, 2], tau=1.0)
    assert caught.value.id == "LOSS"


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_renaming_the_classes_changes_nothing(case, loss) -> None:
    logits, _, soft = case
    order = torch.tensor([3, 0, 4, 1, 2])
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.25], dtype=torch.float64)
    here = loss(logits, soft, label_smoothing=0.1, class_weights=weights)
    there = loss(logits[:, order], soft[:, order], label_smoothing=0.1, class_weights=weights[order])
    torch.testing.assert_close(here, there)


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
@pytest.mark.parametrize("micro", [1, 4, 5])
def test_micro_batches_by_their_share_give_the_loss_of_the_whole(case, loss, micro: int) -> None:
    logits, _, soft = case
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.25], dtype=torch.float64)
    whole = loss(logits, soft, label_smoothing=0.1, class_weights=weights)
    parts = sum(
        loss(z, t, label_smoothing=0.1, class_weights=weights) * len(z) / B
        for z, t in zip(logits.split(micro), soft.split(micro), strict=True)
    )
    torch.testing.assert_close(whole, parts)


def test_golden_values() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0]])
    assert float(cross_entropy(logits, targets, label_smoothing=0.1)) == pytest.approx(0.655600, abs=1e-6)
    assert float(binary_cross_entropy(logits, targets, label_smoothing=0.1)) == pytest.approx(0.576329, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_losses_are_computed_in_float32_under_autocast(case, loss, dtype: torch.dtype) -> None:
    logits, _, soft = case
    small = logits.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        under = loss(small, soft.float(), label_smoothing=0.1, class_weights=torch.ones(C))
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, loss(small.float(), soft.float(), label_smoothing=0.1))


@pytest.mark.parametrize("name", ["cross_entropy", "bce"])
def test_supervised_names_its_parts_and_adds_up_heads(case, name: str) -> None:
    logits, _, soft = case
    logits, soft = logits.float(), soft.float()
    objective = Supervised(plan(name=name, label_smoothing=0.1), [1] * C, "cpu")
    one = objective(Heads(logits, None), Said(soft))
    assert set(one) == {"total", "label"}
    assert torch.equal(one["total"], one["label"])
    other = logits.flip(0)
    two = objective(Heads(logits, other), Said(soft))
    assert set(two) == {"total", "label", "label_distill"}
    torch.testing.assert_close(two["label_distill"], objective(Heads(other, None), Said(soft))["label"])
    torch.testing.assert_close(two["total"], (two["label"] + two["label_distill"]) / 2)


def test_supervised_passes_the_plan_on(case) -> None:
    logits, _, soft = case
    logits, soft = logits.float(), soft.float()
    weights = (0.5, 1.0, 1.5, 2.0, 0.25)
    counts = [50, 5, 20, 20, 5]
    loss = plan(label_smoothing=0.2, class_weights=weights, logit_adjustment=0.7)
    wanted = cross_entropy(
        logits,
        soft,
        label_smoothing=0.2,
        class_weights=torch.tensor(weights),
        logit_shift=logit_adjustment(counts, 0.7),
    )
    torch.testing.assert_close(Supervised(loss, counts, "cpu")(Heads(logits, None), Said(soft))["total"], wanted)
    for change in ({"label_smoothing": 0.0}, {"class_weights": None}, {"logit_adjustment": 0.0}):
        values = {"label_smoothing": 0.2, "class_weights": weights, "logit_adjustment": 0.7, **change}
        other = Supervised(plan(**values), counts, "cpu")(Heads(logits, None), Said(soft))["total"]
        assert abs(float(other - wanted)) > 1e-3
