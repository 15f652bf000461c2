"""Contenders on the same photos -> a comparison: scores with intervals, pairs, costs, the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.records import command_line, environment, now
from deitft.data.catalog import Catalog
from deitft.evaluation.cost import CostReport, ModelCost
from deitft.evaluation.decision import Candidate, decide, pareto_front
from deitft.evaluation.decision import Verdict as Choice
from deitft.evaluation.decision_text import Standing
from deitft.evaluation.metrics import TOP_FIVE_FROM
from deitft.evaluation.model_difference import TopOne, top_one
from deitft.evaluation.model_pairs import Pair, all_pairs, seed_note
from deitft.evaluation.requirements import judge
from deitft.evaluation.scores import ranks
from deitft.models.published import COLUMNS, MISQUOTED, PAPERS, about
from deitft.models.published import table as published_table
from deitft.models.zoo import resolve as resolve_model
from deitft.reporting import compare_data as page
from deitft.reporting.report_data import Estimate
from deitft.runs.compare_photos import agreement, class_lines, curve, disagreeing, shown_photos
from deitft.runs.compare_request import CompareRequest
from deitft.runs.finished import Contender, Finished, teacher_name

LARGEST = 8
"""Contenders up to which every pair gets its sentence; of more, those with the best on val do."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """All that stands in one table: contenders, runs that failed (label, why), costs, and the photos."""

    contenders: Sequence[Contender]
    failed: Sequence[tuple[str, str]] = ()
    costs: CostReport | None = None
    catalog: Catalog | None = None
    notes: Sequence[str] = field(default=())


def compare_field(table: Field, request: CompareRequest) -> page.Comparison:
    """Every figure of a table."""
    first = table.contenders[0].first
    groups = first.groups(first.test)
    rows = {one.label: _row(one, table.costs, request) for one in table.contenders}
    choice = _choice(table.contenders, rows, request) if first.has_val else None
    standings = {one.name: one for one in choice.standings} if choice else {}
    ordered = sorted((_judged(row, standings.get(label)) for label, row in rows.items()), key=_place)
    by_label = {one.label: one for one in table.contenders}
    in_order = [by_label[row.label] for row in ordered]
    pairs = _pairs(in_order, groups)
    split = disagreeing(in_order)
    return page.Comparison(
        title=Path(str(first.record.data.get("path") or "runs")).name,
        classes=first.plan.classes,
        n=len(first.test),
        claim_split=first.claim_split,
        fingerprint=first.plan.data_fingerprint,
        rows=[*ordered, *(page.Row(label=label, status="failed", why=why) for label, why in table.failed)],
        pairs=[_pair(pair) for pair in pairs],
        verdict=_verdict(choice, pairs),
        groups=len(set(groups)) if groups else None,
        class_lines=class_lines(in_order),
        agreement=agreement(in_order),
        disagreements=shown_photos(in_order, split, table.catalog),
        disagreeing=len(split),
        curves=[curve(one) for one in in_order],
        front={name: _front(ordered, name) for name in ("latency", "size")},
        limits=_limits(pairs, first),
        notes=[*table.notes, *_cost_notes(table.costs)],
        published=_published(in_order),
        published_notes=[f"Often said: {claim}. In full: {truth}." for claim, truth in MISQUOTED],
        gates=_gates(request, rows.get(choice.chosen or "") if choice else None),
        command=command_line(),
        made=now(),
        environment=environment(),
    )


def _choice(contenders: Sequence[Contender], rows: Mapping[str, page.Row], request: CompareRequest) -> Choice:
    """The verdict, by val alone."""
    first = contenders[0].first
    return decide(
        [_candidate(one, rows[one.label]) for one in contenders],
        limits=request.limits,
        margin=request.margin,
        cost=request.cheapest,
        groups=first.groups(first.val),
    )


def _row(one: Contender, costs: CostReport | None, request: CompareRequest) -> page.Row:
    """A contender's scores over its seeds, and what it costs."""
    run, plan = one.first, one.first.plan
    entry = resolve_model(plan.short_name or plan.model).entry
    groups = run.groups(run.test)
    right = one.right("test")
    top1 = top_one(right, groups)
    cost = _cost_of(one, costs)
    training = _mean([seen.record.seconds.get("whole command") for seen in one.runs])
    return page.Row(
        label=one.label,
        status="shortened" if any(seen.shortened for seen in one.runs) else "ok",
        why="a time limit took steps away" if any(seen.shortened for seen in one.runs) else "",
        model=plan.model,
        recipe=plan.recipe,
        teacher=teacher_name(run),
        seen=_seen(run, entry.seen if entry else ""),
        seeds=one.seeds,
        runs=tuple(seen.folder.name for seen in one.runs),
        top1=_estimate(top1),
        seed_sd=top1.seed_sd,
        top5=_top5(one, groups),
        macro_f1=_mean_of(one, "macro_f1"),
        balanced_accuracy=_mean_of(one, "balanced_accuracy"),
        calibration_before=_mean([_figure(seen, "calibration_error_before") for seen in one.runs]),
        calibration_after=_mean([_figure(seen, "calibration_error") for seen in one.runs]),
        probe=_probe(run),
        val=float(one.right("val").mean()) if run.has_val else None,
        parameters=cost.parameters if cost else None,
        size=(run.folder.best / "model.safetensors").stat().st_size,
        training=training,
        training_memory=_most([seen.record.memory_bytes.get("peak") for seen in one.runs]),
        money=None if request.price is None or training is None else request.price * training / 3600,
        cost=_shown_cost(cost, costs),
    )


def _estimate(found: TopOne) -> Estimate:
    return Estimate(found.top1, found.low, found.high)


def _top5(one: Contender, groups: Sequence[str] | None) -> Estimate:
    classes = len(one.first.plan.classes)
    if classes < TOP_FIVE_FROM:
        return Estimate(None, reason=f"with {classes} classes it says nothing; it needs {TOP_FIVE_FROM}")
    hits = np.stack([ranks(run.test.logits(), run.test.labels) < 5 for run in one.runs])
    return _estimate(top_one(hits, groups))


def _mean_of(one: Contender, name: str) -> Estimate:
    """Mean over the seeds of a figure and of its interval's ends: what seeds add is not in these."""
    values = [run.metrics["test"][name] for run in one.runs]
    ends = [run.metrics["test"]["intervals"][name] for run in one.runs]
    low, high = np.mean(ends, axis=0).tolist()
    return Estimate(float(np.mean(values)), low, high)


def _figure(run: Finished, name: str) -> float | None:
    value = run.metrics["test"].get(name)
    return None if value is None else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _most(values: Sequence[Any]) -> int | None:
    known = [int(value) for value in values if value is not None]
    return max(known, default=None)


def _probe(run: Finished) -> Estimate | None:
    probe = run.metrics.get("probe")
    if not probe or "top1" not in probe:
        return None
    low, high = probe["interval"]
    return Estimate(probe["top1"], low, high)


def _seen(run: Finished, by_zoo: str) -> str:
    """What the starting weights had seen: the zoo's word holds for its own weights only."""
    weights = run.plan.weights
    if weights.get("kind") == "none":
        return "nothing"
    if weights.get("tag") and not run.plan.model.endswith(f".{weights['tag']}"):
        return f"weights {weights['tag']}"
    return by_zoo or str(weights.get("tag") or "not known")


def _cost_of(one: Contender, costs: CostReport | None) -> ModelCost | None:
    path = str(one.first.folder.best)
    return next((found for found in costs.models if found.bundle == path), None) if costs else None


def _shown_cost(found: ModelCost | None, costs: CostReport | None) -> page.Cost:
    if found is None or costs is None:
        return page.Cost()
    latency, photo, throughput = found.latency, found.photo, found.throughput
    return page.Cost(
        latency=(latency.p50 / 1000, latency.p95 / 1000) if latency else None,
        answer=(photo.p50 / 1000, photo.p95 / 1000) if photo else None,
        throughput=throughput.images_per_second if throughput else None,
        best_batch=throughput.batch if throughput else None,
        memory=found.memory.best_bytes if found.memory else None,
        flops=found.flops,
        noisy="; ".join(costs.noise.reasons) if costs.noise.noisy else "",
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
    return Candidate(name=one.label, val=one.right("val"), probe=_val_order(run, right), figures=figures_of(row))


def _val_order(run: Finished, right: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """The frozen probe's answers are kept in the order of the catalog, contenders are read by content."""
    if right is None or len(right) != len(run.val):
        return None
    return right[run.val_places]


def _judged(row: page.Row, standing: Standing | None) -> page.Row:
    if standing is not None and standing.status == "undertrained" and standing.probe_top1 is not None:
        below = f"{standing.top1:.1%} on val, its own frozen probe {standing.probe_top1:.1%}"
        return replace(row, status="undertrained", why=below)
    return row


def _place(row: page.Row) -> tuple[bool, float, str]:
    return row.status == "undertrained", -(row.val or 0.0), row.label


def _pairs(contenders: Sequence[Contender], groups: Sequence[str] | None) -> tuple[Pair, ...]:
    if len(contenders) < 2:
        return ()
    found = all_pairs({one.label: one.right("test") for one in contenders}, groups)
    if len(contenders) <= LARGEST:
        return found
    best = contenders[0].label
    return tuple(pair for pair in found if best in (pair.a, pair.b))


def _pair(pair: Pair) -> page.Pair:
    found = pair.found
    return page.Pair(
        first=pair.a,
        second=pair.b,
        difference=Estimate(found.difference, found.low, found.high),
        p=found.p,
        p_holm=pair.p,
        sentence=_sentence(pair.sentence),
    )


def _sentence(text: str) -> str:
    """A sentence that begins with a large letter, unless with a model's name, and ends."""
    first = text.partition(" ")[0]
    begun = text[:1].upper() + text[1:] if first in ("with", "without", "if", "no") else text
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


def _verdict(choice: Choice | None, pairs: Sequence[Pair]) -> page.Verdict:
    if choice is None:
        return page.Verdict(label="", sentence="No model is chosen: there are no val photos to choose by.")
    first, *others = choice.sentences
    changes = len(choice.changes)
    kept = len(others) - changes
    return page.Verdict(
        label=choice.chosen or "",
        sentence=_sentence(first),
        reasons=[*map(_sentence, others[:kept]), *_better_on_test(choice.chosen, pairs)],
        changes=[_sentence(text) for text in others[kept:]],
    )


def _better_on_test(chosen: str | None, pairs: Sequence[Pair]) -> list[str]:
    """Who was shown to be better than the chosen one by the photos that judge: val says something else."""
    better = [pair.a for pair in pairs if pair.b == chosen and pair.found.low > 0]
    better += [pair.b for pair in pairs if pair.a == chosen and pair.found.high < 0]
    if not better:
        return []
    names = " and ".join(better)
    return [
        f"{names} did better than {chosen} on test, by more than chance explains. The choice is still val's: "
        "one made by test would flatter itself. More val photos, or more seeds, would settle it."
    ]


def _front(rows: Sequence[page.Row], name: str) -> list[str]:
    """Labels that no other beats in both test top-1 and this cost; those of unknown cost are not drawn."""
    unit = {"latency": "latency_ms", "size": "size_mb"}[name]
    costs = [(row, figures_of(row)[unit]) for row in rows if row.status != "undertrained"]
    known = [(row, cost) for row, cost in costs if cost is not None]
    front = pareto_front([row.top1.value or 0.0 for row, _ in known], [cost for _, cost in known])
    return [row.label for (row, _), kept in zip(known, front, strict=True) if kept]


def _published(contenders: Sequence[Contender]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """What others have published of these architectures, then DeiT's paper and its rivals."""
    near = about(one.first.plan.model for one in contenders)
    return COLUMNS, published_table([*near, *(row for row in PAPERS if row not in near)])


def _gates(request: CompareRequest, chosen: page.Row | None) -> list[tuple[str, bool, str]]:
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


def _limits(pairs: Sequence[Pair], first: Finished) -> list[str]:
    note = seed_note([pair.found for pair in pairs])
    photos = "photos" if first.claim_split == "test" else f"{first.claim_split} photos"
    return [
        f"Intervals cover which {photos} happened to be there, and which seed: not another shop, camera, season.",
        "Models were chosen on val, and test only reports. Choose by test now, and it becomes a second val.",
        "Macro-F1 and balanced accuracy are means of the seeds' figures and intervals; seeds are not in those.",
        *([_sentence(note)] if note else []),
    ]


def _cost_notes(costs: CostReport | None) -> list[str]:
    if costs is None:
        return []
    machine: Mapping[str, Any] = costs.machine
    asked = f"{machine.get('name') or machine.get('device')}, {machine.get('precision')}"
    about = f"Costs: {asked}, {machine.get('threads')} threads, {costs.photos} photos, measured {costs.measured}; "
    first, *others = costs.noise.reasons or ("",)
    noisy = f"{first}{f', and {len(others)} more signs of it' if others else ''}"
    return [
        *([f"The machine was noisy, times are not to be relied on: {noisy}."] if costs.noise.noisy else []),
        f"{about}FLOPs by {costs.counter}.",
    ]
