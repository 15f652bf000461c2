"""What is printed: data on stdout, talk on stderr, and never a byte that a terminal would obey.

Class names, file names and messages come from strangers (fault S5). All of them pass ``visible`` before they
reach a terminal, and no markup is interpreted in any of them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import select
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from deitft.core import lifeline
from deitft.core.files import canonical_json
from deitft.errors import DeitftError, Notice, StoppedError, TerminatedError, UsageError
from deitft.reporting.visible import visible
from deitft.runs.printing import notice_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SIGPIPE_CODE = 141
BUG_CODE = 70


def talk(text: str) -> None:
    """One line on stderr. ``text`` is made visible."""
    print(visible(text), file=sys.stderr, flush=True)  # noqa: T201 - the one place that talks


def out(text: str = "") -> None:
    """Lines of data on stdout; the caller has made them visible. A reader that went away ends the program."""
    try:
        print(text, flush=True)  # noqa: T201 - the one place that prints data
    except BrokenPipeError:
        # Else the interpreter complains once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(SIGPIPE_CODE) from None


def error_line(error: DeitftError) -> str:
    """What a user reads of an error: ``deitft: error [ID]: what — what to do``."""
    return f"deitft: error [{error.id}]: {error.line}"


def hanging(line: str) -> Table:
    """A line of ``notice_line`` for a terminal: its words wrap beside its label, as in ``show_findings``."""
    from rich.table import Table
    from rich.text import Text

    label, _, text = visible(line).partition("]: ")
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(f"{label}]:"), Text(text))
    return table


def talk_notice(notice: Notice) -> None:
    """A warning on stderr: wrapped on a terminal, one line off it."""
    if on_terminal(sys.stderr):
        rich_console(stderr=True).print(hanging(notice_line(notice)))
    else:
        talk(notice_line(notice))


def report_bug(error: BaseException) -> None:
    """Say that this is our mistake, and keep the traceback where it can be sent from.

    It goes into the run folder where the error carries one (attribute ``run_folder``), else into a temporary file.
    """
    text = "".join(traceback.format_exception(error))
    what = f"{type(error).__name__}: {error}"
    try:
        place = f"traceback in {_keep_traceback(text, getattr(error, 'run_folder', None))}"
    except OSError:
        place = "run again with --debug for the traceback"
    talk(f"deitft: error [BUG]: {what} — please report with `deitft env`; {place}")


def _keep_traceback(text: str, folder: object) -> Path:
    if isinstance(folder, Path) and folder.is_dir():
        path = folder / "traceback.txt"
        path.write_text(text, "utf-8", "backslashreplace")
        return path
    descriptor, name = tempfile.mkstemp(prefix="deitft-traceback-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


def prepare_process(*, debug: bool) -> None:
    """Once for the real program: no encoding can fail, the talk of other libraries is for --debug only, and a
    signal that comes before or after the work has its line and its exit code, too. A child of ``compare`` ends
    with its parent."""
    lifeline.hold()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not debug and not sys.warnoptions:
        import logging

        # torch is not loaded yet: where another process dies, its C++ would tell of every call on the way
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop_at_once)
    if callable(signal.getsignal(signal.SIGINT)):  # not where a script in the background has it ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)


class StopNow(BaseException):
    """A signal, outside of the work that looks for it. No ``Exception``: libraries swallow those as they load."""

    def __init__(self, error: DeitftError) -> None:
        super().__init__(error.line)
        self.error = error


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    kind = TerminatedError if number == signal.SIGTERM else StoppedError
    raise StopNow(kind(f"stopped by {signal.Signals(number).name}", id="N3"))


def leave(code: int) -> NoReturn:
    """End the real program now: python would take a million objects of torch apart first, for seconds.

    Threads and exit handlers have their turn: data workers, dashboards. Nobody needs to ask for the end any more.
    """
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def on_terminal(stream: object) -> bool:
    """True where ``stream`` is a terminal that can move its cursor."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and os.environ.get("TERM") not in ("dumb", "unknown")


def rich_console(*, stderr: bool) -> Console:
    """A rich console that never styles what it is told: no markup, no emoji, no highlighting."""
    from rich.console import Console

    terminal = on_terminal(sys.stderr if stderr else sys.stdout)
    # Off a terminal nothing is cut to a width: a script or a file reads it.
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        force_terminal=terminal,
        width=None if terminal else 1000,
    )


def show_json(value: object) -> None:
    """One JSON document on stdout, pure ASCII; NaN and infinities become null."""
    plain = canonical_json(value).decode("utf-8", "surrogateescape")
    out(json.dumps(json.loads(plain), indent=2, ensure_ascii=True))


def show_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line, aligned."""
    rows = [(visible(name), visible(str(value))) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        out(f"{name:<{width}}  {value}".rstrip())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table without lines: copied out of a terminal it stays a table.

    Columns stand in order of weight: those at the end for which a terminal has no room are left out, by name.
    """
    console = rich_console(stderr=False)
    shown = len(columns)
    table = _table(columns, rows)
    while shown > 2 and _width(table, console) > console.width:
        shown -= 1
        table = _table(columns[:shown], [row[:shown] for row in rows])
    with console.capture() as captured:
        console.print(table)
    out("\n".join(line.rstrip() for line in captured.get().splitlines()))
    if shown < len(columns):
        talk(f"no room for: {', '.join(columns[shown:])} (widen the terminal, or --json)")


SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": ""}


def show_findings(findings: Sequence[Notice]) -> None:
    """Findings as a table, errors first: id, severity, how many photos, what, and below it what to do.

    Words wrap on a terminal; off one each finding is one line.
    """
    from rich.table import Table
    from rich.text import Text

    if not findings:
        out("nothing was found to complain about")
        return
    console = rich_console(stderr=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, justify in (("id", "left"), ("severity", "left"), ("files", "right"), ("what", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "what", overflow="fold")  # type: ignore[arg-type]
    for item in findings:
        style = SEVERITY_STYLES[item.severity]
        count = f"{len(item.files):,}" if item.files else ""
        what = Text(visible(item.text))
        if item.hint:
            what.append(f" — {visible(item.hint)}", "dim")
        table.add_row(Text(item.id, style), Text(item.severity, style), Text(count), what)
    with console.capture() as captured:
        console.print(table)
    out("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[number]) for row in rows)
        table.add_column(visible(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    return table


def _width(table: Table, console: Console) -> int:
    """Cells that a table takes when nothing is folded."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=100_000), table).maximum


def _is_number(cell: object) -> bool:
    return bool(re.match(r"[-–]?\d[\d.,]*( ?[kMG]B?)?$|^[-–—]?$", str(cell)))


def show_text(text: str) -> None:
    """Lines of somebody's text on stdout."""
    for line in text.splitlines():
        out(visible(line))


def ask(question: str) -> bool:
    """Ask on a terminal, no being the default. Ctrl-C ends it at once, whenever it comes.

    Raises:
        UsageError: nobody is there to answer (id USAGE).
        KeyboardInterrupt: Ctrl-C.
        Abort: Ctrl-D.
    """
    if not (on_terminal(sys.stdin) and on_terminal(sys.stderr)):
        raise UsageError(f"{question} — nobody to ask", "add --yes", id="USAGE")
    # Whoever asks takes an answer: also where a script in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            print(f"{visible(question)} [y/N]: ", end="", file=sys.stderr, flush=True)  # noqa: T201
            answer = _typed_line()
            if not answer:
                talk("")
                raise typer.Abort
            if answer.strip().lower() in (b"", b"n", b"no", b"y", b"yes"):
                return answer.strip().lower() in (b"y", b"yes")
            talk("please answer y or n")
    except KeyboardInterrupt:
        talk("")  # what comes next has a line of its own
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _typed_line() -> bytes:
    """A line of the terminal, with its end; empty for Ctrl-D.

    Not ``input``: python looks for signals, then reads, and a signal between the two waits for the next key.
    Here a signal's arrival can be read, too, so the wait ends whichever comes first.
    """
    arrived, sent = os.pipe()
    os.set_blocking(sent, False)
    os.set_blocking(arrived, False)
    before = signal.set_wakeup_fd(sent)
    try:
        while sys.stdin.fileno() not in select.select([sys.stdin.fileno(), arrived], [], [])[0]:
            os.read(arrived, 1)  # the handler has had its turn and wants to go on
        return os.read(sys.stdin.fileno(), 4096)
    finally:
        signal.set_wakeup_fd(before)
        os.close(arrived)
        os.close(sent)
