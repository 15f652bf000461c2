"""Progress on a real (pseudo) terminal, and off one."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

HOSTILE = "red\x1b]52;c;cm0=\x07\u202e[/bold][red]\x9b31m"

SCRIPT = """
import sys, time
from deitft.cli.bars import open_progress
from deitft.errors import Notice
name = {name!r}
with open_progress(quiet={quiet}, idle="loading torch …") as progress:
    time.sleep({before})
    progress.say("said " + name)
    progress.warn(Notice(id="D2", severity="warning", text="warned " + name))
    progress.warn(Notice(id="D5", severity="info", text="counted only"))
    with progress.task("training " + name, 4, unit="photos") as task:
        for step in range(4):
            task.advance(1, loss=1.23456, lr=2.5e-4, where=name)
            time.sleep(0.15)
        task.line("epoch 1 " + name)
    with progress.task("packing") as task:
        task.advance(2)
        time.sleep(0.15)
print("data")
"""


def watch(tmp_path: Path, before: float = 0.0, quiet: bool = False, **env: str) -> tuple[str, list[float]]:
    """All that a terminal receives, and when it received something."""
    ours, theirs = pty.openpty()
    script = SCRIPT.format(name=HOSTILE, before=before, quiet=quiet)
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env={**clean, "TERM": "xterm-256color", "COLUMNS": "200", **env},
    )
    os.close(theirs)
    received, times = b"", [time.monotonic()]
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        received += piece
        times.append(time.monotonic())
    os.close(ours)
    assert process.wait(timeout=20) == 0
    return received.decode(), times


def test_a_terminal_sees_bars_numbers_and_lines_that_stay(tmp_path) -> None:
    seen, _ = watch(tmp_path)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert "4 of 4 photos" in plain
    assert "loss 1.235  lr 0.00025" in plain
    assert "packing" in plain
    assert "2 " in plain
    assert "epoch 1 red" in plain
    assert "deitft: warning [D2]: warned red" in plain
    assert "counted only" not in plain
    assert seen.endswith("data\r\n")
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") > 0  # the cursor is back


def test_S5_a_terminal_never_receives_what_a_name_asks_of_it(tmp_path) -> None:
    seen, _ = watch(tmp_path)
    assert "\x1b]" not in seen  # no window title, no clipboard, no link
    assert not re.search("[\x00-\x07\x9b\x7f\u202a-\u202e]", seen)
    assert "red\\x1b]52;c;cm0=\\x07\\u202e[/bold][red]\\x9b31m" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)


def test_a_terminal_is_never_silent_for_three_seconds(tmp_path) -> None:
    seen, times = watch(tmp_path, before=4.0)
    assert "loading torch …" in seen
    longest = max(after - before for before, after in pairwise(times))
    assert longest < 3.0  # without the spinner nothing comes for four


def test_no_color_is_honoured(tmp_path) -> None:
    colour = r"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7])[;m]"
    assert re.search(colour, watch(tmp_path)[0])
    assert not re.search(colour, watch(tmp_path, NO_COLOR="1")[0])


def test_a_dumb_terminal_gets_plain_lines(tmp_path) -> None:
    seen, _ = watch(tmp_path, TERM="dumb")
    assert "\x1b" not in seen
    assert "said red\\x1b]52" in seen


def test_quiet_leaves_warnings_and_data(tmp_path) -> None:
    seen, _ = watch(tmp_path, quiet=True)
    lines = seen.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("deitft: warning [D2]: warned red")
    assert lines[1] == "data"
