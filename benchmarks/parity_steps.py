"""A step of distillation beside timm's: the same weights and batch, ours and ``timm.task.TokenDistillationTask``.

DeiT-Ti with two tokens begins with the shared weights of the one with a single token; MobileNetV2 teaches. Both
know ImageNet's 1,000 classes. The photos are real, their labels are counted out: who is right is not asked.
Legend: B images, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from million_entries import plan_for
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.task import TokenDistillationTask
from torch import Tensor

from deitft.data.stream import Batch
from deitft.data.transforms import normalise
from deitft.models.build import Classifier, build
from deitft.models.weights import find, load, preprocessing_of
from deitft.models.zoo import resolve
from deitft.objectives.distillation import Distilled
from deitft.objectives.supervised import Supervised
from deitft.objectives.teacher import LiveTeacher, Teacher
from deitft.recipe.plan_types import DistillKind, DistillPlan, Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing
from deitft.training.state import new_state
from deitft.training.step import lr_at, take_step

CASES: tuple[tuple[DistillKind, torch.dtype], ...] = tuple(
    (kind, dtype) for kind in ("hard", "soft") for dtype in (torch.float32, torch.float64)
)
ALPHAS = {"hard": 0.5, "soft": 0.1}
CLASSES, STUDENT, TEACHER = 1000, "deit_ti", "mobilenetv2"
PRECISIONS: dict[torch.dtype, Literal["fp32", "fp64"]] = {torch.float32: "fp32", torch.float64: "fp64"}

Views = Callable[..., Tensor]
"""Files to uint8 views [B, 3, S, S]."""


def step_parity(weights: Path, views: Views, files: list[Path], kind: DistillKind, dtype: torch.dtype) -> Any:
    """Loss, gradient and the first step of AdamW, ours and timm's, and how far apart they are.

    AdamW's first step moves each weight by about the learning rate, however small its gradient: where in float32
    that is rounding and no more, the two may step apart by as much.
    """
    student, pre = loaded(STUDENT, weights, dtype)
    teacher, of_teacher = loaded(TEACHER, weights, dtype)
    plan = plan_of(kind, len(files), pre, of_teacher)
    images = normalise(views(files, pre, reduced=True), pre).to(dtype)
    labels = torch.arange(len(files)) * 31 % CLASSES
    before = {name: item.detach().clone() for name, item in student.net.named_parameters()}
    theirs = timms(plan, student, teacher, of_teacher, images, labels)
    mine = ours(plan, student, teacher, images, labels)
    assert mine[1].keys() == theirs[1].keys() == before.keys()
    return {
        "subject": {
            "model": STUDENT,
            "teacher": TEACHER,
            "distill": kind,
            "photos": len(files),
            "precision": PRECISIONS[dtype],
        },
        "loss": {"ours": mine[0], "timm": theirs[0], "apart": abs(mine[0] - theirs[0])},
        "gradient": {
            "largest": furthest(theirs[1])["max"],
            "apart": furthest({name: mine[1][name] - theirs[1][name] for name in before})["max"],
        },
        "step": {
            "lr": lr_at(plan, 0),
            "moved": furthest({name: theirs[2][name] - before[name] for name in before}),
            "weights_apart": furthest({name: mine[2][name] - theirs[2][name] for name in before}),
        },
    }


def loaded(short: str, weights: Path, dtype: torch.dtype) -> tuple[Classifier, Preprocessing]:
    """A model with its shared weights in; the student has two tokens, its weights are of the one with a single."""
    choice = resolve(short)
    source = find(resolve("deit_tiny_patch16_224.fb_in1k") if short == STUDENT else choice, weights_dir=weights)
    classifier = build(choice.timm_name, num_classes=CLASSES)
    load(classifier, source)
    return classifier.to(dtype), preprocessing_of(source, choice)


def plan_of(kind: DistillKind, batch: int, pre: Preprocessing, of_teacher: Preprocessing) -> Plan:
    """`pretrain-deit` without chance: no mixing, no stochastic depth, no warmup. What decays is what timm decays
    today (DeiT's own run: the distillation token too)."""
    teacher = TeacherPlan(
        name=TEACHER, model=TEACHER, path="", sha256="", preprocessing=of_teacher, columns=tuple(range(CLASSES))
    )
    distill = DistillPlan(
        kind=kind, token=True, alpha=ALPHAS[kind], tau=3.0, reduction="batchmean", teachers=(teacher,)
    )
    plan = plan_for(10 * CLASSES, tuple(f"{number:03d}" for number in range(CLASSES)), 100, 0)
    optim = replace(plan.optim, warmup_steps=0, clip_norm=None, decay_distill_token=False)
    return replace(
        plan,
        preprocessing=pre,
        train_size=pre.size,
        batch=batch,
        micro_batch=batch,
        drop_path=0.0,
        ema_decay=None,
        optim=optim,
        distill=distill,
    )


Found = tuple[float, dict[str, Tensor], dict[str, Tensor]]
"""A loss, gradients and the weights after the step, by name."""


def ours(plan: Plan, student: Classifier, teacher: Classifier, images: Tensor, labels: Tensor) -> Found:
    """A step of the training loop."""
    assert plan.distill is not None
    live = LiveTeacher([Teacher(teacher, plan.distill.teachers[0])], plan, plan.distill.kind)
    objective = Distilled(Supervised(plan.loss, plan.train_counts, "cpu"), plan.distill, live)
    state = new_state(plan, copy.deepcopy(student))
    gradients: dict[str, Tensor] = {}
    for name, item in state.model.net.named_parameters():
        item.register_hook(lambda gradient, name=name: gradients.__setitem__(name, gradient.detach().clone()))
    losses: list[float] = []

    def told(heads: Any, batch: Batch) -> dict[str, Tensor]:
        parts = objective(heads, batch)
        losses.append(float(parts["total"].detach()))  # before a step's record rounds it to float32
        return parts

    targets = torch.nn.functional.one_hot(labels, CLASSES).to(images.dtype)
    count = len(labels)
    take_step(plan, state, Batch(0, images, targets, torch.arange(count), tuple(range(count))), told)
    return losses[0], gradients, {name: item.detach() for name, item in state.model.net.named_parameters()}


def timms(
    plan: Plan, student: Classifier, teacher: Classifier, of_teacher: Preprocessing, images: Tensor, labels: Tensor
) -> Found:
    """A step of timm's task, with its own AdamW and groups."""
    net: Any = copy.deepcopy(student.net)
    net.pretrained_cfg = {**net.pretrained_cfg, "mean": plan.preprocessing.mean, "std": plan.preprocessing.std}
    of: Any = copy.deepcopy(teacher.net).eval()
    of.pretrained_cfg = {**of.pretrained_cfg, "mean": of_teacher.mean, "std": of_teacher.std}
    assert plan.distill is not None
    task = TokenDistillationTask(
        net,
        of,
        criterion=LabelSmoothingCrossEntropy(plan.loss.label_smoothing),
        distill_type=plan.distill.kind,
        temperature=plan.distill.tau,
        task_loss_weight=1 - plan.distill.alpha,
        dtype=images.dtype,
        verbose=False,
    )
    optim = plan.optim
    optimizer = create_optimizer_v2(
        net, opt="adamw", lr=lr_at(plan, 0), weight_decay=optim.weight_decay, betas=optim.betas
    )
    task.train()
    loss = task(images, labels)["loss"]
    loss.backward()
    gradients = {name: item.grad.detach().clone() for name, item in net.named_parameters()}
    optimizer.step()
    return float(loss.detach()), gradients, {name: item.detach() for name, item in net.named_parameters()}


def furthest(tensors: dict[str, Tensor]) -> dict[str, float]:
    """The largest and the mean size of all numbers."""
    everything = torch.cat([tensor.flatten() for tensor in tensors.values()]).abs()
    return {"max": everything.max().item(), "mean": everything.mean().item()}
