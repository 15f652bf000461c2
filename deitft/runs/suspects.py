"""Likely label errors and classes that look alike, by a frozen model: features once, then a probe in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deitft.compute.device import Machine
from deitft.core.keys import permutation
from deitft.core.progress import Progress, StopFlag
from deitft.data.audit_labels import LabelLook, label_findings
from deitft.data.catalog import Catalog
from deitft.data.findings import Finding
from deitft.data.photo_cache import default_cache_dir
from deitft.data.photos import PhotoSet, photo_set
from deitft.data.stream import EvalStream
from deitft.data.units import units_of
from deitft.evaluation.baselines import frozen_features
from deitft.evaluation.out_of_fold import out_of_fold
from deitft.evaluation.predictions import Floats, Ints, Logits
from deitft.models.build import Classifier, build
from deitft.models.sources import find_needed
from deitft.models.weights import load, preprocessing_of
from deitft.models.zoo import resolve
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.feature_cache import features_file, remembered
from deitft.runs.prepare import write_preparation
from deitft.runs.session import Session

BATCH = 64
MOST_LOOKED_AT = 20_000
"""Photos of a run whose labels are looked at; of more, so many are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A pretrained model that only looks."""

    name: str
    classifier: Classifier
    pre: Preprocessing
    sha256: str = ""  # of its weights


def frozen_model(
    model: str, *, weights: str | None, weights_dir: Path | None, machine: Machine, progress: Progress
) -> Frozen:
    """A model with its pretrained weights, on the machine's device.

    Raises:
        UsageError: no such model.
        UnavailableError: no weights to be had (exit 69).
    """
    choice = resolve(model)
    source = find_needed(choice, weights=weights, weights_dir=weights_dir, progress=progress)
    pre = preprocessing_of(source, choice)
    classifier = build(choice.timm_name, num_classes=2, image_size=pre.size)
    load(classifier, source)
    classifier.set_fused_attention(not machine.device.startswith("cpu"))
    progress.say(f"features of {choice.short_name or choice.timm_name}")
    return Frozen(
        name=choice.short_name or choice.timm_name,
        classifier=classifier.to(machine.device),
        pre=pre,
        sha256=str(source.record()["sha256"]),
    )


def features_of(
    frozen: Frozen, photos: PhotoSet, *, machine: Machine, progress: Progress, stop: StopFlag
) -> Logits:
    """What the model's first head sees of each photo, float32 [N, D].

    Raises:
        StoppedError: ``stop`` was set by a signal.
    """
    stream = EvalStream(photos, frozen.pre, batch=BATCH, workers=machine.workers)
    with progress.task("looking for label errors", len(photos), unit="photos") as task:
        columns, _ = frozen_features(
            frozen.classifier,
            stream,
            pre=frozen.pre,
            device=machine.device,
            precision=machine.precision,
            task=task,
            stop=stop,
        )
    return columns[0]


def look_at_labels(
    catalog: Catalog, frozen: Frozen, *, machine: Machine, progress: Progress, stop: StopFlag, seed: int = 0
) -> list[Finding]:
    """Findings SUSPECTS and ALIKE of a catalog without bad photos, UNSEEN_LABELS where the model sees too little;
    none where there is too little to compare."""
    rows = np.flatnonzero(catalog.labels >= 0).astype(np.int64)
    if len(np.unique(catalog.labels[rows])) < 2:
        return []

    def compute(some: Ints) -> Logits:
        return features_of(frozen, photo_set(catalog, rows[some]), machine=machine, progress=progress, stop=stop)

    asked = [frozen.classifier.architecture, frozen.pre.record(), machine.device, machine.precision]
    file = features_file(default_cache_dir(), frozen.sha256, asked)
    features = remembered(file, catalog.digests[rows], compute)
    return findings_of(catalog, rows, features, seed=seed, model=frozen.name)


def findings_of(catalog: Catalog, rows: Ints, features: Logits, *, seed: int, model: str) -> list[Finding]:
    """The same of features [n, D] that are there already, of these ``rows`` of the catalog."""
    probabilities = by_others(catalog, rows, features, seed=seed)
    return label_findings(catalog, LabelLook(rows=rows, probabilities=probabilities, model=model))


def by_others(catalog: Catalog, rows: Ints, features: Logits, *, seed: int) -> Floats:
    """Probabilities [n, C] of these rows by features [n, D], each by a probe that has not seen it, nor its like.

    The same pixels, near-duplicates and views of one article would give each other's label away.
    """
    units, _, _ = units_of(catalog, seed, None if catalog.groups is None else catalog.groups.tolist())
    labels = catalog.labels[rows].astype(np.int64)
    return out_of_fold(features, labels, num_classes=len(catalog.classes), groups=units[rows], seed=seed)


def add_to_run(session: Session, looked_at: Mapping[str, PhotoSet], features: Logits) -> None:
    """The same of a run: said, and kept in ``run.json`` and ``check.json``.

    ``features`` [n, D] are what its frozen probe has seen of these photos, one set after the other.
    """
    catalog, plan, record = session.prepared.catalog, session.plan, session.record
    rows = catalog.rows_of(path for photos in looked_at.values() for path in photos.paths)
    drawn = np.sort(permutation(len(rows), "suspects", plan.seed)[:MOST_LOOKED_AT])
    model = plan.short_name or plan.model
    found = findings_of(catalog, rows[drawn], features[drawn], seed=plan.seed, model=model)
    for finding in found:
        session.request.progress.warn(finding.notice())
    ids = ("SUSPECTS", "ALIKE", "UNSEEN_LABELS")
    record.findings = [*(old for old in record.findings if old["id"] not in ids), *(one.record() for one in found)]
    record.write(session.folder.path)
    prepared = session.prepared
    write_preparation(replace(prepared, findings=prepared.findings.plus(found)), session.folder.path)
