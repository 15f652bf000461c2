"""One state in several processes: the leader's, on all of them, and DDP between them to join their gradients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from deitft.compute.group import Group, SharedStop
from deitft.core.progress import Silent, StopFlag
from deitft.errors import DeitftError
from deitft.recipe.plan_types import Plan
from deitft.training.checkpoint import Keeper
from deitft.training.commit import Committed, step_name
from deitft.training.log import Row, RunLog
from deitft.training.snapshot import load_state, state_contents
from deitft.training.state import Best, TrainState, Which

_SENDS_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")  # its older name
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent(Committed):
    """A state that came from the leader, not from a disk."""

    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        return self.contents[name]


def spread(plan: Plan, state: TrainState, group: Group) -> None:
    """Make every process's state the leader's, bit for bit, and have its steps be steps of all of them.

    All call it, each with a state of the plan on its own device. What a checkpoint holds is what is sent: so a run
    may go on with another number of processes. With one process nothing happens.

    Raises:
        RecipeError: the batch cannot be shared out (id C11).
    """
    if group.alone:
        return
    group.rows(plan.batch, paired=plan.mixing.on)
    contents = state_contents(state, {}) if group.leads else []
    names = group.from_leader([name for name, _ in contents])
    made = dict(contents)
    sent = {name: group.from_leader(made[name]() if group.leads else None) for name in names}
    if not group.leads:
        digests = dict.fromkeys(names, "")
        load_state(
            state, _Sent(path=Path("leader"), kind="step", step=0, facts={}, digests=digests, contents=sent)
        )
    state.group = group
    # Buffers are alike already: BatchNorm is synchronised or does not move, all others are constants.
    quiet: dict[str, Any] = {_SENDS_BUFFERS: False}
    state.replica = DistributedDataParallel(state.model, **quiet)
    if plan.compile:
        state.compiled = torch.compile(state.replica)


class Together:
    """What the processes of a run agree on between two steps; alone, nothing needs to be agreed on.

    ``stop`` is the flag to go by, ``own`` that of this process.
    """

    def __init__(self, group: Group, own: StopFlag) -> None:
        self._group, self.own = group, own
        self.stop = own if group.alone else SharedStop(own, group)
        self._due = False

    def look(self, due: bool, trouble: DeitftError | None = None) -> None:
        """All tell whether to stop, whether it is ``due`` to save, and what befell them.

        Raises:
            DeitftError: the trouble of any of them, the same on all.
        """
        if isinstance(self.stop, SharedStop):
            saves, troubled = self.stop.look(due, trouble is not None)
            self._due = bool(saves)
            if troubled:
                raise next(each for each in self._group.everyones(trouble) if each is not None)
        elif trouble is not None:
            raise trouble

    def saves(self, due: bool) -> bool:
        """Whether it is time to save: alone as it is now, together as it was when all looked."""
        return due if self._group.alone else self._due


class FollowingKeeper(Keeper):
    """The keeper of a process that does not write: the leader saves for all."""

    def __init__(self) -> None:
        super().__init__(Path("leader"), every_seconds=0, keep=1, progress=Silent())

    def due(self, step: int) -> bool:
        """The leader says when."""
        return False

    def save(self, state: TrainState, *, final: bool = False) -> bool:
        """Remember the step."""
        self.latest = state.step
        return True

    def save_best(
        self, state: TrainState, which: Which, *, score: float, metrics: Mapping[str, float]
    ) -> Best | None:
        """What the leader's keeper says where its disk is well."""
        return Best(
            score=score, step=state.step, which=which, metrics=dict(metrics), folder=step_name("best", state.step)
        )


class FollowingLog(RunLog):
    """The log of a process that does not write."""

    def __init__(self) -> None:
        self._loggers = []
        self._progress = Silent()

    def line(self, text: str) -> None:
        """Nothing."""

    def validation(self, step: int, row: Row, values: Mapping[str, float]) -> None:
        """Nothing."""
