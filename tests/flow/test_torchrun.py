"""Everything real: torchrun, two processes, the command line in each. Slow: each imports torch and timm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from run_kit import record_of, until, words
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def torchrun(*line: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes of a command line, and their launcher; nothing of them stays."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "deitft", *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        try:
            yield process
        finally:
            for each in [*children(process.pid), psutil.Process(process.pid)] if process.poll() is None else ():
                with contextlib.suppress(psutil.Error):
                    each.kill()


def children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def rank_of(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error):
        return process.environ().get("RANK")
    return None


def test_two_processes_leave_the_run_of_one(photos: Path, whole: Path, tmp_path: Path) -> None:
    with torchrun(*words(photos, tmp_path, "a", workers="1")) as process:
        out, err = process.communicate(timeout=240)
    run = tmp_path / "a"
    assert process.returncode == 0, err
    assert out.count("Report ") == 1, "one of them talks"
    assert "Traceback" not in err
    assert record_of(run)["environment"]["processes"] == 2
    for name in ("val_top1", "best_step", "steps"):
        assert record_of(run)["result"][name] == record_of(whole)["result"][name]
    one, two = (load_file(folder / "last" / "model.safetensors") for folder in (whole, run))
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 1e-3


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_ends_all(rank: str, photos: Path, tmp_path: Path) -> None:
    log = tmp_path / "a" / "train.log"
    with torchrun(*words(photos, tmp_path, "a", "model.image_size=32", "train.length=4000 steps")) as process:
        until(lambda: log.exists() and " loss " in log.read_text(), 120, "no step is taken")
        (victim,) = [each for each in children(process.pid) if rank_of(each) == rank]
        victim.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1, "torchrun's own"
    assert err.count("deitft: error") == 1
    assert f"deitft: error [N5]: process {rank} of 2 died at step" in err
    assert "exitcode  : 75" in err
