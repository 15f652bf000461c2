"""What a long job reports, and how it is asked to stop. The command line brings the bar.

Library code takes a ``Progress`` and never prints. ``Silent`` is the one for callers who want no talk.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from deitft.errors import DeitftError, InterruptError, Notice, StoppedError, TerminatedError


class Task(Protocol):
    """One bar: it moves, and shows a few numbers beside itself."""

    def advance(self, count: int = 1, **shown: float | str) -> None:
        """Move by ``count``; ``shown`` (loss, lr, images/s …) stands beside the bar until replaced."""
        ...

    def line(self, text: str) -> None:
        """A line that stays: one an epoch, say. Off a terminal it is all there is."""
        ...


class Progress(Protocol):
    """What library code reports to."""

    def say(self, text: str) -> None:
        """A plain line of talk."""
        ...

    def warn(self, notice: Notice) -> None:
        """A warning (one line on stderr) or an info (in the report only)."""
        ...

    def task(self, title: str, total: int | None = None, *, unit: str = "") -> AbstractContextManager[Task]:
        """A bar for the length of a ``with`` block; without ``total`` a spinner."""
        ...


class SilentTask:
    """A ``Task`` that shows nothing."""

    def advance(self, count: int = 1, **shown: float | str) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""


@dataclass
class Silent:
    """A ``Progress`` that shows nothing and remembers what it was told."""

    said: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Remember a line."""
        self.said.append(text)

    def warn(self, notice: Notice) -> None:
        """Remember a notice."""
        self.notices.append(notice)

    def task(self, title: str, total: int | None = None, *, unit: str = "") -> AbstractContextManager[Task]:
        """A bar that shows nothing."""
        return nullcontext(SilentTask())


@dataclass
class StopFlag:
    """Set by a signal or a deadline, read at safe points. True when the run should end.

    ``reason`` is "SIGINT", "SIGTERM", "SIGUSR1" or "time limit".
    """

    reason: str | None = None
    deadline: float | None = None
    """``time.monotonic()`` after which the flag is set by itself."""
    seen: int = 0

    def __bool__(self) -> bool:
        if self.reason is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.reason = "time limit"
        return self.reason is not None

    @property
    def by_signal(self) -> bool:
        """True when somebody asked for the end, in contrast to a time limit that the plan knew of."""
        return bool(self) and self.reason != "time limit"

    def error(self, what: str, hint: str) -> DeitftError:
        """The error of the right exit code for this reason."""
        kinds: dict[str | None, type[StoppedError]] = {"SIGINT": InterruptError, "SIGTERM": TerminatedError}
        kind = kinds.get(self.reason, StoppedError)
        word = {"SIGINT": "Ctrl-C"}.get(self.reason or "", self.reason)
        return kind(f"stopped by {word}, {what}", hint, id="N4" if self.reason == "SIGINT" else "N3")


@contextmanager
def catch_stop_signals(stop: StopFlag, progress: Progress) -> Iterator[StopFlag]:
    """Turn the first SIGINT, SIGTERM or SIGUSR1 into a set flag; a second SIGINT raises KeyboardInterrupt.

    Does nothing outside the main thread (python allows handlers only there): a notebook's kernel is fine.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    speaking: list[threading.Thread] = []

    def handle(number: int, frame: FrameType | None) -> None:
        stop.seen += 1
        if stop.reason is not None and stop.reason != "time limit" and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.reason = signal.Signals(number).name
        if number == signal.SIGINT:
            # By somebody else: the signal may have come in the middle of a line, and no stream is entered twice.
            words = ("stopping after this step … press Ctrl-C again to stop without saving",)
            speaking.append(threading.Thread(target=progress.say, args=words, daemon=True))
            speaking[-1].start()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGUSR1"):
        numbers.append(signal.SIGUSR1)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for thread in speaking:
            thread.join(1)
