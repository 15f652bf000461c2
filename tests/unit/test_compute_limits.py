"""Cores, memory and features as the system's files give them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deitft.compute import limits
from deitft.compute.limits import (
    available_cores,
    cgroup_folders,
    cpu_flags,
    cpu_quota,
    high_water,
    memory_limit,
    physical_cores,
    resident_peak,
)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_cores_of_this_machine() -> None:
    assert 1 <= available_cores() <= (psutil.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_respected() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from deitft.compute.limits import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"


def test_without_affinity_the_physical_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(limits, "cpu_quota", lambda: math.inf)
    assert available_cores() == (psutil.cpu_count(logical=False) or 1)


def test_a_quota_below_the_cores_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "cpu_quota", lambda: 0.25)
    assert available_cores() == 1


def test_two_threads_of_one_core_are_one(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {f"cpu{number}/topology/thread_siblings_list": f"{number % 4},{number % 4 + 4}\n" for number in range(8)},
    )
    assert physical_cores(range(8), root) == 4
    assert physical_cores([0, 4], root) == 1
    assert physical_cores([0, 1, 99], root) == 3


@pytest.mark.parametrize(
    ("own", "files", "cores", "memory"),
    [
        ("0::/\n", {}, math.inf, sys.maxsize),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, math.inf, sys.maxsize),
        ("0::/\n", {"cpu.max": "150000 100000\n", "memory.max": "1000\n"}, 1.5, 1000),
        # A job below a slice: the limit may stand at any height, the least of them counts.
        (
            "0::/slice/job/step\n",
            {"slice/job/cpu.max": "400000 100000", "slice/cpu.max": "200000 100000", "slice/job/memory.max": "77"},
            2.0,
            77,
        ),
        # Version 1, controllers mounted together or alone.
        (
            "4:memory:/box\n2:cpu,cpuacct:/box/a\n",
            {
                "cpu,cpuacct/box/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
                "memory/box/memory.limit_in_bytes": "88",
            },
            3.0,
            88,
        ),
        (
            "2:cpu:/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "99",
            },
            math.inf,
            99,
        ),
    ],
)
def test_cgroups(tmp_path: Path, own: str, files: dict[str, str], cores: float, memory: int) -> None:
    root = tree(tmp_path / "sys", {"x": "", **files})
    (tmp_path / "own").write_text(own)
    assert cpu_quota(root, tmp_path / "own") == cores
    assert memory_limit(root, tmp_path / "own") == memory


def test_a_cgroup_path_cannot_lead_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/../../etc\n")
    folders = list(cgroup_folders("cpu", tmp_path / "sys", tmp_path / "own"))
    assert folders == [tmp_path / "sys", tmp_path / "sys" / "cpu"]
    assert list(cgroup_folders("cpu", tmp_path / "sys", tmp_path / "none"))[-1] == tmp_path / "sys" / "cpu"


def test_flags(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nflags\t: other\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "avx512_bf16"}
    assert cpu_flags(tmp_path / "none") == frozenset()
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    assert cpu_flags(tmp_path / "cpuinfo") == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the peak of a process by itself")
def test_the_peak_of_a_process_is_not_its_parents() -> None:
    """A child of a large process is small, and knows it without torch; getrusage would not."""
    code = (
        "import os, subprocess, sys\n"
        "from deitft.compute.limits import resident_peak\n"
        "if len(sys.argv) > 1: print(resident_peak(), 'torch' in sys.modules); raise SystemExit\n"
        "block = bytearray(b'x') * (3 * 10**8)\n"
        "print(resident_peak(), flush=True)\n"
        "subprocess.run([sys.executable, '-c', os.environ['CODE'], 'child'], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"CODE": code},
    )
    parent, child, torch = done.stdout.split()
    assert int(parent) > 3 * 10**8
    assert 10**6 < int(child) < 2 * 10**8
    assert torch == "False"


def test_the_peak_of_nobody() -> None:
    assert high_water(2**30) is None
    assert resident_peak() > 10**6
