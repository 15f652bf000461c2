"""The photos of a run's report, opened again: mistakes, what training saw of a photo, where the model looks."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import torch

from deitft.data.catalog import TRAIN
from deitft.data.decode import decode
from deitft.data.photos import PhotoSet
from deitft.data.stream import TrainStream
from deitft.data.transforms import EvalTransform, denormalise, normalise
from deitft.errors import DeitftError
from deitft.evaluation.predictions import Predictions
from deitft.models.attention import token_attention
from deitft.reporting.check_data import Pixels
from deitft.reporting.report_data import AttentionSample, PhotoCase, SeenStep
from deitft.runs.judge import Judged, claimed_photos
from deitft.runs.session import Session

SHOWN_SIDE = 320
"""Shorter side, in pixels, of a photo opened again for the page."""
SHOWN_PHOTOS = 4
"""Photos whose attention is shown, and steps of which pictures are."""
SHOWN_VIEWS = 6
"""Pictures shown of a step; even, because mixing pairs them up."""


class Cases:
    """The photos behind the predictions, opened when a page shows them."""

    def __init__(self, session: Session, judged: Judged) -> None:
        self.session = session
        self.predictions = judged.test_predictions
        self.probabilities = judged.test_predictions.probabilities(judged.temperature)
        self.claim = judged.claim_split
        # label errors are looked for wherever the model was not trained
        self.both = _joined(judged.val_predictions, judged.test_predictions, judged.claim_split)
        self.both_probabilities = self.both.probabilities(judged.temperature)
        self._val = len(self.both) - len(judged.test_predictions)

    def case(self, row: int, *, both: bool = False) -> PhotoCase:
        """The photo of a row of the predictions, or with ``both`` of those on val and test."""
        predictions = self.both if both else self.predictions
        probabilities = (self.both_probabilities if both else self.probabilities)[row]
        label, predicted = int(predictions.labels[row]), int(probabilities.argmax())
        return PhotoCase(
            path=predictions.paths[row],
            image=open_again(self.session, predictions.paths[row]),
            label=label,
            predicted=predicted,
            probability=float(probabilities[predicted]),
            label_probability=float(probabilities[label]) if label >= 0 else None,
            split="val" if both and row < self._val else self.claim,
        )


def _joined(val: Predictions, test: Predictions, claim: str) -> Predictions:
    if claim != "test":
        return test
    distill = None
    if val.distill_logits is not None and test.distill_logits is not None:
        distill = np.concatenate([val.distill_logits, test.distill_logits])
    return Predictions(
        paths=(*val.paths, *test.paths),
        labels=np.concatenate([val.labels, test.labels]),
        class_logits=np.concatenate([val.class_logits, test.class_logits]),
        distill_logits=distill,
    )


def open_again(session: Session, path: str) -> Pixels | None:
    """A photo for the page; None where it can no longer be read (the figures stand without it)."""
    pre = session.plan.preprocessing
    try:
        _, data = session.prepared.catalog.places.read(path)
        return decode(data, background=pre.background, at_least=SHOWN_SIDE)
    except (DeitftError, OSError):
        return None


def _sample(photos: PhotoSet, count: int) -> list[int]:
    """Positions spread over a set: the classes stand one after the other."""
    if not len(photos):
        return []
    return sorted({round(place) for place in np.linspace(0, len(photos) - 1, count)})


def views(session: Session, taken: int) -> list[SeenStep]:
    """What some of the ``taken`` steps learned from, first to last, made again by the training stream."""
    plan, photos = session.plan, session.prepared.photos(TRAIN)
    steps = sorted({round(place) for place in np.linspace(0, taken - 1, SHOWN_PHOTOS)}) if taken else []
    stream = TrainStream(replace(plan, workers=0), photos, slice(0, min(SHOWN_VIEWS, plan.batch)))
    seen = []
    with contextlib.suppress(DeitftError):  # a photo that can no longer be read: the figures stand without it
        for batch in stream.at_steps(steps):
            pictures = denormalise(batch.images, plan.preprocessing).permute(0, 2, 3, 1).contiguous().numpy()
            names = [
                " + ".join(plan.classes[number] for number in np.flatnonzero(row)) for row in batch.targets.numpy()
            ]
            seen.append(SeenStep(step=batch.step + 1, side=pictures.shape[1], views=list(pictures), names=names))
    return seen


def attention(session: Session, judged: Judged) -> list[AttentionSample]:
    """Some judged photos with the attention of each token over them; none of a model without tokens."""
    plan = session.plan
    _, photos = claimed_photos(session)
    transform = EvalTransform(plan.preprocessing)
    probabilities = judged.test_predictions.probabilities(judged.temperature)
    samples = []
    for index in _sample(photos, SHOWN_PHOTOS):
        image = open_again(session, photos.paths[index])
        if image is None:
            continue
        square = transform(image)
        ready = normalise(square[None].to(session.machine.device), plan.preprocessing)
        with torch.inference_mode():
            maps = token_attention(session.classifier, ready)
        if maps is None:
            return []
        samples.append(
            AttentionSample(
                path=photos.paths[index],
                image=square.permute(1, 2, 0).contiguous().numpy(),
                maps=maps[0],
                label=int(photos.labels[index]),
                predicted=int(probabilities[index].argmax()),
            )
        )
    return samples
