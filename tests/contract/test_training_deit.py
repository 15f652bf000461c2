"""A tiny DeiT of timm's, built as the product builds it, through the whole of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_kit import CLASSES, KeyedStream, Run, fingerprint, stop_at, tiny_plan

from deitft.models.build import Classifier, build
from deitft.objectives.supervised import Supervised
from deitft.training.optim import parameters_of
from deitft.training.state import new_state
from deitft.training.step import take_step

SIZE = 32


def deit(drop_path: float = 0.4, name: str = "deit_tiny_distilled_patch16_224") -> Classifier:
    return build(
        name,
        num_classes=len(CLASSES),
        image_size=SIZE,
        drop_path=drop_path,
        overrides={"depth": 3, "embed_dim": 24, "num_heads": 2},
    )


class Large(KeyedStream):
    """The same photos, as large as a DeiT wants them."""

    def batch(self, step: int):
        small = super().batch(step)
        return replace(small, images=small.images.repeat(1, 1, SIZE // 8, SIZE // 8))


def plan(**changes: object):
    return tiny_plan(total_steps=8, validate_every=4, optim_layer_decay=0.7, optim_clip_norm=1.0, **changes)


def losses(micro: int, name: str = "adamw") -> tuple[list[float], torch.Tensor]:
    settings = plan(micro_batch=micro, optim_name=name, ema_decay=None)
    state = new_state(settings, deit())
    objective = Supervised(settings.loss, settings.train_counts, "cpu")
    results = [take_step(settings, state, batch, objective) for batch in Large(settings).from_step(0, 5)]
    weights = torch.cat([item.detach().flatten() for item in state.model.parameters()])
    return [float(result.parts["total"]) for result in results], weights


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_micro_batches_give_the_same_losses_with_drop_path_on(micro: int) -> None:
    whole, weights = losses(8)
    parts, others = losses(micro)
    assert parts == pytest.approx(whole, rel=2e-3)
    assert len(set(whole)) == 5
    assert float((weights - others).norm() / weights.norm()) < 0.02


def test_stop_and_resume_is_exact(tmp_path: Path) -> None:
    whole, other = Run(tmp_path / "whole", plan(), model=deit()), Run(tmp_path / "other", plan(), model=deit())
    for run in (whole, other):
        run.stream = Large(run.plan)
        run.validate = lambda model, stop: {"top1": model.net.head.bias[0].item(), "loss": 1.0}
    whole.fit()
    stop_at(other, 5)
    other.fit()
    again = Run(other.folder, other.plan, model=deit(drop_path=0.4))
    again.stream, again.validate = Large(other.plan), whole.validate
    found = resumed_into(again)
    found.fit()
    assert fingerprint(found.state) == fingerprint(whole.state)


def resumed_into(run: Run) -> Run:
    from deitft.training.checkpoint import newest_good, restore

    restore(run.state, newest_good(run.keeper.folder, run.progress))
    return run


@pytest.mark.parametrize("mode", ["head", "attention"])
def test_what_is_frozen_does_not_move(mode: str) -> None:
    settings = plan(trainable=mode)
    model = deit()
    model.freeze(mode)
    before = {name: item.detach().clone() for name, item in model.named_parameters()}
    state = new_state(settings, model)
    objective = Supervised(settings.loss, settings.train_counts, "cpu")
    for batch in Large(settings).from_step(0, 3):
        take_step(settings, state, batch, objective)
    moved = {name for name, item in model.named_parameters() if not torch.equal(item, before[name])}
    learning = {name for name, item in model.named_parameters() if item.requires_grad}
    assert moved == learning
    assert len(parameters_of(state.optimizer)) == len(learning) < len(before)
    assert state.ema is not None
    assert set(state.ema.tensors) == learning


def test_a_frozen_convnet_keeps_its_batchnorm_statistics() -> None:
    model = build("mobilenetv2_100", num_classes=len(CLASSES), image_size=SIZE)
    model.freeze("head")
    buffers = [item.clone() for item in model.buffers()]
    settings = plan(trainable="head", drop_path=0.0)
    state = new_state(settings, model)
    batch = Large(settings).batch(0)
    take_step(settings, state, batch, Supervised(settings.loss, settings.train_counts, "cpu"))
    assert len(buffers) > 10
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
