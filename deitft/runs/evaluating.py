"""A finished run on labelled photos -> metrics with intervals, classes chosen by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deitft.core.files import read_json, write_json
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.data.audit import audit
from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, Catalog
from deitft.data.inspect import default_cache_dir, inspect
from deitft.data.photos import photo_set
from deitft.data.scan import scan
from deitft.errors import DeitftError, MissingInputError, OutputError
from deitft.evaluation.metrics import Metrics
from deitft.evaluation.metrics import evaluate as judge
from deitft.evaluation.predictions import Predictions
from deitft.runs.classifier import load
from deitft.runs.folder import check_writable
from deitft.runs.words import metric_rows

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured, on which photos."""

    run: Path
    data: Path
    split: str
    metrics: Metrics
    predictions: Predictions
    out: Path | None

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``metrics.json``."""
        return {"run": str(self.run), "data": str(self.data), "split": self.split, **self.metrics.record()}

    def summary(self) -> list[tuple[str, str]]:
        """(name, figure) rows for people."""
        return [("Photos", f"{self.metrics.n} ({self.split})"), *metric_rows(self.metrics)]


def evaluate_run(
    run: Path,
    data: Path,
    *,
    split: str | None,
    batch: int | None,
    device: str,
    threads: int | None,
    workers: int | None,
    precision: str | None,
    out: Path | None,
    strict: bool,
    skip_bad: bool,
    progress: Progress,
) -> Evaluation:
    """See ``jobs.evaluate``."""
    if out is not None:
        check_out(out, data)
    model = load(run, device=device, threads=threads, workers=workers, precision=precision)
    stop = StopFlag()
    with catch_stop_signals(stop, progress):
        catalog = inspect(
            scan(data, progress=progress, classes=model.classes),
            workers=max(model.machine.workers, model.machine.threads),
            progress=progress,
            cache_dir=default_cache_dir(),
            stop=stop,
        )
        findings = audit(catalog, strict=strict, skip_bad=skip_bad, allow_leak=True)
        findings.raise_errors()
        chosen, name = choose_split(catalog.without(findings.quarantined), split)
        found = model.predictions(
            photo_set(chosen, np.arange(len(chosen))),
            batch=batch,
            title=f"evaluating on {name}",
            progress=progress,
            stop=stop,
        )
    for notice in findings.notices():
        if notice.id != "D15":  # how few photos a class has to learn from is no concern of a finished model
            progress.warn(notice)
    metrics = judge(found, model.classes, temperature=model.bundle.temperature, split=name)
    for notice in metrics.notices:
        progress.warn(notice)
    result = Evaluation(run=run, data=data, split=name, metrics=metrics, predictions=found, out=out)
    if out is not None:
        write_json(out / METRICS, result.record())
        found.save(out / PREDICTIONS, model.classes, temperature=model.bundle.temperature)
    return result


def check_out(out: Path, data: Path) -> None:
    """Prove that results can be written, before a photo is read, and that they take the place of nothing else.

    Raises:
        OutputError: inside the photos or not writable (id C5), or other files of these names are there (id OUT).
    """
    place, inside = out.resolve(), data.resolve()
    if place == inside or inside in place.parents:
        raise OutputError(
            f"the results folder {out} lies inside the data {data}",
            "nothing is written into your data; choose another place with --out",
            id="C5",
        )
    taken = [name for name in (METRICS, PREDICTIONS) if os.path.lexists(out / name)]
    if (taken and not _is_evaluation(out / METRICS)) or (out / "run.json").exists():
        raise OutputError(
            f"{out} holds {taken[0] if taken else 'run.json'} of something else", "choose another --out", id="OUT"
        )
    check_writable(out, "choose another place with --out")


def _is_evaluation(path: Path) -> bool:
    """Whether an earlier ``evaluate`` wrote this file: it may be written again."""
    try:
        found = read_json(path) if path.is_file() else None
    except (DeitftError, OSError):
        return False
    return isinstance(found, dict) and {"run", "data", "split"} <= found.keys()


def choose_split(catalog: Catalog, split: str | None) -> tuple[Catalog, str]:
    """The photos of one split: the one named, else "test" where the folder has one, else all.

    Raises:
        MissingInputError: the folder has no such split.
    """
    given = catalog.given
    if split == "all" or (split is None and not (given == TEST).any()):
        return catalog, "all" if split == "all" or (given != NONE).any() else "these"
    number = SPLIT_NAMES.index(split or "test")
    rows = np.flatnonzero(given == number)
    if not len(rows):
        raise MissingInputError(
            f"{catalog.root} has no {split} photos", "leave out --split to take all of them", id="D1"
        )
    return catalog.select(rows), SPLIT_NAMES[number]
