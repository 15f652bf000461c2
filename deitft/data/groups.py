"""What belongs together, by a regular expression on file names: views of one article, frames of one scene."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deitft.errors import UsageError


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
    except re.error as error:
        what = f"--group-by: {expression!r} is neither a column nor a regular expression ({error})"
        raise UsageError(what, r"write a column's name, or as in '^(\d+)_'", id="GROUPS") from error
    groups = []
    for path in paths:
        match = pattern.search(path.rpartition("/")[2])
        parts = (match.groups(default="") or (match.group(),)) if match else ()
        groups.append("\x1f".join(parts) if any(parts) else "")
    if not any(groups):
        what = f"--group-by: no file name matches {expression!r}"
        raise UsageError(what, f"the first name is {paths[0].rpartition('/')[2]}" if paths else "", id="GROUPS")
    return groups
