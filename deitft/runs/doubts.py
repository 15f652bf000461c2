"""Labels in doubt, looked for where a model is at hand: what ``check`` adds to the audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deitft.core.progress import Progress, StopFlag
from deitft.errors import Notice
from deitft.models.at_hand import first_at_hand

if TYPE_CHECKING:
    from deitft.data.catalog import Catalog

NONE = "none"
"""In the place of a model's name: do not look."""
LOOKERS = ("vit_ti", "deit_ti", "mobilenetv2")
"""Small models whose features tell classes apart, the best first; used where their weights are at hand."""
UNASKED_PHOTOS = 5_000
"""More photos are looked at only if somebody asks for it: on a processor it takes minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Which model looks, on which machine. ``model`` None: one that is at hand; "none": none at all."""

    model: str | None = None
    weights: str | None = None
    weights_dir: Path | None = None
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None


def doubts(catalog: Catalog, looker: Looker, *, seed: int, progress: Progress, stop: StopFlag) -> list[Notice]:
    """Labels that look wrong, and classes that look alike; or why nobody looked.

    Raises:
        UsageError: no such model (id MODEL).
        UnavailableError: no weights of the model that was named (id WEIGHTS).
    """
    if looker.model == NONE:
        return [_nobody("as asked", "")]
    if looker.model is None and looker.weights is None and len(catalog) > UNASKED_PHOTOS:
        return [_nobody(f"{len(catalog):,} photos take a while", f"--model {LOOKERS[0]} looks")]
    model = looker.model or first_at_hand(LOOKERS, looker.weights_dir)
    if model is None:
        hint = f"--weights-dir names a folder of weights, --model {LOOKERS[0]} downloads some"
        return [_nobody("no weights of a small model are at hand", hint)]
    from deitft.compute.device import choose
    from deitft.runs.suspects import frozen_model, look_at_labels

    machine = choose(looker.device, threads=looker.threads, workers=looker.workers)
    frozen = frozen_model(
        model, weights=looker.weights, weights_dir=looker.weights_dir, machine=machine, progress=progress
    )
    found = look_at_labels(catalog, frozen, machine=machine, progress=progress, stop=stop, seed=seed)
    return [finding.notice() for finding in found]


def _nobody(why: str, hint: str) -> Notice:
    text = f"nobody looked for labels that are wrong: {why}"
    return Notice(id="UNSEEN_LABELS", severity="info", text=text, hint=hint)
