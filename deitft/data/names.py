"""Names of class folders and files that two machines, or two people, would read differently (fault D21)."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

from deitft.data.catalog import counted, shown
from deitft.errors import DataError


def check_decodable(paths: Sequence[str]) -> None:
    """Refuse file names that are not UTF-8: they cannot be written into any table.

    Raises:
        DataError: id D21.
    """
    try:
        "\0".join(paths).encode()
    except UnicodeEncodeError:
        bad = [path for path in paths if not _decodable(path)]
        raise DataError(
            f"{counted(len(bad), 'file name is', 'file names are')} not valid UTF-8, first: {shown(bad[0])}",
            "rename it",
            id="D21",
            files=[shown(path) for path in bad],
        ) from None


def check_class_names(names: Sequence[tuple[int, str]]) -> None:
    """Refuse class folders that differ only in case, spaces or Unicode form, and names that are not UTF-8.

    ``names`` are (side, folder name). One class may stand under two forms of its name on two sides.

    Raises:
        DataError: id D21; the names are shown with escapes.
    """
    for _, name in names:
        if not _decodable(name):
            raise DataError(
                f'the name of class folder "{shown(name)}" is not valid UTF-8',
                "rename it",
                id="D21",
                files=(shown(name),),
            )
    seen: dict[str, tuple[int, str]] = {}
    for side, name in sorted(names):
        composed = unicodedata.normalize("NFC", name)
        key = composed.strip().casefold()
        other = seen.setdefault(key, (side, name))
        if other == (side, name):
            continue
        if unicodedata.normalize("NFC", other[1]) != composed or other[0] == side:
            _clash(other[1], name)


def _decodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clash(first: str, second: str) -> None:
    forms = [unicodedata.normalize("NFC", name) for name in (first, second)]
    if forms[0] == forms[1]:
        difference = "the form of their Unicode letters"
    elif forms[0].strip() == forms[1].strip():
        difference = "spaces"
    else:
        difference = "case"
    names = " and ".join(f'"{ascii(name)[1:-1]}"' for name in (first, second))
    raise DataError(
        f"two class folders differ only in {difference}: {names}",
        "rename one",
        id="D21",
        files=[os.fspath(first), os.fspath(second)],
    )
