"""Progress as lines, as a notebook shows it."""

from __future__ import annotations

import io
import time

import deitft
from deitft.core.progress import Progress
from deitft.errors import Notice
from deitft.runs.printing import count_text, shown_text


def test_numbers_are_short_and_exact_enough() -> None:
    assert shown_text({}) == ""
    assert shown_text({"loss": 1.23456, "lr": 5e-5, "images/s": 1234.5, "which": "ema"}) == (
        "loss 1.235  lr 5e-05  images/s 1,234  which ema"
    )
    assert shown_text({"loss": float("nan")}) == "loss nan"
    assert count_text(1200, 5000, "photos") == "1,200 of 5,000 photos"
    assert count_text(1200, None, "photos") == "1,200 photos"
    assert count_text(3, 4, "") == "3 of 4"


def test_it_says_what_it_is_told_where_it_was_asked_to(capsys) -> None:
    file = io.StringIO()
    for progress in (deitft.PrintProgress(), deitft.PrintProgress(file)):
        told: Progress = progress
        told.say("one\x1b")
        told.warn(Notice(id="D2", severity="warning", text="bad", hint="mend it"))
        told.warn(Notice(id="D5", severity="info", text="counted"))
        with told.task("training", 2, unit="steps") as task:
            task.advance(2, loss=1.0)
            task.line("epoch 1")
    lines = ["one\\x1b", "deitft: warning [D2]: bad — mend it", "epoch 1"]
    out, err = capsys.readouterr()
    assert (out, err.splitlines(), file.getvalue().splitlines()) == ("", lines, lines)


def test_a_long_task_is_not_silent(capsys, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for every, count in ((None, 3), (4.0, 7), (0.0, 30)):
        progress = deitft.PrintProgress() if every is None else deitft.PrintProgress(every=every)
        with progress.task("looking at photos", 300, unit="photos") as task:
            for _ in range(30):
                clock[0] += 1.0
                task.advance(10, loss=0.5)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == count
        assert said[-1] == f"looking at photos: {280 if every == 4 else 300} of 300 photos  loss 0.5"
