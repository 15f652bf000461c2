"""What each of several processes does in the tests of training together; the leader keeps what came of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models_kit import PLAIN, tiny
from stream_sample import CLASSES, train_plan
from torch import Tensor
from training_kit import KeyedStream, Run, TinyNet, fingerprint, nan_target, tiny_plan

from deitft.compute.group import Group, opened
from deitft.compute.rank import rank_here
from deitft.core.progress import Silent, StopFlag
from deitft.data.photos import PhotoSet
from deitft.data.stream import Batch, EvalStream, TrainStream
from deitft.errors import DataError
from deitft.evaluation.predict import predict
from deitft.models.build import Heads
from deitft.objectives.distillation import Distilled
from deitft.objectives.supervised import Supervised
from deitft.objectives.teacher import LiveTeacher, Teacher
from deitft.recipe.plan_types import DistillPlan, Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.together import seen_by_all
from deitft.training.ranks import FollowingKeeper, FollowingLog, spread
from deitft.training.snapshot import optimizer_tensors
from deitft.training.state import new_state
from deitft.training.step import take_step

STEPS = 20


def photos_in(folder: Path) -> PhotoSet:
    """The photos that ``stream_sample.write_photos`` has put there."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    return PhotoSet(folder, paths, np.asarray([CLASSES.index(path.split("/")[0]) for path in paths], np.int64))


def full_plan(micro_batch: int) -> Plan:
    """Everything at once: mixing, erasing, drop-path, three repeats, a teacher for the token, clipping, EMA."""
    teacher = TeacherPlan(
        name="t", model=PLAIN, path="", sha256="", preprocessing=Preprocessing(size=32), columns=(2, 0, 1)
    )
    plan = train_plan(
        size=32,
        augment={"repeats": 3},
        batch=24,
        micro_batch=micro_batch,
        total_steps=STEPS,
        ema_decay=0.9,
        drop_path=0.3,
        distill=DistillPlan(
            kind="soft", token=True, alpha=0.5, tau=2.0, reduction="batchmean", teachers=(teacher,)
        ),
    )
    return replace(plan, optim=replace(plan.optim, clip_norm=1.0, warmup_steps=3))


def train_steps(group: Group, folder: Path, micro_batch: int) -> dict[str, Any]:
    """Twenty steps of everything in float64: losses, sample ids, and the state after them."""
    torch.set_num_threads(1)
    plan = full_plan(micro_batch)
    student = tiny(classes=3, drop_path=plan.drop_path, seed=group.rank).double()
    state = new_state(plan, student)
    spread(plan, state, group)
    teacher = tiny(PLAIN, classes=3, seed=7).double()
    assert plan.distill is not None
    voice = LiveTeacher([Teacher(teacher, plan.distill.teachers[0])], plan, "soft")
    told = Distilled(Supervised(plan.loss, plan.train_counts, "cpu"), plan.distill, voice)
    losses: list[float] = []

    def objective(heads: Heads, micro: Batch) -> dict[str, Tensor]:
        parts = told(heads, micro)
        losses[-1] += float(parts["total"].detach()) * len(micro) / (plan.batch // group.world)
        return parts

    seen = []
    stream = TrainStream(plan, photos_in(folder), group.rows(plan.batch, paired=True))
    for batch in stream.from_step(0, STEPS):
        losses.append(0.0)
        take_step(plan, state, replace(batch, images=batch.images.double()), objective)
        seen.append(batch.sample_ids.tolist())
    assert len(set(group.everyones(fingerprint(state)))) == 1, "all processes hold the same bits"
    assert state.ema is not None
    ids = group.everyones(seen)
    return {
        "losses": np.mean(group.everyones(losses), axis=0),
        "ids": np.asarray([list(itertools.chain(*step)) for step in zip(*ids, strict=True)]),
        "images": np.asarray(state.images_seen),
        **{f"weight {name}": tensor.numpy() for name, tensor in student.state_dict().items()},
        **{f"average {name}": tensor.numpy() for name, tensor in state.ema.tensors.items()},
        **{f"moment {name}": tensor.numpy() for name, tensor in optimizer_tensors(state.optimizer).items()},
    }


def look(group: Group, folder: Path) -> dict[str, Any]:
    """What a fixed model says of so many photos in batches of so many: each photo once, whoever looked."""
    torch.set_num_threads(1)
    all_photos, model, said = photos_in(folder), tiny(classes=3, seed=3), {}
    for count, batch in itertools.product((1, 2, 3, 5, 17), (1, 3, 8)):
        photos = PhotoSet(folder, all_photos.paths[:count], all_photos.labels[:count])
        pre = Preprocessing(size=32)
        stream = EvalStream(photos, pre, batch=batch, turn=(group.rank, group.world))
        found = seen_by_all(group, lambda s=stream, p=pre: predict(model, s, pre=p, device="cpu"), count, batch)
        assert found is not None
        if group.leads:
            assert list(found.paths) == list(photos.paths)
            assert found.distill_logits is not None
            said[f"{count} by {batch}"] = np.stack([found.class_logits, found.distill_logits])
    return said


class Shared:
    """This process's rows of the batches of a stream; ``trouble`` at one step is raised by the last process."""

    def __init__(self, inner: KeyedStream, group: Group, *, trouble: int | None = None) -> None:
        self.inner, self.group, self.trouble = inner, group, trouble
        self.photos = inner.photos

    def from_step(self, step: int, total_steps: int) -> Iterator[Batch]:
        for batch in self.inner.from_step(step, total_steps):
            if batch.step == self.trouble and self.group.rank == self.group.world - 1:
                raise DataError("hat/003.jpg changed since the run began", "restore it", id="D16")
            yield list(batch.split(len(batch) // self.group.world))[self.group.rank]


def tiny_run(group: Group, folder: Path, name: str, *, trouble: int | None = None, **stream: Any) -> Run:
    """A run of a tiny net that all processes train."""
    plan = tiny_plan(total_steps=12)
    run = Run(folder / f"{name}-{group.rank}", plan, model=TinyNet(norm=False), **stream)
    spread(plan, run.state, group)
    run.stream = Shared(run.stream, group, trouble=trouble)
    if not group.leads:
        run.keeper, run.log = FollowingKeeper(), FollowingLog()
    return run


def agree(group: Group, folder: Path) -> dict[str, Any]:
    """One process alone is told to stop, meets a loss that is no number, or cannot read a photo."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    stopped = tiny_run(group, folder, "stop")

    def asked(model: Any, stop: StopFlag) -> None:
        if group.rank == group.world - 1:
            stop.reason = "SIGTERM"  # as a signal would in the middle of it

    stopped.validate = asked
    outcome = stopped.fit()
    found["stopped"] = group.everyones((outcome.reason, outcome.step, stopped.stop.reason))

    def spoil(batch: Batch) -> Batch:  # of the last rows alone
        half = nan_target(batch).targets
        return replace(batch, targets=torch.cat([batch.targets[:4], half[4:]]))

    spoilt = tiny_run(group, folder, "nan", poison={3: spoil})
    spoilt.fit()
    found["skipped"] = group.everyones((spoilt.state.guard.record()["skipped"], fingerprint(spoilt.state)))

    broken = tiny_run(group, folder, "trouble", trouble=7)
    try:
        broken.fit()
    except DataError as error:
        found["trouble"] = group.everyones((error.line, error.exit_code, broken.state.step, broken.keeper.latest))
    return found


def part(what: str, folder: str, out: str, *more: str) -> int:
    """One process of a group at one of the above; the leader writes an npz file."""
    with opened(rank_here(), "cpu", Silent()) as group:
        found = {"steps": train_steps, "look": look, "agree": agree}[what](group, Path(folder), *map(int, more))
        if group.leads:
            np.savez(
                out,
                **{
                    name: np.asarray(value, dtype=None if what != "agree" else object)
                    for name, value in found.items()
                },
            )
        group.most(0)
    return 0
