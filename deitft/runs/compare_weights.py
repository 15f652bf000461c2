"""What contenders began with: which data their weights had seen, and whose weights are not the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deitft.models.tag_words import data_of
from deitft.models.zoo import resolve
from deitft.runs.finished import Contender, Finished

_OF_A_RUN = "the photos of another run"


def seen(run: Finished) -> str:
    """What the starting weights had seen: the zoo's word for weights of its tag, of others what theirs says."""
    plan, weights = run.plan, run.plan.weights
    if weights.get("kind") == "none":
        return "nothing"
    entry, tag = resolve(plan.short_name or plan.model).entry, str(weights.get("tag") or "")
    if not tag:
        by_name = entry.seen if entry and _exact(run) else ""
        return _OF_A_RUN if weights.get("kind") == "run" else by_name or "not known"
    of_zoo = entry.seen if entry and entry.tag.endswith(f".{tag}") else ""
    words = of_zoo or _with_tag(data_of(tag), tag)
    return f"{words}, then {_OF_A_RUN}" if weights.get("kind") == "run" else words


def _with_tag(words: str, tag: str) -> str:
    return f"{words} ({tag})" if words else f"not known ({tag})"


def other_weights(contenders: Sequence[Contender]) -> list[str]:
    """Who began with other weights than its name stands for: published figures are not about those."""
    others = [one for one in contenders if not _exact(one.first)]
    if not others:
        return []
    began = [f"{one.label} began with {_start(one.first)}" for one in others]
    found = f"Not the weights that the name stands for: {'; '.join(began)}."
    return [f"{found} The published figures are of other weights."]


def _exact(run: Finished) -> bool:
    """Without any weights none are others."""
    return run.plan.weights.get("kind") == "none" or bool(run.plan.weights.get("exact_tag", True))


def _start(run: Finished) -> str:
    weights = run.plan.weights
    if weights.get("kind") == "run":
        return "another run"
    name = ".".join(str(weights[part]) for part in ("architecture", "tag") if weights.get(part))
    return name or f"the file {Path(str(weights.get('path') or '')).name}"
