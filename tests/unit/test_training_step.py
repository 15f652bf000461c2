"""One update: equal to the plain formula, the same for every micro-batch, and without a look at the device."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_kit import KeyedStream, TinyNet, fingerprint, tiny_plan

import deitft.training.step as step_module
from deitft.objectives.supervised import Supervised
from deitft.training.state import new_state
from deitft.training.step import lr_at, step_masks, take_step


def taken(plan, model=None, steps: int = 6):
    state = new_state(plan, model or TinyNet())
    objective = Supervised(plan.loss, plan.train_counts, "cpu")
    stream = KeyedStream(plan)
    results = [take_step(plan, state, batch, objective) for batch in stream.from_step(0, steps)]
    return state, results


def test_it_equals_a_loop_written_with_torch_alone() -> None:
    plan = tiny_plan(loss_label_smoothing=0.0, optim_clip_norm=0.4)
    # Without BatchNorm: a bias in front of it has a gradient of rounding noise, which AdamW makes large.
    ours, results = taken(plan, TinyNet(drop_path=0.0, norm=False))
    net = TinyNet(drop_path=0.0, norm=False)
    decay = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    for number, batch in enumerate(KeyedStream(plan).from_step(0, 6)):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(plan, number)
        heads = net.train()(batch.images)
        one = F.cross_entropy(heads.class_logits, batch.targets)
        other = F.cross_entropy(heads.distill_logits, batch.targets)
        loss = (one + other) / 2
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 0.4)
        optimizer.step()
        parts = results[number].parts
        assert float(parts["total"]) == pytest.approx(loss.item(), rel=1e-5)
        assert float(parts["label"]) == pytest.approx(one.item(), rel=1e-5)
        assert float(parts["label_distill"]) == pytest.approx(other.item(), rel=1e-5)
        assert float(parts["grad_norm"]) == pytest.approx(float(norm), rel=1e-4)
        assert float(parts["skipped"]) == 0
    for a, b in zip(ours.model.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert ours.step == 6
    assert ours.images_seen == 48


@pytest.mark.parametrize("micro", [1, 3, 4, 8])
def test_the_micro_batch_changes_memory_not_the_result(micro: int) -> None:
    """With drop-path on: masks belong to the photos of the global batch, not to where it is cut."""
    whole, first = taken(tiny_plan(drop_path=0.5), TinyNet(drop_path=0.5, norm=False))
    parts, second = taken(tiny_plan(drop_path=0.5, micro_batch=micro), TinyNet(drop_path=0.5, norm=False))
    for a, b in zip(first, second, strict=True):
        for name in a.parts:
            torch.testing.assert_close(a.parts[name], b.parts[name], rtol=1e-4, atol=1e-6)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_drop_path_masks_are_a_function_of_seed_and_step() -> None:
    plan = tiny_plan(drop_path=0.5, batch=64)
    state = new_state(plan, TinyNet(drop_path=0.5))
    here = step_masks(plan, state, 64)
    assert here is not None
    assert torch.equal(here.values, step_masks(plan, state, 64).values)
    state.step = 1
    assert not torch.equal(here.values, step_masks(plan, state, 64).values)
    state.step = 0
    assert not torch.equal(here.values, step_masks(replace(plan, seed=1), state, 64).values)
    assert step_masks(plan, new_state(plan, TinyNet(drop_path=0.0)), 64) is None


def test_the_same_steps_give_the_same_bits_whatever_was_drawn_in_between() -> None:
    one, _ = taken(tiny_plan())
    torch.rand(1000)
    other, _ = taken(tiny_plan())
    assert fingerprint(one) == fingerprint(other)


def test_nothing_in_a_step_waits_for_the_device() -> None:
    """`.item()`, `float(tensor)` and their like are a synchronisation each; the log window reads for all."""
    tree = ast.parse(Path(step_module.__file__).read_text())
    attributes = {"item", "cpu", "tolist", "numpy", "nonzero", "synchronize"}
    names = {"float", "bool", "int", "print"}
    found = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in attributes)
            or (isinstance(node.func, ast.Name) and node.func.id in names)
        )
    ]
    assert found == []


def test_a_skipped_step_is_masked_out_of_the_numbers() -> None:
    plan = tiny_plan()
    state = new_state(plan, TinyNet())
    batch = KeyedStream(plan).batch(0)
    images = batch.images.clone()
    images[5, 0, 0, 0] = float("inf")
    result = take_step(plan, state, replace(batch, images=images), Supervised(plan.loss, (1, 1, 1), "cpu"))
    assert float(result.parts["skipped"]) == 1
    assert all(float(part) == 0 for name, part in result.parts.items() if name != "skipped")
    assert result.bad_photos.tolist() == [-1] * 5 + [int(batch.sample_ids[5])] + [-1] * 2
    assert state.step == 1


def test_an_exception_in_the_middle_leaves_the_state_of_the_step_before() -> None:
    plan = tiny_plan(micro_batch=4)
    state, _ = taken(plan, steps=2)
    before = fingerprint(state)
    good = Supervised(plan.loss, plan.train_counts, "cpu")
    calls = []

    def breaks(heads, batch):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return good(heads, batch)

    with pytest.raises(RuntimeError, match="allocate"):
        take_step(plan, state, KeyedStream(plan).batch(2), breaks)
    assert len(calls) == 2
    assert fingerprint(state) == before
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_bf16_and_channels_last_stay_close_to_float32() -> None:
    exact, first = taken(tiny_plan(), TinyNet(drop_path=0.0))
    near, second = taken(tiny_plan(precision="bf16", channels_last=True), TinyNet(drop_path=0.0))
    for a, b in zip(first, second, strict=True):
        assert float(a.parts["total"]) == pytest.approx(float(b.parts["total"]), abs=0.03)
    assert all(parameter.dtype == torch.float32 for parameter in near.model.parameters())
    assert fingerprint(exact) != fingerprint(near)


def test_fp16_scales_its_losses_and_gives_the_result_of_float32() -> None:
    exact, first = taken(tiny_plan(), TinyNet(drop_path=0.0))
    near, second = taken(tiny_plan(precision="fp16"), TinyNet(drop_path=0.0))
    assert near.scaler is not None
    assert near.scaler.get_scale() == 65536
    for a, b in zip(first, second, strict=True):
        assert float(a.parts["total"]) == pytest.approx(float(b.parts["total"]), abs=0.01)
        assert float(a.parts["grad_norm"]) == pytest.approx(float(b.parts["grad_norm"]), rel=0.05)
    assert near.guard.record()["skipped"] == 0
    assert exact.scaler is None


def test_a_compiled_forward_is_used_in_the_models_place() -> None:
    plan = tiny_plan()
    state = new_state(plan, TinyNet())
    calls = []

    def forward(images):
        calls.append(len(images))
        return state.model(images)

    state.compiled = forward
    take_step(plan, state, KeyedStream(plan).batch(0), Supervised(plan.loss, (1, 1, 1), "cpu"))
    assert calls == [8]
