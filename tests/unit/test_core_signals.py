"""Signals as a flag: the first is noted, the second Ctrl-C ends, and neither trips over what it interrupts."""

from __future__ import annotations

import io
import os
import signal
import threading
import time

import pytest

from deitft.core.progress import Silent, StopFlag, catch_stop_signals
from deitft.errors import InterruptError, StoppedError, TerminatedError

PROMISE = "stopping after this step … press Ctrl-C again to stop without saving"


class InterruptedPipe(io.RawIOBase):
    """A slow file: Ctrl-C comes while it takes a line."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        line = bytes(data)  # type: ignore[call-overload]
        if not self.lines:
            self.lines.append(b"")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        self.lines.append(line)
        return len(line)


class Lines(Silent):
    """A progress that writes to a buffered stream, as stderr is."""

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__()
        self.stream = io.BufferedWriter(file)

    def say(self, text: str) -> None:
        self.stream.write(text.encode() + b"\n")
        self.stream.flush()


def test_ctrl_c_in_the_middle_of_a_line() -> None:
    """A stream refuses to be entered a second time by the same thread; the promise comes after the line."""
    pipe, stop = InterruptedPipe(), StopFlag()
    progress = Lines(pipe)
    with catch_stop_signals(stop, progress):
        progress.say("a line")
    assert stop.reason == "SIGINT"
    assert b"".join(pipe.lines).decode() == f"a line\n{PROMISE}\n"


@pytest.mark.parametrize(
    ("number", "kind", "code", "said"),
    [
        (signal.SIGINT, InterruptError, 130, [PROMISE]),
        (signal.SIGTERM, TerminatedError, 143, []),
        (signal.SIGUSR1, StoppedError, 75, []),
    ],
)
def test_the_first_signal_is_noted(number: signal.Signals, kind: type, code: int, said: list[str]) -> None:
    progress, stop = Silent(), StopFlag()
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with catch_stop_signals(stop, progress):
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
    assert (stop.reason, stop.by_signal, stop.seen, progress.said) == (number.name, True, 1, said)
    error = stop.error("saved step 3", "go on")
    assert (type(error), error.exit_code) == (kind, code)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_ends_at_once(first: signal.Signals) -> None:
    stop = StopFlag()

    def send() -> None:
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGTERM)  # this one never ends anything by itself
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt), catch_stop_signals(stop, Silent()):
        send()
    assert stop.seen == 3


def test_the_first_ctrl_c_after_a_time_limit_saves() -> None:
    stop = StopFlag(deadline=0.0)
    assert stop
    assert not stop.by_signal
    with catch_stop_signals(stop, Silent()):
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.reason == "SIGINT"


def test_other_threads_have_no_handlers() -> None:
    found: list[object] = []

    def work() -> None:
        with catch_stop_signals(StopFlag(), Silent()):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
