"""A finished run on labelled photos -> metrics with intervals, classes chosen by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.files import read_json, write_json
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.data.audit import audit
from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, TRAIN, VAL, Catalog
from deitft.data.leaks import leaks_from
from deitft.data.photos import photo_set
from deitft.data.source import Source
from deitft.errors import DeitftError, MissingInputError, OutputError
from deitft.evaluation.metrics import Metrics
from deitft.evaluation.metrics import evaluate as judge
from deitft.evaluation.predictions import Predictions
from deitft.runs.classifier import load
from deitft.runs.folder import check_writable
from deitft.runs.leak_figures import leak_figures, leak_rows
from deitft.runs.prepare import read_catalog
from deitft.runs.words import metric_rows

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured, on which photos."""

    run: Path
    data: Source
    split: str
    metrics: Metrics
    predictions: Predictions
    out: Path | None
    leaks: dict[str, Any] | None = None  # ``leak_figures``, where the folders give train as well

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``metrics.json``."""
        return {
            "run": str(self.run),
            "data": str(self.data),
            "split": self.split,
            **self.metrics.record(),
            "leaks": self.leaks,
        }

    def summary(self) -> list[tuple[str, str]]:
        """(name, figure) rows for people."""
        return [("Photos", f"{self.metrics.n} ({self.split})"), *metric_rows(self.metrics), *leak_rows(self.leaks)]


def evaluate_run(
    run: Path,
    data: Source,
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
        catalog = read_catalog(
            data,
            workers=max(model.machine.workers, model.machine.threads),
            progress=progress,
            stop=stop,
            classes=model.classes,
        )
        findings = audit(catalog, strict=strict, skip_bad=skip_bad, allow_leak=True)
        findings.raise_errors()
        kept = catalog.without(findings.quarantined)
        chosen, name = choose_split(kept, split)
        order = by_content(chosen)
        found = model.predictions(
            photo_set(chosen, order), batch=batch, title=f"evaluating on {name}", progress=progress, stop=stop
        )
    for notice in findings.notices():
        if notice.id != "D15":  # how few photos a class has to learn from is no concern of a finished model
            progress.warn(notice)
    contents = [bytes(chosen.digests[row]) for row in order]
    metrics = judge(found, model.classes, temperature=model.bundle.temperature, split=name, contents=contents)
    for notice in metrics.notices:
        progress.warn(notice)
    found = found.rows(np.argsort(order))
    seen = {"test": (TRAIN, VAL), "val": (TRAIN,)}.get(name, ())
    leaks = leaks_from(kept, kept.given, seen).select(kept.rows_of(found.paths)) if seen else None
    result = Evaluation(
        run=run,
        data=data,
        split=name,
        metrics=metrics,
        predictions=found,
        out=out,
        leaks=None if leaks is None else leak_figures(found, leaks),
    )
    if out is not None:
        write_json(out / METRICS, result.record())
        found.save(out / PREDICTIONS, model.classes, temperature=model.bundle.temperature)
    return result


def by_content(catalog: Catalog) -> npt.NDArray[np.int64]:
    """The rows in an order that does not know what the photos are called.

    The same photos give the same figures to the last bit, as folders, table or shards: intervals are drawn by
    position, and a photo's neighbours in a batch may move its last bits.
    """
    order = sorted(range(len(catalog)), key=lambda row: (catalog.digests[row], int(catalog.labels[row])))
    return np.array(order, np.int64)


def check_out(out: Path, data: Source) -> None:
    """Prove that results can be written, before a photo is read, and that they take the place of nothing else.

    Raises:
        OutputError: inside the photos or not writable (id C5), or other files of these names are there (id OUT).
    """
    inside = data.holds(out)
    if inside is not None:
        raise OutputError(
            f"the results folder {out} lies inside the data {inside}",
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
