"""Distillation losses against timm, by hand in float64, their invariances and golden values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deitft.models.build import Heads
from deitft.objectives.distillation import Distilled, TeacherAlone, hard_loss, soft_loss
from deitft.objectives.supervised import Supervised, cross_entropy
from deitft.recipe.plan_types import DistillPlan, LossPlan

B, C = 6, 5


@pytest.fixture
def logits() -> tuple[Tensor, Tensor, Tensor]:
    """Of class head, distillation head and teacher, [B, C] float64."""
    draw = torch.Generator().manual_seed(5)
    first, second, third = (torch.randn(B, C, generator=draw, dtype=torch.float64) * 2 for _ in range(3))
    return first, second, third


@dataclass
class Said:
    """A batch as far as a loss looks at it."""

    targets: Tensor


def distilled(said: Tensor, *, smoothing: float = 0.0, **changes: object) -> Distilled:
    values = {"kind": "hard", "token": True, "alpha": 0.5, "tau": 3.0, "reduction": "batchmean", "teachers": ()}
    label = LossPlan(name="cross_entropy", label_smoothing=smoothing, class_weights=None, logit_adjustment=0.0)
    plan = DistillPlan(**{**values, **changes})  # type: ignore[arg-type]
    return Distilled(Supervised(label, [1] * C, "cpu"), plan, lambda batch: said)


def by_hand(student: list[float], teacher: list[float], tau: float) -> float:
    def softmax(values: list[float]) -> list[float]:
        powers = [math.exp(value / tau) for value in values]
        return [power / math.fsum(powers) for power in powers]

    pairs = zip(softmax(teacher), softmax(student), strict=True)
    return tau**2 * math.fsum(t * (math.log(t) - math.log(s)) for t, s in pairs)


@pytest.mark.parametrize("tau", [1.0, 3.0, 7.5])
def test_the_soft_loss_is_the_formula_and_torchs(logits, tau: float) -> None:
    student, _, teacher = logits
    said = F.log_softmax(teacher, dim=1)
    ours = soft_loss(student, said, tau=tau)
    hand = [by_hand(s, t, tau) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    assert float(ours) == pytest.approx(math.fsum(hand) / B, rel=1e-12)
    kl = F.kl_div(
        F.log_softmax(student / tau, 1), F.log_softmax(teacher / tau, 1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(ours, kl * tau**2)


def test_the_authors_reduction_divides_by_the_number_of_classes_too(logits) -> None:
    student, _, teacher = logits
    said = F.log_softmax(teacher, dim=1)
    authors = (
        F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="sum", log_target=True)
        / student.numel()
    )
    torch.testing.assert_close(soft_loss(student, said, tau=1.0, reduction="numel"), authors)
    torch.testing.assert_close(soft_loss(student, said, tau=1.0), authors * C)


def test_the_soft_loss_does_not_see_shifts_nor_the_order_of_classes(logits) -> None:
    student, _, teacher = logits
    said = F.log_softmax(teacher, dim=1)
    loss = soft_loss(student, said, tau=3.0)
    torch.testing.assert_close(soft_loss(student + 7, said, tau=3.0), loss)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(soft_loss(student[:, order], said[:, order], tau=3.0), loss)
    assert float(soft_loss(teacher, said, tau=3.0)) == pytest.approx(0, abs=1e-12)


def test_golden_values() -> None:
    student = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    said = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
    assert float(soft_loss(student, said, tau=1.0)) == pytest.approx(0.005787412, abs=1e-9)
    assert float(soft_loss(student, said, tau=3.0)) == pytest.approx(0.008073121, abs=1e-9)
    assert float(hard_loss(student, torch.tensor([1]))) == pytest.approx(1.407605964, abs=1e-9)


def test_with_the_token_each_head_has_its_own_master(logits) -> None:
    first, second, teacher = logits
    targets = F.one_hot(torch.arange(B) % C, C).double()
    labels = teacher.argmax(1)
    parts = distilled(labels, smoothing=0.1)(Heads(first, second), Said(targets))  # type: ignore[arg-type]
    torch.testing.assert_close(parts["label"], cross_entropy(first, targets, label_smoothing=0.1))
    torch.testing.assert_close(parts["teacher"], F.cross_entropy(second, labels))
    torch.testing.assert_close(parts["total"], 0.5 * parts["label"] + 0.5 * parts["teacher"])
    first.requires_grad_(True)
    second.requires_grad_(True)
    parts = distilled(labels)(Heads(first, second), Said(targets))  # type: ignore[arg-type]
    of_teacher = torch.autograd.grad(parts["teacher"], [first, second], allow_unused=True)
    assert of_teacher[0] is None
    assert of_teacher[1] is not None


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_without_the_token_every_head_hears_both(logits, kind: str) -> None:
    first, second, teacher = logits
    targets = F.one_hot(torch.arange(B) % C, C).double()
    said = teacher.argmax(1) if kind == "hard" else F.log_softmax(teacher, 1)
    usual = distilled(said, kind=kind, token=False, alpha=0.1)
    one, other = (usual(Heads(head, None), Said(targets)) for head in (first, second))  # type: ignore[arg-type]
    both = usual(Heads(first, second), Said(targets))  # type: ignore[arg-type]
    torch.testing.assert_close(both["total"], (one["total"] + other["total"]) / 2)
    torch.testing.assert_close(one["total"], 0.9 * one["label"] + 0.1 * one["teacher"])


def test_photos_without_labels_push_nothing_down_by_them(logits) -> None:
    first, second, teacher = (values.clone().requires_grad_(True) for values in logits)
    usual = distilled(teacher.argmax(1), token=False, alpha=1.0, smoothing=0.1)
    parts = usual(Heads(first, second), Said(torch.zeros(B, C).double()))  # type: ignore[arg-type]
    wanted = (F.cross_entropy(first, teacher.argmax(1)) + F.cross_entropy(second, teacher.argmax(1))) / 2
    torch.testing.assert_close(parts["total"], wanted)
    torch.testing.assert_close(
        torch.autograd.grad(parts["total"], first, retain_graph=True)[0], torch.autograd.grad(wanted, first)[0]
    )


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_equals_timms_task(logits, kind: str) -> None:
    """timm's TokenDistillationTask on the same logits: heads and teacher are modules that say them."""
    from timm.task import TokenDistillationTask

    class Says(torch.nn.Module):
        def __init__(self, *values: Tensor) -> None:
            super().__init__()
            self.values = values
            self.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
            self.num_classes, self.in_chans = C, 3
            self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def set_distilled_training(self, on: bool) -> None:
            pass

        def forward(self, images: Tensor) -> object:
            return self.values if len(self.values) > 1 else self.values[0]

    first, second, teacher = logits
    targets = torch.arange(B) % C
    task = TokenDistillationTask(
        Says(first, second),
        teacher_model=Says(teacher),
        criterion=torch.nn.CrossEntropyLoss(),
        distill_type=kind,
        temperature=3.0,
        task_loss_weight=0.5,
    )
    timms = task(torch.zeros(B, 3, 4, 4, dtype=torch.float64), targets)["loss"]
    said = teacher.argmax(1) if kind == "hard" else F.log_softmax(teacher, 1)
    hot = F.one_hot(targets, C).double()
    ours = distilled(said, kind=kind)(Heads(first, second), Said(hot))["total"]  # type: ignore[arg-type]
    torch.testing.assert_close(ours, timms, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_photos_without_labels_have_the_teachers_term_and_no_other(logits, kind: str) -> None:
    """Targets may hold anything: not a bit of them is in the loss. It is what alpha 1 gives without the token."""
    first, second, teacher = logits
    said = teacher.argmax(1) if kind == "hard" else F.log_softmax(teacher, 1)
    whole = distilled(said, kind=kind, token=False, alpha=1.0)
    alone = TeacherAlone(whole.plan, lambda batch: said)
    heads, nonsense = Heads(first, second), Said(torch.full((B, C), math.nan, dtype=torch.float64))
    parts = alone(heads, nonsense)  # type: ignore[arg-type]
    assert parts.keys() == {"total", "teacher"}
    labels = Said(torch.zeros(B, C, dtype=torch.float64))
    torch.testing.assert_close(parts["total"], whole(heads, labels)["total"])  # type: ignore[arg-type]
    assert torch.equal(parts["total"], parts["teacher"])
    one = alone(Heads(first, None), nonsense)["total"]  # type: ignore[arg-type]
    other = alone(Heads(second, None), nonsense)["total"]  # type: ignore[arg-type]
    torch.testing.assert_close(parts["total"], (one + other) / 2)
