"""Which contender to take, and why: val alone chooses, the photos that judge only report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.evaluation.decision import Candidate, decide
from deitft.evaluation.decision import Verdict as Choice
from deitft.evaluation.decision_text import Standing
from deitft.evaluation.model_pairs import Pair
from deitft.evaluation.requirements import judge
from deitft.reporting import compare_data as page
from deitft.runs.compare_elsewhere import own_signature
from deitft.runs.compare_request import CompareRequest
from deitft.runs.finished import Contender, Finished

OTHER_VAL = (
    "No model is chosen: these runs have other train and val photos, or other sides of them, and top-1 on "
    "different val photos cannot be set side by side. To choose, train them on one split (--splits)."
)
NO_VAL = "No model is chosen: there are no val photos to choose by."
_ONE_SET = {
    "val": "There are no test photos: the val photos that chose these models judge them too, and their figures "
    "flatter. Judge them on photos that nobody has seen: --test DATA.",
    "train": "No photo was held out: the figures are of train photos, and say little about new ones. Judge the "
    "models on photos that nobody has seen: --test DATA.",
}
"""Where claims do not come from test, by the split that they come from."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The choice, or ``why_none``; where each contender stands, by label."""

    choice: Choice | None = None
    why_none: str = ""
    standings: Mapping[str, Standing] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The chosen contender, "" where there is none."""
        return (self.choice.chosen or "") if self.choice else ""


def choose(contenders: Sequence[Contender], rows: Mapping[str, page.Row], request: CompareRequest) -> Chosen:
    """The choice by val, if all contenders were chosen by the same val photos. Whether one is below its own frozen
    probe is seen without that: each is then held against its own val photos."""
    firsts = [one.first for one in contenders]
    if len({own_signature(run) for run in firsts}) == 1 and firsts[0].has_val:
        choice = _decided(contenders, rows, request)
        return Chosen(choice=choice, standings={one.name: one for one in choice.standings})
    own = [_decided([one], rows, request).standings[0] for one in contenders if one.first.has_val]
    none = OTHER_VAL if own else NO_VAL
    return Chosen(why_none=none, standings={one.name: one for one in own})


def _decided(contenders: Sequence[Contender], rows: Mapping[str, page.Row], request: CompareRequest) -> Choice:
    first = contenders[0].first
    return decide(
        [_candidate(one, rows[one.label]) for one in contenders],
        limits=request.limits,
        margin=request.margin,
        cost=request.cheapest,
        groups=first.groups(first.val),
    )


def figures_of(row: page.Row) -> dict[str, float | None]:
    """Costs by the names that limits use."""
    latency = row.cost.latency
    return {
        "latency_ms": 1000 * latency[0] if latency else None,
        "latency_p95_ms": 1000 * latency[1] if latency else None,
        "photos_per_second": row.cost.throughput,
        "size_mb": row.size / 1e6 if row.size is not None else None,
        "memory_mb": row.cost.memory / 1e6 if row.cost.memory is not None else None,
        "training_memory_mb": row.training_memory / 1e6 if row.training_memory is not None else None,
        "training_minutes": row.training / 60 if row.training is not None else None,
        "cost": row.money,
        "parameters_m": row.parameters / 1e6 if row.parameters is not None else None,
        "gflops": row.cost.flops / 1e9 if row.cost.flops is not None else None,
    }


def _candidate(one: Contender, row: page.Row) -> Candidate:
    """A contender as the verdict sees it: val alone, and costs."""
    run = one.first
    probe: Any = (run.metrics.get("probe") or {}).get("val_right")
    right = np.array([letter == "1" for letter in probe], np.bool_) if probe else None
    return Candidate(
        name=one.label,
        val=one.right("val"),
        probe=_val_order(run, right),
        figures=figures_of(row),
        spreads=_spreads_of(row),
    )


def _spreads_of(row: page.Row) -> dict[str, float]:
    """How far times went up and down: the spread is that of the median, and slow photos are no steadier."""
    spread = row.cost.latency_spread
    return {} if spread is None else {"latency_ms": 1000 * spread, "latency_p95_ms": 1000 * spread}


def _val_order(run: Finished, right: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """The frozen probe's answers are kept in the order of the catalog, contenders are read by content."""
    if right is None or len(right) != len(run.val):
        return None
    return right[run.val_places]


def judged(row: page.Row, standing: Standing | None) -> page.Row:
    """The row, marked where its contender is below its own frozen probe."""
    if standing is not None and standing.status == "undertrained" and standing.probe_top1 is not None:
        below = f"{standing.top1:.1%} on val, its own frozen probe {standing.probe_top1:.1%}"
        return replace(row, status="undertrained", why=below)
    return row


def sentence(text: str) -> str:
    """A sentence that begins with a large letter, unless with a model's name, and ends."""
    first = text.partition(" ")[0]
    begun = text[:1].upper() + text[1:] if first in ("with", "without", "if", "no") else text
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


def verdict(chosen: Chosen, pairs: Sequence[Pair], claim_split: str) -> page.Verdict:
    """The choice in words; ``claim_split`` names the photos that judge."""
    loud = [_ONE_SET[claim_split]] if claim_split in _ONE_SET else []
    choice = chosen.choice
    if choice is None:
        return page.Verdict(label="", sentence=chosen.why_none, reasons=loud)
    first, *others = choice.sentences
    changes = len(choice.changes)
    kept = len(others) - changes
    better = _better_on_test(choice.chosen, pairs) if claim_split == "test" else []
    return page.Verdict(
        label=choice.chosen or "",
        sentence=sentence(first),
        reasons=[*loud, *map(sentence, others[:kept]), *better],
        changes=[sentence(text) for text in others[kept:]],
    )


def _better_on_test(chosen: str | None, pairs: Sequence[Pair]) -> list[str]:
    """Who was told apart from the chosen one, and is better, on test: val says something else."""
    apart = [pair for pair in pairs if pair.told_apart]
    better = [pair.a for pair in apart if pair.b == chosen and pair.found.low > 0]
    better += [pair.b for pair in apart if pair.a == chosen and pair.found.high < 0]
    if not better:
        return []
    names = " and ".join(better)
    return [
        f"{names} did better than {chosen} on test, by more than chance explains. The choice is still val's: "
        "one made by test would flatter itself. More val photos, or more seeds, would settle it."
    ]


def gates(request: CompareRequest, chosen: page.Row | None) -> list[tuple[str, bool, str]]:
    """What was required of the chosen model, on the photos that judge; the limits, where nobody keeps them."""
    if chosen is None:
        return [
            (str(one), False, f"no model was chosen that keeps {one}") for one in (*request.limits, *request.gates)
        ]
    figures = figures_of(chosen) | {
        "top1": chosen.top1.value,
        "top5": chosen.top5.value,
        "macro_f1": chosen.macro_f1.value,
        "balanced_accuracy": chosen.balanced_accuracy.value,
        "calibration_error": chosen.calibration_after,
    }
    return [(str(one.requirement), one.met, one.sentence) for one in judge(request.gates, figures)]
