"""Which model should it be? Chosen on val, under limits; test photos never enter here, so they can report.

The best is the one with the highest val top-1. With a margin the cheapest is chosen that was shown not to be worse
than the best by that much. A model significantly below its own frozen probe was not trained properly: it says
nothing about its kind and stays outside. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from deitft.errors import UsageError
from deitft.evaluation.decision_text import Change, Standing, Status, all_sentences
from deitft.evaluation.model_difference import ModelDifference, compare_models
from deitft.evaluation.power import photos_needed
from deitft.evaluation.requirements import Requirement, judge, known_figure
from deitft.evaluation.statistics import Groups
from deitft.evaluation.variance_components import Bools

Reason = Literal["best", "cheapest", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model: which val photos it got right, ``val`` [S, N], and which its frozen probe did, ``probe`` [N].

    No two have one ``name``. ``probe`` is None where there is none. ``figures`` are what limits and costs are
    looked up in, by the names of ``requirements.FIGURES``; ``spreads``, by the same names, how far those that a
    clock has taken went up and down.
    """

    name: str
    val: Bools
    probe: Bools | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    spreads: Mapping[str, float] = field(default_factory=dict)

    @property
    def top1(self) -> float:
        """On val, the mean over seeds."""
        return float(self.val.mean())

    def figure(self, name: str) -> float:
        """A cost; infinite where it is not known."""
        value = self.figures.get(name)
        return math.inf if value is None or math.isnan(value) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The chosen model (None: none is within the limits), why, and what would change it.

    ``best`` has the highest val top-1 of those in the verdict. ``reason`` is "best" or "cheapest" (not worse than
    the best by ``margin``, at the lowest ``cost``). ``standings`` has every candidate, in the order given.
    """

    chosen: str | None
    best: str | None
    reason: Reason
    margin: float | None
    cost: str
    photos: int
    standings: tuple[Standing, ...]
    changes: tuple[Change, ...]
    sentences: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def decide(
    candidates: Sequence[Candidate],
    *,
    limits: Sequence[Requirement] = (),
    margin: float | None = None,
    cost: str = "latency_ms",
    groups: Groups | None = None,
    seed: int = 0,
) -> Verdict:
    """Choose among candidates judged on the same N val photos (``groups``: one a photo); ``margin`` is a share.

    Of equals the cheaper one wins, then the first by name.

    Raises:
        UsageError: a ``cost`` that is not known or better when higher, or a margin that is no share (USAGE).
        DataError: candidates judged on other photos (PAIRS), or groups of another length (GROUPS).
    """
    check_choice(margin, cost)
    bench = _Bench(candidates, limits, margin, cost, groups, seed)
    inside = bench.inside(limits)
    best = bench.best(inside)
    chosen = bench.chosen(inside)
    reason: Reason = "none" if chosen is None else "best" if chosen is best else "cheapest"
    fit = [candidate for candidate in candidates if not bench.undertrained(candidate)]
    front = dict(zip((one.name for one in fit), pareto_front(*bench.plane(fit)), strict=True))
    standings = tuple(bench.standing(candidate, best, chosen, front) for candidate in candidates)
    changes = bench.changes(inside, best, chosen)
    photos = candidates[0].val.shape[-1] if candidates else 0
    return Verdict(
        chosen=None if chosen is None else chosen.name,
        best=None if best is None else best.name,
        reason=reason,
        margin=margin,
        cost=cost,
        photos=photos,
        standings=standings,
        changes=changes,
        sentences=all_sentences(standings, changes, margin, cost, photos),
    )


def best_on_val(candidates: Sequence[Candidate], cost: str) -> Candidate | None:
    """The highest val top-1; of equals the cheaper, then the first by name. None of none."""
    return min(candidates, key=lambda one: (-one.top1, one.figure(cost), one.name), default=None)


def pareto_front(scores: Sequence[float], costs: Sequence[float]) -> tuple[bool, ...]:
    """For each model: is none at least as good at no higher cost, and better in one of the two?

    Equals stand together. A cost that is not known (infinite) is beaten by every known one.
    """
    return tuple(
        not any(
            other >= score and price <= cost and (other > score or price < cost)
            for other, price in zip(scores, costs, strict=True)
        )
        for score, cost in zip(scores, costs, strict=True)
    )


def undertrained(
    val: Bools, probe: Bools, groups: Groups | None = None, *, seed: int = 0
) -> ModelDifference | None:
    """The model [S, N] minus its own frozen probe [N], where it is significantly below (95 %); else None."""
    found = compare_models(val, probe, groups, fixed_b=True, seed=seed)
    return found if found.high < 0 else None


def check_choice(margin: float | None, cost: str) -> None:
    """Prove that one can choose by these, before hours are spent on what is chosen from.

    Raises:
        UsageError: see ``decide``.
    """
    figure = known_figure(cost)
    if isinstance(figure, str):
        raise UsageError(figure, "name a figure that is better when lower", id="USAGE")
    if figure.higher_is_better:
        raise UsageError(f"{cost} is no cost: it is better when higher", "name another figure", id="USAGE")
    if margin is not None and not 0 < margin < 1:
        raise UsageError(
            f"the margin is {100 * margin:g} points", "name some points between 0 and 100, like 1.0", id="USAGE"
        )


class _Bench:
    """The candidates with what was asked, and every comparison done once."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        limits: Sequence[Requirement],
        margin: float | None,
        cost: str,
        groups: Groups | None,
        seed: int,
    ) -> None:
        self.candidates, self.limits = candidates, limits
        self.margin, self.cost, self.groups, self.seed = margin, cost, groups, seed
        self._found: dict[tuple[str, str], ModelDifference] = {}
        self._below = {
            one.name: undertrained(one.val, one.probe, groups, seed=seed)
            for one in candidates
            if one.probe is not None
        }

    def undertrained(self, candidate: Candidate) -> bool:
        return self._below.get(candidate.name) is not None

    def inside(self, limits: Sequence[Requirement]) -> list[Candidate]:
        """Who is in the verdict under these limits."""
        return [
            candidate
            for candidate in self.candidates
            if not self.undertrained(candidate)
            and all(outcome.met for outcome in judge(limits, candidate.figures))
        ]

    def best(self, inside: Sequence[Candidate]) -> Candidate | None:
        return best_on_val(inside, self.cost)

    def against(self, candidate: Candidate, best: Candidate) -> ModelDifference:
        names = candidate.name, best.name
        if names not in self._found:
            self._found[names] = compare_models(candidate.val, best.val, self.groups, seed=self.seed)
        return self._found[names]

    def chosen(self, inside: Sequence[Candidate]) -> Candidate | None:
        best = self.best(inside)
        if best is None or self.margin is None:
            return best
        margin = self.margin
        enough = [one for one in inside if one is best or self.against(one, best).not_inferior(margin)]
        return min(enough, key=lambda one: (one.figure(self.cost), -one.top1, one.name))

    def plane(self, some: Sequence[Candidate]) -> tuple[list[float], list[float]]:
        return [one.top1 for one in some], [one.figure(self.cost) for one in some]

    def standing(
        self, one: Candidate, best: Candidate | None, chosen: Candidate | None, front: Mapping[str, bool]
    ) -> Standing:
        below = self._below.get(one.name)
        broken = tuple(outcome for outcome in judge(self.limits, one.figures) if not outcome.met)
        status: Status = (
            "undertrained" if below else "outside" if broken else "chosen" if one is chosen else "inside"
        )
        compared = None
        if status in ("chosen", "inside") and best is not None and one is not best:
            compared = self.against(one, best)
        return Standing(
            name=one.name,
            top1=one.top1,
            cost=one.figures.get(self.cost),
            cost_spread=one.spreads.get(self.cost),
            status=status,
            is_best=one is best,
            on_front=front.get(one.name, False),
            broken=broken,
            probe_top1=None if one.probe is None else float(one.probe.mean()),
            below_probe=below,
            against_best=compared,
            not_inferior=None if compared is None or self.margin is None else compared.not_inferior(self.margin),
        )

    def changes(
        self, inside: Sequence[Candidate], best: Candidate | None, chosen: Candidate | None
    ) -> tuple[Change, ...]:
        """What would make it another model: a limit, the margin, more photos, better training."""
        found = self._by_limits(chosen)
        if best is not None and chosen is not None:
            found += self._by_margin(inside, best, chosen)
            found += self._by_photos(inside, best, chosen)
        for one in self.candidates:
            if self.undertrained(one):
                found.append(Change(kind="training", model=one.name, value=one.top1))
        return tuple(found)

    def _by_limits(self, chosen: Candidate | None) -> list[Change]:
        found = []
        for limit in self.limits:
            other = self.chosen(self.inside([kept for kept in self.limits if kept is not limit]))
            if other is not None and other is not chosen:
                value = other.figures.get(limit.name)
                found.append(Change(kind="limit", model=other.name, figure=limit.name, value=value))
        free = self.chosen(self.inside(()))
        if not found and free is not None and free is not chosen:  # several limits keep it out
            found.append(Change(kind="limit", model=free.name, value=None))
        return found

    def _by_margin(self, inside: Sequence[Candidate], best: Candidate, chosen: Candidate) -> list[Change]:
        """The smallest margin at which a cheaper model would be taken."""
        cheaper = [one for one in inside if one.figure(self.cost) < chosen.figure(self.cost)]
        if not cheaper:
            return []
        first = min(cheaper, key=lambda one: -self.against(one, best).low)
        return [Change(kind="margin", model=first.name, value=-self.against(first, best).low)]

    def _by_photos(self, inside: Sequence[Candidate], best: Candidate, chosen: Candidate) -> list[Change]:
        """Photos until a cheaper model is shown to be within the margin; without one, until the next is apart."""
        if self.margin is None:
            following = best_on_val([one for one in inside if one is not best], self.cost)
            if following is None or self.against(following, best).high < 0:
                return []
            needed = photos_needed(self.against(following, best))
            return [Change(kind="photos", model=following.name, value=needed.photos, needed=needed)]
        found = []
        for one in inside:
            if one.figure(self.cost) < chosen.figure(self.cost):
                needed = photos_needed(self.against(one, best), margin=self.margin)
                if needed.photos is not None:
                    found.append(Change(kind="photos", model=one.name, value=needed.photos, needed=needed))
        return found
