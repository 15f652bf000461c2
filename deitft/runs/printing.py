"""Progress as plain lines: for notebooks, scripts, files and pipes."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from deitft.core.progress import Task
from deitft.errors import Notice
from deitft.reporting.visible import visible


def notice_line(notice: Notice) -> str:
    """What a user reads of a warning, or of a finding that is an error."""
    return f"deitft: {notice.severity} [{notice.id}]: {notice.line}"


def shown_text(shown: dict[str, float | str]) -> str:
    """Numbers beside a bar: "loss 1.234  lr 0.0005".

    >>> shown_text({"loss": 1.23456, "lr": 5e-5, "images/s": 1234.5})
    'loss 1.235  lr 5e-05  images/s 1,234'
    """
    return "  ".join(f"{name} {_figure(value)}" for name, value in shown.items())


def _figure(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def count_text(done: float, total: float | None, unit: str) -> str:
    """How far: "1,200 of 5,000 photos", or "1,200 photos" where the end is not known."""
    words = f"{done:,.0f}" if total is None else f"{done:,.0f} of {total:,.0f}"
    return f"{words} {unit}".rstrip()


class PrintProgress:
    """A ``Progress`` that prints: what a function says, its warnings, a line an epoch, and how far a long task is.

    ``file`` is where to, stderr unless given; ``every`` is how many seconds a task may be silent (0: never).

    >>> deitft.finetune("photos", progress=deitft.PrintProgress())  # doctest: +SKIP
    """

    def __init__(self, file: TextIO | None = None, *, every: float = 10.0) -> None:
        self.file, self.every = file, every

    def say(self, text: str) -> None:
        """A line."""
        print(visible(text), file=self.file or sys.stderr, flush=True)

    def warn(self, notice: Notice) -> None:
        """A line for a warning; an info stands in the report only."""
        if notice.severity != "info":
            self.say(notice_line(notice))

    def task(self, title: str, total: int | None = None, *, unit: str = "") -> AbstractContextManager[Task]:
        """No bar, but lines."""
        return nullcontext(PrintTask(self, title, total, unit))


class PrintTask:
    """A task of ``PrintProgress``: its lines, and now and then how far it is."""

    def __init__(self, owner: PrintProgress, title: str, total: int | None, unit: str) -> None:
        self.owner, self.title, self.total, self.unit = owner, title, total, unit
        self.done = 0
        self.shown: dict[str, float | str] = {}
        self.spoke = time.monotonic()

    def advance(self, count: int = 1, **shown: float | str) -> None:
        """Count; speak where nothing was said for a while."""
        self.done += count
        self.shown.update(shown)
        if time.monotonic() - self.spoke >= self.owner.every:
            words = f"{self.title}: {count_text(self.done, self.total, self.unit)}  {shown_text(self.shown)}"
            self.line(words.rstrip())

    def line(self, text: str) -> None:
        """A line."""
        self.spoke = time.monotonic()
        self.owner.say(text)
