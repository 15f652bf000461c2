"""Everything a run is, between two steps: what a checkpoint holds, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from deitft.compute.group import ALONE, Group
from deitft.recipe.plan_types import Plan
from deitft.training.ema import Ema
from deitft.training.optim import build_optimizer

if TYPE_CHECKING:
    from deitft.models.build import Classifier, Heads

Which = Literal["raw", "ema"]

FAULTS_IN_ROW = 3
"""Updates in a row that were not finite before the run is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best validation so far: ``score`` by the plan's ``select_by``, of which weights, kept in which folder.

    ``folder`` is the name below ``checkpoints/``.
    """

    score: float
    step: int
    which: Which
    metrics: Mapping[str, float]
    folder: str


@dataclass(slots=True)
class Guard:
    """What is known about updates that were not finite, as 0-d tensors on the device: noting costs no wait.

    ``skipped`` counts all that were not applied, ``faults`` those among them that fp16's loss scaling does not
    explain, ``in_row`` the faults since the last applied update, ``longest`` its largest value, ``first_bad``
    the step (1 is the first) where that row began, ``last_loss`` is the last finite loss.
    """

    applied: Tensor
    skipped: Tensor
    faults: Tensor
    in_row: Tensor
    longest: Tensor
    first_bad: Tensor
    last_loss: Tensor

    @classmethod
    def new(cls, device: torch.device | str) -> Guard:
        """Nothing has happened yet."""
        zero = torch.zeros((), dtype=torch.int64, device=device)
        none = torch.full((), float("nan"), dtype=torch.float32, device=device)
        return cls(zero, zero, zero, zero, zero, zero, none)

    def note(self, *, skip: Tensor, suspicious: Tensor, loss: Tensor, step: int) -> None:
        """Count one update: ``skip`` says it is not applied, ``suspicious`` that this counts as a fault."""
        self.applied = self.applied + ~skip
        self.skipped = self.skipped + skip
        self.faults = self.faults + suspicious
        in_row = torch.where(suspicious, self.in_row + 1, torch.where(skip, self.in_row, 0))
        self.in_row = in_row
        # The row that is reported is the first of three, even if finite steps follow before anyone looks.
        begins = (in_row == 1) & suspicious & (self.longest < 3)
        self.first_bad = torch.where(begins, step, self.first_bad)
        self.longest = torch.maximum(self.longest, in_row)
        self.last_loss = torch.where(loss.isfinite(), loss.to(torch.float32), self.last_loss)

    def record(self) -> dict[str, float]:
        """All of it on the host, counts as whole numbers: a synchronisation."""
        return {item.name: getattr(self, item.name).item() for item in fields(self)}

    def load(self, values: Mapping[str, float]) -> None:
        """Put saved values back."""
        for item in fields(self):
            tensor = getattr(self, item.name)
            setattr(self, item.name, torch.full_like(tensor, values[item.name]))


@dataclass(slots=True)
class Meter:
    """Sums of named losses over steps, on the device, until they are read once.

    Skipped steps are left out of the means and counted as ``skipped``.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Take one step's parts in, as ``take_step`` returns them (0 for a skipped step)."""
        self.steps += 1
        for name, part in parts.items():
            self.sums[name] = self.sums[name] + part if name in self.sums else part

    def read(self) -> dict[str, float]:
        """Means over the applied steps, and ``skipped``: the one device-to-host synchronisation of a window."""
        if not self.sums:
            return {}
        values = torch.stack([part.to(torch.float32) for part in self.sums.values()]).tolist()
        row = dict(zip(self.sums, values, strict=True))
        skipped = row.pop("skipped", 0.0)
        counted = self.steps - skipped
        means = {name: value / counted if counted else float("nan") for name, value in row.items()}
        return {**means, "skipped": skipped}

    def clear(self) -> None:
        """Begin anew."""
        self.sums, self.steps = {}, 0

    def record(self) -> dict[str, Any]:
        """The sums themselves, for a checkpoint."""
        return {"steps": self.steps, "sums": {name: part.item() for name, part in self.sums.items()}}

    def load(self, values: Mapping[str, Any], device: torch.device | str) -> None:
        """Put saved sums back."""
        self.steps = values["steps"]
        self.sums = {
            name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in values["sums"].items()
        }


@dataclass(slots=True)
class Window:
    """What happened since the last look, still on the device."""

    meter: Meter = field(default_factory=Meter)
    images: int = 0
    bad_photos: list[Tensor] = field(default_factory=list)

    def clear(self) -> None:
        """Begin anew, but for what a row of faults may still need."""
        self.meter.clear()
        self.images = 0
        # A row of three may reach back over the border of two windows.
        self.bad_photos = self.bad_photos[-(FAULTS_IN_ROW - 1) :]


@dataclass(slots=True, kw_only=True)
class TrainState:
    """A run between two steps. All of it is saved, so that a resumed run cannot be told from one not stopped.

    ``step`` is the number of steps taken, skipped ones included; the next batch is number ``step``.
    ``compiled`` replaces calling ``model`` where the plan compiles, ``replica`` where several processes
    (``group``) train one model; they share its weights and are not saved.
    """

    model: Classifier
    optimizer: Optimizer
    guard: Guard
    ema: Ema | None = None
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    best: Best | None = None
    stale: int = 0
    validated_step: int = 0
    images_seen: int = 0
    seconds_trained: float = 0.0
    since_validation: Meter = field(default_factory=Meter)
    compiled: Callable[[Tensor], Heads] | None = None
    replica: DistributedDataParallel | None = None
    group: Group = ALONE

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.guard.applied.device


def new_state(plan: Plan, model: Classifier) -> TrainState:
    """The state before the first step, of a model with its starting weights in and on ``plan.device``.

    Raises:
        RecipeError: nothing is left to train (id OPTIM).
    """
    device = torch.device(plan.device)
    ema = None
    if plan.ema_decay is not None:
        ema = Ema(model, decay=plan.ema_decay, warmup=plan.ema_warmup)
    return TrainState(
        model=model,
        optimizer=build_optimizer(model, plan.optim),
        guard=Guard.new(device),
        ema=ema,
        scaler=torch.amp.GradScaler(device.type) if plan.precision == "fp16" else None,
        compiled=torch.compile(model) if plan.compile else None,
        # heads that begin as a probe are worth a look before the first step: training may not better them
        validated_step=-1 if plan.head_start == "probe" else 0,
    )


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether every number in the floating tensors is finite; 0-d bool on the device."""
    floating = [item.detach() for item in tensors if item.is_floating_point()]
    # The largest magnitude, not the Euclidean norm: that one overflows before any number does.
    return torch.nn.utils.get_total_norm(floating, math.inf).isfinite()
