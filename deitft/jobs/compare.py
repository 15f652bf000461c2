"""``deitft compare``: models against each other on the same photos, and which one to take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.errors import UsageError
from deitft.runs import asked
from deitft.runs.typed import duration, train_request

if TYPE_CHECKING:
    from deitft.evaluation.requirements import Requirement
    from deitft.runs.comparing import Compared
    from deitft.runs.request import TrainRequest


MOST_SEEDS = 1000
"""More would be planned, and never made."""


def compare(
    what: str | Path | Sequence[str | Path] = (),
    *,
    models: str | Sequence[str] = (),
    seeds: int = 1,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    group_by: str | None = None,
    splits: str | Path | None = None,
    test: str | Path | Sequence[str | Path] = (),
    recipe: str | Path = "finetune",
    set: Sequence[str] = (),
    weights_dir: str | Path | None = None,
    pretrained: bool = True,
    strict: bool = False,
    skip_bad: bool = False,
    max_pixels: str | int | None = None,
    allow_leak: bool = False,
    equal_time: str | None = None,
    time_limit: str | None = None,
    price_per_hour: float | None = None,
    max_latency: str | None = None,
    max_size: str | None = None,
    max_memory: str | None = None,
    margin: float | None = None,
    cheapest: str = "latency_ms",
    require: Sequence[str] = (),
    costs: bool = True,
    dry_run: bool = False,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    runs_dir: str | Path = "runs",
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Compare models on the same photos.

    ``what`` are finished runs, or photos (as for ``finetune``) with ``models`` to train on them, each with
    ``seeds`` seeds from 0; runs that are there already are used again. With nothing, all runs of ``runs_dir``, a
    table for each set of photos. ``margin`` in points: the cheapest model (by ``cheapest``) that is not worse than
    the best by more. ``test`` are labelled photos on which finished runs are judged instead of their own; what one
    of them has learned from is refused. ``require`` ("top1>=0.9") judges the chosen model on test.

    Returns:
        Its tables, and where page, Markdown, CSV and JSON are: ``.tables``, ``.folders``, ``.passed``.

    Raises:
        UsageError: runs and photos that cannot be compared, or an option that is not what it should be.
        MissingInputError: no such run, no photos.
        StoppedError: stopped by a signal; the same call goes on.
    """
    started = time.monotonic()
    from deitft.evaluation.decision import check_choice
    from deitft.evaluation.requirements import parse_requirements

    given = dict(locals())
    share = None if margin is None else margin / 100
    limits = _limits(given)
    gates = parse_requirements(asked.texts(require, "require"))
    check_choice(share, cheapest)
    if not costs:
        _check_unmeasured([*limits, *gates], cheapest if share is not None else "")
    if price_per_hour is None:
        _check_priced(gates, cheapest)
    runs, data = _sorted_out(what)
    names = _names(models, data)
    if not data:
        _check_nothing_to_train(given)
    from deitft.runs.compare_request import CompareRequest  # only now: with it torch and timm are loaded
    from deitft.runs.comparing import compare_runs

    request = CompareRequest(
        runs=runs,
        train=_training(data, given) if data else None,
        models=names,
        seeds=tuple(range(asked.whole(seeds, "seeds", 1, MOST_SEEDS) or 1)),
        runs_dir=asked.folder(runs_dir, "runs_dir"),
        out=None if out is None else asked.folder(out, "out"),
        test=asked.source(test, (), nested) if test else None,
        limits=limits,
        margin=share,
        cheapest=cheapest,
        gates=gates,
        equal_time=duration(equal_time, "--equal-time"),
        time_limit=duration(time_limit),
        price=asked.price(price_per_hour, "price_per_hour"),
        measure=costs,
        dry_run=dry_run,
        device=device,
        threads=asked.whole(threads, "threads", 1),
        started=started,
    )
    with pixel_limit(asked.pixels(max_pixels)):
        return compare_runs(request, progress or Silent())


def _limits(given: dict[str, Any]) -> tuple[Requirement, ...]:
    """What a model may cost at most, of the options that say so."""
    from deitft.evaluation.requirements import at_most

    figures = {"max_latency": "latency_ms", "max_size": "size_mb", "max_memory": "memory_mb"}
    return tuple(
        at_most(figure, given[name], f"--{name.replace('_', '-')}")
        for name, figure in figures.items()
        if given[name] is not None
    )


def _names(models: str | Sequence[str], data: Sequence[Path]) -> tuple[str, ...]:
    """The models to train on photos: some where there are photos, none where there are not."""
    listed = asked.texts((models,) if isinstance(models, str) else models, "models")
    names = tuple(name.strip() for text in listed for name in text.split(",") if name.strip())
    if data and not names:
        raise UsageError(
            f"{data[0]} is no run, and no models are named to train on it",
            "add --models deit_ti,mobilenetv2, or name finished runs",
            id="USAGE",
        )
    if names and not data:
        raise UsageError("--models needs photos to train on", "name their folder first", id="USAGE")
    return names


def _check_nothing_to_train(given: dict[str, Any]) -> None:
    """Options that say how to train are for photos and models: with finished runs they would do nothing."""
    usual = {"seeds": 1, "recipe": "finetune", "equal_time": None, "time_limit": None, "dry_run": False}
    idle = [name for name, value in usual.items() if given[name] != value] + (["set"] if given["set"] else [])
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} is for runs that have yet to be made, and none are asked for",
            "name photos and --models, or leave it out",
            id="USAGE",
        )


def _training(data: tuple[Path, ...], given: dict[str, Any]) -> TrainRequest:
    """What is common to the runs: the options given, and of those that `compare` has not the usual ones."""
    kept: dict[str, Any] = {"model": None, "seed": 0, "probe": True, "resume": False, "allow_changed": ()}
    kept |= {"data": data, "weights": None, "precision": None, "name": None, "log_to": (), "distill": None}
    kept |= {"teacher": (), "adapt_teacher": None, "teacher_cache": None, "cache_views": None}
    kept |= {"time_limit": None, "price_per_hour": None}
    return train_request("finetune", given | kept)


def _check_unmeasured(required: Sequence[Requirement], cheapest: str) -> None:
    """What nobody measures can be no reason."""
    from deitft.evaluation.requirements import MEASURED

    names = [one.name for one in required] + [cheapest]
    if unknown := [name for name in names if name in MEASURED]:
        raise UsageError(
            f"{unknown[0]} is asked for, and --no-costs does not measure it",
            "leave out --no-costs, or judge by size_mb",
            id="USAGE",
        )


def _check_priced(gates: Sequence[Requirement], cheapest: str) -> None:
    """What nobody puts a price on can be no reason either."""
    if "cost" in [cheapest, *(one.name for one in gates)]:
        raise UsageError(
            "cost is asked for, and nothing says what an hour costs",
            "add --price-per-hour, or judge by training_minutes",
            id="USAGE",
        )


def _sorted_out(what: str | Path | Sequence[str | Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Finished runs and photos among what was named. Folders of earlier comparisons, which ``runs/*`` names too,
    are neither.

    Raises:
        UsageError: nothing but such folders: the runs of ``runs_dir`` are not what was asked for.
    """
    named = [Path(one) for one in ([what] if isinstance(what, str | Path) else what)]
    paths = [path for path in named if not _is_comparison(path)]
    if named and not paths:
        raise UsageError(
            f"{named[0]} is a comparison that was made, no run",
            "name finished runs, or nothing for all",
            id="USAGE",
        )
    runs = tuple(path for path in paths if _is_run(path))
    return runs, tuple(path for path in paths if path not in runs)


def _is_run(path: Path) -> bool:
    """A run, one of its bundles, or what is left of a run that has lost its record."""
    recorded = any((place / "run.json").is_file() for place in (path, path.parent))
    return recorded or ((path / "plan.json").is_file() and (path / "splits.csv").is_file())


def _is_comparison(path: Path) -> bool:
    """The folder of a table, or of the sides of photos whose runs were never made."""
    if (path / "run.json").is_file():
        return False
    pinned = path.name.startswith("comparison-") and (path / "splits.csv").is_file()
    return pinned or (path / "compare.json").is_file()
