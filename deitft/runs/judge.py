"""How good is a run: its best weights on val, which chose them, and on test, which judges; and the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deitft.core.keys import permutation
from deitft.data.catalog import TEST, TRAIN, VAL
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.evaluation.metrics import Metrics, evaluate, fit_temperature
from deitft.evaluation.predict import predict
from deitft.evaluation.predictions import Predictions, alone
from deitft.recipe.plan_types import MOST_PROBED, Plan
from deitft.runs.session import Session
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


def few_photos(photos: PhotoSet, seed: int, most: int = MOST_PROBED) -> PhotoSet:
    """At most so many of the photos, drawn from the seed, in their order."""
    if len(photos) <= most:
        return photos
    chosen = np.sort(permutation(len(photos), "probe", seed)[:most])
    digests = [photos.digests[index] for index in chosen] if photos.digests is not None else None
    return replace(
        photos, paths=[photos.paths[index] for index in chosen], labels=photos.labels[chosen], digests=digests
    )


def eval_batch(plan: Plan) -> int:
    """Photos at a time in every look of a run."""
    return max(1, min(64, plan.micro_batch))


def eval_stream(session: Session, photos: PhotoSet, *, turn: tuple[int, int] = (0, 1)) -> EvalStream:
    """Photos as every look of this run sees them; ``turn`` as in ``EvalStream``."""
    return EvalStream(
        photos,
        session.plan.preprocessing,
        batch=eval_batch(session.plan),
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
            groups=groups_of(session, found[name].paths),
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


def groups_of(session: Session, paths: Sequence[str]) -> list[str] | None:
    """What was declared to belong together: intervals then draw whole groups. None where nothing was."""
    catalog = session.prepared.catalog
    if catalog.groups is None:
        return None
    groups = catalog.groups[catalog.rows_of(paths)].tolist()
    return alone(groups, paths) if any(groups) else None


def _contents(session: Session, predictions: Predictions) -> list[bytes]:
    """SHA-256 of each photo: ``evaluate`` on the same photos under other names comes to the same intervals."""
    catalog = session.prepared.catalog
    return catalog.digests[catalog.rows_of(predictions.paths)].tolist()
