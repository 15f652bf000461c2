"""Between what was typed and the Python function of the verb: options as keywords, and its result shown."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from enum import Enum
from typing import Any

from deitft.cli import console
from deitft.cli.bars import open_progress
from deitft.cli.endings import speaks
from deitft.core.progress import Silent

LISTS = {"set", "log_to", "allow_changed", "root", "teacher", "what", "models", "require", "test"}
"""Options that may be repeated: left out they are nothing, not None."""


def call(verb: str, given: dict[str, Any]) -> Any:
    """Call a verb's Python function with what was typed, show what comes back, and hand it on."""
    as_json, quiet = given["json"], given["quiet"]
    result = run_job(verb, given)
    if speaks():
        show(result, as_json, quiet)
    return result


def run_job(verb: str, given: dict[str, Any]) -> Any:
    """Call a verb's Python function with what was typed, under a bar; nothing is printed of what comes back."""
    del given["json"], given["debug"]  # ``main`` has seen the latter
    quiet = given.pop("quiet")
    asked = {name: _plain(value) for name, value in given.items()}
    for name in LISTS & asked.keys():
        asked[name] = tuple(asked[name] or ())
    if "allow_changed" in asked:  # one error may name several fields: they can be given as it lists them
        asked["allow_changed"] = tuple(word for text in asked["allow_changed"] for word in text.split(","))
    talks = speaks()
    with open_progress(quiet=quiet, idle="loading torch …") if talks else nullcontext(Silent()) as progress:
        job = getattr(importlib.import_module(f"deitft.jobs.{verb}"), verb)
        return job(**asked, progress=progress)


def _plain(value: Any) -> Any:
    """A choice as its text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def show(result: Any, as_json: bool, quiet: bool) -> None:
    """Print a result: for scripts as JSON, for people as pairs, findings or a table."""
    if as_json:
        console.show_json(result.record())
    elif hasattr(result, "findings"):
        console.show_findings(result.findings)
        console.out()
        console.show_pairs(result.summary())
    elif hasattr(result, "columns"):
        if result.rows:
            console.show_table(result.columns, result.rows)
        for remark in () if quiet else result.remarks:
            console.talk(remark)
    else:
        console.show_pairs(result.summary())
