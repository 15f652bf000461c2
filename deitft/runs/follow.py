"""A process that does not lead: it waits for the leader's word, trains along, and writes nothing."""

from __future__ import annotations

from deitft.compute.device import choose, deterministic
from deitft.compute.group import Group
from deitft.core.progress import Silent, StopFlag, catch_stop_signals
from deitft.core.records import RunRecord
from deitft.data.bad_photo import pixel_limit
from deitft.data.source import Source
from deitft.runs.fitting import fit_session
from deitft.runs.folder import RunFolder
from deitft.runs.request import RunResult, TrainRequest
from deitft.runs.resume import empty_classifier
from deitft.runs.session import Session
from deitft.runs.together import Order, join
from deitft.runs.train import place
from deitft.training.ranks import FollowingKeeper
from deitft.training.state import new_state


def follow(group: Group) -> RunResult:
    """Train along whenever the leader trains, until it says that this was all.

    Raises:
        DeitftError: what ended the leader, or another process.
    """
    stop = StopFlag()
    with catch_stop_signals(stop, Silent()):
        while (order := group.next_order()) is not None:
            with pixel_limit(order.max_pixels):
                _train_along(order, group, stop)
    return RunResult(folder=None, status="followed", facts=(), values={})


def _train_along(order: Order, group: Group, stop: StopFlag) -> None:
    plan = order.plan
    deterministic(plan.threads)
    request = TrainRequest(
        verb="follow", data=Source.of(plan.data), group=group, teacher_cache=order.teacher_cache, progress=Silent()
    )
    session = Session(
        request=request,
        folder=RunFolder(order.folder),
        record=RunRecord(name=order.folder.name, verb="follow", command=[], status="running", started=""),
        plan=plan,
        prepared=order.prepared,
        machine=choose(plan.device, threads=plan.threads, workers=plan.workers, precision=plan.precision),
        classifier=empty_classifier(plan),
        stop=stop,
        hard_stop=None,
    )
    place(session.classifier, plan)
    state = new_state(plan, session.classifier)
    join(session, state)
    outcome = fit_session(session, state, FollowingKeeper())
    if outcome.reason == "stopped":
        raise stop.error(f"saved step {outcome.step}", "")
