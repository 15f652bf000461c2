"""A verb in a process of its own: one that fails, or runs out of memory, takes nothing else with it."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deitft.core.forked import how_it_ended
from deitft.core.lifeline import ASKED
from deitft.core.progress import StopFlag

_ERROR = re.compile(r"^deitft: error \[[^\]]+\]: (.*)$")
_LOOK_SECONDS = 0.2
_KEPT_LINES = 50
_HINTS = {9: ": out of memory, most likely"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended: its exit code, what it printed, and in a line why it failed ("" where it did not)."""

    code: int
    output: str
    why: str


def run_child(
    words: Sequence[str],
    *,
    stop: StopFlag,
    heard: Callable[[str], None],
    tick: Callable[[], None],
    ends: float = math.inf,
) -> Ended:
    """Run ``deitft WORDS`` to its end. ``heard`` gets each line of its talk, ``tick`` is called now and then.

    A stop is handed on as SIGTERM, and waited for: the child saves. It is stopped so, too, at ``ends``, a time of
    ``time.monotonic()``. It ends with this process, however that ends.
    """
    command = [sys.executable, "-m", "deitft", *words]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, ASKED: "1"},
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        start_new_session=True,  # Ctrl-C is for this process, which hands it on once
    ) as child:
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        printed: list[str] = []
        with _readers(child, last, printed, heard), _killed_on_error(child):
            told = False
            while child.poll() is None:
                if not told and (stop.by_signal or time.monotonic() >= ends):
                    child.terminate()
                    told = True
                tick()
                time.sleep(_LOOK_SECONDS)
    return Ended(code=child.returncode, output="".join(printed), why=_why(child.returncode, last))


@contextlib.contextmanager
def _readers(
    child: subprocess.Popen[str], last: deque[str], printed: list[str], heard: Callable[[str], None]
) -> Iterator[None]:
    """Both streams are read as they come: a full pipe would stop the child."""
    assert child.stdout is not None
    assert child.stderr is not None
    streams = child.stdout, child.stderr

    def talk() -> None:
        for line in streams[1]:
            last.append(line.rstrip("\n"))
            heard(line.rstrip("\n"))

    threads = [threading.Thread(target=talk), threading.Thread(target=lambda: printed.extend(streams[0]))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def _killed_on_error(child: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
        child.kill()
        raise


def _why(code: int, last: Sequence[str]) -> str:
    """The child's own error line, else how it ended."""
    if code == 0:
        return ""
    for line in reversed(last):
        if found := _ERROR.match(line):
            return found[1]
    return how_it_ended(code, _HINTS)
