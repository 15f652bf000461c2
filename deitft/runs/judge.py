"""How good is a run: its best weights on val, which chose them, and on test, which judges; and the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.files import read_json
from deitft.core.keys import permutation
from deitft.data.catalog import TEST, TRAIN, VAL
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.evaluation.baselines import Probe, frozen_features, probe
from deitft.evaluation.metrics import Metrics, evaluate, fit_temperature
from deitft.evaluation.predict import predict
from deitft.evaluation.predictions import Ints, Logits, Predictions, alone
from deitft.evaluation.scores import ranks
from deitft.evaluation.statistics import wilson_interval
from deitft.recipe.plan_types import MOST_PROBED, Plan
from deitft.runs.session import Session
from deitft.runs.suspects import add_to_run, by_others
from deitft.training.loop import Outcome
from deitft.training.state import TrainState


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
    val: Metrics | None  # None where there are no val photos
    test: Metrics  # of ``claim_split``: "test", else "val", else "train"
    test_predictions: Predictions
    val_predictions: Predictions
    claim_split: str
    unlabelled: tuple[str, ...] = ()  # splits whose figures are agreement with the teacher

    @property
    def by_teacher(self) -> bool:
        """Whether ``test`` is agreement with the teacher: nobody has labelled these photos."""
        return self.claim_split in self.unlabelled


def probe_photo_count(plan: Plan) -> int:
    """Photos that the frozen probe looks at: all of them where it is all the training there is."""
    photos = plan.photos
    train = photos["train"] if plan.total_steps == 0 else min(photos["train"], plan.probe_photos)
    return train + photos["val"] + photos["test"]


def probe_start(session: Session) -> dict[str, Any]:
    """Solve the heads on the frozen features, put them in if the plan says so, and score them on test.

    What is returned (and kept in ``probe.json``) is the baseline that training has to beat: plain logistic
    regression on standardised features, one a head, fused as the model's heads are.
    """
    plan, train = session.plan, session.prepared.photos(TRAIN)
    few = train if plan.total_steps == 0 else few_photos(train, plan.seed, plan.probe_photos)
    sets = {"train": few, "val": session.prepared.photos(VAL), "test": session.prepared.photos(TEST)}
    seen = {}
    bar = session.request.progress.task("frozen probe", sum(map(len, sets.values())), unit="photos")
    with session.stoppable("before the first step"), bar as task:
        for name, photos in sets.items():
            seen[name] = frozen_features(
                session.classifier,
                eval_stream(session, photos),
                pre=plan.preprocessing,
                device=plan.device,
                precision=plan.precision,
                channels_last=plan.channels_last,
                task=task,
                stop=session.stop,
            )
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
            ([f"on {len(few)} of {len(train)} train photos"] if len(few) < len(train) else [])
            + [found.note for found in probes if found.note]
        ),
    }
    test_features, test_labels = seen["test"]
    if len(test_labels):
        right = _fused_right(probes, test_features, test_labels)
        interval = wilson_interval(int(right.sum()), len(right))
        record |= {"top1": float(right.mean()), "interval": list(interval)}
    elif not len(val_labels):
        record |= _blind(session, few, train_features[0])
    return record


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
    right = int((said == labels).sum())
    return {
        "top1": right / len(labels),
        "interval": list(wilson_interval(right, len(labels))),
        "note": "each train photo by a probe of the other photos",
    }


def few_photos(photos: PhotoSet, seed: int, most: int = MOST_PROBED) -> PhotoSet:
    """At most so many of the photos, drawn from the seed, in their order."""
    if len(photos) <= most:
        return photos
    chosen = np.sort(permutation(len(photos), "probe", seed)[:most])
    digests = [photos.digests[index] for index in chosen] if photos.digests is not None else None
    return replace(
        photos, paths=[photos.paths[index] for index in chosen], labels=photos.labels[chosen], digests=digests
    )


def eval_stream(session: Session, photos: PhotoSet, *, turn: tuple[int, int] = (0, 1)) -> EvalStream:
    """Photos as every look of this run sees them; ``turn`` as in ``EvalStream``."""
    batch = max(1, min(64, session.plan.micro_batch))
    return EvalStream(
        photos,
        session.plan.preprocessing,
        batch=batch,
        workers=session.machine.workers,
        way_on="run the same command with --resume",
        turn=turn,
    )


def claimed_photos(session: Session) -> tuple[str, PhotoSet]:
    """The photos whose figures are shown, and what they are called.

    Without a single test photo nothing can be claimed; val is shown and called what it is. Without val either, the
    photos that taught the model are.
    """
    for name, split in (("test", TEST), ("val", VAL)):
        if len(photos := session.prepared.photos(split)):
            return name, photos
    return "train", few_photos(session.prepared.photos(TRAIN), session.plan.seed)


def judge(session: Session) -> Judged:
    """Predictions on val and test; the temperature from val, the claims from test."""
    found = {}
    claim, claimed = claimed_photos(session)
    for name, photos in {"val": session.prepared.photos(VAL), claim: claimed}.items():
        bar = session.request.progress.task(f"looking at the {name} photos", len(photos), unit="photos")
        with session.stoppable("training is done and saved, its evaluation is not"), bar as task:
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
    plan = session.plan
    fitted = fit_temperature(found["val"].logits(), found["val"].labels)
    majority = None if "train" in plan.unlabelled else int(np.argmax(plan.train_counts))
    metrics = {
        name: evaluate(
            found[name],
            plan.classes,
            temperature=fitted.temperature,
            split=name,
            majority_class=majority,
            groups=_groups(session, found[name]),
            contents=_contents(session, found[name]),
            seed=plan.seed,
        )
        for name in {"val", claim}
        if len(found[name])
    }
    return Judged(
        temperature=fitted.temperature,
        temperature_note=fitted.note,
        val=metrics.get("val"),
        test=metrics[claim],
        test_predictions=found[claim],
        val_predictions=found["val"],
        claim_split=claim,
        unlabelled=plan.unlabelled,
    )


def _groups(session: Session, predictions: Predictions) -> list[str] | None:
    """What was declared to belong together: intervals then draw whole groups. None where nothing was."""
    catalog = session.prepared.catalog
    if catalog.groups is None:
        return None
    groups = catalog.groups[catalog.rows_of(predictions.paths)].tolist()
    return alone(groups, predictions.paths) if any(groups) else None


def _contents(session: Session, predictions: Predictions) -> list[bytes]:
    """SHA-256 of each photo: ``evaluate`` on the same photos under other names comes to the same intervals."""
    catalog = session.prepared.catalog
    return catalog.digests[catalog.rows_of(predictions.paths)].tolist()


def probe_record(session: Session) -> dict[str, Any] | None:
    """The frozen baseline's figures, as kept beside the run."""
    stored = session.folder.path / "probe.json"
    value = read_json(stored) if stored.is_file() else None
    return value if isinstance(value, dict) else None
