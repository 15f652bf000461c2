"""The embedded digits, where no data is named: something real to try a verb on, without a download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deitft.core.progress import Silent
from deitft.data.digits import write_digits
from deitft.data.photo_cache import default_cache_dir
from deitft.runs import asked

FOLDER = "digits"
TEACHER = "resnet10t"
"""A small convnet that learns digits from nothing in a minute or two."""
STUDENT = "deit_ti"


def digits_instead(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a verb that was given no data: the digits, and what suits them where nothing else was asked.

    A dry run leaves nothing in the user's folders: it looks at a copy in the cache.
    """
    folder = asked.folder(given["runs_dir"], "runs_dir") / FOLDER
    there = given["dry_run"] and folder.is_dir()
    if given["dry_run"] and not there:
        folder = default_cache_dir() / FOLDER
    progress = given["progress"] or Silent()
    progress.say(f"no data named: the embedded handwritten digits (1,797 photos of 10 classes), in {folder}")
    if not there:
        write_digits(Path(folder))
    changes: dict[str, Any] = {"data": folder}
    if given["model"] is None:
        changes["model"] = STUDENT
    if given["recipe"] is None:
        changes["recipe"] = "pretrain-small"
    if given["distill"] not in (None, "none") and not given["teacher"]:
        changes["teacher"] = (TEACHER,)
    return changes
