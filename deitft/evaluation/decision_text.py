"""A verdict's parts as data, and as plain sentences. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deitft.evaluation.model_difference import ModelDifference
from deitft.evaluation.model_pairs import amount, needed_text
from deitft.evaluation.power import PhotosNeeded, about
from deitft.evaluation.requirements import Outcome

Status = Literal["chosen", "inside", "outside", "undertrained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One model in the verdict.

    ``top1`` is on val, ``cost`` the figure that "cheapest" is judged by. ``broken`` are the limits it is outside
    of. ``below_probe`` (model minus probe) is there where it is undertrained. ``against_best`` is this model minus
    the best, ``not_inferior`` whether it is within the margin; None where not compared.
    """

    name: str
    top1: float
    cost: float | None
    status: Status
    is_best: bool
    on_front: bool
    broken: tuple[Outcome, ...]
    probe_top1: float | None
    below_probe: ModelDifference | None
    against_best: ModelDifference | None
    not_inferior: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that would, or may, make ``model`` the choice.

    "limit": without the one on ``figure``, where the model has ``value`` (``figure`` None: without all of them).
    "margin": a margin above ``value`` (a share). "photos": ``value`` val photos (None: no number). "training": it
    is undertrained, at a val top-1 of ``value``.
    """

    kind: Literal["limit", "margin", "photos", "training"]
    model: str
    value: float | None
    figure: str | None = None
    needed: PhotosNeeded | None = None


def all_sentences(
    standings: Sequence[Standing], changes: Sequence[Change], margin: float | None, cost: str, photos: int
) -> tuple[str, ...]:
    """The choice, who stays outside and why, what would change it. No full stops."""
    said = [_choice(standings, margin, cost, photos)]
    for one in standings:
        if one.status == "undertrained" and one.probe_top1 is not None:
            own = f"{percent(one.top1)} on val, its own frozen probe {percent(one.probe_top1)}"
            said.append(f"{one.name} is undertrained and outside the verdict: {own}")
        elif one.status == "outside":
            said.append(f"{one.name} is outside the limits: {'; '.join(row.sentence for row in one.broken)}")
    by_name = {one.name: one for one in standings}
    best = next((one.name for one in standings if one.is_best), "")
    said += [_change(change, by_name[change.model], best, margin, photos) for change in changes]
    return tuple(said)


def percent(share: float) -> str:
    """ "91.2 %"."""
    return f"{100 * share:.1f} %"


def _choice(standings: Sequence[Standing], margin: float | None, cost: str, photos: int) -> str:
    chosen = next((one for one in standings if one.status == "chosen"), None)
    best = next((one for one in standings if one.is_best), None)
    if chosen is None or best is None:
        return "no model is chosen: none is within the limits and properly trained"
    inside = [one for one in standings if one.status in ("chosen", "inside")]
    if len(inside) == 1:
        return f"{chosen.name} is chosen: no other model is in the verdict"
    start = f"{chosen.name} is chosen"
    if margin is None:
        return f"{start}: the best on {photos:,} val photos ({percent(best.top1)})"
    if chosen is best:
        why = f"no model with a lower {cost} was shown to be within {amount(margin)} of it"
        return f"{start}: the best on {photos:,} val photos ({percent(best.top1)}), and {why}"
    shown = f"within {amount(margin)} of {best.name} on {photos:,} val photos"
    price = "" if chosen.cost is None else f" ({chosen.cost:.3g})"
    return f"{start}: the lowest {cost}{price} of the models shown to be {shown}"


def _change(change: Change, one: Standing, best: str, margin: float | None, photos: int) -> str:
    if change.kind == "limit" and change.figure is None:
        return f"without the limits it would be {one.name}"
    if change.kind == "limit":
        value = "unknown" if change.value is None else f"{change.value:.4g}"
        return f"without the limit on {change.figure} it would be {one.name} ({change.figure} {value})"
    if change.kind == "margin":
        return f"with a margin above {amount(change.value or 0.0)} it would be {one.name}"
    if change.kind == "training":
        return f"{one.name} may do better with another learning rate or more epochs"
    if margin is None:
        apart = f"{one.name} and {best} cannot be told apart on {photos:,} val photos"
        if one.against_best is None or change.needed is None or one.against_best.difference == 0:
            return apart
        return f"{apart}; {needed_text(one.against_best, change.needed)}"
    enough = about(int(change.value or 0))
    return f"if {one.name} is what it seems, some {enough:,} val photos would show it within the margin"
