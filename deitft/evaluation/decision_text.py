"""A verdict's parts as data, and as plain sentences. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deitft.evaluation.cost_words import COST_WORDS
from deitft.evaluation.model_difference import ModelDifference
from deitft.evaluation.model_pairs import amount, needed_text
from deitft.evaluation.power import PhotosNeeded, about
from deitft.evaluation.requirements import Outcome

Status = Literal["chosen", "inside", "outside", "undertrained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One model in the verdict.

    ``top1`` is on val, ``cost`` the figure that "cheapest" is judged by, ``cost_spread`` how far that figure went
    up and down while it was measured (None: not known). ``broken`` are the limits it is outside of.
    ``below_probe`` (model minus probe) is there where it is undertrained. ``against_best`` is this model minus the
    best, ``not_inferior`` whether it is within the margin; None where not compared.
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
    cost_spread: float | None = None


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
    words, start = COST_WORDS[cost], f"{chosen.name} is chosen"
    if chosen is best:
        tied = [one for one in inside if one is not best and one.top1 == best.top1]
        why = _tie(best, tied, cost, photos) if tied else f"the best on {_on_val(best, photos)}"
        if margin is not None:
            why += f", and no model with {words.less} was shown to be within {amount(margin)} of it"
        return f"{start}: {why}"
    within = [one for one in inside if one is best or one.not_inferior]
    shown = f"of the models shown to be within {amount(margin or 0.0)} of {best.name} on {photos:,} val photos"
    return f"{start}: the {_least(chosen, cost)} {shown}{_noise(chosen, within, cost)}"


def _on_val(one: Standing, photos: int) -> str:
    return f"{photos:,} val photos ({percent(one.top1)})"


def _least(one: Standing, cost: str) -> str:
    """ "shortest time for one photo (165 ms)"."""
    words = COST_WORDS[cost]
    return words.least if one.cost is None else f"{words.least} ({words.amount(one.cost)})"


def _tie(best: Standing, tied: Sequence[Standing], cost: str, photos: int) -> str:
    """With whom the best got equally many val photos right, and what made it the choice."""
    names = _joined([one.name for one in tied])
    start = f"a tie with {names} on {_on_val(best, photos)}, broken by"
    name = COST_WORDS[cost].name
    if best.cost is None:
        return f"{start} the order of names, as the {name} is not known"
    if any(one.cost == best.cost for one in tied):
        return f"{start} the order of names, as the {name} is the same ({COST_WORDS[cost].amount(best.cost)})"
    return f"{start} the {_least(best, cost)}{_noise(best, tied, cost)}"


def _noise(chosen: Standing, others: Sequence[Standing], cost: str) -> str:
    """Whose cost is no further away than the clock itself went up and down; "" where nobody's is."""
    near = [one for one in others if one is not chosen and _within_noise(chosen, one)]
    if not near or chosen.cost is None:
        return ""
    shown = _joined([f"{one.name} ({COST_WORDS[cost].amount(one.cost or 0.0)})" for one in near])
    return f"; the difference from {shown} is within the noise of the measurement"


def _within_noise(one: Standing, other: Standing) -> bool:
    spread = max(one.cost_spread or 0.0, other.cost_spread or 0.0)
    return one.cost is not None and other.cost is not None and abs(one.cost - other.cost) < spread


def _joined(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _change(change: Change, one: Standing, best: str, margin: float | None, photos: int) -> str:
    if change.kind == "limit" and change.figure is None:
        return f"without the limits it would be {one.name}"
    if change.kind == "limit":
        return _without_limit(change, one.name)
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


def _without_limit(change: Change, model: str) -> str:
    words = COST_WORDS.get(change.figure or "")
    if words is None:  # a limit on what is better when higher is no cost
        value = "unknown" if change.value is None else f"{change.value:.4g}"
        return f"without the limit on {change.figure} it would be {model} ({change.figure} {value})"
    value = "not known" if change.value is None else words.amount(change.value)
    return f"without the limit on the {words.name} it would be {model} ({value})"
