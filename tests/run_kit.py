"""Whole runs, small: photos, settings, runs stopped at an exact place, command lines as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from small_net import SMALL

import deitft
from deitft.core.files import sha256_file
from deitft.core.progress import Progress, Silent, Task
from deitft.core.records import parse_csv_text
from deitft.errors import DeitftError
from deitft.runs.request import RunResult

CLASSES = ("dress", "hat", "shoe")

ONE_THREAD = {"threads": 1, "workers": 0, "precision": "fp32"}
"""What makes a run the same on every machine that tests it."""

STEPS = 12
EXACT = (
    "model.image_size=32",
    "model.drop_path=0.2",
    f"train.length={STEPS} steps",
    "train.batch=16",
    "train.micro_batch=8",
    "train.validate_every=4 steps",
    "train.patience=50",
    "mixing.mixup=0.8",
    "mixing.cutmix=1.0",
    "augment.erasing=0.25",
    "ema.decay=auto",
)
"""A run with everything in it that must be the same after a resume."""


def write_photos(root: Path, count: int = 32, *, classes: Sequence[str] = CLASSES, first: int = 0) -> Path:
    """``count`` photos a class: blots of the class's colour that differ from each other."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(1000 + number).integers(60, 195, 3)
        for photo in range(first, first + count):
            draw = np.random.default_rng((number, photo))
            pixels = draw.normal(colour, 45, (40, 48, 3)) + 40 * draw.normal(size=3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                root / name / f"{photo:04d}.jpg", quality=90
            )
    return root


def finetune(photos: Path, runs_dir: Path, name: str, *settings: str, **more: Any) -> RunResult:
    """A run from random weights in this process. Settings of ``EXACT`` unless others are given."""
    asked: dict[str, Any] = {"model": SMALL, "pretrained": False, **ONE_THREAD, **more}
    return deitft.finetune(photos, runs_dir=runs_dir, name=name, set=settings or EXACT, **asked)


def fingerprints(run: Path) -> dict[str, str]:
    """SHA-256 of a finished run's weights and predictions, and its rows of metrics, but for the clock."""
    files = ("best/model.safetensors", "last/model.safetensors", "predictions.csv", "predictions-val.csv")
    rows = parse_csv_text((run / "metrics.csv").read_text())
    seen = [{name: cell for name, cell in row.items() if "second" not in name} for row in rows]
    return {file: sha256_file(run / file) for file in files} | {"metrics.csv": json.dumps(seen)}


def record_of(run: Path) -> dict[str, Any]:
    """``run.json``."""
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record


# A place in a run, and something done there


class Watched:
    """A progress that does something once, when a task of this title has moved so far; the talk is kept."""

    def __init__(
        self, inner: Progress, title: str, count: int, act: Callable[[], object], *, time: int = 1
    ) -> None:
        self.inner, self.title, self.count, self.act = inner, title, count, act
        self.tasks_to_go = time
        self.done = False

    def say(self, text: str) -> None:
        self.inner.say(text)

    def warn(self, notice: Any) -> None:
        self.inner.warn(notice)

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None, *, unit: str = "") -> Iterator[Task]:
        with self.inner.task(title, total, unit=unit) as task:
            self.tasks_to_go -= title.startswith(self.title)
            ours = title.startswith(self.title) and self.tasks_to_go <= 0
            yield WatchedTask(self, task) if ours else task


class WatchedTask:
    """Counts how far its task is."""

    def __init__(self, watch: Watched, inner: Task) -> None:
        self.watch, self.inner, self.at = watch, inner, 0
        self._look()

    def advance(self, count: int = 1, **shown: float | str) -> None:
        self.inner.advance(count, **shown)
        self.at += count
        self._look()

    def line(self, text: str) -> None:
        self.inner.line(text)

    def _look(self) -> None:
        if self.at >= self.watch.count and not self.watch.done:
            self.watch.done = True
            self.watch.act()


def signal_at(title: str, count: int, number: int, *, time: int = 1) -> Watched:
    """A progress that sends this process a signal at a place of a run: in the ``time``-th task of a title."""
    return Watched(Silent(), title, count, lambda: os.kill(os.getpid(), number), time=time)


@contextlib.contextmanager
def fails(kind: type[DeitftError], id: str) -> Iterator[pytest.ExceptionInfo[DeitftError]]:
    """The block ends with this error, of exactly this exit code and id, told in one line."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.exit_code == kind.exit_code
    assert caught.value.id == id, caught.value.line
    assert "\n" not in caught.value.line


# Processes


@dataclass
class Command:
    """A command line at work as a process: its output in files, or on a terminal."""

    pid: int
    zygote: Zygote
    out_file: Path
    err_file: Path
    terminal: Terminal | None = None
    code: int | None = None

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to it and all its workers."""
        if group:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code, negative for the signal that killed it; no process of its session is left."""
        until(self.ended, seconds, "the command does not end")
        if self.terminal is not None:
            self.terminal.close()
        until(lambda: not self.left(), 5, "processes are left")
        assert self.code is not None
        return self.code

    def ended(self) -> bool:
        """Whether the process is gone; others of its session may be there."""
        if self.code is None:
            self.code = self.zygote.ask({"wait": self.pid})
        return self.code is not None

    def end(self) -> None:
        """Whatever became of its test: no process and no terminal stays."""
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(self.ended, 20, "the command cannot be killed")
        if self.terminal is not None:
            self.terminal.close()

    def left(self) -> list[int]:
        """Living processes of its session."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(pid) == self.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found

    @property
    def out(self) -> str:
        """What it said on stdout, or on its terminal."""
        return self.terminal.text if self.terminal else self.out_file.read_text()

    @property
    def err(self) -> str:
        """What it said on stderr."""
        return self.err_file.read_text()

    @property
    def errors(self) -> list[str]:
        """Lines that tell of an error."""
        lines = (self.out if self.terminal else self.err).replace("\r", "\n").splitlines()
        return [line for line in lines if "deitft: error" in line or "Traceback" in line]


class Terminal:
    """Our end of a pseudo-terminal; what comes is read all the time."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.name = os.ttyname(theirs)
        self._theirs: int | None = theirs
        self._received = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self.ours, 65536):
                self._received += piece

    @property
    def text(self) -> str:
        """All that it was sent."""
        return self._received.decode("utf-8", "replace")

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self.ours, keys)

    def close(self) -> None:
        """Read to the end."""
        if self._theirs is not None:
            os.close(self._theirs)
            self._theirs = None
            self._reader.join(5)
            os.close(self.ours)


@dataclass
class Zygote:
    """Starts command lines as forks of a process that has imported everything."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    started: int = 0
    commands: list[Command] = field(default_factory=list)
    """Those of the test at work."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        here = Path(__file__).parent
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(here / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # what is sent to the tests is not for it
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> Any:
        """One request, one answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        *words: object,
        cwd: Path | None = None,
        terminal: bool = False,
        at: tuple[str, int, str] | None = None,
        no_rights: bool = False,
        before: Sequence[str] = (),
        own_mounts: bool = False,
        patch: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        call: str = "",
    ) -> Command:
        """Begin a command line, or ``call`` ("module:function" of the tests) with the words.

        ``at``: (title of a task, how far, "signal SIGKILL" or a shell command); after a signal's name "group"
        sends it to the workers, too, "twice" again after 0.4 s, and "slow" makes what comes after last a minute.

        ``before``: shell commands that the process runs first; ``no_rights``: file modes hold for it;
        ``own_mounts``: it has mounts that nobody else sees; ``patch``: other values for constants; ``env``: more
        of the environment.
        """
        self.started += 1
        base = self.folder / f"command-{self.started}"
        tty = Terminal() if terminal else None
        request = {
            "words": [str(word) for word in words],
            "cwd": str(cwd or self.folder),
            "out": f"{base}.out",
            "err": f"{base}.err",
            "tty": tty.name if tty else None,
            "env": {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "TERM": "xterm-256color",
                "COLUMNS": "200",
                **(env or {}),
            },
            "at": at,
            "no_rights": no_rights,
            "own_mounts": own_mounts,
            "before": list(before),
            "patch": dict(patch or {}),
            "call": call,
        }
        pid = self.ask(request)
        self.commands.append(Command(pid, self, Path(f"{base}.out"), Path(f"{base}.err"), tty))
        return self.commands[-1]

    def several(self, count: int, *words: object, **more: Any) -> list[Command]:
        """The same in ``count`` processes that train together, as ``torchrun`` starts them, by rank."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return [
            self.start(*words, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **more)
            for rank in range(count)
        ]

    def tidy(self) -> None:
        """End what a test has left."""
        while self.commands:
            self.commands.pop().end()

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.005)


def words(photos: Path, runs_dir: Path, name: str, *settings: str, **options: str) -> list[str]:
    """The command line of ``finetune``."""
    line = ["finetune", str(photos), "--model", SMALL, "--no-pretrained", "--precision", "fp32"]
    line += ["--threads", "1", "--workers", options.pop("workers", "0"), "--runs-dir", str(runs_dir)]
    line += ["--name", name]
    for setting in settings or EXACT:
        line += ["--set", setting]
    for option, value in options.items():
        line += [f"--{option.replace('_', '-')}", *([value] if value else [])]
    return line
