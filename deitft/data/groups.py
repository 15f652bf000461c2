"""What belongs together, by a regular expression on file names: views of one article, frames of one scene."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from deitft.errors import UsageError

AT_ONCE, SECONDS = 1_000, 10.0
"""So many file names must be through in so many seconds; they take a millisecond."""


def is_column(asked: str) -> bool:
    """Whether ``--group-by`` names a column: a plain word is never meant as an expression."""
    return re.fullmatch(r"\w[\w .-]*", asked) is not None and "." not in asked


def by_expression(paths: Sequence[str], expression: str) -> list[str]:
    """The group of each photo: what the expression's brackets hold in its file name, or all that it matches.

    A name that does not match is of no group ("").

    Raises:
        UsageError: not an expression, or no name matches (id GROUPS).
    """
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        short = expression if len(expression) < 80 else f"{expression[:60]}…"
        what = f"--group-by: {short!r} is neither a column nor a regular expression ({error})"
        raise UsageError(what, r"write a column's name, or as in '^(\d+)_'", id="GROUPS") from error
    groups: list[str] = []
    for first in range(0, len(paths), AT_ONCE):
        with _in_time(expression):
            groups += [_group(pattern, path) for path in paths[first : first + AT_ONCE]]
    if not any(groups):
        what = f"--group-by: no file name matches {expression!r}"
        raise UsageError(what, f"the first name is {paths[0].rpartition('/')[2]}" if paths else "", id="GROUPS")
    return groups


def _group(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path.rpartition("/")[2])
    parts = (match.groups(default="") or (match.group(),)) if match else ()
    return "\x1f".join(parts) if any(parts) else ""


@contextlib.contextmanager
def _in_time(expression: str) -> Iterator[None]:
    """End an expression that tries everything, as '(a+)+b' does. Only where a signal can: in the main thread.

    Raises:
        UsageError: it took too long (id GROUPS).
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def too_long(number: int, frame: FrameType | None) -> None:
        what = f"--group-by: {expression!r} takes more than {SECONDS:g} seconds for {AT_ONCE:,} names"
        raise UsageError(what, "an expression without brackets inside brackets is quick", id="GROUPS")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
