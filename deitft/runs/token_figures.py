"""What the distillation token learned: who says what on the claim split, teacher included, and how alike the
tokens are.

The paper's table 4 (Touvron et al. 2021, arXiv 2012.12877) and its cosines, on the user's own photos.

Legend: N photos, B images in a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.errors import DeitftError, StoppedError
from deitft.evaluation.disagreement import closer_to, disagreement
from deitft.evaluation.predict import look, predict
from deitft.evaluation.predictions import Predictions
from deitft.evaluation.statistics import Interval, paired_difference, wilson_interval
from deitft.models.tokens import input_cosine, layer_cosines
from deitft.recipe.plan_types import DistillPlan, TeacherPlan
from deitft.reporting.report_data import Estimate, TokenPart
from deitft.runs.judge import Ending, Judged, claimed_photos, eval_stream, few_photos
from deitft.runs.measure import USED_SHARE
from deitft.runs.session import Session
from deitft.runs.teacher import open_teacher
from deitft.runs.words import HEAD_NAMES

MOST_PHOTOS = 512
"""Photos that the tokens' cosines are means of, at most: they hardly differ from photo to photo."""

LABEL, TEACHER = "label", "teacher"
VOICES = {LABEL: "label", TEACHER: "teacher", **{name: HEAD_NAMES[name] for name in ("class", "distill", "both")}}
"""Who is compared, as ``metrics.json`` and as people call them. "both" is what is served."""

NOTHING = "The weights that were kept are those before the first step: the teacher has changed nothing in them."

Said = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFigures:
    """Figures of a distilled run with two heads, of the N labelled photos of the claim split.

    ``disagreement`` is that of ``evaluation.disagreement``, shares in 0..1. ``sides``: of the ``apart`` photos on
    which teacher and label differ, how many each head calls (as the label does, as the teacher does). ``gains``:
    paired differences of top-1, by "A-B". ``fusions_apart``: share of photos that the mean of logits and the sum
    of softmaxes name differently. ``layers``: cosine of the two tokens after each block and as the heads see them,
    means over ``cosine_photos``. ``labelled``: the train photos had labels, too.

    Without a teacher's answers (``note`` says why) its figures are None or empty.
    """

    n: int
    kind: str
    alone: bool
    teachers: tuple[str, ...]
    teacher_top1: float | None
    teacher_interval: Interval | None
    disagreement: Mapping[str, Mapping[str, float]]
    apart: int
    sides: Mapping[str, tuple[int, int]]
    gains: Mapping[str, Mapping[str, object]]
    fusions_apart: float
    cosine_in: float | None
    layers: tuple[float, ...]
    cosine_photos: int
    note: str
    labelled: bool = True

    def record(self) -> dict[str, Any]:
        """Plain data, for ``metrics.json``."""
        return asdict(self)


def token_figures(session: Session, ending: Ending, judged: Judged) -> TokenFigures | None:
    """Figures of the best weights, which the session's classifier holds; None without a teacher or a second head.

    None where nobody labelled the claim split, too: there every figure is already one of agreement with the
    teacher.

    Raises:
        StoppedError: a signal came in between.
    """
    distill = session.plan.distill
    if distill is None or not session.plan.total_steps or judged.by_teacher:
        return None
    known = judged.test_predictions.rows(np.flatnonzero(judged.test_predictions.labels >= 0))
    if known.distill_logits is None or not len(known):
        return None
    answers, note = _asked(session, distill, known)
    if ending.outcome.best is not None and not ending.outcome.best.step:
        note = f"{NOTHING} {note}".strip()
    voices = voices_of(known, answers)
    right = {name: said == voices[LABEL] for name, said in voices.items()}
    hits = None if answers is None else int(right[TEACHER].sum())
    layers, count = _layers(session)
    return TokenFigures(
        n=len(known),
        kind=distill.kind,
        alone=distill.token,
        teachers=tuple(one.name for one in distill.teachers),
        teacher_top1=None if hits is None else hits / len(known),
        teacher_interval=None if hits is None else wilson_interval(hits, len(known)),
        disagreement=disagreement(voices),
        apart=0 if answers is None else int((voices[LABEL] != voices[TEACHER]).sum()),
        sides={}
        if answers is None
        else {name: closer_to(voices, name, LABEL, TEACHER) for name in ("class", "distill", "both")},
        gains={
            f"{one}-{other}": paired_difference(right[one], right[other], seed=session.plan.seed).record()
            for one, other in (("distill", "class"), ("both", "class"), ("both", TEACHER))
            if other in right
        },
        fusions_apart=float((known.softmax_sum().argmax(axis=1) != voices["both"]).mean()),
        cosine_in=input_cosine(session.classifier),
        layers=layers,
        cosine_photos=count,
        note=note,
        labelled="train" not in session.plan.unlabelled,
    )


def voices_of(known: Predictions, answers: Said | None) -> dict[str, Said]:
    """What each says of each photo, [N] classes, in the order of ``VOICES``."""
    said: dict[str, Said] = {LABEL: known.labels} | ({} if answers is None else {TEACHER: answers})
    said["class"] = known.logits("class").argmax(axis=1)
    said["distill"] = known.logits("distill").argmax(axis=1)
    said["both"] = known.logits("both").argmax(axis=1)
    return said


def _asked(session: Session, distill: DistillPlan, known: Predictions) -> tuple[Said | None, str]:
    """The class that the teachers name for each photo [N], or None and why."""
    limit = session.request.time_limit
    if limit is not None and session.elapsed() > USED_SHARE * limit:
        return None, "The teacher was not asked: the time limit left no time for it."
    name, photos = claimed_photos(session)
    try:
        rows = [_answers(session, teacher, name, photos, known) for teacher in distill.teachers]
    except StoppedError:
        raise
    except DeitftError as error:  # the run is good without it
        return None, f"The teacher could not be asked: {error.what}."
    return np.asarray(np.mean(rows, axis=0).argmax(axis=1), dtype=np.int64), ""


def _answers(
    session: Session, plan: TeacherPlan, name: str, photos: PhotoSet, known: Predictions
) -> npt.NDArray[np.float64]:
    """One teacher's probabilities [N, C] of the student's classes, each photo as the teacher itself sees it."""
    teacher = open_teacher(plan)
    teacher.classifier.to(session.plan.device)
    own = eval_stream(session, photos)
    stream = EvalStream(photos, plan.preprocessing, batch=own.batch, workers=own.workers, way_on=own.way_on)
    bar = session.request.progress.task(f"asking the teacher about the {name} photos", len(photos), unit="photos")
    with session.stoppable("training is done and saved, its evaluation is not"), bar as task:
        found = predict(
            teacher.classifier,
            stream,
            pre=plan.preprocessing,
            device=session.plan.device,
            precision=session.plan.precision,
            task=task,
            stop=session.stop,
        )
    place = {path: row for row, path in enumerate(found.paths)}
    rows = np.array([place[path] for path in known.paths])
    return found.rows(rows).probabilities()[:, list(plan.columns)]


def _layers(session: Session) -> tuple[tuple[float, ...], int]:
    """Mean cosine of the tokens after each block and as the heads see them, and of how many photos."""
    plan, classifier = session.plan, session.classifier
    _, photos = claimed_photos(session)
    some = few_photos(photos, plan.seed, MOST_PHOTOS)

    def cosines(images: Tensor) -> tuple[Tensor, ...]:
        found = layer_cosines(classifier, images)
        return () if found is None else (found,)

    with session.stoppable("training is done and saved, its evaluation is not"):
        _, columns = look(
            classifier,
            eval_stream(session, some),
            cosines,
            pre=plan.preprocessing,
            device=plan.device,
            precision=plan.precision,
            channels_last=plan.channels_last,
            task=None,
            stop=session.stop,
        )
    return tuple(float(value) for value in columns[0].mean(axis=0, dtype=np.float64)), len(some)


def token_part(figures: TokenFigures) -> TokenPart:
    """The same for a page."""
    names = [name for name in VOICES if name in figures.disagreement]
    teacher = Estimate(None, reason=figures.note)
    if figures.teacher_top1 is not None:
        teacher = Estimate(figures.teacher_top1, *(figures.teacher_interval or (None, None)))
    return TokenPart(
        alone=figures.alone,
        labelled=figures.labelled,
        kind=figures.kind,
        teachers=figures.teachers,
        teacher=teacher,
        voices=[VOICES[name] for name in names],
        disagreement=[[figures.disagreement[one][other] for other in names] for one in names],
        fusions_apart=figures.fusions_apart,
        apart=figures.apart,
        sides=[(VOICES[name], *counts) for name, counts in figures.sides.items()],
        gains=_gains(figures.gains),
        cosine_in=figures.cosine_in,
        layers=figures.layers,
        cosine_photos=figures.cosine_photos,
        note=figures.note,
    )


def _gains(gains: Mapping[str, Mapping[str, Any]]) -> Sequence[tuple[str, Estimate]]:
    return [
        (
            " minus ".join(VOICES[part] for part in name.split("-")),
            Estimate(found["difference"], found["low"], found["high"]),
        )
        for name, found in gains.items()
    ]
