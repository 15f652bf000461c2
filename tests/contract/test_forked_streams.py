"""A process forked while another thread writes to the terminal: the child ends all the same."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from stream_sample import train_plan, write_photos

from deitft.core.progress import Silent
from deitft.data.inspect import inspect
from deitft.data.scan import scan
from deitft.data.stream import TrainStream
from deitft.models.read_state import read_state


class Slow(io.RawIOBase):
    """A terminal that takes nothing for a while."""

    def __init__(self) -> None:
        self.writing, self.go_on = threading.Event(), threading.Event()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.writing.set()
        self.go_on.wait()
        return len(bytes(data))  # type: ignore[call-overload]


_before_fork: list[Slow] = []


def _write_now() -> None:
    """The worst moment: the stream's lock is taken after the last flush and before the fork."""
    for slow in _before_fork:
        if not slow.writing.is_set():
            threading.Thread(target=lambda: (sys.stderr.write("x" * 100_000), sys.stderr.flush())).start()
            slow.writing.wait()


def _written() -> None:
    for slow in _before_fork:
        slow.go_on.set()


os.register_at_fork(before=_write_now, after_in_parent=_written)


@contextlib.contextmanager
def busy_stderr() -> Iterator[None]:
    """In the body of a test: pytest puts its own stream back between a fixture and the test."""
    slow, before = Slow(), sys.stderr
    sys.stderr = stream = io.TextIOWrapper(io.BufferedWriter(slow))
    _before_fork.append(slow)
    try:
        yield
    finally:
        sys.stderr = before
        _before_fork.clear()
        slow.go_on.set()
    assert slow.writing.is_set()  # else nothing was tested
    stream.close()


@pytest.mark.timeout(20)
def test_photos_are_read(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    listed = scan(tmp_path / "photos", progress=Silent())
    with busy_stderr():
        catalog = inspect(listed, workers=1, progress=Silent(), cache_dir=None)
    assert not catalog.bad


@pytest.mark.timeout(20)
def test_data_workers_leave_at_once(tmp_path: Path) -> None:
    running = TrainStream(train_plan(workers=1), write_photos(tmp_path, 10)).from_step(0, 500)
    with busy_stderr():
        next(running)
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 4.5


@pytest.mark.timeout(20)
def test_foreign_weights_are_read(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "weights.pth")
    with busy_stderr():
        state = read_state(tmp_path / "weights.pth")
    assert state["weight"].sum() == 3
