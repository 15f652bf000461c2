"""N4: Ctrl-C once saves and ends; twice ends at once; the terminal is as it was."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from run_kit import STEPS, Command, Zygote, fingerprints, record_of, until, words

import deitft

HERE = {"device": "cpu", "threads": 1}
PROMISE = "press Ctrl-C again to stop without saving"


def plain(command: Command) -> str:
    """What the terminal showed, without what moves its cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", command.out).replace("\r", "\n")


def in_training(command: Command, run: Path) -> None:
    until(lambda: (run / "checkpoints").is_dir() or (run / "train.log").exists(), 60, "training does not begin")
    assert command.left()


def saved(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-??????"))


def ended(command: Command, seconds: float) -> None:
    """130, one line, a cursor that is there, nobody left, no word of python's or of the workers."""
    before = time.monotonic()
    assert command.wait() == 130
    assert time.monotonic() - before < seconds
    (line,) = command.errors
    assert "deitft: error [N4]: stopped by Ctrl-C" in line
    assert command.out.count("\x1b[?25l") == command.out.count("\x1b[?25h")
    for word in ("Traceback", "KeyboardInterrupt", "Exception ignored", "Process ", "Aborted"):
        assert word not in plain(command), plain(command)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_n4_once(workers: str, whole: Path, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """A key on a real terminal: the whole group gets the signal, workers too."""
    command = zygote.start(*words(photos, tmp_path, "a", workers=workers), terminal=True)
    run = tmp_path / "a"
    in_training(command, run)
    assert command.terminal is not None
    command.terminal.press(b"\x03")
    ended(command, 20)
    assert PROMISE in plain(command)
    (line,) = command.errors
    assert f"saved step {saved(run)[-1]} — continue with `deitft resume {run}`" in line
    assert record_of(run)["status"] == "stopped"
    deitft.resume(run, **HERE)
    assert fingerprints(run) == fingerprints(whole)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_n4_twice_ends_within_two_seconds(workers: str, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """In a step that would last a minute: the second key on a real terminal, to the process and its workers."""
    line = words(photos, tmp_path, "a", workers=workers)
    command = zygote.start(*line, terminal=True, at=("training", 6, "signal SIGINT slow"))
    until(lambda: PROMISE in plain(command), 60, "the first key is not answered")
    before = saved(tmp_path / "a")
    assert command.terminal is not None
    pressed = time.monotonic()
    command.terminal.press(b"\x03")
    until(command.ended, 60, "it does not end")
    seconds = time.monotonic() - pressed
    print(f"\nCtrl-C twice, {workers} workers: gone after {seconds:.3f} s")
    ended(command, 5)
    assert seconds < 5  # two on a machine with nothing else to do
    assert "without saving" in plain(command)
    assert saved(tmp_path / "a") == before
    assert not list((tmp_path / "a" / "checkpoints").glob(".*"))
    assert record_of(tmp_path / "a")["status"] == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_n4_twice_within_a_second(workers: str, whole: Path, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """Ends within two seconds without saving; the last checkpoint is whole, and the run goes on from it."""
    first = zygote.start(*words(photos, tmp_path, "a"), at=("training", 3, "signal SIGTERM"))
    assert first.wait() == 143
    run = tmp_path / "a"
    before = saved(run)
    line = ["resume", run, "--workers", workers, "--threads", "1"]
    again = zygote.start(*line, terminal=True, at=("training", before[-1] + 2, "signal SIGINT group twice"))
    until(lambda: PROMISE in plain(again), 60, "the first key is not answered")
    ended(again, 0.4 + 2)  # the second key comes 0.4 s after the first
    assert "without saving" in plain(again)
    assert saved(run) == before
    assert not list((run / "checkpoints").glob("step*.damaged"))
    assert record_of(run)["status"] == "stopped"
    deitft.resume(run, **HERE)
    assert fingerprints(run) == fingerprints(whole)


LATE = pytest.param("looking at the test photos", marks=pytest.mark.slow)


@pytest.mark.parametrize("title", ["validating", LATE, "Reading photos"])
def test_n4_in_other_phases(title: str, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    command = zygote.start(*words(photos, tmp_path, "a"), terminal=True, at=(title, 0, "signal SIGINT group"))
    ended(command, 60)
    if title.startswith("looking"):
        assert saved(tmp_path / "a")[-1] == STEPS


@pytest.mark.parametrize("title", ["validating", LATE, "Reading photos", "training"])
def test_n4_twice_in_every_phase(title: str, photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """The second key at the same instant: no phase swallows it, nothing is half there."""
    twice = "signal SIGINT group twice"
    command = zygote.start(*words(photos, tmp_path, "a"), terminal=True, at=(title, 1, twice))
    ended(command, 60)
    folder = tmp_path / "a" / "checkpoints"
    assert not folder.is_dir() or not list(folder.glob(".*"))


def test_n4_the_terminal_is_as_it_was(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    command = zygote.start(*words(photos, tmp_path, "a"), terminal=True)
    assert command.terminal is not None
    before = termios.tcgetattr(command.terminal.ours)
    in_training(command, tmp_path / "a")
    command.terminal.press(b"\x03")
    until(lambda: command.ended(), 60, "it does not end")
    assert termios.tcgetattr(command.terminal.ours) == before
    command.wait()
    assert "saved step" in command.out


def test_n4_off_a_terminal_too(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    command = zygote.start(*words(photos, tmp_path, "a"), at=("training", 2, "signal SIGINT"))
    assert command.wait() == 130
    assert PROMISE in command.err
    (line,) = command.errors
    assert re.match(r"deitft: error \[N4\]: stopped by Ctrl-C, saved step \d+ — ", line)
    assert command.out == ""


def test_n4_while_the_program_is_loaded(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "deitft"
    for pause in (0.15, 0.3, 0.5, 0.8):
        process = subprocess.Popen(
            [program, "check", "nothing-here"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert "deitft/cli" not in err
        if process.returncode == -signal.SIGINT or "Traceback" in err or "init_import_site" in err:
            continue  # python had not come to us yet
        assert out == ""
        assert len(err.splitlines()) == 1, err
        assert process.returncode in (130, 66)  # 66: it was through before
