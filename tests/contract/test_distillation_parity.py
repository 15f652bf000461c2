"""Fifty float64 steps against timm: its distillation task, AdamW groups and cosine schedule, the same batches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from timm.task import TokenDistillationTask
from torch import Tensor
from training_kit import CLASSES, tiny_plan

from deitft.data.stream import Batch
from deitft.models.build import Classifier, build
from deitft.objectives.distillation import Distilled
from deitft.objectives.supervised import Supervised
from deitft.objectives.teacher import LiveTeacher, Teacher
from deitft.recipe.plan_types import DistillKind, DistillPlan, Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing
from deitft.training.optim import build_optimizer
from deitft.training.state import new_state
from deitft.training.step import lr_at, take_step

SIZE, STEPS, WARMUP, B = 32, 50, 8, 6
OF = "deit_tiny_patch16_224"
OF_TEACHER = Preprocessing(size=SIZE, mean=(0.5, 0.45, 0.4), std=(0.3, 0.25, 0.2))
"""Not the student's: the teacher's images are normalised anew."""


def student() -> Classifier:
    model = build(
        "deit_tiny_distilled_patch16_224",
        num_classes=len(CLASSES),
        image_size=SIZE,
        overrides={"depth": 2, "embed_dim": 24, "num_heads": 2},
    )
    return model.double()


def teacher() -> Classifier:
    small = {"depth": 1, "embed_dim": 12, "num_heads": 2}
    model = build(OF, num_classes=len(CLASSES), image_size=SIZE, seed=4, overrides=small)
    return model.double().eval()


def plan_of(kind: DistillKind, *, decay_token: bool = False) -> Plan:
    of = TeacherPlan(name="t", model=OF, path="t", sha256="", preprocessing=OF_TEACHER, columns=(0, 1, 2))
    alpha = 0.5 if kind == "hard" else 0.1
    distill = DistillPlan(kind=kind, token=True, alpha=alpha, tau=3.0, reduction="batchmean", teachers=(of,))
    plan = tiny_plan(
        total_steps=STEPS,
        batch=B,
        micro_batch=B,
        ema_decay=None,
        drop_path=0.0,
        optim_lr=3e-3,
        optim_warmup_steps=WARMUP,
        optim_final_lr_share=0.01,
        optim_decay_distill_token=decay_token,
    )
    return replace(plan, preprocessing=Preprocessing(size=SIZE), distill=distill)


def batches() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(11)
    labels = [torch.randint(0, len(CLASSES), (B,), generator=draw) for _ in range(STEPS)]
    noise = (torch.randn(B, 3, SIZE, SIZE, generator=draw, dtype=torch.float64) for _ in range(STEPS))
    return [(images + label.view(-1, 1, 1, 1) - 1, label) for images, label in zip(noise, labels, strict=True)]


def ours(plan: Plan) -> tuple[list[float], dict[str, Tensor]]:
    state = new_state(plan, student())
    assert plan.distill is not None
    live = LiveTeacher([Teacher(teacher(), plan.distill.teachers[0])], plan, plan.distill.kind)
    objective = Distilled(Supervised(plan.loss, plan.train_counts, "cpu"), plan.distill, live)
    losses: list[float] = []

    def told(heads: Any, batch: Batch) -> dict[str, Tensor]:
        parts = objective(heads, batch)
        losses.append(float(parts["total"].detach()))  # before a step's record rounds it to float32
        return parts

    for step, (images, labels) in enumerate(batches()):
        targets = torch.nn.functional.one_hot(labels, len(CLASSES)).double()
        take_step(plan, state, Batch(step, images, targets, torch.arange(B), tuple(range(B))), told)
    return losses, {name: item.detach() for name, item in state.model.net.named_parameters()}


def timms(plan: Plan, exempt: set[str] | None = None) -> tuple[list[float], dict[str, Tensor]]:
    net: Any = copy.deepcopy(student().net)
    net.pretrained_cfg = {**net.pretrained_cfg, "mean": plan.preprocessing.mean, "std": plan.preprocessing.std}
    of: Any = teacher().net
    of.pretrained_cfg = {**of.pretrained_cfg, "mean": OF_TEACHER.mean, "std": OF_TEACHER.std}
    assert plan.distill is not None
    task = TokenDistillationTask(
        net,
        of,
        criterion=LabelSmoothingCrossEntropy(plan.loss.label_smoothing),
        distill_type=plan.distill.kind,
        temperature=plan.distill.tau,
        task_loss_weight=1 - plan.distill.alpha,
        dtype=torch.float64,
        verbose=False,
    )
    optim = plan.optim
    # As create_optimizer_v2 groups a model, or with another list of what is not decayed.
    groups = (
        net if exempt is None else param_groups_weight_decay(net, optim.weight_decay, no_weight_decay_list=exempt)
    )
    decay = optim.weight_decay if exempt is None else 0.0
    optimizer = create_optimizer_v2(groups, opt="adamw", lr=optim.lr, weight_decay=decay, betas=optim.betas)
    # timm counts from the step before the first: number t of it is number t - 1 of ours.
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=STEPS - (WARMUP - 1),
        lr_min=optim.lr * optim.final_lr_share,
        warmup_t=WARMUP,
        warmup_lr_init=0,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    task.train()
    losses = []
    for step, (images, labels) in enumerate(batches()):
        schedule.step_update(step + 1)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr_at(plan, step), rel=1e-12)
        optimizer.zero_grad()
        loss = task(images, labels)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, {name: item.detach() for name, item in net.named_parameters()}


def furthest(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_fifty_steps_are_timms(kind: DistillKind) -> None:
    plan = plan_of(kind)
    (losses, weights), (wanted, theirs) = ours(plan), timms(plan)
    assert furthest(losses, wanted) < 1e-8
    assert losses[-1] < losses[0]
    assert weights.keys() == theirs.keys()
    assert max(float((weights[name] - theirs[name]).abs().max()) for name in weights) < 1e-8


def test_the_authors_decay_the_distillation_token_and_so_can_we() -> None:
    """timm 0.3.2, which DeiT was trained with, exempts these two (vision_transformer.py:255)."""
    plan = plan_of("hard", decay_token=True)
    (losses, weights), (wanted, theirs) = ours(plan), timms(plan, {"pos_embed", "cls_token"})
    assert furthest(losses, wanted) < 1e-8
    assert float((weights["dist_token"] - theirs["dist_token"]).abs().max()) < 1e-10
    today, _ = timms(plan)
    assert furthest(losses, today) > 1e-8, "a difference of this size is seen"


def test_only_the_token_changes_its_group() -> None:
    decayed = []
    for decay_token in (False, True):
        optimizer = build_optimizer(student(), plan_of("hard", decay_token=decay_token).optim)
        decayed.append(
            {name for group in optimizer.param_groups if group["weight_decay"] for name in group["names"]}
        )
    assert decayed[1] - decayed[0] == {"net.dist_token"}
    assert decayed[0] < decayed[1]
