"""Photos ready to train: scanned, read, audited, split. What every verb that trains does first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.files import sha256_bytes, write_json, write_text
from deitft.core.progress import Progress, StopFlag
from deitft.core.records import csv_text
from deitft.data.audit import Findings, audit
from deitft.data.catalog import SPLIT_NAMES, TEST, TRAIN, VAL, Catalog
from deitft.data.inspect import default_cache_dir, inspect
from deitft.data.photos import PhotoSet, photo_set
from deitft.data.scan import ModelClasses, scan
from deitft.data.source import Source
from deitft.data.splits import Splits, assign, columns_of, held_out_labels, read_splits
from deitft.errors import DataError


@dataclass(frozen=True, slots=True)
class Prepared:
    """Photos ready to train. ``splits`` leaves quarantined photos out.

    ``answers`` [N] are a teacher's, for photos that are held out and have no label (-1 for the others).
    """

    catalog: Catalog
    findings: Findings
    splits: Splits
    answers: npt.NDArray[np.int64] | None = None

    def photos(self, split: int) -> PhotoSet:
        """The photos of one split, in catalog order. A held-out split without labels has the ``answers`` as
        labels."""
        rows = self.splits.indices(split)
        found = photo_set(self.catalog, rows)
        if self.answers is None or split == TRAIN or SPLIT_NAMES[split] not in self.unlabelled:
            return found
        return replace(found, labels=self.answers[rows])

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """The splits that have photos, and not a single label."""
        labels = self.catalog.labels
        sides = ((SPLIT_NAMES[split], self.splits.indices(split)) for split in (TRAIN, VAL, TEST))
        return tuple(name for name, rows in sides if len(rows) and not (labels[rows] >= 0).any())

    def counts(self) -> dict[str, int]:
        """Photos per split, by name."""
        return {SPLIT_NAMES[split]: len(self.splits.indices(split)) for split in (TRAIN, VAL, TEST)}

    def train_counts(self) -> tuple[int, ...]:
        """Photos per class in train."""
        labels = self.catalog.labels[self.splits.indices(TRAIN)].tolist()
        return tuple(labels.count(number) for number in range(len(self.catalog.classes)))

    def notices(self) -> list[dict[str, object]]:
        """Everything found about the data, as plain records."""
        said = [notice.record() for notice in (*self.catalog.notices, *self.splits.notices)]
        return [*self.findings.record(), *said]


def read_catalog(
    data: Source,
    *,
    workers: int,
    progress: Progress,
    stop: StopFlag,
    classes: ModelClasses | None = None,
    labelled: bool = True,
) -> Catalog:
    """List the photos and read every one, or what is remembered of it. ``classes``: those of a finished model, as
    ``scan`` takes them.

    Raises:
        MissingInputError, DataError: see ``data.scan.scan``.

    """
    kept_in = default_cache_dir()
    listed = scan(data, progress=progress, classes=classes, labelled=labelled, cache_dir=kept_in)
    return inspect(listed, workers=workers, progress=progress, cache_dir=kept_in, stop=stop)


def prepare(
    data: Source,
    *,
    seed: int,
    workers: int,
    progress: Progress,
    stop: StopFlag,
    splits_file: Path | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    allow_leak: bool = False,
    classes: tuple[str, ...] | None = None,
) -> Prepared:
    """Scan, read every photo once (cached), audit, split. ``classes``: a teacher's, of photos without labels.

    Raises:
        MissingInputError: no folder, no photos (D1).
        DataError: photos or labels that cannot be trained on (ids of the fault table).
    """
    labelled = classes is None
    catalog = read_catalog(data, workers=workers, progress=progress, stop=stop, classes=classes, labelled=labelled)
    if splits_file and not labelled:
        catalog = held_out_labels(splits_file, catalog)
    findings = audit(catalog, strict=strict, skip_bad=skip_bad, allow_leak=allow_leak)
    findings.raise_errors()
    prepared = divide(
        catalog, findings, seed=seed, splits_file=splits_file, allow_leak=allow_leak, labelled=labelled
    )
    for notice in (*catalog.notices, *findings.notices(), *prepared.splits.notices):
        progress.warn(notice)
    return prepared


def divide(
    catalog: Catalog,
    findings: Findings,
    *,
    seed: int,
    splits_file: Path | None = None,
    allow_leak: bool = False,
    labelled: bool = True,
) -> Prepared:
    """A judged catalog without its bad photos, split.

    Raises:
        DataError: the split leaves nothing to train on (id D15), or ``splits_file`` does not fit.
    """
    kept = catalog.without(findings.quarantined)
    if splits_file:
        # of all photos: the file may name one that is left out by name today
        pinned = read_splits(splits_file, catalog, allow_leak=allow_leak, labelled=labelled)
        splits = replace(pinned, split=np.delete(pinned.split, findings.quarantined))
    else:
        groups = None if kept.groups is None else kept.groups.tolist()
        splits = assign(kept, seed=seed, groups=groups, labelled=labelled)
    prepared = Prepared(kept, findings, splits)
    _enough(prepared, splits_file, labelled)
    return prepared


def _enough(prepared: Prepared, splits_file: Path | None, labelled: bool) -> None:
    counts = prepared.counts()
    hint = "add photos: a class needs 10 to have some in every split"
    if splits_file:
        hint = f"give some to each in {splits_file.name}"
    if counts["train"] == 0:
        raise DataError(f"{sum(counts.values())} photos give none to train", hint, id="D15")
    if not labelled and not counts["val"] + counts["test"]:
        raise DataError(f"{counts['train']} photos leave none to be judged by", "add photos, from 10 on", id="D15")


def write_preparation(prepared: Prepared, folder: Path) -> None:
    """``splits.csv``, ``quarantine.csv`` and ``check.json`` of a run folder."""
    table = csv_text(prepared.splits.table(prepared.catalog), columns_of(prepared.catalog))
    write_text(folder / "splits.csv", table)
    write_text(folder / "quarantine.csv", csv_text(prepared.findings.quarantine_rows(), ("path", "id", "reason")))
    write_json(
        folder / "check.json",
        {
            "version": 1,
            "fingerprint": prepared.catalog.fingerprint,
            "classes": prepared.catalog.classes,
            "photos": prepared.counts(),
            "splits": sha256_bytes(table.encode()),
            "findings": prepared.notices(),
        },
    )
