"""What may go wrong in a step, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deitft.compute.group import PeerLostError
from deitft.errors import DataError, DeitftError, RecipeError, StoppedError
from deitft.recipe.plan_types import Plan


class TrainingDiverged(RecipeError):  # noqa: N818  what happened, not what kind of thing this is
    """Updates stopped being finite. Nothing of it was saved (fault N1, exit 78)."""


def is_out_of_memory(error: Exception) -> bool:
    """A GPU's lack of memory has a class of its own, a processor's only words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(plan: Plan, saved: int | None) -> StoppedError:
    """N2: how to go on with less, and with the same result."""
    where = f"{plan.device} ran out of memory at micro-batch {plan.micro_batch} of batch {plan.batch}"
    smaller = max(plan.micro_batch // 2, 1)
    return StoppedError(
        f"{where}, state saved at step {saved}",
        f"continue with --resume --set train.micro_batch={smaller} (same global batch, same result)",
        id="N2",
    )


def diverged(what: str, step: int, lr: float, last_loss: float, saved: int | None, plan: Plan) -> TrainingDiverged:
    """N1: where it was last well, and what to lower."""
    good = "nothing was saved before it" if saved is None else f"last good checkpoint is step {saved}"
    way = " or --set train.precision=bf16" if plan.precision == "fp16" else ""
    if plan.distill is not None:
        way += "; where the same with --distill none goes on, look at the teacher"
    return TrainingDiverged(
        f"{what} (lr {lr:g}, loss {last_loss:.4g} before)",
        f"{good}; lower optim.lr{way}",
        id="N1",
        details={"step": step, "lr": lr, "last_finite_loss": last_loss, "last_good_step": saved},
    )


def with_place(error: DeitftError, step: int, saved: int | None) -> DeitftError:
    """The error; N5 with its place: the step that was not finished, and the last one that is kept."""
    if not isinstance(error, PeerLostError):
        return error
    last = "no step is saved" if saved is None else f"last saved step {saved}"
    found = PeerLostError(
        f"{error.what} at step {step} — all stopped, {last}", "run the same command with --resume", id="N5"
    )
    found.spoken_by = error.spoken_by
    return found


def bad_pixels(names: Sequence[str], step: int, saved: int | None) -> DataError:
    """N1, where photos are to blame: which, and at which step it began."""
    count = f"{len(names)} photos have" if len(names) > 1 else "1 photo has"
    return DataError(
        f"{count} pixels that are not finite, first: {names[0]}; updates stopped being finite at step {step}",
        "replace or remove them and run it again",
        id="N1",
        files=names,
        details={"step": step, "last_good_step": saved},
    )
