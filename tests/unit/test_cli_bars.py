from __future__ import annotations

import re
import time

import pytest

from deitft.cli import bars, console
from deitft.errors import Notice

WARNING = Notice(id="D2", severity="warning", text="2 photos\x1b are bad", hint="mend them")
INFO = Notice(id="D5", severity="info", text="counted")


def test_quiet_says_warnings_only(capsys) -> None:
    with bars.open_progress(quiet=True, idle="x") as progress:
        progress.say("talk")
        progress.warn(WARNING)
        progress.warn(INFO)
        with progress.task("training", 3) as task:
            task.advance(3, loss=1.0)
            task.line("epoch 1")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "deitft: warning [D2]: 2 photos\\x1b are bad — mend them\n")


def test_off_a_terminal_there_are_lines(capsys) -> None:
    with bars.open_progress(quiet=False, idle="loading") as progress:
        progress.say("talk\x1b")
        progress.warn(WARNING)
        with progress.task("training", 3) as task:
            for _ in range(3):
                task.advance(1, loss=1.0)
            task.line("epoch 1: loss 1.0")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "talk\\x1b",
        "deitft: warning [D2]: 2 photos\\x1b are bad — mend them",
        "epoch 1: loss 1.0",
    ]


def test_off_a_terminal_a_long_task_speaks_now_and_then(capsys, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with (
        bars.open_progress(quiet=False, idle="x") as progress,
        progress.task("checking photos", 1000, unit="photos") as task,
    ):
        for _ in range(100):
            clock[0] += 1.0
            task.advance(10, damaged=2)
    assert capsys.readouterr().err.splitlines() == [
        f"checking photos: {count} of 1,000 photos  damaged 2" for count in (300, 600, 900)
    ]


@pytest.fixture
def terminal(monkeypatch) -> None:
    """Let the streams count as terminals."""
    monkeypatch.setattr(bars, "on_terminal", lambda stream: True)
    monkeypatch.setattr(console, "on_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "160")


def test_on_a_terminal_there_is_one_live_display(terminal, capsys) -> None:
    with bars.open_progress(quiet=False, idle="loading torch …") as progress:
        assert isinstance(progress, bars.Bars)
        live = progress.live
        assert [task.visible for task in live.tasks] == [True]
        progress.say("said [red]x[/red]\x1b")
        progress.warn(WARNING)
        progress.warn(INFO)
        with progress.task("training \x1b", 4, unit="photos") as task:
            task.advance(1, loss=0.5, which="[bold]")
            task.advance(2)
            task.advance(1, lr=1e-3)
            bar = live.tasks[-1]
            assert (bar.completed, bar.total, bar.description) == (4, 4, "training \\x1b")
            assert bar.fields["shown"] == "loss 0.5  which [bold]  lr 0.001"
            assert [item.visible for item in live.tasks] == [False, True]  # the spinner makes room
            with progress.task("validating") as inner:
                inner.advance()
                assert len(live.tasks) == 3
            assert [item.visible for item in live.tasks] == [False, True]
            task.line("epoch 1")
            live.refresh()
        assert [(item.visible, item.description) for item in live.tasks] == [(True, "working …")]
    out, err = capsys.readouterr()
    assert out == ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert "said [red]x[/red]\\x1b" in plain
    assert "deitft: warning [D2]: 2 photos\\x1b are bad — mend them" in plain
    assert "counted" not in plain
    assert "epoch 1" in plain
    assert "4 of 4 photos loss 0.5  which [bold]  lr 0.001" in plain


@pytest.mark.parametrize("quiet", [True, False])
def test_a_warning_wraps_beside_its_label_on_a_terminal_and_nowhere_else(quiet, monkeypatch, capsys) -> None:
    text = "2 photos are bad, first: train/some-folder/some-photo.jpg and train/another/photo.jpg, both too large"
    long = Notice(id="D12", severity="warning", text=text, hint="compare them")
    with bars.open_progress(quiet=quiet, idle="x") as progress:
        progress.warn(long)
    assert capsys.readouterr().err == f"deitft: warning [D12]: {text} — compare them\n"
    for module in (bars, console):
        monkeypatch.setattr(module, "on_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    with bars.open_progress(quiet=quiet, idle="x") as progress:
        progress.warn(long)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = [line.rstrip() for line in plain.splitlines() if "photo" in line or "them" in line]
    assert lines[0].startswith("deitft: warning [D12]: 2 photos are bad")
    assert len(lines) == 3
    assert all(line.startswith(" " * 23) and line[23] != " " for line in lines[1:])
    assert max(map(len, lines)) <= 80


def test_a_failing_task_takes_its_bar_away(terminal) -> None:
    with bars.open_progress(quiet=False, idle="x") as progress:
        assert isinstance(progress, bars.Bars)
        with pytest.raises(ZeroDivisionError), progress.task("training", 4):
            raise ZeroDivisionError
        assert len(progress.live.tasks) == 1


def test_the_real_streams_stay_in_place(terminal) -> None:
    """Processes that read photos inherit them; a proxy with a lock inside could hang there."""
    import sys

    before = (sys.stdout, sys.stderr)
    with bars.open_progress(quiet=False, idle="x"):
        assert (sys.stdout, sys.stderr) == before
