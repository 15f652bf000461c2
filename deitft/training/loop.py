"""The loop: one for every run, on one screen. No callbacks, no events; what happens when stands in ``fit``."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from deitft.compute.allocator import freed_memory_kept
from deitft.core.progress import StopFlag, Task
from deitft.errors import DeitftError, Notice, StoppedError
from deitft.recipe.plan_types import Plan
from deitft.training.checkpoint import Keeper
from deitft.training.log import RunLog, score_column, scores_beside_bar, shown_scores, whose_word
from deitft.training.ranks import Together
from deitft.training.state import FAULTS_IN_ROW, Best, TrainState, Which, Window, all_finite
from deitft.training.step import Objective, StepResult, lr_at, take_step
from deitft.training.trouble import (
    TrainingDiverged,
    bad_pixels,
    diverged,
    is_out_of_memory,
    out_of_memory,
    with_place,
)

if TYPE_CHECKING:
    from deitft.data.stream import Batch
    from deitft.models.build import Classifier

Reason = Literal["finished", "early", "stopped", "time limit"]

DIRECTIONS: Mapping[str, Literal["higher", "lower"]] = {
    "top1": "higher",
    "balanced_accuracy": "higher",
    "loss": "lower",
    "calibrated_loss": "lower",
}
"""What is better, for everything a plan may select by."""


class Stream(Protocol):
    """Batches by step number: a pure function of (seed, step)."""

    def from_step(self, step: int, total_steps: int) -> Iterator[Batch]:
        """The batches of steps ``step`` to ``total_steps - 1``."""
        ...


Validate = Callable[["Classifier", StopFlag], Mapping[str, float] | None]
"""Metrics of a model on val (never test), at least the one the plan selects by.

None, or ``StoppedError``, where a signal ended it in the middle. A time limit should not end it.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: after ``step`` steps, for which reason, with which best (``best.folder`` holds it)."""

    step: int
    best: Best | None
    reason: Reason


def is_due(step: int, every: int, total: int) -> bool:
    """True at every multiple of ``every`` and at the end."""
    return step == total or step % every == 0


def is_better(score: float, best: Best | None, by: str) -> bool:
    """Strictly better than the best so far, in the direction of what is selected by."""
    if best is None:
        return True
    return score > best.score if DIRECTIONS[by] == "higher" else score < best.score


@freed_memory_kept()
def fit(
    plan: Plan,
    state: TrainState,
    stream: Stream,
    objective: Objective,
    validate: Validate,
    keeper: Keeper,
    log: RunLog,
    stop: StopFlag,
    task: Task,
) -> Outcome:
    """Train from ``state.step`` to ``plan.total_steps``. Safe to kill at any line.

    ``objective(heads, batch)`` gives losses, ``validate(model, stop)`` scores the val photos, ``keeper`` writes
    checkpoints, ``log`` takes rows, ``stop`` is set by signals or a deadline, ``task`` is the bar. Where several
    processes train (``state.group``) all of them call it; they save, validate and stop at the same steps.

    Raises:
        TrainingDiverged: three updates in a row were not finite (id N1, exit 78).
        DataError: the same, because a photo's pixels are not finite; its name is in ``files`` (exit 65).
        StorageError: the last save failed (id C2, exit 74).
        PeerLostError: another process died (id N5, exit 75).
    """
    run = _Run(plan, state, stream, validate, keeper, log, stop, task)
    stop = run.together.stop
    with run.rescuing():
        reason = run.settle(stop)
        for batch in run.batches() if reason is None else ():
            run.take(batch, objective)
            stopping = bool(stop)  # read once: a signal cannot fall between two ifs
            last = state.step == plan.total_steps
            validating = is_due(state.step, plan.validate_every, plan.total_steps)
            saving = stopping or last or run.together.saves(keeper.due(state.step))

            # The order is important: 1. log and check  2. validate  3. save  4. stop.
            # Only checked weights are validated or saved; a checkpoint knows the verdict of its own step; a stop
            # always leaves a checkpoint of the step it stopped at.
            if not (saving or validating or is_due(state.step, plan.log_every, plan.total_steps)):
                task.advance()
                continue
            run.log_and_check()
            if validating and not stop.by_signal:
                run.validate(stop)
            reason = run.reason_to_end(stop)
            if saving or reason:
                run.save(final=reason is not None)
            if reason:
                break
    return Outcome(state.step, state.best, reason or "finished")


class _Run:
    """The parts of one ``fit``, each a paragraph of the loop."""

    def __init__(
        self,
        plan: Plan,
        state: TrainState,
        stream: Stream,
        validate: Validate,
        keeper: Keeper,
        log: RunLog,
        stop: StopFlag,
        task: Task,
    ) -> None:
        self.together = Together(state.group, stop)
        self.plan, self.state, self.stream = plan, state, stream
        self._validate, self._keeper, self._log, self._task = validate, keeper, log, task
        self.window = Window()
        self._faults = int(state.guard.record()["faults"])
        self._since = time.monotonic()
        self._images, self._seconds = 0, 0.0

    @contextlib.contextmanager
    def rescuing(self) -> Iterator[None]:
        """Where another process fails, at whatever line, this one is between two steps: that state is saved."""
        try:
            yield
        except DeitftError as error:
            if self.state.group.noticed:
                self._rescue()
            placed = with_place(error, self.state.step + 1, self._keeper.latest)
            if placed is error:
                raise
            raise placed from error

    def batches(self) -> Iterator[Batch]:
        """The stream from here on. Where it breaks (a photo gone, a worker killed) what was learnt is saved."""
        source = iter(self.stream.from_step(self.state.step, self.plan.total_steps))
        try:
            while (batch := self._next(source)) is not None:
                yield batch
        except DeitftError:
            self._rescue()
            raise

    def _next(self, source: Iterator[Batch]) -> Batch | None:
        batch = trouble = None
        try:
            batch = next(source, None)
        except DeitftError as error:
            trouble = error
        self.together.look(self._keeper.due(self.state.step), trouble)
        return batch

    def take(self, batch: Batch, objective: Objective) -> None:
        """One step; its numbers stay on the device."""
        plan, state = self.plan, self.state
        try:
            result = take_step(plan, state, batch, objective)
        except RuntimeError as error:
            if is_out_of_memory(error):
                self._rescue()
                raise out_of_memory(plan, self._keeper.latest) from error
            cause = state.group.cause(error)
            if cause is error:
                raise
            raise cause from error
        self._add(result, len(batch) * state.group.world)

    def _rescue(self) -> None:
        """Save the last full step, before an error ends the run."""
        if self.window.images:
            self.log_and_check()
        if self._keeper.latest != self.state.step:
            self.save(final=False)

    def _add(self, result: StepResult, images: int) -> None:
        self.window.meter.add(result.parts)
        self.state.since_validation.add(result.parts)
        self.window.bad_photos.append(result.bad_photos)
        self.window.images += images

    def settle(self, stop: StopFlag) -> Reason | None:
        """Do what a resumed state still owes to its own step; say why there is nothing left to do, if so."""
        state, plan = self.state, self.plan
        self.together.look(False)
        if state.step and self._keeper.latest is None:
            self._keeper.latest = state.step  # a state with steps behind it comes from its checkpoint
        owed = state.step > state.validated_step and is_due(state.step, plan.validate_every, plan.total_steps)
        if owed and not stop.by_signal:
            self.validate(stop)
            if state.step:
                self.save(final=False)
        reason = self.reason_to_end(stop)
        if reason and self._keeper.latest != state.step:
            self.save(final=True)
        self._since = time.monotonic()
        return reason

    def log_and_check(self) -> None:
        """Read the window (here the device is waited for), log it, and refuse to go on with what is not finite."""
        state, plan, window = self.state, self.plan, self.window
        row = window.meter.read()
        now = time.monotonic()
        self._images += window.images
        self._seconds += now - self._since
        state.seconds_trained += now - self._since
        speed = window.images / max(now - self._since, 1e-9)
        self._since = now
        self._check(row)
        values = {
            "loss": row.pop("total"),
            **row,
            "lr": lr_at(plan, state.step - 1),
            "images_per_second": speed,
        }
        self._log.window(state.step, values)
        self._task.advance(1, loss=values["loss"], lr=values["lr"], **{"images/s": speed})
        window.clear()

    def _check(self, row: Mapping[str, float]) -> None:
        state = self.state
        guard = state.guard.record()
        tensors = [*state.model.state_dict().values(), *(state.ema.tensors.values() if state.ema else ())]
        finite = bool(all_finite(tensors))
        if finite and guard["longest"] < FAULTS_IN_ROW:
            self._tell_faults(int(guard["faults"]))
            return
        step = int(guard["first_bad"]) if guard["longest"] >= FAULTS_IN_ROW else state.step
        names = self._bad_names()
        if names:
            raise bad_pixels(names, step, self._keeper.latest)
        what = "loss or gradients" if finite else "weights"
        raise self._diverged(f"{what} stopped being finite at step {step}", step, guard["last_loss"])

    def _diverged(self, what: str, step: int, last_loss: float) -> TrainingDiverged:
        lr, latest = lr_at(self.plan, step - 1), self._keeper.latest
        return diverged(what, step, lr, last_loss, latest, self.plan)

    def _tell_faults(self, faults: int) -> None:
        """A step that was skipped is said, with the photos where they are to blame."""
        new = faults - self._faults
        if not new:
            return
        self._faults = faults
        names = self._bad_names()
        count = "1 update was" if new == 1 else f"{new} updates were"
        blame = f": pixels of {names[0]} are not finite" if names else ""
        self._log.warn(
            Notice(
                id="N1",
                severity="warning",
                text=f"{count} not finite and not applied, up to step {self.state.step}{blame}",
                hint="the run is stopped after three in a row",
                files=tuple(names),
            )
        )

    def _bad_names(self) -> list[str]:
        ids = torch.cat(self.window.bad_photos).tolist() if self.window.bad_photos else []
        here = {number for number in ids if number >= 0}
        bad = sorted(set().union(*self.state.group.everyones(here)))
        photos = getattr(self.stream, "photos", None)
        return [str(photos.paths[number]) if photos is not None else f"photo {number}" for number in bad]

    def validate(self, stop: StopFlag) -> None:
        """Score the weights and their average on val; keep the better one if it beats the best so far."""
        state, plan = self.state, self.plan
        if not plan.photos["val"]:  # there is nobody to choose: the last weights are kept
            state.validated_step = state.step
            self._tell_validation({}, "")
            state.since_validation.clear()
            return
        verdicts = self._verdicts(stop)
        if verdicts is None:
            self.together.look(False)
            return  # stopped in the middle: owed when the run goes on
        which: Which = "raw"
        for name in verdicts:
            this, other = verdicts[name][plan.select_by], verdicts[which][plan.select_by]
            if (this > other) if DIRECTIONS[plan.select_by] == "higher" else (this < other):
                which = name
        score = verdicts[which][plan.select_by]
        better = is_better(score, state.best, plan.select_by)
        if better:
            kept = self._keeper.save_best(state, which, score=score, metrics=verdicts[which])
            kept = state.group.from_leader(kept)
            state.best = kept or state.best
        state.stale = 0 if better else state.stale + 1
        state.validated_step = state.step
        self._tell_validation(verdicts, which if better else "")
        state.since_validation.clear()
        self._since = time.monotonic()

    def _verdicts(self, stop: StopFlag) -> dict[Which, Mapping[str, float]] | None:
        """Metrics of the weights and of their average; None where a signal came in between."""
        state = self.state
        verdicts: dict[Which, Mapping[str, float]] = {}
        # before the first step the average is the weights themselves
        for which in ("raw", "ema") if state.ema is not None and state.step else ("raw",):
            average = state.ema.swapped_into(state.model) if which == "ema" and state.ema else None
            try:
                with average or contextlib.nullcontext():
                    metrics = self._validate(state.model, self.together.own)
            except DeitftError as error:
                if isinstance(error, StoppedError) and stop.by_signal:
                    return None
                self._rescue()
                raise
            if metrics is None:
                return None
            verdicts[which] = metrics
        for which, metrics in verdicts.items():
            if not math.isfinite(metrics[self.plan.select_by]):
                last_loss = float(state.guard.last_loss)
                what = f"the {which} weights' val {self.plan.select_by} is not finite at step {state.step}"
                raise self._diverged(what, state.step, last_loss)
        return verdicts

    def _tell_validation(self, verdicts: Mapping[Which, Mapping[str, float]], best: str) -> None:
        state, plan = self.state, self.plan
        train = state.since_validation.read()
        train = {"loss": train.pop("total", math.nan), **train}
        epoch = state.step / plan.steps_per_epoch
        values = {
            score_column(plan, which, name): one for which in verdicts for name, one in verdicts[which].items()
        }
        row: dict[str, float | str] = {
            "step": state.step,
            "epoch": epoch,
            "lr": lr_at(plan, state.step - 1),
            "seconds": state.seconds_trained,
            "images_per_second": self._images / self._seconds if self._seconds else 0.0,
            **{f"train_{name}": value for name, value in train.items()},
            **values,
            "best": best,
        }
        self._log.validation(state.step, row, values)
        shown = "  ".join(shown_scores(which, scores, plan.select_by) for which, scores in verdicts.items())
        word = "  best so far" if best else ""
        learnt = f"epoch {epoch:.4g}  loss {train['loss']:.4g}" if state.step else "before the first step"
        judged = f"{whose_word(plan)} {shown}{word}" if verdicts else "no val photos"
        self._task.line(f"{learnt}  {judged}")
        self._task.advance(0, **scores_beside_bar(plan, verdicts.values()))

    def reason_to_end(self, stop: StopFlag) -> Reason | None:
        """Why the run ends here, or None. A time limit that finds nothing chosen yet has this step's weights."""
        state, plan = self.state, self.plan
        if stop.by_signal:
            return "stopped"
        owed = state.validated_step < state.step
        if bool(stop) and owed and state.best is None and state.step:
            self.validate(stop)
        if state.step >= plan.total_steps and state.validated_step == state.step:
            return "finished"
        if plan.patience is not None and state.stale >= plan.patience:
            return "early"
        return "time limit" if stop else None

    def save(self, *, final: bool) -> None:
        """Save, outside of the time that counts as training."""
        self._keeper.save(self.state, final=final)
        self._since = time.monotonic()
