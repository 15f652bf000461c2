"""A command in a process of its own, and what it took: seconds, processor seconds, memory, the machine's load."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ledger import RECORDS, Ledger

from deitft.compute.limits import high_water

SAMPLE_SECONDS = 1.0
"""Between two looks at the memory of a command and its children."""


def options(description: str | None, place: str) -> argparse.ArgumentParser:
    """The options that every long measurement has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder of data/ and weights/")
    parser.add_argument("--place", "--runs-dir", type=Path, default=Path(place), help="where runs are written")
    parser.add_argument("--threads", type=int, help="processor threads of every command; left out: all cores")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny settings, to try the script; its records stay under --place"
    )
    return parser


def ledger_of(asked: argparse.Namespace, topic: str) -> Ledger:
    """The records of a topic; those of a trial of the script are kept apart."""
    return Ledger(topic, asked.place / "records" if asked.smoke else RECORDS)


def deitft(*words: object) -> list[str]:
    """The command line of this checkout."""
    return [sys.executable, "-m", "deitft", *map(str, words)]


def shown(command: Sequence[str]) -> list[str]:
    """A command as a person would type it."""
    words = list(command)
    if words[:3] == [sys.executable, "-m", "deitft"]:
        return ["deitft", *words[3:]]
    return ["python", *words[1:]] if words[0] == sys.executable else words


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command took. ``cpu``: seconds of all its processes; ``memory``: its peak in bytes, where asked."""

    command: list[str]
    exit_code: int
    wall: float
    cpu: float
    load_before: float
    load_after: float
    memory: dict[str, int] = field(default_factory=dict)
    output: str = ""

    def record(self) -> dict[str, Any]:
        """Plain data for a ledger."""
        values: dict[str, Any] = {
            "command": self.command,
            "exit_code": self.exit_code,
            "seconds": {"command": self.wall, "cpu": self.cpu},
            "load_before": self.load_before,
            "load_after": self.load_after,
        }
        return values | ({"memory": self.memory} if self.memory else {})


def timed(
    command: Sequence[str],
    *,
    check: bool = True,
    capture: bool = False,
    memory: bool = False,
    log: Path | None = None,
    more_environment: Mapping[str, str] | None = None,
) -> Cost:
    """Run a command to its end. ``capture``: its standard output is handed back; ``log``: all goes to this file.

    Raises:
        subprocess.CalledProcessError: it failed, and ``check`` says that it must not.
    """
    print("$", " ".join(shown(command)), flush=True)
    before, load = _cpu(), os.getloadavg()[0]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(log.open("a")) if log else None
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE if capture else sink,
            stderr=subprocess.STDOUT if sink else None,
            env={**os.environ, **(more_environment or {})},
            text=True,
        )
        stack.callback(_end, process)
        peak = stack.enter_context(_watched(process.pid)) if memory else {}
        output = process.communicate()[0] or ""
    wall = time.monotonic() - began
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, shown(command))
    return Cost(
        command=shown(command),
        exit_code=process.returncode,
        wall=wall,
        cpu=_cpu() - before,
        load_before=load,
        load_after=os.getloadavg()[0],
        memory=dict(peak),
        output=output,
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Where the script itself is stopped, the command is given the time to save."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def _cpu() -> float:
    """User and system seconds of all children that have ended, their own children among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[dict[str, int]]:
    """The largest memory seen, in bytes: of the process alone, and of it and its children with shared pages
    counted for each of them (rss) and once (pss)."""
    peak = {"process": 0, "tree_rss": 0, "tree_pss": 0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                infos = []
                for one in (process, *process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        infos.append(one.memory_full_info())
                if infos:
                    now = (high_water(pid) or 0, sum(one.rss for one in infos), sum(one.pss for one in infos))
                    peak.update({name: max(peak[name], value) for name, value in zip(peak, now, strict=True)})

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def until(
    command: Sequence[str],
    done: Callable[[], bool],
    *,
    log: Path,
    more_environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command until ``done``, then ask it to end. All that it says goes to ``log``.

    Raises:
        RuntimeError: it ended before that.
    """
    print("$", " ".join(shown(command)), flush=True)
    with log.open("w") as sink:
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(more_environment or {})},
            text=True,
        )
        try:
            while not done():
                if process.poll() is not None and not done():
                    raise RuntimeError(f"ended with {process.returncode} before it was measured, see {log}")
                time.sleep(0.5)
        finally:
            _end(process)
