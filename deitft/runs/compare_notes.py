"""What has to be said beside the figures of a comparison: what they cover, and how they came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deitft.core.units import format_bytes
from deitft.evaluation.cost import CostReport
from deitft.evaluation.model_pairs import Pair, seed_note
from deitft.reporting import compare_data as page
from deitft.runs.compare_elsewhere import Elsewhere, own_signature
from deitft.runs.compare_verdict import Chosen, sentence
from deitft.runs.finished import Contender

_HOW_CHOSEN = {
    "test": "Models were chosen on val, and test only reports. Choose by test now, and it becomes a second val.",
    "val": "Models were chosen on the same val photos that judge them: what was chosen looks better than it is.",
    "train": "The photos that judge are train photos: the figures say little about new ones.",
}
_TREATED: tuple[tuple[str, Callable[[page.Row], str]], ...] = (
    ("epochs", lambda row: "" if row.planned_epochs is None else f"{row.planned_epochs:.3g}"),
    ("aspect", lambda row: row.aspect),
    ("crop share", lambda row: "" if row.crop_share is None else f"{row.crop_share:.3g}"),
    ("precision", lambda row: row.precision),
)
"""What belongs to the budget and the preprocessing policy; sizes are each model's own, and have a column."""
_NAMED = ("deitft", "torch", "timm")
"""Libraries whose versions stand beside costs; all of them are in ``compare.json``."""


def limits(pairs: Sequence[Pair], chosen: Chosen, claim_split: str) -> list[str]:
    """What these figures say, and what not; ``claim_split`` names the photos that judge."""
    note = seed_note([pair.found for pair in pairs])
    photos = "photos" if claim_split == "test" else f"{claim_split} photos"
    how = _HOW_CHOSEN.get(claim_split, "")
    return [
        f"Intervals cover which {photos} happened to be there, and which seed: not another shop, camera, season.",
        chosen.why_none if claim_split == "test" and chosen.why_none else how,
        "Macro-F1 and balanced accuracy are means of the seeds' figures and intervals; seeds are not in those.",
        *([sentence(note)] if note else []),
    ]


def notes(contenders: Sequence[Contender], rows: Sequence[page.Row], costs: CostReport | None) -> list[str]:
    """How it was measured, what differs besides the models, and what is left out and why."""
    runs = [run for one in contenders for run in one.runs]
    found = [*_training(contenders, rows)]
    warnings = [run.warning for run in runs if isinstance(run, Elsewhere) and run.warning]
    found += [f"{text[:1].upper()}{text[1:]}." for text in warnings]
    found += [f"top-5 is left out: {reason}." for reason in sorted({row.top5.reason for row in rows} - {""})]
    return [*found, *_cost_notes(costs)]


def _training(contenders: Sequence[Contender], rows: Sequence[page.Row]) -> list[str]:
    """What else than the model may be behind a difference."""
    said = []
    if len({own_signature(one.first) for one in contenders}) > 1:
        said.append(
            "The runs were trained on other photos, or other sides of them: that may be a difference, too."
        )
    unlike = []
    for name, read in _TREATED:
        values = list(dict.fromkeys(filter(None, map(read, rows))))
        if len(values) > 1:
            unlike.append(f"{name} ({', '.join(values)})")
    if unlike:
        said.append(f"Not the same for all models: {'; '.join(unlike)}. What they differ by may come from that.")
    return said


def _cost_notes(costs: CostReport | None) -> list[str]:
    if costs is None:
        return []
    machine: Mapping[str, Any] = costs.machine
    asked = f"{machine.get('name') or machine.get('device')}, {machine.get('precision')}"
    about = f"Costs: {asked}, {machine.get('threads')} threads, {costs.photos} photos, measured {costs.measured}"
    known = machine.get("versions") or {}
    versions = ", ".join(f"{name} {known[name]}" for name in _NAMED if known.get(name))
    first, *others = costs.noise.reasons or ("",)
    noisy = f"{first}{f', and {len(others)} more signs of it' if others else ''}"
    return [
        *([f"The machine was noisy, times are not to be relied on: {noisy}."] if costs.noise.noisy else []),
        f"{about}{f', {versions}' if versions else ''}; ± is the distance between the quartiles of "
        f"{costs.settings.rounds} rounds. {_memory_note(costs)}FLOPs by {costs.counter}.",
    ]


def _memory_note(costs: CostReport) -> str:
    """What the column of memory holds."""
    known = [model.memory for model in costs.models if model.memory is not None]
    if not known:
        return ""
    if known[0].how == "allocator":
        return "Memory: what the tensors took at the batch in brackets. "
    base = format_bytes(max(one.base_bytes for one in known))
    return f"Memory: the whole process at the batch in brackets, with python and the libraries ({base}). "
