"""One optimizer update, whatever the micro-batch, and never one that is not finite.

Legend: B images in the global batch, C classes. Nothing here waits for the device: what has to be known on the
host is read once a log window, in ``loop``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deitft.compute.device import autocast
from deitft.compute.group import Group
from deitft.core.keys import key
from deitft.models.drop_path import DropPathMasks, draw_masks
from deitft.recipe.plan_types import Plan
from deitft.training.optim import parameters_of, set_lr, update
from deitft.training.schedule import lr_share_at
from deitft.training.state import TrainState

if TYPE_CHECKING:
    from deitft.data.stream import Batch
    from deitft.models.build import Heads

Objective = Callable[["Heads", "Batch"], dict[str, Tensor]]
"""Heads and the batch they speak of to named losses, each a 0-d mean over the images; ``total`` is pushed down."""

SCALE_FLOOR = 1.0
"""fp16: below this loss scale an overflow is no longer the scaler looking for its range, but a fault."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """``parts``: named losses, ``grad_norm`` before clipping, and ``skipped`` (0 or 1), detached, on the device;
    all 0 for a skipped step. ``bad_photos`` [B]: the sample id where a photo's pixels are not finite, else -1.
    """

    parts: dict[str, Tensor]
    bad_photos: Tensor


def lr_at(plan: Plan, step: int) -> float:
    """The learning rate of update number ``step`` (0 is the first)."""
    optim = plan.optim
    share = lr_share_at(step, plan.total_steps, optim.warmup_steps, optim.schedule, optim.final_lr_share)
    return optim.lr * share


def take_step(plan: Plan, state: TrainState, batch: Batch, objective: Objective) -> StepResult:
    """One optimizer update from one global batch.

    Each part is a mean over images and micro-batches are weighted by their share of B, so ``plan.micro_batch``
    changes memory, not the loss (but for BatchNorm, whose statistics are those of what is in memory at once).
    Where a loss or a gradient is not finite nothing moves: not the weights, the moments, the average, nor
    BatchNorm's statistics; the step is counted as skipped. An exception leaves the state as it was, too.

    In several processes (``state.group``) ``batch`` is this one's equal share of the global batch. DDP makes the
    gradients the mean over all, losses are averaged likewise, and what is clipped or skipped is decided on those.
    """
    state.model.train()
    batch = batch.to(state.device)
    set_lr(state.optimizer, lr_at(plan, state.step))
    buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]

    try:
        sums = _backward(plan, state, batch, objective)
    except BaseException:
        _undo(state, buffers)
        raise
    grad_norm = _clipped(state, plan.optim.clip_norm)
    loss_bad = ~torch.stack(list(sums.values())).isfinite().all()
    skip = loss_bad | ~grad_norm.isfinite()
    suspicious = skip
    update(state.optimizer, skip)
    if state.scaler is not None:
        # fp16's scaling overflows now and then by design: such a step is skipped, but is no sign of divergence.
        suspicious = loss_bad | (skip & (_scale(state.scaler, state.device) <= SCALE_FLOOR))
        state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    for buffer, before in buffers:
        buffer.copy_(torch.where(skip, before, buffer))
    state.step += 1
    state.images_seen += len(batch) * state.group.world
    state.guard.note(skip=skip, suspicious=suspicious, loss=sums["total"], step=state.step)
    if state.ema is not None:
        state.ema.update(state.model, state.guard.applied, skip)

    parts = {name: torch.where(skip, 0.0, part) for name, part in {**sums, "grad_norm": grad_norm}.items()}
    parts["skipped"] = skip.to(torch.float32)
    photo_ok = batch.images.flatten(1).sum(1).isfinite()
    return StepResult(parts, torch.where(photo_ok, -1, batch.sample_ids))


def _undo(state: TrainState, buffers: list[tuple[Tensor, Tensor]]) -> None:
    """A step that broke off in the middle (out of memory, Ctrl-C) leaves the state of the step before."""
    state.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


def _backward(plan: Plan, state: TrainState, batch: Batch, objective: Objective) -> dict[str, Tensor]:
    """Gradients of the whole batch, micro-batch by micro-batch; the losses, weighted by share, as float32."""
    masks = step_masks(plan, state, len(batch) * state.group.world)
    sums: dict[str, Tensor] = {}
    for micro in batch.split(plan.micro_batch):
        if masks is not None:
            state.model.set_drop_path(masks.part(micro.first_row, micro.first_row + len(micro)))
        last = micro.first_row + len(micro) == batch.first_row + len(batch)
        with _gradients_stay(state, until=last):
            parts = _push_down(plan, state, micro, objective, share=len(micro) / len(batch))
        for name, part in parts.items():
            sums[name] = sums[name] + part if name in sums else part
    return _over_all(state.group, sums)


def _push_down(
    plan: Plan, state: TrainState, micro: Batch, objective: Objective, *, share: float
) -> dict[str, Tensor]:
    """Add a micro-batch's gradients; its losses times its ``share`` of the batch."""
    forward = state.compiled or state.replica or state.model
    images = micro.images
    if plan.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with autocast(plan.device, plan.precision):
        parts = objective(forward(images), micro)
    total = parts["total"] * share
    scaled: Tensor = total if state.scaler is None else state.scaler.scale(total)
    scaled.backward()  # type: ignore[no-untyped-call]
    return {name: part.detach().to(torch.float32) * share for name, part in parts.items()}


def _gradients_stay(state: TrainState, *, until: bool) -> AbstractContextManager[object]:
    """Gradients travel once a step, with its last micro-batch: before that each process keeps its own."""
    return nullcontext() if until or state.replica is None else state.replica.no_sync()


def _over_all(group: Group, sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses as means over all processes: then all of them skip a step that is not finite in one (fault N1)."""
    if group.alone:
        return sums
    return dict(zip(sums, group.mean(torch.stack(list(sums.values()))).unbind(), strict=True))


def step_masks(plan: Plan, state: TrainState, count: int) -> DropPathMasks | None:
    """Who skips which layer: drawn for the whole global batch of ``count`` from (seed, step), then cut."""
    if not state.model.drop_path_layers:
        return None
    drawn = draw_masks(state.model.drop_path_rates, count, key("drop-path", plan.seed, state.step))
    return drawn.to(state.device)


def _clipped(state: TrainState, clip_norm: float | None) -> Tensor:
    """The norm of all gradients together, 0-d; they are clipped to ``clip_norm`` where there is one."""
    if state.scaler is not None:
        state.scaler.unscale_(state.optimizer)
    parameters = parameters_of(state.optimizer)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


def _scale(scaler: torch.amp.GradScaler, device: torch.device) -> Tensor:
    """fp16's loss scale, 0-d; read through ``scale`` because ``get_scale`` would wait for the device."""
    return scaler.scale(torch.ones((), device=device))
