"""Progress for people: one live display on a terminal, plain lines elsewhere, never three silent seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from deitft.cli.console import hanging, on_terminal, rich_console, talk_notice
from deitft.core.progress import Progress, SilentTask, Task
from deitft.errors import Notice
from deitft.reporting.visible import visible
from deitft.runs.printing import PrintProgress, count_text, notice_line, shown_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

PLAIN_SECONDS = 30.0
"""Off a terminal a long task says where it stands this often."""


class Quiet:
    """Warnings only."""

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, notice: Notice) -> None:
        """A warning on stderr; an info stands in the report only."""
        if notice.severity != "info":
            talk_notice(notice)

    def task(self, title: str, total: int | None = None, *, unit: str = "") -> AbstractContextManager[Task]:
        """No bar."""
        return nullcontext(SilentTask())


class BarTask:
    """One bar of the live display."""

    def __init__(self, owner: Bars, number: TaskID) -> None:
        self.owner, self.number = owner, number
        self.shown: dict[str, float | str] = {}

    def advance(self, count: int = 1, **shown: float | str) -> None:
        """Move, and replace the numbers beside the bar."""
        if shown:
            self.shown.update(shown)
            self.owner.live.update(self.number, advance=count, shown=visible(shown_text(self.shown)))
        else:
            self.owner.live.advance(self.number, count)

    def line(self, text: str) -> None:
        """A line that stays, above the bars."""
        self.owner.say(text)


class Bars:
    """One live display for the whole command; between two tasks a spinner says that it is alive."""

    def __init__(self, idle: str) -> None:
        self.live = live_display()
        self.idle = self.live.add_task(idle, total=None, counted="", shown="", unit="")
        self.running = 0

    def say(self, text: str) -> None:
        """A line that stays, above the bars."""
        from rich.text import Text

        self.live.console.print(Text(visible(text)), soft_wrap=True)

    def warn(self, notice: Notice) -> None:
        """A warning above the bars; an info stands in the report only."""
        if notice.severity != "info":
            self.live.console.print(hanging(notice_line(notice)))

    @contextmanager
    def task(self, title: str, total: int | None = None, *, unit: str = "") -> Iterator[Task]:
        """A bar for the length of the block; without ``total`` a spinner that counts."""
        self.live.update(self.idle, visible=False)
        number = self.live.add_task(visible(title), total=total, unit=visible(unit), shown="")
        self.running += 1
        try:
            yield BarTask(self, number)
        finally:
            self.live.remove_task(number)
            self.running -= 1
            self.live.update(self.idle, visible=not self.running, description="working …")


def live_display() -> RichBars:
    """Spinner, title, bar, count, numbers, time left; on stderr, and nothing of it stays when it ends."""
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichBars
    from rich.progress import Task as RichTask
    from rich.text import Text

    class Count(ProgressColumn):
        """How far, in the task's unit."""

        def render(self, task: RichTask) -> Text:
            if task.total is None and not task.completed:
                return Text("")
            return Text(count_text(task.completed, task.total, task.fields["unit"]))

    return RichBars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Count(),
        TextColumn("{task.fields[shown]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=rich_console(stderr=True),
        transient=True,
        # The real streams stay: processes that read photos inherit them, and must not inherit a lock.
        redirect_stdout=False,
        redirect_stderr=False,
    )


@contextmanager
def open_progress(*, quiet: bool, idle: str) -> Iterator[Progress]:
    """The progress that fits stderr: a live display on a terminal, else lines; ``quiet`` leaves warnings."""
    if quiet:
        yield Quiet()
    elif not on_terminal(sys.stderr):
        yield PrintProgress(every=PLAIN_SECONDS)
    else:
        bars = Bars(idle)
        with bars.live:
            yield bars
