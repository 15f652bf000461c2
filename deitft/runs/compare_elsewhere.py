"""Finished bundles on photos of today: all of them on the same, and none that one of them has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from deitft.core.files import canonical_json, sha256_bytes
from deitft.core.progress import Progress, StopFlag
from deitft.data.audit import audit
from deitft.data.catalog import NONE, TRAIN, Catalog, counted, shown
from deitft.data.leaks import leaks_from
from deitft.data.photos import photo_set
from deitft.data.source import Source
from deitft.errors import DataError, DeitftError
from deitft.evaluation.metrics import evaluate
from deitft.evaluation.predictions import Predictions, alone
from deitft.runs.classifier import load
from deitft.runs.evaluating import by_content, choose_split
from deitft.runs.finished import Finished, signature_of
from deitft.runs.prepare import read_catalog

_OF_OWN_TEST = ("top1", "interval")
"""Of a frozen probe's record: what belongs to the run's own test photos."""


@dataclass(frozen=True)
class Elsewhere(Finished):
    """A finished run whose bundle was asked about other photos than those of its own test.

    ``photos`` is their fingerprint, ``title`` what they are called, ``warning`` what could not be looked for among
    them ("" where nothing was left out).
    """

    found: Predictions
    said: Mapping[str, Any]
    photos: str
    units: tuple[str, ...] | None
    title: str = ""
    warning: str = ""

    @property
    def test(self) -> Predictions:
        """What was said of these photos, by content."""
        return self.found

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The run's figures with those of these photos in the place of test's. Its frozen probe has not seen them:
        of that, only what it said of val is left."""
        own = super().metrics
        probe = {name: value for name, value in (own.get("probe") or {}).items() if name not in _OF_OWN_TEST}
        return {**own, "claim_split": "test", "test": self.said, "probe": probe or None}

    @property
    def signature(self) -> str:
        """The photos are the same for all: what each was trained on does not part them."""
        return self.photos

    @cached_property
    def way(self) -> str:
        """Seeds that were trained on other photos, or other sides of them, are no seeds of one contender."""
        return sha256_bytes(canonical_json([super().way, own_signature(self)]))

    def groups(self, predictions: Predictions) -> list[str] | None:
        """The declared group of each of these photos; those of val as in the run."""
        if predictions is not self.found:
            return super().groups(predictions)
        return list(self.units) if self.units else None


def own_signature(run: Finished) -> str:
    """The same for runs that were trained and chosen on the same photos, whatever they are asked about."""
    return signature_of(run.plan.classes, list(run.table.values()))


def on_other_photos(
    runs: Sequence[Finished],
    photos: Source,
    *,
    device: str,
    threads: int | None,
    progress: Progress,
    stop: StopFlag,
) -> list[Finished]:
    """Each run's bundle on these photos (their test split, where they have one).

    Raises:
        DataError: a class that a run does not know (id D9), other classes than another run (id CLASSES), or photos
            that a run has learned from or was chosen by, the same or almost the same (id D11).
    """
    classes = runs[0].plan.classes
    for run in runs:
        if run.plan.classes != classes:
            names = f"{runs[0].folder.name} and {run.folder.name}"
            raise DataError(f"{names} have other classes", "compare runs with the same classes", id="CLASSES")
    catalog = read_catalog(photos, workers=threads or 2, progress=progress, stop=stop, classes=classes)
    findings = audit(catalog, strict=False, skip_bad=True, allow_leak=True)
    findings.raise_errors()
    chosen, _ = choose_split(catalog.without(findings.quarantined), None)
    ordered = chosen.select(by_content(chosen))
    warnings = [_refuse_seen(run, photos, ordered, progress, stop) for run in runs]
    asked = [_asked(run, ordered, device=device, threads=threads, progress=progress, stop=stop) for run in runs]
    return [replace(run, title=photos.name, warning=warning) for run, warning in zip(asked, warnings, strict=True)]


def _refuse_seen(run: Finished, photos: Source, chosen: Catalog, progress: Progress, stop: StopFlag) -> str:
    """Stop at a photo that the run has seen; returns what could not be looked for, "" where all was."""
    seen = {row["sha256"] for row in run.table.values() if row["split"] in ("train", "val")}
    same = [path for path, digest in zip(chosen.paths, chosen.digests, strict=True) if digest.hex() in seen]
    near, warning = ([], "") if same else _almost(run, photos, chosen, seen, progress, stop)
    if same or near:
        how = "the same as" if same else "almost the same as"
        found = same or near
        raise DataError(
            f"{counted(len(found), 'photo')} of {photos} {'is' if len(found) == 1 else 'are'} {how} some that "
            f"{run.folder.name} was trained on or chosen by, first: {shown(found[0])}",
            "take them out: what a model has seen flatters it",
            id="D11",
            files=tuple(found),
        )
    if warning:
        progress.say(warning)
    return warning


def _almost(
    run: Finished, photos: Source, chosen: Catalog, seen: set[str], progress: Progress, stop: StopFlag
) -> tuple[list[str], str]:
    """Near-duplicates of photos that the run has seen, or why they could not be looked for."""
    source = Source.read(run.record.data.get("source"), run.plan.data)
    if not all(path.exists() for path in source.places):
        return [], _only_exact(run, "they are gone")
    both = replace(source, paths=(*source.paths, *photos.paths), roots=(*source.roots, *photos.roots))
    try:
        catalog = read_catalog(both, workers=2, progress=progress, stop=stop, classes=run.plan.classes)
    except DeitftError as error:
        if stop.by_signal:
            raise
        return [], _only_exact(run, error.what)
    split = np.array([TRAIN if digest.hex() in seen else NONE for digest in catalog.digests], np.int8)
    leaks = leaks_from(catalog, split, (TRAIN,))
    here = set(chosen.digests.tolist())
    digests = {digest for digest, bad in zip(catalog.digests.tolist(), leaks.near, strict=True) if bad} & here
    near = zip(chosen.paths, chosen.digests.tolist(), strict=True)
    gone = len(seen - {digest.hex() for digest in catalog.digests})
    lost = _only_exact(run, f"{counted(gone, 'photo')} of them can no longer be read") if gone else ""
    return [path for path, digest in near if digest in digests], lost


def _only_exact(run: Finished, why: str) -> str:
    return f"of the photos of {run.folder.name} only exact copies were looked for: {why}"


def _asked(
    run: Finished,
    photos: Catalog,
    *,
    device: str,
    threads: int | None,
    progress: Progress,
    stop: StopFlag,
) -> Elsewhere:
    model = load(run.folder.path, device=device, threads=threads)
    rows = np.arange(len(photos))
    found = model.predictions(
        photo_set(photos, rows), title=f"asking {run.folder.name}", progress=progress, stop=stop
    )
    units = None
    if photos.groups is not None and any(photos.groups.tolist()):
        units = tuple(alone(photos.groups.tolist(), found.paths))
    metrics = evaluate(
        found, run.plan.classes, temperature=run.temperature, contents=photos.digests.tolist(), groups=units
    )
    record = metrics.record()
    return Elsewhere(
        folder=run.folder,
        record=run.record,
        plan=run.plan,
        found=found,
        said=record,
        photos=photos.fingerprint,
        units=units,
    )
