"""N1: a loss or a gradient that is not finite. The update is not applied; three in a row end the run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from training_kit import KeyedStream, Run, TinyNet, fingerprint, nan_pixel, nan_target, scores, tiny_plan

from deitft.core.progress import Silent
from deitft.errors import DataError
from deitft.models.build import Classifier
from deitft.objectives.cached_teacher import CachedTeacher
from deitft.objectives.distillation import Distilled
from deitft.objectives.supervised import Supervised
from deitft.objectives.teacher import LiveTeacher, Teacher
from deitft.objectives.teacher_cache import TeacherCache, header_of
from deitft.recipe.plan_types import DistillKind, DistillPlan, Plan, TeacherPlan
from deitft.training.checkpoint import newest_good
from deitft.training.loop import TrainingDiverged, fit
from deitft.training.snapshot import optimizer_tensors
from deitft.training.state import new_state
from deitft.training.step import take_step


class Steep(torch.autograd.Function):
    """The identity, with a gradient that has no end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * float("inf")


def frozen(state: Any) -> dict[str, Tensor]:
    """Everything that an update may touch."""
    tensors = {**state.model.state_dict(), **optimizer_tensors(state.optimizer)}
    tensors |= {f"ema {name}": tensor for name, tensor in state.ema.tensors.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def no_trace(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Nothing moved; moments that the first update makes are still zero."""
    return all(torch.equal(before[name], after[name]) for name in before) and all(
        not tensor.any() for name, tensor in after.items() if name not in before
    )


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
@pytest.mark.parametrize("kind", ["pixel", "target", "gradient"])
@pytest.mark.parametrize("after", [0, 3])
def test_n1_b_e_the_update_is_not_applied(name: str, kind: str, after: int) -> None:
    """From the first step on or later: weights, moments, average and its schedule, BatchNorm's statistics."""
    plan = tiny_plan(optim_name=name)
    state, stream = new_state(plan, TinyNet()), KeyedStream(plan)
    good = Supervised(plan.loss, plan.train_counts, "cpu")
    for batch in stream.from_step(0, after):
        take_step(plan, state, batch, good)
    before = frozen(state)

    def steep(heads: Any, batch: Any) -> dict[str, Tensor]:
        return {part: Steep.apply(value) for part, value in good(heads, batch).items()}

    batch = stream.batch(after)
    bad = {"pixel": nan_pixel, "target": nan_target}.get(kind, lambda batch: batch)(batch)
    result = take_step(plan, state, bad, steep if kind == "gradient" else good)
    assert float(result.parts["skipped"]) == 1
    assert no_trace(before, frozen(state))
    assert state.guard.record()["applied"] == after
    # ... and the run goes on from there
    result = take_step(plan, state, stream.batch(after + 1), good)
    assert float(result.parts["skipped"]) == 0
    assert not no_trace(before, frozen(state))
    assert all(bool(tensor.isfinite().all()) for tensor in frozen(state).values())


def test_n1_control_the_guard_is_what_keeps_the_weights_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen red: without it one bad batch turns every weight to NaN."""
    plan = tiny_plan()
    state = new_state(plan, TinyNet())
    monkeypatch.setattr("deitft.training.step.update", lambda optimizer, skip: optimizer.step())
    objective = Supervised(plan.loss, plan.train_counts, "cpu")
    take_step(plan, state, nan_target(KeyedStream(plan).batch(0)), objective)
    assert all(bool(p.isnan().all()) for p in (state.model.mid.weight, state.model.stem.weight))


def test_n1_one_or_two_are_said_and_the_run_ends_well(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(), poison={4: nan_pixel, 5: nan_target, 11: nan_target})
    assert run.fit().reason == "finished"
    first, second, third = run.progress.notices
    bad = int(KeyedStream(run.plan).batch(4).sample_ids[2])
    name = f"{('boot', 'coat', 'hat')[bad % 3]}/{bad:03d}.jpg"
    assert first.id == second.id == third.id == "N1"
    assert first.text == f"1 update was not finite and not applied, up to step 5: pixels of {name} are not finite"
    assert first.files == (name,)
    assert third.files == ()
    assert run.state.guard.record()["skipped"] == 3
    assert "warning [N1]" in (run.folder / "train.log").read_text()


def fit_with(run: Run, objective: Any) -> Any:
    """The run's ``fit`` with another objective."""
    parts = (run.validate, run.keeper, run.log, run.stop, run.task)
    return lambda: fit(run.plan, run.state, run.stream, objective, *parts)


def holds_only_finite(folder: Path) -> bool:
    files = list(folder.rglob("*.safetensors"))
    assert files
    return all(
        bool(tensor.isfinite().all())
        for file in files
        for tensor in safetensors.torch.load(file.read_bytes()).values()
    )


@pytest.mark.parametrize("log_every", [1, 4, 50])
def test_n1_three_in_a_row_end_the_run(tmp_path: Path, log_every: int) -> None:
    plan = tiny_plan(total_steps=60, log_every=log_every, validate_every=10)
    run = Run(tmp_path, plan, poison=dict.fromkeys((22, 23, 24), nan_target))
    with pytest.raises(TrainingDiverged) as caught:
        run.fit()
    error = caught.value
    assert (error.id, error.exit_code) == ("N1", 78)
    assert error.what.startswith("loss or gradients stopped being finite at step 23 (lr 0.0")
    assert " before)" in error.what
    assert math.isfinite(float(error.details["last_finite_loss"]))  # type: ignore[arg-type]
    assert "nothing was saved before it; lower optim.lr" in error.hint
    assert holds_only_finite(run.folder)


def test_n1_the_last_good_checkpoint_is_named_and_loads(tmp_path: Path) -> None:
    plan = tiny_plan(save_every_seconds=0.0, log_every=1)
    run = Run(tmp_path, plan, poison=dict.fromkeys(range(7, 20), nan_target), clock=lambda: 0.0)
    with pytest.raises(TrainingDiverged, match="at step 8") as caught:
        run.fit()
    # steps 8 and 9 were skipped, so the state saved at step 9 is that of step 7, and it is good
    assert "last good checkpoint is step 9" in caught.value.hint
    assert newest_good(run.keeper.folder, Silent()).step == 9
    assert holds_only_finite(run.folder)


def test_n1_b_pixels_are_a_fault_of_the_data_and_named(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(log_every=50, validate_every=50), poison=dict.fromkeys((6, 7, 8), nan_pixel))
    with pytest.raises(DataError, match="pixels that are not finite, first: ") as caught:
        run.fit()
    assert (caught.value.id, caught.value.exit_code) == ("N1", 65)
    assert caught.value.what.endswith("; updates stopped being finite at step 7"), "steps are counted from one"
    assert caught.value.details == {"step": 7, "last_good_step": None}
    ids = {int(KeyedStream(run.plan).batch(step).sample_ids[2]) for step in (6, 7, 8)}
    assert {int(Path(name).stem) for name in caught.value.files} == ids


def test_n1_b_a_row_over_the_border_of_two_windows_names_all_its_photos(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(log_every=8), poison=dict.fromkeys((6, 7, 8), nan_pixel))
    with pytest.raises(DataError) as caught:
        run.fit()
    ids = {int(KeyedStream(run.plan).batch(step).sample_ids[2]) for step in (6, 7, 8)}
    assert {int(Path(name).stem) for name in caught.value.files} == ids


def test_n1_a_a_learning_rate_out_of_all_bounds(tmp_path: Path) -> None:
    plan = tiny_plan(optim_name="sgd", optim_lr=1e30, total_steps=40, save_every_seconds=0.0)
    run = Run(tmp_path, plan, clock=lambda: 0.0)
    with pytest.raises(TrainingDiverged) as caught:
        run.fit()
    assert caught.value.exit_code == 78
    assert holds_only_finite(run.folder)


def test_n1_weights_that_overflow_are_never_saved(tmp_path: Path) -> None:
    """A finite loss and a finite gradient can still move a weight out of float32: seen before it is written."""
    plan = tiny_plan(optim_name="sgd", optim_momentum=0.0, optim_lr=3e38, optim_warmup_steps=0, log_every=1)
    run = Run(tmp_path, replace(plan, save_every_seconds=0.0), clock=lambda: 0.0)
    good = Supervised(plan.loss, plan.train_counts, "cpu")
    steep = fit_with(run, lambda heads, batch: {name: 300 * part for name, part in good(heads, batch).items()})
    with pytest.raises(TrainingDiverged, match="weights stopped being finite at step 1"):
        steep()
    assert run.state.guard.record()["skipped"] == 0
    assert not list(run.folder.rglob("*.safetensors"))


def test_n1_f_an_average_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(save_every_seconds=0.0))
    assert run.state.ema is not None
    run.state.ema.tensors["mid.bias"][0] = float("nan")
    with pytest.raises(TrainingDiverged, match="weights stopped being finite"):
        run.fit()
    assert not list(run.folder.rglob("*.safetensors"))


def test_n1_metrics_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(select_by="loss"))
    run.validate = lambda model, stop: {**scores(model, stop), "loss": float("nan")}
    with pytest.raises(TrainingDiverged, match="raw weights' val loss is not finite at step 5"):
        run.fit()
    assert not list(run.folder.rglob("*.safetensors"))


class Answers(torch.nn.Module):
    """A teacher's net: [B, 3, H, W] to logits [B, 3]. ``spoilt`` stands in the place of one of them."""

    def __init__(self, spoilt: float | None = None) -> None:
        super().__init__()
        self.spoilt = spoilt
        self.fc = torch.nn.Identity()  # timm names it as the classifier of the model it stands for

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.stack([images[:, channel].mean((1, 2)) for channel in range(3)], dim=1)
        return self.fc(logits if self.spoilt is None else logits.index_fill(1, torch.tensor(1), self.spoilt))


def distilled(plan: Plan, kind: DistillKind, spoilt: float | None = None) -> Distilled:
    """The objective of a distilled run, with the teacher that really is asked; only its net is small."""
    of = TeacherPlan(name="t", model="t", path="t", sha256="", preprocessing=plan.preprocessing, columns=(0, 1, 2))
    asked = DistillPlan(kind=kind, token=True, alpha=0.5, tau=3.0, reduction="batchmean", teachers=(of,))
    net = Classifier(Answers(spoilt), timm_name="resnet10t", num_classes=3, image_size=8)
    live = LiveTeacher([Teacher(net, of)], plan, kind)
    return Distilled(Supervised(plan.loss, plan.train_counts, "cpu"), asked, live)


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_n1_g_what_a_broken_teacher_says_is_not_learned(kind: DistillKind, spoilt: float) -> None:
    """The argmax of NaN is a class like any other: without a look at the logits it would be taught."""
    plan = tiny_plan()
    state, stream = new_state(plan, TinyNet()), KeyedStream(plan)
    before = frozen(state)
    result = take_step(plan, state, stream.batch(0), distilled(plan, kind, spoilt))
    assert float(result.parts["skipped"]) == 1
    assert no_trace(before, frozen(state))
    result = take_step(plan, state, stream.batch(1), distilled(plan, kind))
    assert float(result.parts["skipped"]) == 0
    assert float(result.parts["teacher"]) > 0
    assert all(bool(tensor.isfinite().all()) for tensor in frozen(state).values())


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_n1_g_three_broken_answers_in_a_row_end_the_run(tmp_path: Path, kind: DistillKind) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=60, log_every=4, validate_every=10))
    good, broken = (distilled(run.plan, kind, spoilt) for spoilt in (None, math.nan))
    run.plan = replace(run.plan, distill=good.plan)
    asked = fit_with(run, lambda heads, batch: (broken if 22 <= batch.step <= 24 else good)(heads, batch))
    with pytest.raises(TrainingDiverged, match="stopped being finite at step 23 ") as caught:
        asked()
    assert (caught.value.id, caught.value.exit_code) == ("N1", 78)
    assert "look at the teacher" in caught.value.hint
    assert holds_only_finite(run.folder)


def test_n1_g_one_broken_answer_is_said_and_the_run_ends_well(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(log_every=1))
    good, broken = (distilled(run.plan, "hard", spoilt) for spoilt in (None, math.nan))
    assert (
        fit_with(run, lambda heads, batch: (broken if batch.step == 6 else good)(heads, batch))().reason
        == "finished"
    )
    (notice,) = run.progress.notices
    assert notice.text == "1 update was not finite and not applied, up to step 7"
    assert run.state.guard.record()["skipped"] == 1


def test_n1_g_with_a_teacher_too_broken_pixels_are_named(tmp_path: Path) -> None:
    plan = tiny_plan(log_every=50, validate_every=50)
    run = Run(tmp_path, plan, poison=dict.fromkeys((6, 7, 8), nan_pixel))
    with pytest.raises(DataError, match="pixels that are not finite, first: ") as caught:
        fit_with(run, distilled(plan, "hard"))()
    ids = {int(KeyedStream(plan).batch(step).sample_ids[2]) for step in (6, 7, 8)}
    assert {int(Path(name).stem) for name in caught.value.files} == ids


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_n1_g_a_cache_keeps_no_broken_answer(tmp_path: Path, kind: DistillKind) -> None:
    plan = replace(tiny_plan(), distill=distilled(tiny_plan(), kind).plan)
    batch = KeyedStream(plan).batch(0)
    kept = 0 if kind == "hard" else 3
    for spoilt in (math.nan, None):
        memory = CachedTeacher(
            TeacherCache(tmp_path, header_of(plan, "p", kept=kept)),
            distilled(plan, kind, spoilt).voice,
            3,
            lambda step: step,
        )
        heads = TinyNet(drop_path=0.0)(batch.images)
        loss = Distilled(Supervised(plan.loss, plan.train_counts, "cpu"), plan.distill, memory)(heads, batch)
        assert math.isfinite(float(loss["total"].detach())) == (spoilt is None)
        assert memory.asked == len(batch), "asked again: nothing was kept of the first answers"
        memory.close()


def test_n1_c_fp16_overflow_is_skipped_and_the_scale_finds_its_range(tmp_path: Path) -> None:
    """Ten overflows in a row while the scale comes down are not a divergence."""
    run = Run(tmp_path, tiny_plan(precision="fp16", total_steps=30, validate_every=30))
    run.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    assert run.fit().reason == "finished"
    guard = run.state.guard.record()
    assert guard["skipped"] > 3
    assert guard["faults"] == 0
    assert run.progress.notices == []
    assert run.state.scaler.get_scale() < 2.0**28
    assert holds_only_finite(run.folder)


def test_n1_c_fp16_overflow_at_the_smallest_scale_is_a_divergence(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(precision="fp16", log_every=1))
    run.state.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    class Net(TinyNet):
        def forward(self, images: Tensor) -> Any:
            heads = super().forward(images)
            return replace(heads, class_logits=Steep.apply(heads.class_logits))

    run.state = replace(new_state(run.plan, Net()), scaler=run.state.scaler)
    with pytest.raises(TrainingDiverged, match="at step 3") as caught:
        run.fit()  # scales 4 and 2 are the scaler's own affair; 1, 0.5 and 0.25 are three faults
    assert "--set train.precision=bf16" in caught.value.hint


def test_n1_skipped_steps_do_not_move_the_rest_of_the_run(tmp_path: Path) -> None:
    """The schedule goes on by step number, and the same poison gives the same bits again."""
    poison = {3: nan_target, 8: nan_pixel}
    one, other = (Run(tmp_path / name, tiny_plan(), poison=poison) for name in ("one", "other"))
    one.fit()
    other.fit()
    assert fingerprint(one.state) == fingerprint(other.state)
