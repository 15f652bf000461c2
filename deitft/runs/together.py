"""Several processes at one command: the leader does the work of one, and the others train along when it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from deitft.compute.group import Group, opened
from deitft.compute.rank import rank_here
from deitft.core.progress import Progress, Silent
from deitft.errors import DataError, RecipeError, StoppedError, UsageError
from deitft.evaluation.predictions import Predictions
from deitft.models.batch_norm import learns_statistics, synchronise
from deitft.models.build import Classifier, build
from deitft.recipe.plan_types import Plan
from deitft.runs.prepare import Prepared
from deitft.runs.session import Session
from deitft.training.ranks import spread
from deitft.training.state import TrainState


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process needs to train along: plan, photos, and where the run is (it reads nothing there)."""

    plan: Plan
    prepared: Prepared
    folder: Path
    teacher_cache: Path | None
    max_pixels: int | None


@contextlib.contextmanager
def together(device: str, progress: Progress | None) -> Iterator[Group]:
    """The processes of this command; ``ALONE`` unless ``torchrun`` started it. ``device`` as it was typed.

    Raises:
        UsageError: an environment that is half there (id PROCESSES), a device that cannot be shared (id DEVICE).
        UnavailableError: the others cannot be met (id PROCESSES).
    """
    rank = rank_here()
    if rank.world > 1:
        device = _kind(device)
    with opened(rank, device, progress or Silent()) as group:
        yield group
        if group.leads:
            group.dismiss()


def _kind(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        what = f"--device {device} is one device, and there are several processes"
        raise UsageError(what, "write auto, cpu or cuda: each process takes a GPU of its own", id="DEVICE")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def check_shares(plan: Plan, classifier: Classifier, group: Group) -> None:
    """Whether this plan can be trained by these processes, told before anything is spent.

    Raises: RecipeError: the batch cannot be cut in equal shares (id C11), or BatchNorm would see a share only (id
    MODEL).
    """
    group.rows(plan.batch, paired=plan.mixing.on)
    if not group.alone and plan.device == "cpu" and learns_statistics(classifier):
        raise RecipeError(
            f"{plan.model} has BatchNorm, which in {group.world} processes must see all of a batch; torch can do "
            "that on GPUs only",
            "train it in one process, or on GPUs",
            id="MODEL",
        )


def trains_in_one(timm_name: str, group: Group, device: str) -> bool:
    """Whether a model can be trained by one process only where several are there: see ``check_shares``."""
    return (
        not group.alone and device == "cpu" and learns_statistics(build(timm_name, num_classes=2, device="meta"))
    )


def share_out(session: Session, state: TrainState) -> None:
    """Leader: have the others train this run along, from this state."""
    group, record, plan = session.request.group, session.record, session.plan
    began_with = record.environment.get("processes", 1)
    if began_with != group.world and session.resumed:
        session.request.progress.say(f"it began with {began_with} processes and goes on with {group.world}")
    if group.alone:
        return
    record.environment["processes"] = group.world
    check_shares(plan, session.classifier, group)
    group.order(
        Order(
            plan=plan,
            prepared=session.prepared,
            folder=session.folder.path,
            teacher_cache=session.request.teacher_cache,
            max_pixels=session.request.max_pixels,
        )
    )
    join(session, state)


def join(session: Session, state: TrainState) -> None:
    """All: make this process's state one of the group's."""
    if learns_statistics(session.classifier):
        synchronise(session.classifier)
        session.request.progress.say("BatchNorm takes the statistics of all processes (SyncBatchNorm)")
    spread(session.plan, state, session.request.group)


@contextlib.contextmanager
def leader_first(group: Group) -> Iterator[None]:
    """The leader goes through the block before the others: what it makes on disk is there for them."""
    if not group.leads:
        group.most(0)
    yield
    if group.leads:
        group.most(0)


def turn_of(group: Group, photos: int, batch: int) -> npt.NDArray[np.int64]:
    """Which photos this process looks at: whole batches in turn, those that one process would make."""
    return np.flatnonzero(np.arange(photos) // batch % group.world == group.rank)


def seen_by_all(group: Group, look: Callable[[], Predictions], photos: int, batch: int) -> Predictions | None:
    """Each process looks at its turn; the leader gets all photos, each once and in order, the others their own.

    None where a signal ended the look of any of them.

    Raises:
        DataError: what came together is not each photo once (id N6).
    """
    found: Predictions | None = None
    with contextlib.suppress(StoppedError):
        found = look()
    if group.most(found is None)[0]:
        return None
    own = turn_of(group, photos, batch)
    parts = group.gathered((own, found))
    if not parts or found is None:
        return found
    order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    seen: list[Predictions] = [part for _, part in parts]
    paths = [path for part in seen for path in part.paths]
    if len(paths) != photos or len(set(paths)) != photos:
        what = f"{len(paths)} predictions of {photos} photos came together"
        raise DataError(what, "run the same command with --resume", id="N6")
    two = found.distill_logits is not None
    return Predictions(
        paths=tuple(paths[number] for number in order),
        labels=np.concatenate([part.labels for part in seen])[order],
        class_logits=np.concatenate([part.class_logits for part in seen])[order],
        distill_logits=np.concatenate([part.distill_logits for part in seen if part.distill_logits is not None])[
            order
        ]
        if two
        else None,
    )
