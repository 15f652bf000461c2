"""The loop: what happens in which order, what is chosen, and how it ends."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_kit import Bar, Run, TinyNet, before_step, fingerprint, resumed, scores, stop_at, tiny_plan

from deitft.core.progress import Silent, StopFlag
from deitft.core.records import parse_csv_text
from deitft.errors import StoppedError, StorageError
from deitft.training.checkpoint import load_weights, newest_good
from deitft.training.commit import listed
from deitft.training.loop import DIRECTIONS, is_better, is_due
from deitft.training.snapshot import read_record
from deitft.training.state import Best


def told(*values: dict[str, float]) -> Any:
    """A validation that gives these scores one after the other, and counts."""
    left = list(values)

    def validate(model: TinyNet, stop: StopFlag) -> dict[str, float]:
        validate.calls += 1  # type: ignore[attr-defined]
        return {"top1": 0.0, "balanced_accuracy": 0.0, "loss": 0.0, **left.pop(0)}

    validate.calls = 0  # type: ignore[attr-defined]
    return validate


def rows(run: Run) -> list[dict[str, str]]:
    return parse_csv_text((run.folder / "metrics.csv").read_text())


def test_it_learns_and_hands_back_the_best(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=40, validate_every=10))
    before = scores(run.state.model, run.stop)["loss"]
    outcome = run.fit()
    assert outcome.reason == "finished"
    assert outcome.step == run.state.step == 40
    assert outcome.best is not None
    model = TinyNet()
    load_weights(model, run.keeper.folder / outcome.best.folder)
    assert scores(model, run.stop) == dict(outcome.best.metrics)
    assert outcome.best.metrics["loss"] < 0.7 * before
    assert run.progress.notices == []


def test_the_order_is_log_validate_save_stop(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=10, validate_every=5, log_every=5, ema_decay=None))
    events: list[str] = []
    originals = run.log.window, run.keeper.save, run.keeper.save_best

    def record(name: str, call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            events.append(f"{name} {run.state.step}")
            return call(*args, **kwargs)

        return wrapped

    run.log.window = record("log", originals[0])  # type: ignore[method-assign]
    run.keeper.save = record("save", originals[1])  # type: ignore[method-assign]
    run.keeper.save_best = record("best", originals[2])  # type: ignore[method-assign]
    run.validate = record("validate", told({"top1": 0.1}, {"top1": 0.2}))
    run.fit()
    assert events == [
        *("log 5", "validate 5", "best 5"),
        *("log 10", "validate 10", "best 10", "save 10"),
    ]
    record_10 = read_record(newest_good(run.keeper.folder, Silent()))
    assert record_10["validated_step"] == 10
    assert record_10["best"]["step"] == 10


def test_saves_follow_the_clock(tmp_path: Path) -> None:
    now = [0.0]
    run = Run(tmp_path, tiny_plan(save_every_seconds=100, keep_checkpoints=9), clock=lambda: now[0])

    def tick(step: int) -> None:
        now[0] += 30

    before_step(run, tick)
    run.fit()
    # 30 s a step: due at the first step after 100 s, counted from the last save
    assert [step for step, _ in reversed(listed(run.keeper.folder, "step"))] == [4, 8, 12, 16, 20]


@pytest.mark.parametrize(
    ("by", "raw", "ema", "which", "steps"),
    [
        ("top1", [0.5, 0.6, 0.6], [0.4, 0.7, 0.7], ["raw", "ema", ""], 10),
        ("balanced_accuracy", [0.5, 0.5, 0.9], [0.5, 0.5, 0.1], ["raw", "", "raw"], 15),
        ("loss", [0.5, 0.4, 0.6], [0.6, 0.3, 0.2], ["raw", "ema", "ema"], 15),
        ("calibrated_loss", [0.5, 0.4, 0.6], [0.6, 0.3, 0.2], ["raw", "ema", "ema"], 15),
    ],
)
def test_the_better_of_weights_and_average_is_kept(
    tmp_path: Path, by: str, raw: list[float], ema: list[float], which: list[str], steps: int
) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=15, select_by=by))
    both = [pair for values in zip(raw, ema, strict=True) for pair in values]
    run.validate = told(*({by: value} for value in both))
    outcome = run.fit()
    assert [row["best"] for row in rows(run)] == which
    assert outcome.best is not None
    assert outcome.best.step == steps
    assert outcome.best.which == [word for word in which if word][-1]
    assert [float(row[f"raw_{by}"]) for row in rows(run)] == raw
    assert [float(row[f"ema_{by}"]) for row in rows(run)] == ema


def test_directions_name_everything_a_plan_selects_by() -> None:
    from typing import get_args, get_type_hints

    from deitft.recipe.plan_types import Plan

    assert set(DIRECTIONS) == set(get_args(get_type_hints(Plan)["select_by"]))
    best = Best(score=0.5, step=1, which="raw", metrics={}, folder="")
    assert is_better(0.6, best, "top1")
    assert not is_better(0.5, best, "top1")
    assert is_better(0.4, best, "loss")
    assert not is_better(0.5, best, "loss")
    assert is_better(0.0, None, "top1")


def test_due_is_every_multiple_and_the_end() -> None:
    assert [step for step in range(1, 12) if is_due(step, 4, 11)] == [4, 8, 11]


def test_patience_ends_a_run_early_and_it_stays_ended(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=50, patience=2, ema_decay=None))
    run.validate = told({"top1": 0.5}, {"top1": 0.4}, {"top1": 0.6}, {"top1": 0.6}, {"top1": 0.1})
    outcome = run.fit()
    assert (outcome.reason, outcome.step) == ("early", 25)
    assert outcome.best is not None
    assert outcome.best.step == 15
    again = resumed(run)
    again.validate = told()
    assert again.fit().reason == "early"
    assert again.state.step == 25


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    first = run.fit()
    again = resumed(run)
    again.validate = told()
    assert again.fit() == first
    assert fingerprint(again.state) == fingerprint(run.state)


def test_a_signal_saves_the_step_it_finds(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(log_every=100))
    stop_at(run, 8)
    outcome = run.fit()
    assert (outcome.reason, outcome.step) == ("stopped", 8)
    assert newest_good(run.keeper.folder, Silent()).step == 8


def test_a_signal_before_the_first_step_leaves_a_checkpoint_too(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    run.stop.reason = "SIGINT"
    assert run.fit().reason == "stopped"
    assert newest_good(run.keeper.folder, Silent()).step == 0
    finished = Run(tmp_path / "other", tiny_plan())
    finished.fit()
    again = resumed(run)
    again.fit()
    assert fingerprint(again.state) == fingerprint(finished.state)


@pytest.mark.parametrize("way", ["none", "error"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_in_a_validation_leaves_it_owed(tmp_path: Path, way: str, call: int) -> None:
    """``call`` 1 is the look at the weights, 2 the one at their average, which is swapped in then."""
    run = Run(tmp_path, tiny_plan())
    calls = []

    def validate(model: TinyNet, stop: StopFlag) -> dict[str, float] | None:
        calls.append(1)
        if len(calls) == call + 2:
            stop.reason = "SIGTERM"
            if way == "error":
                raise stop.error("7 of 30 photos were looked at", "")
            return None
        return scores(model, stop)

    run.validate = validate
    outcome = run.fit()
    assert (outcome.reason, outcome.step) == ("stopped", 10)
    assert run.state.validated_step == 5
    whole = Run(tmp_path / "whole", tiny_plan())
    whole.fit()
    again = resumed(run)
    again.fit()
    assert fingerprint(again.state) == fingerprint(whole.state)
    seen, wanted = ([row["step"] for row in rows(each)] for each in (again, whole))
    assert seen == wanted


def test_a_dead_worker_in_a_validation_is_not_taken_for_a_signal(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())

    def validate(model: TinyNet, stop: StopFlag) -> dict[str, float]:
        raise StoppedError("data worker 2 died", "", id="N5")

    run.validate = validate
    with pytest.raises(StoppedError, match="worker 2"):
        run.fit()
    assert newest_good(run.keeper.folder, Silent()).step == 5


def test_a_time_limit_keeps_the_best_it_has(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    stop_at(run, 7, "time limit")
    outcome = run.fit()
    assert (outcome.reason, outcome.step) == ("time limit", 7)
    assert outcome.best is not None
    assert outcome.best.step == 5


def test_a_time_limit_before_any_validation_looks_once(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    stop_at(run, 3, "time limit")
    outcome = run.fit()
    assert (outcome.reason, outcome.step) == ("time limit", 3)
    assert outcome.best is not None
    assert outcome.best.step == 3


def test_a_time_limit_that_strikes_at_the_end_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    stop_at(run, 20, "time limit")
    assert run.fit().reason == "finished"


def test_a_photo_that_vanishes_ends_the_run_with_its_last_step_saved(tmp_path: Path) -> None:
    def vanish(batch: Any) -> Any:
        raise StorageError("hat/002.jpg disappeared", "restore it", id="D16")

    run = Run(tmp_path, tiny_plan(log_every=100), poison={8: vanish})
    with pytest.raises(StorageError, match="disappeared"):
        run.fit()
    assert newest_good(run.keeper.folder, Silent()).step == 8
    again = resumed(run)
    again.fit()
    whole = Run(tmp_path / "whole", tiny_plan())
    whole.fit()
    assert fingerprint(again.state) == fingerprint(whole.state)


def test_out_of_memory_saves_the_last_full_step_and_names_a_smaller_micro_batch(tmp_path: Path) -> None:
    """The real allocator of a processor is asked for more than there is."""
    import torch

    class Hungry(TinyNet):
        def forward(self, images: Any) -> Any:
            if self.hungry:
                torch.empty(1 << 60, dtype=torch.uint8)
            return super().forward(images)

    model = Hungry()
    model.hungry = False
    run = Run(tmp_path, tiny_plan(log_every=100, micro_batch=4), model=model)

    def starve(step: int) -> None:
        model.hungry = step == 7

    before_step(run, starve)
    with pytest.raises(
        StoppedError, match="ran out of memory at micro-batch 4 of batch 8, state saved at step 6"
    ) as e:
        run.fit()
    assert e.value.id == "N2"
    assert e.value.exit_code == 75
    assert "train.micro_batch=2" in e.value.hint
    assert newest_good(run.keeper.folder, Silent()).step == 6


def test_any_other_error_of_a_step_is_a_bug_and_passes(tmp_path: Path) -> None:
    def narrow(batch: Any) -> Any:
        return replace(batch, images=batch.images[:, :1])

    run = Run(tmp_path, tiny_plan(), poison={2: narrow})
    with pytest.raises(RuntimeError, match="channels"):
        run.fit()


def test_a_best_that_cannot_be_saved_does_not_replace_the_one_that_is(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=10, ema_decay=None))
    original = run.keeper.save_best
    run.validate = told({"top1": 0.5}, {"top1": 0.9})

    def failing(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if run.state.step == 5 else None

    run.keeper.save_best = failing  # type: ignore[method-assign]
    outcome = run.fit()
    assert outcome.best is not None
    assert outcome.best.step == 5
    assert run.state.stale == 0


def test_speed_is_that_of_training_not_of_looking(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=10, ema_decay=None))

    def slow(model: TinyNet, stop: StopFlag) -> dict[str, float]:
        time.sleep(0.5)
        return scores(model, stop)

    run.validate = slow
    began = time.perf_counter()
    run.fit()
    took = time.perf_counter() - began
    assert took > 1.0
    assert run.state.seconds_trained < took - 1.0
    for row in rows(run):
        assert float(row["images_per_second"]) > 8 * 5 / took
    assert run.state.images_seen == 80


def test_the_bar_moves_once_a_step_and_shows_numbers_at_windows(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    run.task = Bar()
    run.fit()
    shown = run.task.shown
    assert len(shown) == 20
    assert [number for number, values in enumerate(shown, 1) if values] == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    assert set(shown[2]) == {"loss", "lr", "images/s"}
    assert [list(values) for values in run.task.judged] == [["val top-1"]] * 4
    assert len(run.task.lines) == 4
    assert run.task.lines[0].startswith("epoch 1  loss ")


def test_a_plan_without_steps_ends_at_once_with_a_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan(total_steps=0))
    outcome = run.fit()
    assert (outcome.reason, outcome.step, outcome.best) == ("finished", 0, None)
    assert newest_good(run.keeper.folder, Silent()).step == 0
