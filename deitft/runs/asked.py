"""Keywords as Python hands them over: the command line has checked its own, nobody has checked these."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from deitft.data.bad_photo import pixel_count
from deitft.data.source import Source
from deitft.errors import MissingInputError, UsageError


def folder(value: str | Path, keyword: str) -> Path:
    """A path.

    Raises:
        UsageError: it is none, or empty: that would mean the folder one is in.
    """
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise UsageError(f"{keyword}: got {value!r}, want a path", "hand over a string or a Path", id="USAGE")
    return Path(value)


def source(
    data: str | Path | Source | Iterable[str | Path],
    root: str | Path | Iterable[str | Path] = (),
    nested: bool = False,
    group_by: str | None = None,
) -> Source:
    """What the photos are: one path or several, and how they are read. A wrong path is answered at once.

    Raises:
        UsageError: no paths.
        MissingInputError: one is not there (id D1).
    """
    if isinstance(data, Source):
        return data
    named, roots = _folders(data, "data"), _folders(root, "root")
    if not named:
        raise UsageError("data: no path", "hand over a folder of photos", id="USAGE")
    for path in (*named, *roots):
        if not path.exists():
            kind = "file" if path.suffix else "folder"
            raise MissingInputError(f"no such {kind}: {path}", "check the path", id="D1", files=[str(path)])
    for path in roots:
        if not path.is_dir():
            raise MissingInputError(f"--root {path} is a file", "name a folder", id="D1", files=[str(path)])
    return Source(tuple(named), tuple(roots), nested, text(group_by, "group_by"))


def bad_photos(*, strict: bool, skip_bad: bool) -> dict[str, bool]:
    """What is to be done with bad photos: the two flags, of which one at most is set.

    Raises:
        UsageError: both are (id USAGE).
    """
    if strict and skip_bad:
        hint = "the one stops at a bad photo, the other leaves it out: take one of them"
        raise UsageError("--strict and --skip-bad contradict each other", hint, id="USAGE")
    return {"strict": strict, "skip_bad": skip_bad}


def pixels(value: str | int | None) -> int | None:
    """How many pixels a photo must claim fewer of, as "200M" or a number; or nothing.

    Raises:
        UsageError: something else (id USAGE), or no such count (id PIXELS).
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None if value is None else pixel_count(str(value))
    if not isinstance(value, str):
        raise UsageError(f"max_pixels: got {value!r}, want a number of pixels", 'write "200M"', id="USAGE")
    return pixel_count(value)


def _folders(value: str | Path | Iterable[str | Path], keyword: str) -> list[Path]:
    """Paths: one, or several in a list."""
    if isinstance(value, list | tuple | Iterator):
        return [folder(path, keyword) for path in value]
    return [folder(value, keyword)]  # type: ignore[arg-type]  # what is none is refused there


def texts(value: str | Iterable[str], keyword: str, known: Iterable[str] | None = None) -> tuple[str, ...]:
    """Several strings. One alone is a list of one: its letters are never meant.

    Raises:
        UsageError: something else, or one that is not among ``known``.
    """
    found = (value,) if isinstance(value, str) else value
    hint = f"they are {', '.join(known)}" if known is not None else "hand over a list of strings"
    if not isinstance(found, Iterable) or isinstance(found, dict):
        raise UsageError(f"{keyword}: got {value!r}, want strings", hint, id="USAGE")
    found = tuple(found)
    for item in found:
        if not isinstance(item, str) or (known is not None and item not in known):
            raise UsageError(f"{keyword}: got {item!r}", hint, id="USAGE")
    return found


def text(value: str | None, keyword: str) -> str | None:
    """A string, or nothing.

    Raises:
        UsageError: something else.
    """
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{keyword}: got {value!r}, want text", "hand over a string", id="USAGE")
    return value


def one_of(value: str | None, keyword: str, known: Iterable[str]) -> str | None:
    """One of a few words, or nothing.

    Raises:
        UsageError: something else.
    """
    return None if value is None else texts([value], keyword, known)[0]


def named(value: str | Path | Iterable[str | Path], keyword: str) -> tuple[str, ...]:
    """Names or paths as text: one, or several in a list.

    Raises:
        UsageError: something else.
    """
    several = value if isinstance(value, list | tuple | Iterator) else [value]
    return texts([str(one) if isinstance(one, Path) else one for one in several], keyword)  # type: ignore[misc]


def price(value: float | None, keyword: str) -> float | None:
    """An amount of money, or nothing.

    Raises:
        UsageError: something else, or below 0.
    """
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise UsageError(f"{keyword}: got {value!r}, want a price", "write 2.50", id="USAGE")
    return float(value)


def whole(value: int | None, keyword: str, least: int, most: int | None = None) -> int | None:
    """A whole number, or nothing.

    Raises:
        UsageError: something else, below ``least`` or above ``most``.
    """
    if value is None:
        return None
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < least
        or (most is not None and value > most)
    ):
        wanted = f"write {least} or more" if most is None else f"write {least} to {most}"
        raise UsageError(f"{keyword}: got {value!r}, want a whole number", wanted, id="USAGE")
    return value
