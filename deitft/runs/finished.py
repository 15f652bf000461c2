"""Finished runs as a comparison reads them: what each said of the same photos, and how it came about.

Runs belong in one table only where they were trained, chosen and tested on the same photos with the same labels.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.files import canonical_json, read_json, sha256_bytes
from deitft.core.records import RunRecord, parse_csv_text, read_run_record
from deitft.core.units import parse_seconds
from deitft.data.catalog import counted, shown
from deitft.errors import DataError, DeitftError
from deitft.evaluation.predictions import Predictions, alone, load_predictions
from deitft.models.read_state import check_weights_file
from deitft.models.zoo import shortest_name
from deitft.recipe.plan import read_plan
from deitft.recipe.plan_types import MOST_PROBED, Plan
from deitft.runs.folder import RunFolder, open_run

_ALONE = ("seed", "device", "threads", "workers", "asked", "data", "log_every", "save_every_seconds", "version")
"""Fields of a plan in which two seeds of one contender may differ: chance, and where they were made."""
_LENGTHS = ("total_steps", "full_size_from_step", "validate_every", "ema_decay", "probe_photos")
"""Fields of a plan, beside ``optim.warmup_steps``, that follow from how many steps it has."""
_BY_THE_LIMIT = ("max_steps", "time_limit")
"""What a time limit adds to what was asked."""
MOST_LONGER = 2.0
"""Of a contender whose runs have different steps, because the clock decided: the most by the fewest, at most."""
TAKEN = ("macro_f1", "balanced_accuracy")
"""Figures of a run's own record that a table shows; the others are made anew from its answers."""
_BY_HAND = "a file of the run was cut off or changed by hand: restore it, or leave the run out"


@dataclass(frozen=True)
class Finished:
    """A run that is done, its files read when they are asked for."""

    folder: RunFolder
    record: RunRecord
    plan: Plan

    @cached_property
    def table(self) -> dict[str, Mapping[str, str]]:
        """Rows of ``splits.csv`` by path.

        Raises:
            DataError: it is not the table that the run has written (id RUN).
        """
        content = _kept(self.folder.splits).read_bytes()
        written = read_json(_kept(self.folder.path / "check.json"))
        if isinstance(written, dict) and written.get("splits", sha256_bytes(content)) != sha256_bytes(content):
            raise DataError(f"{self.folder.splits} is not what the run has written", _BY_HAND, id="RUN")
        return {row["path"]: row for row in parse_csv_text(content.decode())}

    @cached_property
    def signature(self) -> str:
        """See ``signature_of``."""
        return signature_of(self.plan.classes, list(self.table.values()))

    @cached_property
    def way(self) -> str:
        """The same for runs that differ in nothing but their seed and their machine."""
        return sha256_bytes(canonical_json(self._made_by))

    @cached_property
    def kind(self) -> str:
        """The same for runs that differ in nothing else but how many steps the clock left of what was asked."""
        record = {name: value for name, value in self._made_by.items() if name not in _LENGTHS}
        record["optim"] = {name: value for name, value in record["optim"].items() if name != "warmup_steps"}
        asked = {name: value for name, value in self.plan.asked.items() if name not in _BY_THE_LIMIT}
        return sha256_bytes(canonical_json([record, asked]))

    @property
    def _made_by(self) -> dict[str, Any]:
        """The plan, but for what differs between seeds and machines."""
        record = {name: value for name, value in self.plan.record().items() if name not in _ALONE}
        for teacher in (record.get("distill") or {}).get("teachers", ()):
            teacher.pop("path", None)
        record["weights"] = {name: value for name, value in record["weights"].items() if name != "path"}
        return record

    @cached_property
    def test(self) -> Predictions:
        """What was said of the photos that judge, by content: runs of one signature have them in one order."""
        return self._in_order("predictions.csv", self.claim_split)

    def check_labelled(self) -> None:
        """Only labels can judge.

        Raises:
            DataError: its figures are agreement with its teacher (id LABELS).
        """
        if self.metrics.get("test") is None:
            raise DataError(
                f"{self.folder.path} was judged by its teacher, its photos have no labels",
                "compare it on labelled photos: --test DATA",
                id="LABELS",
            )

    def check_whole(self) -> None:
        """Prove that all that a comparison reads is there, and is what a run writes.

        Raises:
            DataError: a file is gone or damaged (id RUN; id S6 of the weights), or see ``check_labelled``.
        """
        self.check_labelled()
        if not _has_figures(self.metrics["test"]):
            raise DataError(f"{self.folder.path / 'metrics.json'} lacks figures", _BY_HAND, id="RUN")
        _ = self.test
        if self.has_val:
            _ = self.val
        check_weights_file(_kept(self.folder.best / "model.safetensors"))

    @property
    def has_val(self) -> bool:
        """Whether there were photos to choose by."""
        return self.metrics.get("val") is not None

    @cached_property
    def val(self) -> Predictions:
        """The same of the photos that chose."""
        return self._in_order("predictions-val.csv", "val")

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """``metrics.json``."""
        path = _kept(self.folder.path / "metrics.json")
        value = read_json(path)
        if not isinstance(value, dict) or not value:
            raise DataError(f"{path} has no figures", _BY_HAND, id="RUN")
        return value

    @property
    def temperature(self) -> float:
        """What its logits are divided by."""
        return float(self.metrics.get("temperature", 1.0))

    @property
    def claim_split(self) -> str:
        """Which photos judge: "test" unless there were none."""
        return str(self.metrics.get("claim_split", "test"))

    @property
    def whole(self) -> bool:
        """Whether it is all that its recipe asks for: no time limit took any of it."""
        plan = self.plan
        ended = self.record.result.get("ended") == "time limit"
        return plan.asked.get("max_steps") is None and plan.probe_photos >= MOST_PROBED and not ended

    @property
    def shortened(self) -> bool:
        """Whether a time limit took steps away. Where the length is that very time, it gave them."""
        limit = _seconds(self.plan.asked.get("time_limit"))
        given = _seconds(self.plan.asked.get("train.length")) <= limit < math.inf
        return not self.whole and (not given or self.record.result.get("ended") == "time limit")

    @property
    def by_the_clock(self) -> bool:
        """Whether the speed of the machine had a say in how many steps it has."""
        return not self.whole or _seconds(self.plan.asked.get("train.length")) < math.inf

    def groups(self, predictions: Predictions) -> list[str] | None:
        """The declared group of each photo; None where none were declared."""
        groups = [self.table[path].get("group", "") for path in predictions.paths]
        return alone(groups, predictions.paths) if any(groups) else None

    def history(self) -> list[dict[str, float]]:
        """Rows of ``metrics.csv``: one a validation; what has no value is left out."""
        path = self.folder.path / "metrics.csv"
        if not path.is_file():
            return []
        rows = parse_csv_text(path.read_text("utf-8"))
        return [{name: float(text) for name, text in row.items() if _is_number(text)} for row in rows]

    @cached_property
    def val_places(self) -> npt.NDArray[np.int64]:
        """Where the photos of ``val`` stand among the val photos in the order of the run's table."""
        places = {path: at for at, path in enumerate(p for p, row in self.table.items() if row["split"] == "val")}
        return np.array([places[path] for path in self.val.paths], np.int64)

    def _in_order(self, name: str, split: str) -> Predictions:
        path = _kept(self.folder.path / name)
        found, classes = load_predictions(path)
        if classes != self.plan.classes:
            raise DataError(f"{path} has other classes than its run", _BY_HAND, id="RUN")
        wanted = {path for path, row in self.table.items() if row["split"] == split}
        if strange := sorted(set(found.paths) - wanted):
            raise DataError(f"{path} names {shown(strange[0])}, no {split} photo of the run", _BY_HAND, id="RUN")
        if silent := sorted(wanted - set(found.paths)):
            what = f"{path} has no answer for {counted(len(silent), split + ' photo')} of the run"
            raise DataError(f"{what}, first: {shown(silent[0])}", _BY_HAND, id="RUN", files=tuple(silent))
        order = sorted(range(len(found)), key=lambda row: self._place(found.paths[row]))
        return found.rows(np.array(order, np.int64))

    def _place(self, path: str) -> tuple[str, str, str]:
        row = self.table[path]
        return row["sha256"], row["label"], path


def signature_of(classes: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """The same for the same photos with the same labels on the same sides, whatever they are called: of rows as in
    ``splits.csv``."""
    photos = sorted([row["sha256"], row["label"], row["split"]] for row in rows)
    return sha256_bytes(canonical_json([classes, photos]))


def _kept(path: Path) -> Path:
    """A file of a run.

    Raises:
        DataError: it is not there any more (id RUN).
    """
    if not path.is_file():
        raise DataError(f"{path} is gone", _BY_HAND, id="RUN")
    return path


def _has_figures(scores: Any) -> bool:
    """Whether the figures that a table takes as they are have a number and an interval each."""
    try:
        ends = [end for name in TAKEN for end in (scores[name], *scores["intervals"][name])]
        return len(ends) == 3 * len(TAKEN) and all(math.isfinite(float(end)) for end in ends)
    except (KeyError, TypeError, ValueError):
        return False


def _seconds(text: object) -> float:
    """Of a length in time, as it was asked; infinite for any other."""
    try:
        return parse_seconds(str(text))
    except ValueError:
        return math.inf


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def open_finished(path: Path) -> Finished:
    """A finished run by its folder.

    Raises:
        MissingInputError: no run there (id RUN).
        DataError: not finished, or damaged (id RUN).
    """
    folder = open_run(path)
    record = read_run_record(folder.path)
    if record.status != "done":
        raise DataError(
            f"{folder.path} is not finished: {record.status}", f"`deitft resume {folder.path}` goes on", id="RUN"
        )
    return Finished(folder, record, read_plan(folder.plan))


def finished_below(runs_dir: Path, *, whole: bool = False) -> tuple[list[Finished], list[tuple[str, str]]]:
    """All finished runs of a folder, oldest first, and (name, why not) of the others.

    ``whole``: only those that have all that a comparison reads (``Finished.check_whole``), which takes reading it.
    """
    found, others = [], []
    for path in sorted(runs_dir.iterdir()) if runs_dir.is_dir() else ():
        if not (path / "run.json").is_file():
            continue
        try:
            run = open_finished(path)
            if whole:
                run.check_whole()
            else:
                run.check_labelled()
            found.append(run)
        except (DeitftError, OSError, csv.Error) as error:
            others.append((path.name, error.what if isinstance(error, DeitftError) else str(error)))
    return sorted(found, key=lambda run: run.record.started), others


@dataclass(frozen=True)
class Contender:
    """A model with its recipe: runs that differ in their seed alone, in the order of the seeds."""

    label: str
    runs: tuple[Finished, ...]

    @property
    def first(self) -> Finished:
        """One of them, for what they all share."""
        return self.runs[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Their seeds."""
        return tuple(run.plan.seed for run in self.runs)

    def right(self, split: str) -> npt.NDArray[np.bool_]:
        """Which photos each seed got right, bool [S, N]; ``split`` "val" or "test" (what judges)."""
        found = [run.val if split == "val" else run.test for run in self.runs]
        return np.stack([one.logits().argmax(axis=1) == one.labels for one in found])


def contenders_of(runs: Sequence[Finished]) -> list[list[Contender]]:
    """Runs on the same photos together, in the order in which they come; of one way and seed the newest."""
    tables: dict[str, dict[str, dict[int, Finished]]] = {}
    for run in runs:
        tables.setdefault(run.signature, {}).setdefault(run.way, {})[run.plan.seed] = run
    return [
        _labelled([tuple(seeds[seed] for seed in sorted(seeds)) for seeds in _joined(list(ways.values()))])
        for ways in tables.values()
    ]


def _joined(ways: Sequence[Mapping[int, Finished]]) -> list[Mapping[int, Finished]]:
    """Seeds that the clock alone tells apart become one contender, in the order of the first of them.

    The speed of the machine differs from seed to seed, and with it the steps that fit in the same time. Where a
    seed comes twice, or one has more than ``MOST_LONGER`` times the steps, they were given different times.
    """
    joined: list[tuple[int, Mapping[int, Finished]]] = []
    for at, way in sorted(enumerate(ways), key=lambda item: -_any_of(item[1]).plan.total_steps):
        for number, (first, seeds) in enumerate(joined):
            if _goes_with(way, seeds):
                joined[number] = min(first, at), {**seeds, **way}
                break
        else:
            joined.append((at, way))
    return [seeds for _, seeds in sorted(joined, key=lambda item: item[0])]


def _goes_with(way: Mapping[int, Finished], longer: Mapping[int, Finished]) -> bool:
    """Whether runs of one way are of one contender with others, of which the first have the most steps."""
    run, longest = _any_of(way), _any_of(longer)
    return (
        run.kind == longest.kind
        and (run.by_the_clock or longest.by_the_clock)
        and way.keys().isdisjoint(longer)
        and longest.plan.total_steps <= MOST_LONGER * run.plan.total_steps
    )


def _any_of(way: Mapping[int, Finished]) -> Finished:
    """The first: of one way all have as many steps."""
    return next(iter(way.values()))


def _labelled(groups: Sequence[tuple[Finished, ...]]) -> list[Contender]:
    """Names that tell contenders apart: the model's, with its teacher; the recipe where that is not enough; at
    last the run's.
    """
    steps = (_model, _with_recipe, _with_run)
    labels = [_model(group[0]) for group in groups]
    for name in steps[1:]:
        double = {label for label in labels if labels.count(label) > 1}
        labels = [
            name(group[0]) if label in double else label for group, label in zip(groups, labels, strict=True)
        ]
    return [Contender(label, group) for label, group in zip(labels, groups, strict=True)]


def _model(run: Finished) -> str:
    name = run.plan.short_name or run.plan.model
    return f"{name} taught by {teacher_name(run)}" if teacher_name(run) else name


def _with_recipe(run: Finished) -> str:
    return f"{_model(run)}, {run.plan.recipe}"


def _with_run(run: Finished) -> str:
    return f"{_with_recipe(run)} ({run.folder.name})"


def teacher_name(run: Finished) -> str:
    """The models that taught it, "" where none did."""
    distill = run.plan.distill
    return " and ".join(shortest_name(one.model) for one in distill.teachers) if distill else ""
