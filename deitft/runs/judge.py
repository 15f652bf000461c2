"""How good is a run: its best weights on val, which chose them, and on test, which judges; and the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deitft.core.files import read_json
from deitft.core.keys import permutation
from deitft.data.catalog import TEST, TRAIN, VAL
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.evaluation.baselines import frozen_features, probe
from deitft.evaluation.metrics import Metrics, evaluate, fit_temperature
from deitft.evaluation.predict import predict
from deitft.evaluation.predictions import Predictions
from deitft.evaluation.scores import top_k_score
from deitft.evaluation.statistics import wilson_interval
from deitft.runs.session import Session
from deitft.training.loop import Outcome
from deitft.training.state import TrainState

MOST_PROBED = 5000
"""Train photos that the frozen probe sees at most: it is a baseline, and must not cost a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How training ended."""

    state: TrainState
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The best weights on the photos that chose them and on those that judge them."""

    temperature: float
    temperature_note: str
    val: Metrics
    test: Metrics
    test_predictions: Predictions
    val_predictions: Predictions
    claim_split: str


def probe_photo_count(photos: Mapping[str, int]) -> int:
    """Photos that the frozen probe looks at."""
    return min(photos["train"], MOST_PROBED) + photos["val"] + photos["test"]


def probe_score(session: Session) -> dict[str, Any] | None:
    """What frozen features with a logistic regression reach on test: what training has to beat. For probe.json."""
    if session.plan.weights.get("kind") == "none":
        return None  # random features: a number that would mislead
    train = _few(session.prepared.photos(TRAIN), session.plan.seed)
    sets = {"train": train, "val": session.prepared.photos(VAL), "test": session.prepared.photos(TEST)}
    if not len(sets["test"]):
        return None
    features = {}
    total = sum(map(len, sets.values()))
    with session.request.progress.task("frozen probe", total, unit="photos") as task:
        for name, photos in sets.items():
            features[name] = frozen_features(
                session.classifier,
                eval_stream(session, photos),
                pre=session.plan.preprocessing,
                device=session.machine.device,
                precision=session.plan.precision,
                channels_last=session.plan.channels_last,
                task=task,
                stop=session.stop,
            )
    found = probe(features["train"], features["val"], features["test"][0], num_classes=len(session.plan.classes))
    labels = features["test"][1]
    top1 = top_k_score(found.test_logits, labels, 1)
    low, high = wilson_interval(round(top1 * len(labels)), len(labels))
    part = f"on {len(train)} of the train photos" if len(train) < len(session.prepared.photos(TRAIN)) else ""
    note = "; ".join(filter(None, (part, found.note)))
    return {"top1": top1, "interval": [low, high], "train_photos": len(train), "c": found.c, "note": note}


def _few(photos: PhotoSet, seed: int) -> PhotoSet:
    if len(photos) <= MOST_PROBED:
        return photos
    chosen = np.sort(permutation(len(photos), "probe", seed)[:MOST_PROBED])
    digests = [photos.digests[index] for index in chosen] if photos.digests is not None else None
    return replace(
        photos, paths=[photos.paths[index] for index in chosen], labels=photos.labels[chosen], digests=digests
    )


def eval_stream(session: Session, photos: PhotoSet) -> EvalStream:
    """Photos as every look of this run sees them."""
    batch = max(1, min(64, session.plan.micro_batch))
    return EvalStream(photos, session.plan.preprocessing, batch=batch, workers=session.machine.workers)


def judge(session: Session) -> Judged:
    """Predictions on val and test; the temperature from val, the claims from test."""
    found = {}
    for name, split in (("val", VAL), ("test", TEST)):
        photos = session.prepared.photos(split)
        with session.request.progress.task(f"looking at the {name} photos", len(photos), unit="photos") as task:
            found[name] = predict(
                session.classifier,
                eval_stream(session, photos),
                pre=session.plan.preprocessing,
                device=session.machine.device,
                precision=session.plan.precision,
                channels_last=session.plan.channels_last,
                task=task,
                stop=session.stop,
            )
    session.refuse_stop("evaluating")
    plan = session.plan
    fitted = fit_temperature(found["val"].logits(), found["val"].labels)
    majority = int(np.argmax(plan.train_counts))
    # Without a single test photo nothing can be claimed; val is shown and called what it is.
    claim = "test" if len(found["test"]) else "val"
    metrics = {
        name: evaluate(
            found[name],
            plan.classes,
            temperature=fitted.temperature,
            split=name,
            majority_class=majority,
            seed=plan.seed,
        )
        for name in {"val", claim}
    }
    return Judged(
        temperature=fitted.temperature,
        temperature_note=fitted.note,
        val=metrics["val"],
        test=metrics[claim],
        test_predictions=found[claim],
        val_predictions=found["val"],
        claim_split=claim,
    )


def probe_record(session: Session) -> dict[str, Any] | None:
    """The frozen baseline's figures, as kept beside the run."""
    stored = session.folder.path / "probe.json"
    value = read_json(stored) if stored.is_file() else None
    return value if isinstance(value, dict) else None
