"""--time-limit: the plan that fits into it, and when training must end for what comes after it."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from deitft.data.catalog import counted
from deitft.errors import Notice, UsageError
from deitft.models.build import Classifier
from deitft.recipe.facts import Facts
from deitft.recipe.plan_types import Plan
from deitft.recipe.schema import Recipe
from deitft.runs import assemble, measure
from deitft.runs.frozen_probe import to_look_at
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest, seconds_text
from deitft.runs.session import elapsed

LEAST_STEPS = 10
"""Steps that a time limit must leave room for, if the plan has so many: from random heads fewer learn nothing.

From the frozen probe on any step may gain something, and none can lose on val: the best weights are kept."""


def hard_stop(request: TrainRequest, plan: Plan, photo_seconds: float) -> float | None:
    """When training must end so that what comes after it still fits, on a machine half as fast as measured.

    Never before the time at which it was planned to end: a short limit has no room for so much caution.
    ``photo_seconds`` is what a look at a photo takes. None where there is no limit.
    """
    if request.time_limit is None:
        return None
    looks = 1 if plan.ema_decay is None else 2
    photos = plan.photos["val"] + plan.photos["test"]
    after = photos * photo_seconds + measure.REPORT_SECONDS
    last_look = looks * plan.photos["val"] * photo_seconds
    careful = request.time_limit - 2 * (after + last_look) - 5.0
    planned = measure.USED_SHARE * request.time_limit - after
    return time.monotonic() + max(1.0, max(careful, planned) - elapsed(request))


def fitted(
    recipe: Recipe,
    facts: Facts,
    plan: Plan,
    classifier: Classifier,
    prepared: Prepared,
    costs: measure.Costs,
    request: TrainRequest,
) -> Plan:
    """The plan with as many steps as the time limit allows, its schedule made for just these.

    A limit with room for all of them changes nothing; one that takes some stands in ``Plan.asked``. Where hardly a
    step fits, the frozen probe sees fewer photos, if nobody has looked at them before.

    Raises:
        UsageError: hardly a step fits (id TIME).
    """
    limit, spent = request.time_limit or 0.0, elapsed(request)
    wanted_steps = min(LEAST_STEPS, plan.total_steps)
    least = min(1, wanted_steps) if plan.head_start == "probe" else wanted_steps
    size, body = facts.parameters, classifier.body_sha256()

    def fitting(plan: Plan) -> tuple[int, int]:
        """(photos that the probe has to look at, steps for which there is time then)."""
        probe = to_look_at(plan, prepared, body, request)
        return probe, measure.steps_within(plan, costs, size, limit=limit, elapsed=spent, probe_photos=probe)

    probe, steps = fitting(plan)
    if steps < wanted_steps and probe:
        held_out = to_look_at(replace(plan, probe_photos=0), prepared, body, request)
        fewer = measure.probed_within(plan, costs, size, limit=limit, elapsed=spent, held_out=held_out)
        plan = replace(plan, probe_photos=fewer)
        probe, steps = fitting(plan)
    if steps < least:
        slowest = max(costs.step_seconds.values())
        wanted = measure.limit_of(wanted_steps, plan, costs, size, elapsed=spent, probe_photos=probe)
        raise UsageError(
            f"a time limit of {limit:.0f} s leaves {steps} training steps of {slowest:.1f} s",
            f"raise --time-limit ({wanted_steps} steps want {math.ceil(wanted / 60)}m), take a smaller model, "
            "or --no-probe, or --recipe linear-probe",
            id="TIME",
        )
    if steps < wanted_steps:
        few = counted(steps, "training step")
        text = f"a time limit of {limit:.0f} s leaves {few}: hardly more than the frozen probe"
        request.progress.warn(Notice(id="TIME", severity="warning", text=text, hint="raise --time-limit"))
    if steps == plan.total_steps:
        return plan
    shorter = assemble.make_plan(recipe, facts, request, max_steps=steps)
    asked = {**shorter.asked, "time_limit": seconds_text(limit)}
    return replace(shorter, probe_photos=plan.probe_photos, asked=asked)
