"""N5: where a process that trains along is killed, stopped or fails, all end: one line, the last step saved.

(A worker that reads photos: tests/unit/test_data_stream.py and tests/contract/test_data_workers.py.)
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import numpy as np
import pytest
from run_kit import STEPS, Zygote, record_of, until, words
from safetensors.numpy import load_file

import deitft


def steps_of(run: Path) -> int:
    log = run / "train.log"
    found = re.findall(r" step (\d+) loss", log.read_text()) if log.exists() else []
    return int(found[-1]) if found else 0


def test_n5_a_killed_process_ends_the_others_and_one_goes_on(
    photos: Path, whole: Path, tmp_path: Path, zygote: Zygote
) -> None:
    """What two processes began, one process finishes: the same run but for the order of sums (C11)."""
    leader, other = zygote.several(2, *words(photos, tmp_path, "a"))
    run = tmp_path / "a"
    until(lambda: steps_of(run) > 0, 60, f"no step is taken: {leader.err}")
    other.signal(signal.SIGKILL)
    assert leader.wait(30) == 75
    assert other.wait() == -9
    (line,) = leader.errors
    found = re.fullmatch(
        r"deitft: error \[N5\]: process 1 of 2 died at step (\d+) — all stopped, last saved step (\d+) — "
        "run the same command with --resume",
        line,
    )
    assert found, line
    assert int(found[2]) in (int(found[1]) - 1, int(found[1]))
    assert other.err == ""
    record = record_of(run)
    assert (record["status"], record["environment"]["processes"]) == ("stopped", 2)
    assert [error["id"] for error in record["errors"]] == ["N5"]
    deitft.resume(run, device="cpu", threads=1)
    assert record_of(run)["result"]["steps"] == STEPS
    again, before = (load_file(folder / "last" / "model.safetensors") for folder in (run, whole))
    assert max(float(np.abs(again[name] - before[name]).max()) for name in before) < 1e-3


@pytest.mark.slow
def test_n5_without_its_leader_another_tells_it(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    leader, other = zygote.several(2, *words(photos, tmp_path, "a"))
    until(lambda: steps_of(tmp_path / "a") > 0, 60, "no step is taken")
    leader.signal(signal.SIGKILL)
    assert other.wait(30) == 75
    (line,) = other.errors
    assert line.startswith("deitft: error [N5]: ")


@pytest.mark.slow
def test_n5_a_stopped_process_is_missed(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """It is not dead, so no connection breaks: the others miss its voice."""
    quickly = {"deitft.compute.watch.LOST_BEATS": 3}
    leader, other = zygote.several(2, *words(photos, tmp_path, "a"), patch=quickly)
    until(lambda: steps_of(tmp_path / "a") > 0, 60, "no step is taken")
    other.signal(signal.SIGSTOP)
    assert leader.wait(30) == 75
    (line,) = leader.errors
    assert line.startswith("deitft: error [N5]: process 1 of 2 gave no sign of life")
    other.signal(signal.SIGKILL)


@pytest.mark.slow
def test_n5_an_error_of_the_leader_ends_all_with_its_code(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    line = words(photos, tmp_path, "a", "train.batch=18", "mixing.mixup=0.8", "model.image_size=32")
    commands = zygote.several(2, *line)
    assert [command.wait() for command in commands] == [78, 78]
    (error,) = commands[0].errors
    assert error.startswith("deitft: error [C11]: a global batch of 18 cannot be cut into even, equal shares")
    assert commands[1].err == ""
