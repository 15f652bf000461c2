"""A finished run on labelled photos -> metrics with intervals, classes chosen by name."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
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
from deitft.data.scan import ModelClasses
from deitft.data.source import Source
from deitft.errors import DeitftError, MissingInputError, OutputError
from deitft.evaluation.metrics import Metrics
from deitft.evaluation.metrics import evaluate as judge
from deitft.evaluation.predictions import Predictions
from deitft.models import imagenet
from deitft.models.as_published import CROP_WORDS, Crop
from deitft.runs.classifier import LoadedClassifier, load
from deitft.runs.folder import check_outside, check_writable
from deitft.runs.imagenet import load_published
from deitft.runs.leak_figures import leak_figures, leak_rows
from deitft.runs.prepare import read_catalog
from deitft.runs.words import metric_rows

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured, on which photos: a run, or weights as published (``weights``; ``run`` is then None)."""

    run: Path | None
    data: Source
    split: str
    metrics: Metrics
    predictions: Predictions
    out: Path | None
    leaks: dict[str, Any] | None = None  # ``leak_figures``, where the folders give train as well
    weights: dict[str, Any] | None = None  # ``Published.record()``

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``metrics.json``."""
        return {
            "run": None if self.run is None else str(self.run),
            "weights": self.weights,
            "data": str(self.data),
            "split": self.split,
            **self.metrics.record(),
            "leaks": self.leaks,
        }

    def summary(self) -> list[tuple[str, str]]:
        """(name, figure) rows for people."""
        rows = [("Photos", f"{self.metrics.n} ({self.split})")]
        if self.weights is not None:
            rows.insert(0, ("Model", f"{self.weights['model']}, {CROP_WORDS[self.weights['crop']]}"))
            rows.append(
                ("Classes", f"{self.metrics.present} of ImageNet's 1,000 are here; all 1,000 may be answered")
            )
            if self.weights["published"] is not None:
                figure = self.weights["published"]
                text = f"top-1 {figure['top1']:.1%} on all 50,000 validation photos ({figure['source']})"
                rows.append(("Published", text))
        return [*rows, *metric_rows(self.metrics), *leak_rows(self.leaks)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToEvaluate:
    """What ``evaluate`` is told besides model and photos: see ``jobs.evaluate``."""

    split: str | None
    batch: int | None
    out: Path | None
    strict: bool
    skip_bad: bool


def evaluate_run(
    run: Path,
    data: Source,
    how: HowToEvaluate,
    *,
    device: str,
    threads: int | None,
    workers: int | None,
    precision: str | None,
    progress: Progress,
) -> Evaluation:
    """A run or bundle. See ``jobs.evaluate``."""
    if how.out is not None:
        check_out(how.out, data)
    model = load(run, device=device, threads=threads, workers=workers, precision=precision)
    return _kept(replace(_measured(model, model.classes, data, how, progress), run=run), model, how)


def evaluate_published(
    model: str,
    data: Source,
    how: HowToEvaluate,
    *,
    weights: str | None,
    weights_dir: Path | None,
    crop: Crop,
    device: str,
    threads: int | None,
    workers: int | None,
    precision: str | None,
    progress: Progress,
) -> Evaluation:
    """ImageNet weights as they are. See ``jobs.evaluate``."""
    if how.out is not None:
        check_out(how.out, data)
    loaded, published = load_published(
        model,
        weights=weights,
        weights_dir=weights_dir,
        crop=crop,
        device=device,
        threads=threads,
        workers=workers,
        precision=precision,
        progress=progress,
    )
    for line in published.lines():
        progress.say(line)
    found = _measured(loaded, imagenet.order_of, data, how, progress)
    return _kept(replace(found, weights=published.record()), loaded, how)


def _measured(
    model: LoadedClassifier, classes: ModelClasses, data: Source, how: HowToEvaluate, progress: Progress
) -> Evaluation:
    """Read, judge and look at the photos; ``classes`` is how their labels are matched to the model's."""
    stop = StopFlag()
    with catch_stop_signals(stop, progress):
        catalog = read_catalog(
            data,
            workers=max(model.machine.workers, model.machine.threads),
            progress=progress,
            stop=stop,
            classes=classes,
        )
        findings = audit(catalog, strict=how.strict, skip_bad=how.skip_bad, allow_leak=True)
        findings.raise_errors()
        kept = catalog.without(findings.quarantined)
        chosen, name = choose_split(kept, how.split)
        order = by_content(chosen)
        found = model.predictions(
            photo_set(chosen, order), batch=how.batch, title=f"evaluating on {name}", progress=progress, stop=stop
        )
    for notice in findings.notices():
        if notice.id != "D15":  # how few photos a class has to learn from is no concern of a finished model
            progress.warn(notice)
    contents = [bytes(chosen.digests[row]) for row in order]
    metrics = judge(found, model.classes, temperature=model.bundle.temperature, split=name, contents=contents)
    for notice in metrics.notices:
        if notice.id != "D9" or isinstance(classes, tuple):  # some of ImageNet's classes: "Classes" says how many
            progress.warn(notice)
    found = found.rows(np.argsort(order))
    seen = {"test": (TRAIN, VAL), "val": (TRAIN,)}.get(name, ())
    leaks = leaks_from(kept, kept.given, seen).select(kept.rows_of(found.paths)) if seen else None
    return Evaluation(
        run=None,
        data=data,
        split=name,
        metrics=metrics,
        predictions=found,
        out=how.out,
        leaks=None if leaks is None else leak_figures(found, leaks),
    )


def _kept(result: Evaluation, model: LoadedClassifier, how: HowToEvaluate) -> Evaluation:
    """The same, written where that was asked for."""
    if how.out is not None:
        write_json(how.out / METRICS, result.record())
        result.predictions.save(how.out / PREDICTIONS, model.classes, temperature=model.bundle.temperature)
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
    check_outside(out, data, "results folder", "--out")
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
