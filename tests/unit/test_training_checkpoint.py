"""When is saved, what is kept, and which checkpoint a run goes on from."""

from __future__ import annotations

import contextlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_kit import Run, TinyNet, fingerprint, tiny_plan

from deitft.core.progress import Silent
from deitft.errors import DataError, StorageError
from deitft.training.checkpoint import load_weights, newest_good, open_checkpoint, restore
from deitft.training.commit import listed, verify
from deitft.training.snapshot import exact, inexact, read_record
from deitft.training.state import Best, new_state


class Clock:
    """Seconds that pass when told to; a save takes ``cost`` of them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cost = 0.0
        self.calls = 0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, tiny_plan())


def at(run: Run, step: int) -> None:
    run.state.step = step
    with torch.no_grad():
        run.state.model.head.bias.fill_(float(step))


def steps(run: Run) -> list[int]:
    return [step for step, _ in listed(run.keeper.folder, "step")]


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.keeper.folder.iterdir())


@contextlib.contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to write beyond ``size`` bytes a file (EFBIG), as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_save_is_due_by_the_clock_and_never_twice_for_a_step(tmp_path: Path) -> None:
    clock = Clock()
    run = Run(tmp_path, tiny_plan(save_every_seconds=60), clock=clock)
    assert not run.keeper.due(1)
    clock.now = 59.9
    assert not run.keeper.due(2)
    clock.now = 60
    assert run.keeper.due(3)
    at(run, 3)
    assert run.keeper.save(run.state)
    assert not run.keeper.due(3)
    clock.now = 119
    assert not run.keeper.due(4)
    clock.now = 120
    assert run.keeper.due(4)
    assert not run.keeper.due(3)


@pytest.mark.parametrize(
    ("asked", "took", "interval"), [(60, 0.5, 60), (60, 3, 150), (60, 100, 600), (900, 100, 900)]
)
def test_slow_storage_is_asked_less_often(tmp_path: Path, asked: float, took: float, interval: float) -> None:
    clock = Clock()
    run = Run(tmp_path, tiny_plan(save_every_seconds=asked), clock=lambda: clock.now)
    ticks = iter([0.0, took])
    run.keeper._clock = lambda: next(ticks)
    at(run, 1)
    run.keeper.save(run.state)
    assert run.keeper.interval == interval


def test_what_writing_takes_is_added_up(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_plan())
    ticks = iter([0.0, 2.0, 100.0, 100.5, 200.0, 203.0, 300.0, 304.0])
    run.keeper._clock = lambda: next(ticks)
    assert run.keeper.seconds == 0
    at(run, 1)
    run.keeper.save(run.state)
    run.keeper.save_best(run.state, "raw", score=0.5, metrics={"top1": 0.5})
    assert run.keeper.seconds == 2.5
    # What could not be written took its time, too.
    at(run, 2)
    with files_at_most(64):
        assert not run.keeper.save(run.state)
        assert run.keeper.save_best(run.state, "raw", score=0.6, metrics={"top1": 0.6}) is None
    assert run.keeper.seconds == 9.5


def test_the_newest_are_kept_and_every_best_they_refer_to(run: Run) -> None:
    for step in (2, 4, 6, 8):
        at(run, step)
        if step in (2, 4):
            best = run.keeper.save_best(run.state, "raw", score=step / 10, metrics={"top1": step / 10})
            run.state.best = best
        run.keeper.save(run.state)
        assert run.keeper.latest == step
    assert names(run) == ["best-000004", "step-000006", "step-000008"]
    for _, path in listed(run.keeper.folder, "step"):
        assert verify(path).facts["best"] == "best-000004"
    assert verify(run.keeper.folder / "best-000004").facts["metrics"] == {"top1": 0.4}


def test_a_best_that_an_older_kept_step_needs_stays(run: Run) -> None:
    at(run, 2)
    run.state.best = run.keeper.save_best(run.state, "raw", score=0.1, metrics={})
    run.keeper.save(run.state)
    at(run, 4)
    run.state.best = run.keeper.save_best(run.state, "raw", score=0.2, metrics={})
    assert names(run) == ["best-000002", "best-000004", "step-000002"]
    at(run, 5)
    run.state.best = run.keeper.save_best(run.state, "raw", score=0.3, metrics={})
    # best-000004 belongs to no saved step and is not the best any more
    assert names(run) == ["best-000002", "best-000005", "step-000002"]


def test_the_average_is_saved_as_best_and_the_models_own_weights_stay(run: Run) -> None:
    at(run, 3)
    assert run.state.ema is not None
    run.state.ema.tensors["head.bias"].fill_(77.0)
    best = run.keeper.save_best(run.state, "ema", score=1.0, metrics={})
    assert best is not None
    assert best.which == "ema"
    assert run.state.model.head.bias.tolist() == [3.0] * 3
    other = TinyNet()
    load_weights(other, run.keeper.folder / best.folder)
    assert other.head.bias.tolist() == [77.0] * 3


def test_steps_of_a_future_that_was_given_up_are_set_aside(run: Run) -> None:
    for step in (5, 10):
        at(run, step)
        run.keeper.save(run.state)
    at(run, 6)
    run.keeper.save(run.state)
    assert names(run) == ["step-000005", "step-000006", "step-000010.superseded"]
    assert newest_good(run.keeper.folder, Silent()).step == 6


def test_saving_a_step_again_replaces_it(run: Run) -> None:
    at(run, 5)
    run.keeper.save(run.state)
    run.state.validated_step = 5
    run.keeper.save(run.state)
    assert names(run) == ["step-000005"]
    assert read_record(verify(run.keeper.folder / "step-000005"))["validated_step"] == 5


def test_a_save_that_fails_is_a_warning_and_the_last_good_one_stays(run: Run) -> None:
    at(run, 5)
    run.keeper.save(run.state)
    at(run, 9)
    with files_at_most(100):
        assert not run.keeper.save(run.state)
        assert run.keeper.save_best(run.state, "raw", score=1.0, metrics={}) is None
    first, second = run.progress.notices
    assert first.id == second.id == "C2"
    assert "could not save step 9, file too large" in first.text
    assert "needs" in first.text
    assert "last saved step is 5, will try again" in first.hint
    assert names(run) == ["step-000005"]
    assert newest_good(run.keeper.folder, Silent()).step == 5
    assert run.keeper.save(run.state)
    assert steps(run) == [9, 5]


def test_a_final_save_that_fails_is_an_error(run: Run) -> None:
    at(run, 9)
    with files_at_most(100), pytest.raises(StorageError, match="could not save step 9") as caught:
        run.keeper.save(run.state, final=True)
    assert caught.value.exit_code == 74
    assert "no step is saved yet" in caught.value.what
    run.keeper.folder.rmdir()
    run.keeper.folder.write_text("a file in the way")
    with pytest.raises(StorageError, match="file exists"):
        run.keeper.save(run.state, final=True)


def test_what_cannot_be_deleted_is_said_and_stops_nothing(run: Run) -> None:
    run.keeper.folder.mkdir()
    (run.keeper.folder / f".pruned-step-000001-{os.getpid()}").write_text("in the way")
    for step in (1, 2, 3):
        at(run, step)
        assert run.keeper.save(run.state)
    assert steps(run) == [3, 2, 1]
    (notice,) = run.progress.notices
    assert notice.id == "C6"
    assert "could not delete step-000001" in notice.text


def test_restoring_gives_the_state_that_was_saved(run: Run, tmp_path: Path) -> None:
    run.fit()
    other = new_state(run.plan, TinyNet())
    assert fingerprint(other) != fingerprint(run.state)
    restore(other, newest_good(run.keeper.folder, Silent()))
    assert fingerprint(other) == fingerprint(run.state)
    assert other.seconds_trained == run.state.seconds_trained


def test_a_named_checkpoint_is_taken_exactly_or_refused(run: Run) -> None:
    for step in (4, 5):
        at(run, step)
        run.state.best = run.keeper.save_best(run.state, "raw", score=1.0, metrics={})
        run.keeper.save(run.state)
    old = run.keeper.folder / "step-000004"
    assert open_checkpoint(old, Silent()).step == 4
    with pytest.raises(DataError, match="holds weights only"):
        open_checkpoint(run.keeper.folder / "best-000005", Silent())
    data = (old / "optimizer.safetensors").read_bytes()
    (old / "optimizer.safetensors").write_bytes(data[:-10])
    with pytest.raises(DataError, match=r"10 bytes short\) and you asked for exactly this one") as caught:
        open_checkpoint(old, Silent())
    assert caught.value.id == "C4"
    assert old.is_dir()
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        open_checkpoint(run.keeper.folder / "step-000099", Silent())


def test_best_weights_that_are_damaged_are_said_and_chosen_anew(run: Run) -> None:
    at(run, 4)
    run.state.best = run.keeper.save_best(run.state, "raw", score=0.9, metrics={"top1": 0.9})
    run.state.stale = 2
    run.keeper.save(run.state)
    (run.keeper.folder / "best-000004" / "model.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="best-000004 is damaged"):
        load_weights(TinyNet(), run.keeper.folder / "best-000004")
    progress = Silent()
    found = newest_good(run.keeper.folder, progress)
    assert [notice.id for notice in progress.notices] == ["C3"]
    assert "best-000004" in progress.notices[0].text
    other = new_state(run.plan, TinyNet())
    restore(other, found)
    assert other.best is None
    assert other.stale == 0
    assert "best-000004.damaged" in names(run)


def test_numbers_survive_json_bit_for_bit() -> None:
    values = {
        "a": 0.1,
        "b": [1e-310, -0.0, float("inf")],
        "c": {"nan": float("nan")},
        "d": "raw",
        "e": 7,
        "f": None,
    }
    back = inexact(json.loads(json.dumps(exact(values))))
    assert repr(back) == repr(values)
    assert inexact("best-000004") == "best-000004"


def test_the_record_can_be_read_by_a_person(run: Run) -> None:
    run.state.best = Best(score=0.5, step=1, which="raw", metrics={"top1": 0.5}, folder="best-000001")
    run.keeper.save(run.state)
    record = json.loads((run.keeper.folder / "step-000000" / "state.json").read_text())
    assert record["best"]["which"] == "raw"
    assert record["plan"] == "test"
    assert {name for group in record["groups"] for name in group["names"]} == {
        name for name, _ in run.state.model.named_parameters()
    }
