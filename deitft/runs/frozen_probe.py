"""What would have been enough: heads solved on frozen features, as the start of a run and as its baseline.

What the untouched model has seen of a set of photos is kept in the user's cache: another recipe or another try
on the same photos and sides begins at once, with the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deitft.core.files import read_json
from deitft.core.progress import Task
from deitft.core.records import processor_name
from deitft.data.catalog import TEST, TRAIN, VAL
from deitft.data.photo_cache import default_cache_dir
from deitft.data.photos import PhotoSet
from deitft.evaluation.baselines import Probe, frozen_features, probe
from deitft.evaluation.model_difference import top_one
from deitft.evaluation.predictions import Ints, Logits
from deitft.evaluation.scores import ranks
from deitft.recipe.plan_types import Plan
from deitft.runs.feature_cache import features_file, kept_whole
from deitft.runs.judge import eval_batch, eval_stream, few_photos, groups_of
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest
from deitft.runs.session import Session
from deitft.runs.suspects import add_to_run, by_others


def probe_sets(plan: Plan, prepared: Prepared) -> dict[str, PhotoSet]:
    """Photos that the frozen probe looks at: all of train where it is all the training there is."""
    train = prepared.photos(TRAIN)
    few = train if plan.total_steps == 0 else few_photos(train, plan.seed, plan.probe_photos)
    return {"train": few, "val": prepared.photos(VAL), "test": prepared.photos(TEST)}


def is_probed(plan: Plan, request: TrainRequest) -> bool:
    """Whether heads are solved on frozen features. Random weights have none worth it, and labels are needed."""
    baseline = request.probe and plan.weights.get("kind") != "none" and "train" not in plan.unlabelled
    return baseline or plan.head_start == "probe"


def to_look_at(plan: Plan, prepared: Prepared, body: str, request: TrainRequest) -> int:
    """Photos that the frozen probe will have to look at, because nobody has done so with this model.

    ``body``: the model's ``body_sha256``.
    """
    if not is_probed(plan, request):
        return 0
    sets = probe_sets(plan, prepared).values()
    return sum(len(photos) for photos in sets if not _kept_at(plan, body, photos).exists())


def _kept_at(plan: Plan, body: str, photos: PhotoSet) -> Path:
    """Where the features of these photos are kept: a file for all that their last bits may depend on."""
    digests = b"".join(photos.digests or ())
    machine = [processor_name(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    how = [plan.device, plan.precision, plan.channels_last, eval_batch(plan), plan.preprocessing.record()]
    order = hashlib.sha256(digests).hexdigest()
    return features_file(default_cache_dir(), body, ["whole", plan.model, *how, *machine, order])


def probe_start(session: Session) -> dict[str, Any]:
    """Solve the heads on the frozen features, put them in if the plan says so, and score them on test.

    What is returned (and kept in ``probe.json``) is the baseline that training has to beat: plain logistic
    regression on standardised features, one a head, fused as the model's heads are.
    """
    plan, sets = session.plan, probe_sets(session.plan, session.prepared)
    few, train = sets["train"], plan.photos["train"]
    body = session.classifier.body_sha256()
    bar = session.request.progress.task("frozen probe", sum(map(len, sets.values())), unit="photos")
    with session.stoppable("before the first step"), bar as task:
        seen = {name: (_features(session, body, photos, task), photos.labels) for name, photos in sets.items()}
    add_to_run(session, sets, np.concatenate([columns[0] for columns, _ in seen.values() if columns]))
    (train_features, train_labels), (val_features, val_labels) = seen["train"], seen["val"]
    with session.request.progress.task("solving the frozen probe", len(train_features)) as task:
        probes = []
        for number, features in enumerate(train_features):
            pair = (val_features[number] if val_features else features[:0], val_labels)
            probes.append(probe((features, train_labels), pair, num_classes=len(plan.classes)))
            task.advance()
    if plan.head_start == "probe":
        session.classifier.set_heads([found.weight for found in probes], [found.bias for found in probes])
    val_right = _fused_right(probes, val_features, val_labels)
    record: dict[str, Any] = {
        "train_photos": len(few),
        "val_top1": float(val_right.mean()) if len(val_right) else None,
        # photo by photo, in the order of splits.csv: a comparison asks whether training has lost something
        "val_right": "".join("01"[right] for right in val_right.tolist()),
        "penalty_c": [found.c for found in probes],
        "note": "; ".join(
            ([f"on {len(few)} of {train} train photos"] if len(few) < train else [])
            + [found.note for found in probes if found.note]
        ),
    }
    test_features, test_labels = seen["test"]
    if len(test_labels):
        right = _fused_right(probes, test_features, test_labels)
        record |= _shown(session, right, sets["test"])
    elif not len(val_labels):
        record |= _blind(session, few, train_features[0])
    return record


def _features(session: Session, body: str, photos: PhotoSet, task: Task) -> tuple[Logits, ...]:
    """What each head sees of these photos, [N, D] a head; of no photo there is none."""
    plan, looked = session.plan, False

    def look() -> tuple[Logits, ...]:
        nonlocal looked
        looked = True
        columns, _ = frozen_features(
            session.classifier,
            eval_stream(session, photos),
            pre=plan.preprocessing,
            device=plan.device,
            precision=plan.precision,
            channels_last=plan.channels_last,
            task=task,
            stop=session.stop,
        )
        return columns

    columns = kept_whole(_kept_at(plan, body, photos), len(photos), look) if photos.digests else look()
    if not looked:
        task.advance(len(photos))
    return columns


def _fused_right(probes: Sequence[Probe], features: Sequence[Logits], labels: Ints) -> npt.NDArray[np.bool_]:
    """Which photos [N] the mean of the probes' logits gets right, one probe a head."""
    if not len(labels):
        return np.zeros(0, np.bool_)
    logits = np.mean([found.logits(x) for found, x in zip(probes, features, strict=True)], axis=0)
    return np.asarray(ranks(logits, labels) < 1)


def _blind(session: Session, photos: PhotoSet, features: Logits) -> dict[str, Any]:
    """Where nothing is held out: each train photo by a probe that has not seen it."""
    catalog, labels = session.prepared.catalog, np.asarray(photos.labels)
    said = by_others(catalog, catalog.rows_of(photos.paths), features, seed=session.plan.seed).argmax(axis=1)
    return _shown(session, said == labels, photos) | {
        "note": "each train photo by a probe of the other photos",
    }


def _shown(session: Session, right: npt.NDArray[np.bool_], photos: PhotoSet) -> dict[str, Any]:
    """Top-1 and its interval, of whole groups where some were declared: as the trained model's."""
    found = top_one(right, groups_of(session, photos.paths))
    return {"top1": found.top1, "interval": [found.low, found.high]}


def probe_record(session: Session) -> dict[str, Any] | None:
    """The frozen baseline's figures, as kept beside the run."""
    stored = session.folder.path / "probe.json"
    value = read_json(stored) if stored.is_file() else None
    return value if isinstance(value, dict) else None
