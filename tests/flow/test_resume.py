"""Stopped anywhere, a run ends as if nothing had happened: the same bits of weights, predictions and metrics."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_kit import (
    EXACT,
    ONE_THREAD,
    STEPS,
    Zygote,
    fails,
    finetune,
    fingerprints,
    record_of,
    signal_at,
    until,
    words,
    write_photos,
)
from small_net import SMALL

import deitft
from deitft.core.files import read_json
from deitft.core.progress import Silent
from deitft.core.records import parse_csv_text
from deitft.errors import InterruptError, MissingInputError, StoppedError, TerminatedError, UsageError

HERE = {"device": "cpu", "threads": 1}


def stopped(photos: Path, runs_dir: Path, title: str, count: int, *settings: str, **more: Any) -> Path:
    """A run that SIGTERM ended at a place."""
    with fails(TerminatedError, "N3"):
        progress = signal_at(title, count, signal.SIGTERM)
        finetune(photos, runs_dir, "a", *settings, progress=progress, **more)
    return runs_dir / "a"


def checkpoints(run: Path) -> list[int]:
    """Steps that can be resumed at."""
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-??????"))


@pytest.mark.parametrize(("step", "workers"), [(7, 0), (5, 1)])
def test_SIGTERM_at_a_step_then_resume_gives_the_same_bits(
    whole: Path, photos: Path, tmp_path: Path, step: int, workers: int
) -> None:
    with fails(TerminatedError, "N3") as caught:
        finetune(
            photos,
            tmp_path,
            "a",
            progress=signal_at("training", step, signal.SIGTERM),
            **{"workers": workers},
        )
    run = tmp_path / "a"
    assert caught.value.exit_code == 143
    # the signal comes while a step is told; it is that step or, with windows of several steps, the next
    saved = checkpoints(run)[-1]
    assert step <= saved <= step + 1
    assert caught.value.line == f"stopped by SIGTERM, saved step {saved} — continue with `deitft resume {run}`"
    record = record_of(run)
    assert record["status"] == "stopped"
    assert [error["exit_code"] for error in record["errors"]] == [143]
    assert not (run / "best").exists()
    assert not (run / "lock").exists()
    progress = Silent()
    result = deitft.resume(run, workers=1 - workers, progress=progress, **HERE)
    assert any(text.startswith("resuming a: epoch ") for text in progress.said)
    assert fingerprints(run) == fingerprints(whole)
    assert record_of(run)["status"] == result.status == "done"
    mine, theirs = result.record()["result"], record_of(whole)["result"]
    assert json.loads(json.dumps(mine)) == theirs


def test_stopped_again_and_again_at_every_kind_of_place(whole: Path, photos: Path, tmp_path: Path) -> None:
    """Before the first step, at a step, in the look at the weights, in the look at their average, at the end."""
    run = stopped(photos, tmp_path, "training", 0)
    assert checkpoints(run) == [0]
    places = [("training", 2, 1), ("validating", 1, 1), ("validating", 1, 2)]
    places += [("looking at the val photos", 1, 1), ("looking at the test photos", 1, 1)]
    steps = []
    for title, count, often in places:
        with fails(InterruptError, "N4") as caught:
            deitft.resume(run, progress=signal_at(title, count, signal.SIGINT, time=often), **HERE)
        assert f"continue with `deitft resume {run}`" in caught.value.line
        assert record_of(run)["status"] == "stopped"
        steps.append(checkpoints(run)[-1])
    assert steps[1:] == [4, 4, STEPS, STEPS]  # the verdict of step 4 is owed, and made up for
    assert "training is done and saved" in caught.value.what
    assert [error["id"] for error in record_of(run)["errors"]] == ["N3", *["N4"] * len(places)]
    deitft.resume(run, **HERE)
    assert fingerprints(run) == fingerprints(whole)


def test_stopped_before_there_is_a_run(photos: Path, tmp_path: Path) -> None:
    """While photos are read: nothing is there, the line says so, and the same command begins."""
    with pytest.raises(StoppedError) as caught:
        finetune(photos, tmp_path, "a", progress=signal_at("Reading photos", 1, signal.SIGTERM))
    assert caught.value.exit_code == 143
    assert not (tmp_path / "a").exists()


def test_killed_without_a_word_then_resume(whole: Path, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """kill -9 while it trains with a worker: on from the last checkpoint, and no process is left behind."""
    settings = (*EXACT, "train.save_every=1s", "train.keep_checkpoints=3")
    line = words(photos, tmp_path, "a", *settings, workers="1")
    command = zygote.start(*line, at=("training", 9, "sleep 0.3; kill -9 $PPID"))
    run = tmp_path / "a"
    assert command.wait() == -signal.SIGKILL
    record = record_of(run)
    assert (record["status"], record["errors"]) == ("running", [])
    assert (run / "lock").exists()
    progress = Silent()
    deitft.resume(run, progress=progress, **HERE)
    assert any("which is gone: taken over" in text for text in progress.said)
    assert fingerprints(run) == fingerprints(whole)
    assert not (run / "lock").exists()


def test_killed_while_it_saves_and_again_during_the_report(
    whole: Path, photos: Path, tmp_path: Path, zygote: Zygote
) -> None:
    settings = (*EXACT, "train.save_every=1s", "train.keep_checkpoints=3")
    command = zygote.start(*words(photos, tmp_path, "a", *settings))
    run = tmp_path / "a"
    folder = run / "checkpoints"
    until(lambda: folder.is_dir() and any(folder.glob(".tmp-step-*")), 60, "no save begins")
    command.signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    again = zygote.start("resume", run, at=("writing the report", 0, "signal SIGKILL"))
    assert again.wait() == -signal.SIGKILL
    assert (run / "best").is_dir()
    assert not (run / "report.html").exists()
    assert not list(folder.glob(".*"))
    deitft.resume(run, **HERE)
    assert fingerprints(run) == fingerprints(whole)
    assert (run / "report.html").is_file()


def test_C3_a_damaged_checkpoint_then_back_to_one_by_its_name(whole: Path, photos: Path, tmp_path: Path) -> None:
    run = stopped(photos, tmp_path, "training", 4)
    with fails(TerminatedError, "N3"):
        deitft.resume(run, progress=signal_at("training", 8, signal.SIGTERM), **HERE)
    first, second = checkpoints(run)
    weights = run / "checkpoints" / f"step-{second:06d}" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    progress = signal_at("training", 6, signal.SIGTERM)
    with fails(TerminatedError, "N3"):
        deitft.resume(run, progress=progress, **HERE)
    (notice,) = [notice for notice in progress.inner.notices if notice.id == "C3"]
    assert notice.severity == "warning"
    assert f"continuing from step {first}, {second - first} steps are repeated" in notice.hint
    assert (run / "checkpoints" / f"step-{second:06d}.damaged").is_dir()
    named = run / "checkpoints" / f"step-{first:06d}"
    talk = Silent()
    deitft.resume(named, progress=talk, **HERE)
    assert f"resuming a: epoch 0, step {first} of 5" in talk.said
    assert fingerprints(run) == fingerprints(whole)


def test_a_finished_run_says_so(whole: Path) -> None:
    before = fingerprints(whole) | {"run.json": (whole / "run.json").read_text()}
    progress = Silent()
    result = deitft.resume(whole, progress=progress, **HERE)
    assert progress.said == ["whole is finished: nothing to do"]
    assert result.record()["result"] == record_of(whole)["result"]
    assert fingerprints(whole) | {"run.json": (whole / "run.json").read_text()} == before


def test_the_flag_finds_the_newest_unfinished_run(whole: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    shutil.copy(whole / "run.json", tmp_path / "done")
    shutil.copy(whole / "plan.json", tmp_path / "done")
    run = stopped(photos, tmp_path, "training", 5)
    shutil.copytree(run, tmp_path / "older")
    record = record_of(run) | {"started": "2999-01-01T00:00:00+00:00"}
    (run / "run.json").write_text(json.dumps(record))
    asked: dict[str, Any] = {"model": SMALL, "pretrained": False, "set": EXACT, "resume": True, **ONE_THREAD}
    for name, found in ((None, run), ("older", tmp_path / "older")):
        with fails(TerminatedError, "N3") as caught:
            progress = signal_at("training", 7, signal.SIGTERM)
            deitft.finetune(photos, runs_dir=tmp_path, name=name, progress=progress, **asked)
        assert str(found) in caught.value.hint
        assert checkpoints(found)[-1] >= 7
    result = deitft.finetune(photos, runs_dir=tmp_path, **asked)
    assert result.folder == run
    assert fingerprints(run) == fingerprints(whole)
    shutil.rmtree(tmp_path / "older")
    with fails(MissingInputError, "RESUME"):
        deitft.finetune(photos, runs_dir=tmp_path, **asked)
    assert {path.name for path in tmp_path.iterdir()} == {"done", "a"}  # none was begun instead


def test_what_the_run_was_allowed_is_allowed_again(tmp_path: Path, make_photos) -> None:
    """Bad photos above the limit, skipped by --skip-bad; the resumed run needs no reminder, nor of --no-probe."""
    photos = make_photos({"a": 30, "b": 30})
    for number in range(4):
        (photos / "a" / f"{number:04d}.jpg").write_bytes(b"")
    quick = ("model.image_size=32", "train.length=4 steps", "train.batch=16")
    run = stopped(photos, tmp_path / "runs", "training", 2, *quick, skip_bad=True, probe=False)
    deitft.resume(run, **HERE)
    assert len(parse_csv_text((run / "quarantine.csv").read_text())) == 4
    assert not (run / "probe.json").exists()


def test_where_it_was_logged_to_it_is_logged_to_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, ...]] = []

    def open_none(names: Sequence[str], folder: Path, **_: Any) -> list[Any]:
        opened.append(tuple(names))
        return []

    monkeypatch.setattr("deitft.runs.train.check_loggers", lambda names: None)
    monkeypatch.setattr("deitft.runs.fitting.open_loggers", open_none)
    with fails(TerminatedError, "N3"):
        finetune(photos, tmp_path, "a", log_to=("wandb",), progress=signal_at("training", 2, signal.SIGTERM))
    with fails(TerminatedError, "N3"):
        deitft.resume(tmp_path / "a", progress=signal_at("training", 4, signal.SIGTERM), **HERE)
    deitft.resume(tmp_path / "a", log_to=("tensorboard",), **HERE)
    assert opened == [("wandb",), ("wandb",), ("tensorboard",)]


def test_a_plan_and_going_on_do_not_go_together(photos: Path, tmp_path: Path) -> None:
    with fails(UsageError, "USAGE") as caught:
        finetune(photos, tmp_path, "a", resume=True, dry_run=True)
    assert "--dry-run" in caught.value.line


def test_going_on_has_a_limit_of_its_own(photos: Path, tmp_path: Path) -> None:
    """Training ends early and keeps the best so far; without a limit the same run would take all its steps."""
    long = ("model.image_size=32", "train.length=20000 steps", "train.batch=16", "train.validate_every=20 steps")
    asked = {"threads": 1, "workers": 0}
    with fails(TerminatedError, "N3"):
        finetune(photos, tmp_path, "a", *long, progress=signal_at("training", 2, signal.SIGTERM), **asked)
    began = time.monotonic()
    finetune(photos, tmp_path, "a", *long, resume=True, time_limit="30s", **asked)
    assert time.monotonic() - began < 30
    result = record_of(tmp_path / "a")["result"]
    assert result["ended"] == "time limit"
    assert 2 < result["steps"] < 20000


def test_names_that_no_terminal_shows_are_no_obstacle(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 20, classes=("=a", 'b",\n'))
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))[::9]):
        path.rename(path.with_name(f"{number}\r'+x\n.jpg"))
    quick = ("model.image_size=32", "train.length=4 steps", "train.batch=16")
    run = stopped(photos, tmp_path / "runs", "training", 2, *quick)
    assert deitft.resume(run, **HERE).status == "done"


def test_real_weights_a_probe_and_an_average_before_the_first_save(
    shared: Path, tmp_path: Path, zygote: Zygote
) -> None:
    """Killed before anything was saved: the start (weights, solved heads, average) is made again, bit for bit."""
    photos = write_photos(tmp_path / "photos", 14)
    settings = (
        "model.image_size=64",
        "train.length=3 steps",
        "train.batch=8",
        "ema.decay=0.5",
        "ema.warmup=false",
    )
    settings = (*settings, "train.validate_every=1 epochs", "train.select_by=loss")
    weights = {"model": "deit_ti", "pretrained": True, "weights_dir": shared / "weights"}
    control = finetune(photos, tmp_path, "control", *settings, **weights).folder
    assert control is not None
    line = words(photos, tmp_path, "a", *settings, model="deit_ti")
    line[line.index("--no-pretrained")] = "--pretrained"
    line += ["--weights-dir", str(shared / "weights")]
    assert zygote.start(*line, at=("training", 1, "signal SIGKILL")).wait() == -signal.SIGKILL
    run = tmp_path / "a"
    assert checkpoints(run) == []
    progress = Silent()
    deitft.resume(run, progress=progress, **HERE)
    assert "a has no checkpoint yet: it begins again" in progress.said
    assert fingerprints(run) == fingerprints(control)
    first, second = (read_json(folder / "probe.json") for folder in (control, run))
    assert first == second


def test_the_average_begins_with_the_solved_heads(shared: Path, tmp_path: Path) -> None:
    """Without that, an average that moves slowly would hand over random heads."""
    photos = write_photos(tmp_path / "photos", 14)
    settings = ("model.image_size=64", "train.length=1 steps", "train.batch=8", "optim.lr=1e-12")
    settings = (*settings, "ema.decay=0.999", "ema.warmup=false")
    weights = {"model": "deit_ti", "pretrained": True, "weights_dir": shared / "weights"}
    run = finetune(photos, tmp_path, "a", *settings, **weights).folder
    assert run is not None
    _, row = parse_csv_text((run / "metrics.csv").read_text())  # before the step, and after
    np.testing.assert_allclose(float(row["ema_loss"]), float(row["raw_loss"]), rtol=1e-3)
