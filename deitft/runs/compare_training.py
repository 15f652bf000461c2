"""The runs of a comparison that are missing: planned, shown, and made one by one, each in a process of its own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from deitft.core.progress import Progress, StopFlag, Task
from deitft.core.units import format_seconds
from deitft.data.catalog import counted
from deitft.errors import DeitftError, UsageError
from deitft.runs.children import Ended, run_child
from deitft.runs.contest import Entry
from deitft.runs.finished import Finished, open_finished

_EPOCH = re.compile(r"^epoch ")
KEPT_FOR_THE_END = 0.05
"""Share of a time limit that is kept for measuring costs and for the page."""
LEAST_KEPT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A run that has yet to be made. ``seconds``: what its dry run foretells; ``why``: what that said instead."""

    entry: Entry
    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None
    why: str = ""


def sort_out(entries: Sequence[Entry], known: Sequence[Finished]) -> tuple[list[Finished], list[Entry]]:
    """Runs that are there already, newest first choice, and entries that have none."""
    found, missing = [], []
    for entry in entries:
        own = _own(entry)
        match = own or next((run for run in reversed(known) if entry.is_answered_by(run)), None)
        if match is not None:
            found.append(match)
        else:
            missing.append(entry)
    return found, missing


def _own(entry: Entry) -> Finished | None:
    """The run of this very name, if it is finished."""
    with suppress(DeitftError, OSError):
        return open_finished(entry.folder.path)
    return None


def foretold(
    missing: Sequence[Entry], progress: Progress, stop: StopFlag, *, time_limit: float | None
) -> list[Missing]:
    """What each missing run will take: one dry run a model, in a process of its own."""
    found: dict[str, Missing] = {}
    models = list(dict.fromkeys(entry.model for entry in missing))
    with progress.task("measuring the plan", len(models), unit="models") as task:
        for entry in missing:
            if entry.model not in found:
                found[entry.model] = _foretold(entry, stop, time_limit)
                task.advance()
                _raise_if_stopped(stop)
    return [
        Missing(entry=entry, seconds=seen.seconds, memory=seen.memory, disk=seen.disk, why=seen.why)
        for entry in missing
        for seen in [found[entry.model]]
    ]


def _foretold(entry: Entry, stop: StopFlag, time_limit: float | None) -> Missing:
    words = entry.words(time_limit=time_limit, dry_run=True)
    ended = run_child([*words, "--json"], stop=stop, heard=lambda line: None, tick=lambda: None)
    if ended.code:
        return Missing(entry=entry, why=ended.why)
    values = json.loads(ended.output)
    return Missing(
        entry=entry,
        seconds=float(values["seconds"]["total"]),
        memory=int(values["memory_bytes"]),
        disk=int(values["disk_bytes"]),
    )


def train_missing(
    missing: Sequence[Missing],
    progress: Progress,
    stop: StopFlag,
    *,
    equal_time: float | None,
    ends: float | None,
) -> tuple[list[Finished], list[tuple[Entry, str]]]:
    """Make every missing run; those that fail come with their reason, and do not stop the others.

    ``equal_time``: seconds each run gets. ``ends``: ``time.monotonic()`` by which all of them are done; what is
    left is shared out by what each is foretold to take.

    Raises:
        StoppedError: stopped by a signal; the same command goes on.
    """
    done, failed = [], []
    for number, item in enumerate(missing):
        if item.why:
            failed.append((item.entry, item.why))
            continue
        limit = equal_time
        if ends is not None:
            limit = _share(missing[number:], ends - time.monotonic(), equal_time)
        progress.say(f"{number + 1} of {len(missing)}: {item.entry.title} in {item.entry.folder.path}")
        ended = _train(item, limit, progress, stop)
        _raise_if_stopped(stop, item.entry)
        run = _own(item.entry)
        if run is None:
            failed.append((item.entry, ended.why or "it left no finished run"))
            progress.say(f"{item.entry.title} failed: {failed[-1][1]}")
        else:
            done.append(run)
    return done, failed


def _share(left: Sequence[Missing], seconds: float, equal_time: float | None) -> float | None:
    """What the first of the runs that are left may take; None where all of them fit as they are.

    Raises:
        UsageError: no time is left (id TIME).
    """
    wanted = [min(item.seconds or 0.0, equal_time or item.seconds or 0.0) for item in left if not item.why]
    if seconds < 1:
        raise UsageError("the time limit is over, runs are still missing", "raise --time-limit", id="TIME")
    if sum(wanted) <= seconds * 0.8 and equal_time is None:
        return None
    return min(seconds * wanted[0] / max(sum(wanted), 1e-9), equal_time or seconds)


def _train(item: Missing, limit: float | None, progress: Progress, stop: StopFlag) -> Ended:
    """One run, begun or gone on with; its epochs are told, and a bar moves with the clock."""
    entry = item.entry
    folder = entry.folder
    folder.clear_unbegun()
    words = ["resume", str(folder.path)] if folder.begun else entry.words(time_limit=limit)
    expected = max(1, round(min(item.seconds or 0.0, limit or item.seconds or 0.0)))
    with progress.task(entry.title, expected, unit="s") as task:
        return run_child(words, stop=stop, heard=_listener(task), tick=_clock(task, expected))


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
        half = under_way is not None and under_way.folder.begun and _own(under_way) is None
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
