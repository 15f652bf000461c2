"""The keywords of a training verb, checked, as one request: what every such verb does first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deitft.core.progress import Silent
from deitft.core.units import parse_seconds
from deitft.data.source import Source
from deitft.errors import UsageError
from deitft.runs import asked
from deitft.runs.request import ADAPT_WAYS, DASHBOARDS, DISTILL_KINDS, TrainRequest


def train_request(verb: str, given: Mapping[str, Any]) -> TrainRequest:
    """The request of a verb. ``given`` holds its keywords by name, as they were handed over.

    Raises:
        UsageError: one is not what it should be; it is named.
        MissingInputError: a path of the data is not there (id D1).
    """
    data = asked.source(given["data"], given["root"], given["nested"], given["group_by"])
    return TrainRequest(verb=verb, data=data, **_words(given), **_numbers(given), **_flags(given))


def _words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Names, paths and lists of them."""
    recipe, weights = given["recipe"], given["weights"]
    return {
        "model": asked.text(given["model"], "model"),
        "recipe": recipe if isinstance(recipe, str) else str(asked.folder(recipe, "recipe")),
        "set": asked.texts(given["set"], "set"),
        "weights": weights if isinstance(weights, str | None) else str(asked.folder(weights, "weights")),
        "weights_dir": _path(given["weights_dir"]),
        "runs_dir": asked.folder(given["runs_dir"], "runs_dir"),
        "name": asked.text(given["name"], "name"),
        "splits": _path(given["splits"]),
        "device": given["device"],
        "precision": given["precision"],
        "allow_changed": asked.texts(given["allow_changed"], "allow_changed"),
        "log_to": asked.texts(given["log_to"], "log_to", DASHBOARDS),
        "distill": asked.one_of(given["distill"], "distill", DISTILL_KINDS),
        "teacher": asked.named(given["teacher"], "teacher"),
        "adapt_teacher": asked.one_of(given["adapt_teacher"], "adapt_teacher", ADAPT_WAYS),
        "teacher_cache": _absolute(given["teacher_cache"]),
        "progress": given["progress"] or Silent(),
    }


def _numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "seed": asked.whole(given["seed"], "seed", 0) or 0,
        "threads": asked.whole(given["threads"], "threads", 1),
        "workers": asked.whole(given["workers"], "workers", 0),
        "cache_views": asked.whole(given["cache_views"], "cache_views", 1),
        "price_per_hour": asked.price(given["price_per_hour"], "price_per_hour"),
        "max_pixels": asked.pixels(given["max_pixels"]),
        "time_limit": duration(given["time_limit"]),
        "started": given["started"],
    }


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["resume"] and given["dry_run"]:
        raise UsageError(
            "--dry-run plans a new run, --resume goes on with one", "leave out one of the two", id="USAGE"
        )
    names = ("pretrained", "allow_leak", "resume", "dry_run", "probe")
    bad = asked.bad_photos(strict=given["strict"], skip_bad=given["skip_bad"])
    return {name: given[name] for name in names} | bad | {"unlabelled": given.get("unlabelled", False)}


def _path(value: str | Path | Source | None) -> Path | None:
    return Path(str(value)) if value else None


def _absolute(value: str | Path | None) -> Path | None:
    """A path that is kept with the run, and holds in every working directory."""
    return Path(str(value)).expanduser().absolute() if value else None


def duration(text: str | None, option: str = "--time-limit") -> float | None:
    """Seconds of a duration that was typed for an option.

    Raises:
        UsageError: not a duration.
    """
    if asked.text(text, "time_limit") is None or text is None:
        return None
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", "write 30m, 90s or 1h30m", id="TIME") from error
