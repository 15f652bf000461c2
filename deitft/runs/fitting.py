"""A session's state, trained to the end of its plan: what every process of a group does alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager

from deitft.core.progress import StopFlag, Task
from deitft.data.catalog import TRAIN, VAL
from deitft.data.stream import TrainStream
from deitft.errors import DataError
from deitft.evaluation.metrics import validation_scores
from deitft.evaluation.predict import predict
from deitft.evaluation.predictions import Predictions
from deitft.models.build import Classifier
from deitft.runs.judge import eval_stream
from deitft.runs.learning import learning_of
from deitft.runs.session import Session
from deitft.runs.together import leader_first, seen_by_all, turn_of
from deitft.training.checkpoint import Keeper
from deitft.training.log import RunLog, open_loggers
from deitft.training.loop import DIRECTIONS, Outcome, fit
from deitft.training.ranks import FollowingLog
from deitft.training.state import TrainState


def fit_session(session: Session, state: TrainState, keeper: Keeper) -> Outcome:
    """Train a state to the end of its plan; what every process of a group does."""
    plan, request, group = session.plan, session.request, state.group
    train = session.prepared.photos(TRAIN)
    rows = group.rows(plan.batch, paired=plan.mixing.on)
    with leader_first(group):
        learning = learning_of(
            plan,
            train,
            request.progress,
            cache=request.teacher_cache,
            part=f"run-{group.rank}",
            share=rows.stop - rows.start,
        )
    stream = TrainStream(plan, train, rows)
    val = session.prepared.photos(VAL)
    looks = eval_stream(session, val, turn=(group.rank, group.world))
    here = len(turn_of(group, len(val), looks.batch))

    def validate(model: Classifier, stop: StopFlag) -> Mapping[str, float] | None:
        def look() -> Predictions:
            with request.progress.task("validating", here, unit="photos") as task:
                return predict(
                    model,
                    looks,
                    pre=plan.preprocessing,
                    device=plan.device,
                    precision=plan.precision,
                    channels_last=plan.channels_last,
                    task=task,
                    stop=stop,
                )

        found = look() if group.alone else seen_by_all(group, look, len(val), looks.batch)
        scores: Mapping[str, float] | None = None
        if found is not None and len(found) == len(val):
            scores = _scores(found)
        found_by_leader: Mapping[str, float] | None = group.from_leader(scores)
        return found_by_leader

    log = _log_of(session, state)
    try:
        with _bar(session) as task:
            task.advance(state.step)
            session.stop.deadline = session.hard_stop
            return fit(plan, state, stream, learning.objective, validate, keeper, log, session.stop, task)
    finally:
        session.stop.deadline = None
        if session.stop.reason == "time limit":
            session.stop.reason = None
        log.close()
        stream.close()
        learning.close()


def _bar(session: Session) -> AbstractContextManager[Task]:
    """The bar of the training; where there is no step it says so and counts nothing."""
    progress, steps = session.request.progress, session.plan.total_steps
    if not steps:
        return progress.task("no step to train")
    return progress.task(f"training {session.folder.name}", steps, unit="steps")


def _scores(found: Predictions) -> Mapping[str, float]:
    try:
        return validation_scores(found)
    except DataError as error:
        if error.id != "N1":
            raise
        return dict.fromkeys(DIRECTIONS, math.nan)  # not the photos' fault: the loop says that it diverged


def _log_of(session: Session, state: TrainState) -> RunLog:
    if not state.group.leads:
        return FollowingLog()
    request, run = session.request, session.folder
    loggers = open_loggers(request.log_to, run.path, name=run.name, config=session.plan.record())
    return RunLog(run.path, progress=request.progress, loggers=loggers, after_step=state.validated_step)
