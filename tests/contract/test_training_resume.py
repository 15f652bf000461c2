"""A run that was stopped, at any step, ends with the same bits as one that was not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_kit import KeyedStream, Run, fingerprint, resumed, scores, stop_at, tiny_plan

from deitft.core.progress import Silent
from deitft.core.records import parse_csv_text
from deitft.errors import DataError
from deitft.training.checkpoint import newest_good

STEPS = 20


def plan(**changes: object):
    """Everything that has a memory: mixing, drop-path, BatchNorm, average, momentum, warm-up, patience."""
    return tiny_plan(patience=6, optim_clip_norm=1.0, optim_layer_decay=0.8, micro_batch=4, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("whole"), plan())
    run.fit()
    assert run.state.stale > 0
    return run


def rows(run: Run) -> list[dict[str, str]]:
    clock = ("seconds", "images_per_second")
    table = parse_csv_text((run.folder / "metrics.csv").read_text())
    return [{name: cell for name, cell in row.items() if name not in clock} for row in table]


@pytest.mark.parametrize("stop", range(STEPS + 1))
def test_stopped_at_any_step(whole: Run, tmp_path: Path, stop: int) -> None:
    run = Run(tmp_path, whole.plan)
    if stop:
        stop_at(run, stop)
    else:
        run.stop.reason = "SIGTERM"
    assert run.fit().step == stop
    again = resumed(run)
    again.fit()
    assert fingerprint(again.state) == fingerprint(whole.state)
    assert rows(again) == rows(whole)


def test_stopped_twice_in_an_epoch_and_in_warm_up(whole: Run, tmp_path: Path) -> None:
    run = Run(tmp_path, whole.plan)
    for step in (2, 3, 11, 12, 14):
        stop_at(run, step)
        assert run.fit().step == step
        run = resumed(run)
    run.fit()
    assert fingerprint(run.state) == fingerprint(whole.state)
    assert rows(run) == rows(whole)


@pytest.mark.parametrize("name", ["sgd", "lamb"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_other_optimizers_and_loss_scaling_resume_too(tmp_path: Path, name: str, precision: str) -> None:
    settings = plan(optim_name=name, precision=precision, ema_warmup=False)
    one, other = Run(tmp_path / "one", settings), Run(tmp_path / "other", settings)
    one.fit()
    stop_at(other, 7)
    other.fit()
    again = resumed(other)
    again.fit()
    assert fingerprint(again.state) == fingerprint(one.state)


def test_skipped_steps_are_part_of_what_is_resumed(tmp_path: Path) -> None:
    from training_kit import nan_target

    poison = dict.fromkeys((4, 5, 9), nan_target)
    one, other = (Run(tmp_path / name, plan(), poison=poison) for name in ("one", "other"))
    one.fit()
    stop_at(other, 5)
    other.fit()
    assert other.state.guard.record()["in_row"] == 1
    again = resumed(other)
    again.stream = KeyedStream(again.plan, poison=poison)
    again.fit()
    assert fingerprint(again.state) == fingerprint(one.state)
    assert one.state.guard.record()["skipped"] == 3


SERVER = """
# Imports once, then forks a child a try: a child that is killed has no chance to do anything about it.
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = {places!r}
import torch
from training_kit import Run, RunLog, fingerprint, newest_good, restore
from test_training_resume import plan

def child():
    run = Run(Path({folder!r}), plan(save_every_seconds=0.0), clock=lambda: 0.0)
    if list(run.keeper.folder.glob("step-*")):
        restore(run.state, newest_good(run.keeper.folder, run.progress))
    run.log = RunLog(run.folder, progress=run.progress, after_step=run.state.step)
    run.fit()
    print(fingerprint(run.state), flush=True)
    os._exit(0)

killed = 0
for delay in (0.02, 0.05, 0.09, 0.13, 0.17, 0.05, 0.11, 9e9):
    process = os.fork()
    if not process:
        child()
    if delay < 9:
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
    killed += os.waitpid(process, 0)[1] == signal.SIGKILL
print(killed, flush=True)
"""


def test_killed_at_moments_of_chance_by_sigkill(whole: Run, tmp_path: Path) -> None:
    """It saves after every step, so that most kills fall into a save. Nothing is asked of the process."""
    places = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]
    code = SERVER.format(places=places, folder=str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    *_, last, killed = done.stdout.split()
    assert last == fingerprint(whole.state)
    assert int(killed) >= 3


def test_a_run_never_starts_again_by_itself(tmp_path: Path) -> None:
    run = Run(tmp_path, plan())
    with pytest.raises(DataError, match="none was saved") as caught:
        newest_good(run.keeper.folder, Silent())
    assert caught.value.id == "C4"
    stop_at(run, 6)
    run.fit()
    for path in run.keeper.folder.glob("step-*"):
        shutil.rmtree(path)
        path.mkdir()
    with pytest.raises(DataError, match="1 damaged"):
        newest_good(run.keeper.folder, Silent())


def test_looking_in_between_changes_nothing(whole: Run, tmp_path: Path) -> None:
    """Numbers drawn from torch's global generator, as a report or another library may, are nobody's business."""
    import torch

    run = Run(tmp_path, whole.plan)

    def validate(model, stop):
        torch.rand(17)
        return scores(model, stop)

    run.validate = validate
    run.fit()
    assert fingerprint(run.state) == fingerprint(whole.state)
