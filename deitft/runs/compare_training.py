"""The runs of a comparison that are missing: planned, shown, and made one by one, each in a process of its own."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from deitft.core.progress import Progress, StopFlag, Task
from deitft.core.units import format_seconds
from deitft.data.catalog import counted
from deitft.errors import DeitftError
from deitft.runs.children import Ended, run_child
from deitft.runs.contest import Entry
from deitft.runs.finished import Finished, open_finished
from deitft.runs.folder import RunFolder
from deitft.runs.measure import USED_SHARE

_EPOCH = re.compile(r"^epoch ")
KEPT_FOR_THE_END = 0.05
"""Share of a time limit that is kept for measuring costs and for the page."""
LEAST_KEPT_SECONDS = 20.0
LEAST_SECONDS = 1.0
"""With less nothing is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A run that has yet to be made. ``seconds``: what its dry run foretells; ``why``: what that said instead.

    ``fill``: its epochs would end before the time that each run gets.
    """

    entry: Entry
    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None
    why: str = ""
    fill: bool = False

    def record(self) -> dict[str, Any]:
        """Plain data: seconds, and bytes of memory and disk, None where a run cannot start."""
        return {
            "run": self.entry.title,
            "seconds": self.seconds,
            "memory_bytes": self.memory,
            "disk_bytes": self.disk,
            "why_not": self.why,
        }


def sort_out(entries: Sequence[Entry], known: Sequence[Finished]) -> tuple[list[Finished], list[Entry]]:
    """Runs that are there already, newest first choice, and entries that have none."""
    found, missing = [], []
    for entry in entries:
        own = next((run for run in map(_done, entry.as_good) if run is not None), None)
        match = own or next((run for run in reversed(known) if entry.is_answered_by(run)), None)
        if match is not None:
            found.append(match)
        else:
            missing.append(entry)
    return found, missing


def _done(folder: RunFolder) -> Finished | None:
    """The run of this folder, if it is finished."""
    with suppress(DeitftError, OSError):
        return open_finished(folder.path)
    return None


def foretold(missing: Sequence[Entry], progress: Progress, stop: StopFlag) -> list[Missing]:
    """What each missing run will take: one dry run a model, in a process of its own."""
    found: dict[str, Missing] = {}
    models = list(dict.fromkeys(entry.model for entry in missing))
    with progress.task("measuring the plan", len(models), unit="models") as task:
        for entry in missing:
            if entry.model not in found:
                found[entry.model] = _foretold(entry, stop)
                task.advance()
                _raise_if_stopped(stop)
    return [replace(found[entry.model], entry=entry) for entry in missing]


def _foretold(entry: Entry, stop: StopFlag) -> Missing:
    limit = entry.equal_time
    words = entry.words(time_limit=limit, dry_run=True)
    ended = run_child([*words, "--json"], stop=stop, heard=lambda line: None, tick=lambda: None)
    if ended.code:
        return Missing(entry=entry, why=ended.why)
    values = json.loads(ended.output)
    plan, seconds = values["plan"], float(values["seconds"]["total"])
    fill = limit is not None and plan["total_steps"] > 0 and "max_steps" not in plan["asked"]
    return Missing(
        entry=entry,
        seconds=USED_SHARE * limit if fill and limit is not None else seconds,
        memory=int(values["memory_bytes"]),
        disk=int(values["disk_bytes"]),
        fill=fill,
    )


def train_missing(
    missing: Sequence[Missing],
    progress: Progress,
    stop: StopFlag,
    *,
    ends: float | None,
) -> tuple[list[Finished], list[tuple[Entry, str]]]:
    """Make every missing run; those that fail come with their reason, and do not stop the others.

    ``ends``: ``time.monotonic()`` by which all of them are done; what is left is shared out by what each is
    foretold to take. Those for which nothing is left fail.

    Raises:
        StoppedError: stopped by a signal; the same command goes on.
    """
    done, failed = [], []
    for number, item in enumerate(missing):
        if item.why:
            failed.append((item.entry, item.why))
            continue
        limit = item.entry.equal_time
        if ends is not None:
            left = ends - time.monotonic()
            if left < LEAST_SECONDS:
                wants = "" if item.seconds is None else f"; it takes about {format_seconds(item.seconds)}"
                failed.append((item.entry, f"no time was left for it{wants}"))
                continue
            limit = _share(missing[number:], left, limit)
        progress.say(f"{number + 1} of {len(missing)}: {item.entry.title} in {item.entry.folder.path}")
        ended = _train(item, limit, ends, progress, stop)
        _raise_if_stopped(stop, item.entry)
        run = _done(item.entry.folder)
        if run is None:
            failed.append((item.entry, ended.why or "it left no finished run"))
            progress.say(f"{item.entry.title} failed: {failed[-1][1]}")
        else:
            done.append(run)
    return done, failed


def _share(left: Sequence[Missing], seconds: float, equal_time: float | None) -> float | None:
    """What the first of the runs that are left may take; None where all of them fit as they are."""
    wanted = [min(item.seconds or 0.0, equal_time or item.seconds or 0.0) for item in left if not item.why]
    if sum(wanted) <= seconds * 0.8 and equal_time is None:
        return None
    return min(seconds * wanted[0] / max(sum(wanted), 1e-9), equal_time or seconds)


def _train(item: Missing, limit: float | None, ends: float | None, progress: Progress, stop: StopFlag) -> Ended:
    """One run, begun or gone on with; its epochs are told, and a bar moves with the clock.

    One that is gone on with knows no limit: it has the steps that it began with, and is stopped when its time is
    over.
    """
    entry = item.entry
    folder = entry.folder
    folder.clear_unbegun()
    words, over = entry.words(time_limit=limit, fill=item.fill), math.inf
    if folder.begun:
        words = ["resume", str(folder.path)]
        over = min(math.inf if limit is None else time.monotonic() + limit, math.inf if ends is None else ends)
    expected = max(1, round(min(item.seconds or 0.0, limit or item.seconds or 0.0)))
    with progress.task(entry.title, expected, unit="s") as task:
        ended = run_child(words, stop=stop, heard=_listener(task), tick=_clock(task, expected), ends=over)
    if ended.code and time.monotonic() >= over:
        return replace(ended, why="its time was over: it is saved, and the same command goes on with it")
    return ended


def _listener(task: Task) -> Callable[[str], None]:
    """Epoch lines stay, the rest of a child's talk is its own."""

    def heard(line: str) -> None:
        if _EPOCH.match(line):
            task.line(line)

    return heard


def _clock(task: Task, expected: int) -> Callable[[], None]:
    """Move a bar of seconds with the time, never past its end."""
    began, moved = time.monotonic(), 0

    def tick() -> None:
        nonlocal moved
        now = min(expected - 1, int(time.monotonic() - began))
        if now > moved:
            task.advance(now - moved)
            moved = now

    return tick


def _raise_if_stopped(stop: StopFlag, under_way: Entry | None = None) -> None:
    if stop.by_signal:
        half = under_way is not None and under_way.folder.begun and _done(under_way.folder) is None
        kept = "finished runs are kept, the one under way is saved" if half else "finished runs are kept"
        raise stop.error(kept, "run the same command to go on")


def plan_rows(found: Sequence[Finished], missing: Sequence[Missing], price: float | None) -> list[tuple[str, str]]:
    """What is there, what will be made, and what that takes."""
    rows = [("There already", ", ".join(run.folder.name for run in found) or "nothing")]
    for item in missing:
        known = "not known" if item.seconds is None else format_seconds(item.seconds)
        rows.append((item.entry.title, f"cannot start: {item.why}" if item.why else known))
    seconds = [item.seconds for item in missing if item.seconds is not None]
    text = counted(len(seconds), "run")
    if seconds:
        money = "" if price is None else f", {price * sum(seconds) / 3600:.2f} at {price:g} an hour"
        text += f", {format_seconds(sum(seconds))} in all{money}"
    rows.append(("To be trained", text))
    return rows
