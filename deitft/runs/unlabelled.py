"""Photos without labels: the classes are the teacher's, and held-out photos show agreement with it.

Where the user gave labels for val or test, these show how often the student is right, as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deitft.data.catalog import SPLIT_NAMES, TEST, VAL, shown
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.errors import RecipeError, UsageError
from deitft.evaluation.predict import predict
from deitft.evaluation.predictions import Floats, Ints
from deitft.models.build import Classifier
from deitft.recipe.plan_types import TeacherPlan
from deitft.runs.request import TrainRequest
from deitft.runs.session import Session
from deitft.runs.teacher import open_teacher
from deitft.runs.teacher_named import Candidate


def classes_of(request: TrainRequest, named: Sequence[Candidate]) -> tuple[str, ...] | None:
    """The classes of photos without labels: the first teacher's. None where the photos have labels.

    Raises:
        UsageError: there is no teacher, or one is to be adapted (id TEACHER).
        RecipeError: the teacher is a model that has not learned the user's classes (id TEACHER).
    """
    if not request.unlabelled:
        return None
    if not named:
        raise UsageError(
            "--unlabelled: photos without labels need a teacher that knows their classes",
            "--teacher RUN names a finished run or a bundle",
            id="TEACHER",
        )
    if request.adapt_teacher is not None:
        raise UsageError(
            "--adapt-teacher: photos without labels cannot teach the teacher",
            "`deitft finetune` it on photos with labels, and name that run",
            id="TEACHER",
        )
    for candidate in named:
        if candidate.named_classes is None:
            raise RecipeError(
                f"the teacher {shown(candidate.spec)} has not learned your classes, and photos without labels "
                "cannot teach it",
                "`deitft finetune` it on photos with labels, and name that run",
                id="TEACHER",
            )
    return named[0].named_classes


def answered(session: Session) -> Session:
    """The session whose held-out photos have the teachers' answers where nobody labelled them."""
    plan, prepared = session.plan, session.prepared
    sides = [split for split in (VAL, TEST) if SPLIT_NAMES[split] in plan.unlabelled]
    if plan.distill is None or not sides:
        return session
    answers = np.full(len(prepared.catalog), -1, np.int64)
    for split in sides:
        rows = prepared.splits.indices(split)
        answers[rows] = _said(session, prepared.photos(split), plan.distill.teachers)
    return replace(session, prepared=replace(prepared, answers=answers))


def _said(session: Session, photos: PhotoSet, teachers: Sequence[TeacherPlan]) -> Ints:
    """The class that the teachers name for each photo, [N]: of the mean of their probabilities."""
    total: Floats | None = None
    for one in teachers:
        probabilities = _probabilities(session, photos, one)
        total = probabilities if total is None else total + probabilities
    assert total is not None, "a plan with distillation has a teacher"
    said: Ints = total.argmax(axis=1).astype(np.int64)
    return said


def _probabilities(session: Session, photos: PhotoSet, teacher: TeacherPlan) -> Floats:
    """Of the student's classes, [N, C]."""
    classifier: Classifier = open_teacher(teacher).classifier
    classifier.to(session.plan.device)
    bar = session.request.progress.task(f"asking the teacher {teacher.name}", len(photos), unit="photos")
    with session.stoppable("before the next step"), bar as task:
        found = predict(
            classifier,
            EvalStream(photos, teacher.preprocessing, batch=32, workers=session.machine.workers),
            pre=teacher.preprocessing,
            device=session.plan.device,
            precision=session.plan.precision,
            task=task,
            stop=session.stop,
        )
    return found.probabilities()[:, list(teacher.columns)]
