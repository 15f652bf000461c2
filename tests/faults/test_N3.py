"""N3: SIGTERM and SIGUSR1 finish the step, save, say one line; workers leave it to the process that trains."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_kit import STEPS, Command, Zygote, finetune, fingerprints, record_of, until, words

import deitft

HERE = {"device": "cpu", "threads": 1}


def steps_of(run: Path) -> int:
    """How many steps the log tells of."""
    log = run / "train.log"
    found = re.findall(r" step (\d+) loss", log.read_text()) if log.exists() else []
    return int(found[-1]) if found else 0


def saved(run: Path) -> int:
    return max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-??????"))


@contextlib.contextmanager
def program(*line: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a session of its own; nothing of it stays."""
    process = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended_well(command: Command, run: Path, code: int, word: str) -> None:
    """Exit code, one line with the step that is there, the record says stopped, nobody is left."""
    assert command.wait() == code
    (line,) = command.errors
    found = re.fullmatch(rf"deitft: error \[N3\]: stopped by {word}, saved step (\d+) — continue with (.*)", line)
    assert found, line
    assert found[2] == f"`deitft resume {run}`"
    assert int(found[1]) == saved(run)
    record = record_of(run)
    assert record["status"] == "stopped"
    assert [error["exit_code"] for error in record["errors"]] == [code]
    assert not (run / "lock").exists()
    assert not list((run / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word", "group", "workers"),
    [
        (signal.SIGTERM, 143, "SIGTERM", False, "0"),
        (signal.SIGTERM, 143, "SIGTERM", True, "1"),
        (signal.SIGUSR1, 75, "SIGUSR1", False, "1"),
    ],
)
def test_n3_in_the_middle_of_training_at_a_random_moment(
    number: signal.Signals,
    code: int,
    word: str,
    group: bool,
    workers: str,
    whole: Path,
    photos: Path,
    tmp_path: Path,
    zygote: Zygote,
) -> None:
    """From outside, to the process or to its whole group with the workers in it."""
    command = zygote.start(*words(photos, tmp_path, "a", workers=workers))
    run = tmp_path / "a"
    until(lambda: steps_of(run) > 0, 60, "no step is taken")
    time.sleep(random.uniform(0, 0.3))
    command.signal(number, group=group)
    sent = time.monotonic()
    ended_well(command, run, code, word)
    assert time.monotonic() - sent < 10
    deitft.resume(run, **HERE)
    assert fingerprints(run) == fingerprints(whole)


def test_n3_twice_is_as_once(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    command = zygote.start(*words(photos, tmp_path, "a"), at=("training", 3, "kill -TERM $PPID; kill -TERM $PPID"))
    time.sleep(0.05)
    ended_well(command, tmp_path / "a", 143, "SIGTERM")


LATE = pytest.param("looking at the val photos", marks=pytest.mark.slow)


@pytest.mark.parametrize("title", ["validating", LATE, "Reading photos", "Listing photos"])
def test_n3_in_every_other_phase(title: str, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """One line, 143, and a way on that is true."""
    command = zygote.start(*words(photos, tmp_path, "a"), at=(title, 0, "signal SIGTERM"))
    assert command.wait() == 143
    (line,) = command.errors
    assert line.startswith("deitft: error [N3]: stopped by SIGTERM, ")
    run = tmp_path / "a"
    if title.startswith(("Reading", "Listing")):
        assert not run.exists()
        assert "deitft resume" not in line
    else:
        assert line.endswith(f"continue with `deitft resume {run}`")
        assert saved(run) == (STEPS if title.startswith("looking") else 4)


def test_n3_while_the_report_is_written_the_run_is_finished(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """Seconds from the end nothing is gained by stopping."""
    quick = ("model.image_size=32", "train.length=2 steps", "train.batch=16")
    line = words(photos, tmp_path, "a", *quick)
    command = zygote.start(*line, at=("writing the report", 0, "signal SIGTERM"))
    assert command.wait() == 0
    assert record_of(tmp_path / "a")["status"] == "done"
    assert (tmp_path / "a" / "report.html").is_file()


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_n3_other_verbs_stop_too(verb: str, whole: Path, photos: Path, zygote: Zygote) -> None:
    line = [verb, str(whole), str(photos), "--batch", "4", "--threads", "1", "--workers", "0"]
    title = "evaluating" if verb == "evaluate" else "looking at photos"
    command = zygote.start(*line, at=(title, 8, "signal SIGTERM"))
    assert command.wait() == 143
    (error,) = command.errors
    assert error.startswith("deitft: error [N3]: stopped by SIGTERM, 8 of 96 photos were looked at")
    assert command.out == ""


def test_n3_control_without_a_signal(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    quick = ("model.image_size=32", "train.length=2 steps", "train.batch=16")
    command = zygote.start(*words(photos, tmp_path, "a", *quick, workers="1"))
    assert command.wait() == 0
    assert command.errors == []
    assert "N3" not in command.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_n3_while_the_program_starts(number: signal.Signals, code: int, photos: Path, tmp_path: Path) -> None:
    """In the seconds of the imports: its line and its exit code, and no run."""
    line = [sys.executable, "-m", "deitft", *words(photos, tmp_path / "runs", "a", model="deit_ti")]
    with program(*line) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        until(lambda: "libtorch" in maps.read_text(), 60, "torch is not loaded")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[-1].startswith(f"deitft: error [N3]: stopped by {number.name}")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_n3_a_program_started_by_a_shell(photos: Path, tmp_path: Path) -> None:
    """Everything real: `python -m deitft`, a shell that reads its exit code, SIGTERM to both of them."""
    line = [sys.executable, "-m", "deitft", *words(photos, tmp_path, "a", workers="1", model="deit_ti")]
    script = 'trap "" TERM; "$@"; echo "code $?"'
    run = tmp_path / "a"
    with program("bash", "-c", script, "bash", *line) as process:
        until(lambda: steps_of(run) > 1, 120, "no step is taken")
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert out == "code 143\n"
    assert err.splitlines()[-1].startswith(f"deitft: error [N3]: stopped by SIGTERM, saved step {saved(run)} ")
    assert err.count("deitft: error") == 1
    deitft.resume(run, **HERE)
    undisturbed = finetune(photos, tmp_path, "undisturbed", model="deit_ti").folder
    assert undisturbed is not None
    assert fingerprints(run) == fingerprints(undisturbed)
