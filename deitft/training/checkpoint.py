"""When is a state saved, what is kept, and which one does a run go on from?

``commit`` says how a folder is written, ``snapshot`` what is in it. Nothing here starts from scratch by itself:
a damaged checkpoint is named, set aside, and the one before it is taken; where none is left that is an error.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from deitft.core.progress import Progress
from deitft.core.units import format_bytes
from deitft.errors import DataError, Notice, StorageError
from deitft.training.commit import (
    STEP,
    Committed,
    DamagedError,
    clear_leftovers,
    commit,
    facts_of,
    listed,
    remove,
    set_aside,
    step_name,
    verify,
)
from deitft.training.snapshot import load_model, load_state, model_contents, state_contents
from deitft.training.state import Best, TrainState, Which

Checkpoint = Committed

LONGEST_INTERVAL = 600.0
"""Seconds between saves at most that slow storage may ask for."""
SAVE_COST = 50
"""A save may take at most one fiftieth of the time, up to ``LONGEST_INTERVAL``."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Keeper:
    """Writes checkpoints of one run into a folder, and decides when and which to keep.

    ``keep`` newest steps stay, and every ``best-*`` that one of them refers to. ``facts`` (plain data: the
    plan's fingerprint, say) go into every checkpoint. ``latest`` is the step that was saved last, ``seconds``
    what all writing has taken so far. ``clock`` gives seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every_seconds: float,
        keep: int,
        progress: Progress,
        facts: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.latest: int | None = None
        self.seconds = 0.0
        self._every = every_seconds
        self._keep = max(keep, 1)
        self._progress = progress
        self._facts = dict(facts or {})
        self._clock = clock
        self._last = clock()
        self._duration = 0.0

    @property
    def interval(self) -> float:
        """Seconds between saves: as asked, but longer where a save is slow."""
        return max(self._every, min(LONGEST_INTERVAL, SAVE_COST * self._duration))

    def due(self, step: int) -> bool:
        """True when it is time to save; never twice for one step."""
        return step != self.latest and self._clock() - self._last >= self.interval

    def save(self, state: TrainState, *, final: bool = False) -> bool:
        """Commit the whole state, then prune. False where it could not be written (warning C2).

        Raises:
            StorageError: it could not be written and ``final`` says there will be no other try (exit 74).
        """
        begin = self._clock()
        best = state.best.folder if state.best else ""
        facts = {**self._facts, "best": best}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            commit(self.folder, "step", state.step, state_contents(state, self._facts), facts)
        except OSError as error:
            self._last = self._clock()
            self.seconds += self._last - begin
            self._failed(error, state, final=final)
            return False
        self.latest = state.step
        self._last = self._clock()
        self._duration = self._last - begin
        self.seconds += self._duration
        self._prune(state)
        return True

    def save_best(
        self, state: TrainState, which: Which, *, score: float, metrics: Mapping[str, float]
    ) -> Best | None:
        """Commit the weights alone (``raw`` or the average) as ``best-STEP``; None where it could not be.

        The state then refers to it by name; it is deleted when no kept step refers to it any more.
        """
        begin = self._clock()
        facts = {**self._facts, "which": which, "metrics": dict(metrics)}
        average = state.ema.swapped_into(state.model) if which == "ema" and state.ema else None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with average or contextlib.nullcontext():
                commit(self.folder, "best", state.step, model_contents(state.model), facts)
        except OSError as error:
            self._failed(error, state, final=False)
            return None
        finally:
            self.seconds += self._clock() - begin
        best = Best(
            score=score,
            step=state.step,
            which=which,
            metrics=dict(metrics),
            folder=step_name("best", state.step),
        )
        self._prune_bests(best)
        return best

    def _failed(self, error: OSError, state: TrainState, *, final: bool) -> None:
        reason = (error.strerror or str(error)).lower()
        text = f"could not save step {state.step}, {reason} in {self.folder}"
        if error.errno in _NO_SPACE:
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(self.folder).free
                text += f" (needs {format_bytes(_bytes_of(state))}, {format_bytes(free)} free)"
        last = "no step is saved yet" if self.latest is None else f"last saved step is {self.latest}"
        if final:
            raise StorageError(f"{text} — {last}", "free some space and run it with --resume", id="C2")
        hint = f"{last}, will try again in {self.interval:.0f} s"
        self._progress.warn(Notice(id="C2", severity="warning", text=text, hint=hint))

    def _prune(self, state: TrainState) -> None:
        """Order is important: the new step is committed before an old one goes."""
        steps = listed(self.folder, "step")
        for step, path in steps:
            if step > state.step:  # left by a future that this run, resumed from an earlier step, will not have
                self._quietly(path, lambda path: set_aside(path, "superseded"))
        kept = [path for step, path in steps if step <= state.step]
        for path in kept[self._keep :]:
            self._quietly(path, remove)
        self._prune_bests(state.best)

    def _prune_bests(self, current: Best | None) -> None:
        needed = {current.folder} if current else set()
        for _, path in listed(self.folder, "step"):
            with contextlib.suppress(DamagedError):
                needed.add(str(facts_of(path).get("best", "")))
        for _, path in listed(self.folder, "best"):
            if path.name not in needed:
                self._quietly(path, remove)

    def _quietly(self, path: Path, act: Callable[[Path], object]) -> None:
        try:
            act(path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._progress.warn(
                Notice(
                    id="C6",
                    severity="warning",
                    text=f"could not delete {path.name} ({reason})",
                    hint="delete it by hand when the run is over",
                )
            )


def _bytes_of(state: TrainState) -> int:
    """About what a save takes: weights, average and two moments."""
    copies = 3 + (state.ema is not None)
    weights: dict[str, Tensor] = state.model.state_dict()
    return copies * sum(item.nbytes for item in weights.values())


def newest_good(folder: Path, progress: Progress) -> Checkpoint:
    """The newest checkpoint whose every byte is what was written; what is damaged is named and set aside.

    Raises:
        DataError: there is none (id C4).
    """
    for name in clear_leftovers(folder):
        found = STEP.fullmatch(name)
        what = f"{found.group(1)} {int(found.group(2))}" if found else name
        progress.say(f"an unfinished save of {what} was discarded")
    damaged: list[tuple[int, Path, str]] = []
    for step, path in listed(folder, "step"):
        try:
            good = verify(path)
        except DamagedError as error:
            damaged.append((step, path, str(error)))
            continue
        for bad_step, bad_path, reason in damaged:
            _tell_damage(progress, bad_path, bad_step, reason, good.step)
        _check_best(good, progress)
        return good
    count = f"{len(damaged)} damaged" if damaged else "none was saved"
    raise DataError(
        f"no usable checkpoint in {folder.parent} ({count})",
        "begin a new run",
        id="C4",
        files=[str(path) for _, path, _ in damaged],
    )


def open_checkpoint(path: Path, progress: Progress) -> Checkpoint:
    """Exactly this checkpoint, proven.

    Raises:
        DataError: it is damaged, or not a checkpoint (id C4).
    """
    try:
        checkpoint = verify(path)
    except DamagedError as error:
        run = path.parent.parent
        raise DataError(
            f"{path} is damaged ({error}) and you asked for exactly this one",
            f"`deitft resume {run}` takes the last good step",
            id="C4",
            files=[str(path)],
        ) from error
    if checkpoint.kind != "step":
        raise DataError(f"{path} holds weights only, no state to go on from", "name a step-… folder", id="C4")
    _check_best(checkpoint, progress)
    return checkpoint


def restore(state: TrainState, checkpoint: Checkpoint) -> None:
    """Make a fresh state of the same plan what it was at the checkpoint.

    Raises:
        DataError: anything saved does not fit the model, or anything needed was not saved (id C10).
    """
    load_state(state, checkpoint)
    if state.best is not None and not (checkpoint.path.parent / state.best.folder).is_dir():
        state.best, state.stale = None, 0  # said by `newest_good`: the best is chosen anew from here


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put the weights of a ``best-*`` or ``step-*`` folder into a model of the same plan.

    Raises:
        DataError: damaged (id C4), or they do not fit the model (id C10).
    """
    try:
        checkpoint = verify(folder)
    except DamagedError as error:
        raise DataError(f"{folder} is damaged ({error})", "resume from an earlier step", id="C4") from error
    load_model(model, checkpoint)


def _tell_damage(progress: Progress, path: Path, step: int, reason: str, good: int) -> None:
    with contextlib.suppress(OSError):
        set_aside(path, "damaged")
    progress.warn(
        Notice(
            id="C3",
            severity="warning",
            text=f"step {step} is damaged ({reason})",
            hint=f"continuing from step {good}, {step - good} steps are repeated",
            files=(str(path),),
        )
    )


def _check_best(checkpoint: Checkpoint, progress: Progress) -> None:
    """The weights the state calls its best must be there too; else the best is chosen anew, and that is said."""
    name = str(checkpoint.facts.get("best", ""))
    if not name:
        return
    path = checkpoint.path.parent / Path(name).name
    try:
        verify(path)
    except DamagedError as error:
        with contextlib.suppress(OSError):
            set_aside(path, "damaged")
        progress.warn(
            Notice(
                id="C3",
                severity="warning",
                text=f"the best weights so far ({name}) are damaged ({error})",
                hint=f"the best is chosen anew from step {checkpoint.step} on",
                files=(str(path),),
            )
        )
