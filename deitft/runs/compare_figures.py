"""Contenders on the same photos -> a comparison: scores with intervals, pairs, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deitft.core.records import command_line, environment, now
from deitft.data.catalog import Catalog
from deitft.evaluation.cost import CostReport, ModelCost
from deitft.evaluation.decision import pareto_front
from deitft.evaluation.metrics import TOP_FIVE_FROM
from deitft.evaluation.model_difference import TopOne, top_one
from deitft.evaluation.model_pairs import Pair, all_pairs
from deitft.evaluation.scores import ranks
from deitft.models.published import COLUMNS, MISQUOTED, PAPERS, about
from deitft.models.published import table as published_table
from deitft.reporting import compare_data as page
from deitft.reporting.report_data import Estimate
from deitft.runs.compare_elsewhere import Elsewhere
from deitft.runs.compare_notes import limits, notes
from deitft.runs.compare_photos import agreement, class_lines, curve, disagreeing, shown_photos
from deitft.runs.compare_request import CompareRequest
from deitft.runs.compare_verdict import choose, figures_of, gates, judged, sentence, verdict
from deitft.runs.compare_weights import other_weights, seen
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
    chosen = choose(table.contenders, rows, request)
    ordered = sorted(
        (judged(row, chosen.standings.get(label)) for label, row in rows.items()),
        key=lambda row: _place(row, by_val=chosen.choice is not None),
    )
    by_label = {one.label: one for one in table.contenders}
    in_order = [by_label[row.label] for row in ordered]
    pairs = _pairs(in_order, groups)
    split = disagreeing(in_order)
    title, fingerprint, sides = _photos_of(first)
    return page.Comparison(
        title=title,
        classes=first.plan.classes,
        n=len(first.test),
        claim_split=first.claim_split,
        fingerprint=fingerprint,
        sides=sides,
        rows=[*ordered, *(page.Row(label=label, status="failed", why=why) for label, why in table.failed)],
        pairs=[_pair(pair) for pair in pairs],
        verdict=verdict(chosen, pairs, first.claim_split),
        groups=len(set(groups)) if groups else None,
        class_lines=class_lines(in_order),
        agreement=agreement(in_order),
        disagreements=shown_photos(in_order, split, table.catalog),
        disagreeing=len(split),
        curves=[curve(one) for one in in_order],
        front={name: _front(ordered, name) for name in ("latency", "size")},
        limits=limits(pairs, chosen, first.claim_split),
        score_notes=other_weights(in_order),
        notes=[*table.notes, *notes(in_order, ordered, table.costs)],
        published=_published(in_order),
        published_notes=[f"Often said: {claim}. In full: {truth}." for claim, truth in MISQUOTED],
        gates=gates(request, rows.get(chosen.label)),
        command=command_line(),
        made=now(),
        environment=environment(),
    )


def _photos_of(run: Finished) -> tuple[str, str, str]:
    """What the photos that judge are called, the fingerprint of their data, and that of their sides."""
    if isinstance(run, Elsewhere):
        return run.title, run.photos, ""
    return Path(str(run.record.data.get("path") or "runs")).name, run.plan.data_fingerprint, run.signature


def _row(one: Contender, costs: CostReport | None, request: CompareRequest) -> page.Row:
    """A contender's scores over its seeds, and what it costs."""
    run, plan = one.first, one.first.plan
    groups = run.groups(run.test)
    right = one.right("test")
    top1 = top_one(right, groups)
    cost = _cost_of(one, costs)
    training = _mean([each.record.seconds.get("whole command") for each in one.runs])
    return page.Row(
        label=one.label,
        status="shortened" if any(each.shortened for each in one.runs) else "ok",
        why="a time limit took steps away" if any(each.shortened for each in one.runs) else "",
        model=plan.model,
        recipe=plan.recipe,
        teacher=teacher_name(run),
        seen=seen(run),
        epochs=_mean([_epochs(each) for each in one.runs]),
        planned_epochs=_mean([each.plan.epochs for each in one.runs]),
        pixels=plan.preprocessing.size,
        aspect=plan.preprocessing.aspect,
        crop_share=plan.preprocessing.crop_share,
        precision=plan.precision,
        seeds=one.seeds,
        runs=tuple(each.folder.name for each in one.runs),
        top1=_estimate(top1),
        seed_sd=top1.seed_sd,
        top5=_top5(one, groups),
        macro_f1=_mean_of(one, "macro_f1"),
        balanced_accuracy=_mean_of(one, "balanced_accuracy"),
        calibration_before=_mean([_figure(each, "calibration_error_before") for each in one.runs]),
        calibration_after=_mean([_figure(each, "calibration_error") for each in one.runs]),
        probe=_probe(run),
        val=float(one.right("val").mean()) if run.has_val else None,
        parameters=cost.parameters if cost else None,
        size=(run.folder.best / "model.safetensors").stat().st_size,
        training=training,
        training_memory=_most([each.record.memory_bytes.get("peak") for each in one.runs]),
        money=None if request.price is None or training is None else request.price * training / 3600,
        cost=_shown_cost(cost, costs),
    )


def _epochs(run: Finished) -> float:
    """Passes over train that were made: fewer than planned where a run ended early."""
    steps = run.record.result.get("steps")
    return run.plan.epochs if not isinstance(steps, int) else steps / run.plan.steps_per_epoch


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


def _cost_of(one: Contender, costs: CostReport | None) -> ModelCost | None:
    path = str(one.first.folder.best)
    return next((found for found in costs.models if found.bundle == path), None) if costs else None


def _shown_cost(found: ModelCost | None, costs: CostReport | None) -> page.Cost:
    if found is None or costs is None:
        return page.Cost()
    latency, photo, throughput = found.latency, found.photo, found.throughput
    return page.Cost(
        latency=(latency.p50 / 1000, latency.p95 / 1000) if latency else None,
        latency_spread=latency.spread / 1000 if latency else None,
        answer=(photo.p50 / 1000, photo.p95 / 1000) if photo else None,
        answer_spread=photo.spread / 1000 if photo else None,
        throughput=throughput.images_per_second if throughput else None,
        throughput_spread=throughput.spread if throughput else None,
        best_batch=throughput.batch if throughput else None,
        memory=found.memory.best_bytes if found.memory else None,
        memory_base=found.memory.base_bytes if found.memory else None,
        flops=found.flops,
        noisy="; ".join(costs.noise.reasons) if costs.noise.noisy else "",
    )


def _place(row: page.Row, *, by_val: bool) -> tuple[bool, float, str]:
    return row.status == "undertrained", -(row.val or 0.0) if by_val else 0.0, row.label


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
        sentence=sentence(pair.sentence),
    )


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
