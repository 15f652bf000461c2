"""A plan in words: what a dry run prints, and the one line a run begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deitft.compute.rank import Rank
from deitft.core.units import format_bytes, format_money, format_seconds
from deitft.data.catalog import counted
from deitft.recipe.plan_types import Plan, TeacherPlan
from deitft.runs.adapting import FirstRun
from deitft.runs.measure import Costs, Forecast, free_bytes
from deitft.runs.request import RunResult, TrainRequest
from deitft.runs.teaching_costs import Teaching, Way, run_seconds


def one_line(plan: Plan) -> str:
    """The line a run begins with."""
    photos = plan.photos
    of = "without labels, " if "train" in plan.unlabelled else "of "
    begin = (
        f"{plan.short_name or plan.model} on {counted(photos['train'], 'photo')} {of}"
        f"{counted(len(plan.classes), 'class', 'classes')} "
        f"(val {photos['val']}, test {photos['test']}): "
    )
    if not plan.total_steps:
        return f"{begin}heads solved on frozen features, {plan.precision} on {plan.device}"
    return (
        f"{begin}{_epochs(plan)}, {counted(plan.total_steps, 'step')} of {plan.batch}, {plan.optim.name} "
        f"lr {plan.optim.lr:.2g}, {plan.precision} on {plan.device}"
    )


def views_again(plan: Plan) -> str:
    """A line where a run's views come again, else ""."""
    again = plan.distill.cache_views if plan.distill is not None else None
    if again is None or again >= plan.epochs:
        return ""
    first = f"the views of {counted(again, 'epoch')}"
    return f"{first} are shown again and again: an approximation, fewer views than the recipe's"


def planned(
    plan: Plan, costs: Costs, outlook: Forecast, request: TrainRequest, first: Sequence[FirstRun] = ()
) -> RunResult:
    """What ``--dry-run`` hands back: nothing was written, nothing was trained.

    ``outlook`` is of the student's run, ``first`` are those in which its teachers learn the classes before it.
    """
    outlook = _with_first(outlook, first)
    return RunResult(
        folder=None,
        status="planned",
        facts=rows(plan, costs, outlook, request, first),
        values={
            "plan": plan.record(),
            "measured": {
                "step_seconds": {str(size): seconds for size, seconds in costs.step_seconds.items()},
                "photo_seconds": costs.photo_seconds,
                "steps": costs.measured_steps,
            },
            "seconds": {**outlook.seconds, "total": outlook.total_seconds},
            **_hours_record(plan, outlook, request),
            **_teaching_record(plan, costs),
            **_first_record(first),
            "memory_bytes": outlook.memory_bytes,
            "disk_bytes": outlook.disk_bytes,
        },
    )


def rows(
    plan: Plan, costs: Costs, outlook: Forecast, request: TrainRequest, first: Sequence[FirstRun] = ()
) -> list[tuple[str, str]]:
    """(what, how much) rows for people."""
    photos = plan.photos
    spent = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in outlook.seconds.items() if seconds)
    return [
        ("Data", f"{plan.data}: {photos['train']} train, {photos['val']} val, {photos['test']} test photos"),
        ("Classes", f"{len(plan.classes)}, {_sizes(plan)}"),
        ("Weights", weights_text(plan)),
        *_first_rows(first),
        *_learning_rows(plan, costs),
        *_teaching_rows(plan, costs),
        ("Time", f"{format_seconds(outlook.total_seconds)} in all: {spent}"),
        ("Memory", f"{format_bytes(outlook.memory_bytes)} at the peak"),
        *_hours_rows(plan, outlook, request),
        ("Disk", f"{format_bytes(outlook.disk_bytes)}, {format_bytes(free_bytes(request.runs_dir))} free"),
        ("Machine", machine_text(plan)),
    ]


def _with_first(outlook: Forecast, first: Sequence[FirstRun]) -> Forecast:
    """The forecast of the whole command: one run after the other, each kept."""
    if not first:
        return outlook
    return replace(
        outlook,
        seconds={"the teacher's own run": sum(one.outlook.total_seconds for one in first), **outlook.seconds},
        memory_bytes=max(outlook.memory_bytes, *(one.outlook.memory_bytes for one in first)),
        disk_bytes=outlook.disk_bytes + sum(one.outlook.disk_bytes for one in first),
    )


def _first_rows(first: Sequence[FirstRun]) -> list[tuple[str, str]]:
    return [
        (
            "First",
            f"the teacher {one.teacher} learns your classes: {one.plan.recipe}, "
            f"{counted(one.plan.total_steps, 'step')} of {one.plan.batch}, "
            f"{format_seconds(one.outlook.total_seconds)}; kept as {one.folder.path}"
            + (", begun already: it goes on" if one.begun else ""),
        )
        for one in first
    ]


def _first_record(first: Sequence[FirstRun]) -> dict[str, object]:
    if not first:
        return {}
    runs = [
        {
            "teacher": one.teacher,
            "folder": str(one.folder.path),
            "begun": one.begun,
            "plan": one.plan.record(),
            "seconds": one.outlook.total_seconds,
        }
        for one in first
    ]
    return {"teachers_first": runs}


def machine_text(plan: Plan) -> str:
    """What it runs on."""
    hands = f"{counted(plan.threads, 'thread')}, {counted(plan.workers, 'worker')}"
    return f"{plan.device}, {plan.precision}, {hands}"


def weights_text(plan: Plan) -> str:
    """Whose weights the model starts from, where they are, and whether published figures are about them."""
    found = plan.weights
    if found.get("path") is None:
        return "none: it starts from random values"
    name = ".".join(str(found[part]) for part in ("architecture", "tag") if found.get(part))
    words = {
        "file": "the file does not say whose weights it holds",
        "run": "weights of a run, not published ones",
    }
    other = words.get(str(found.get("kind")), f"not those published as {plan.model}")
    whose = "exactly the published ones" if found.get("exact_tag") else other
    return f"{f'{name} from ' if name else ''}{found['path']}: {whose}"


def _sizes(plan: Plan) -> str:
    if "train" in plan.unlabelled:
        return "the teacher's; the train photos have no labels"
    return f"of {min(plan.train_counts)} to {max(plan.train_counts)} train photos"


def _learning_rows(plan: Plan, costs: Costs) -> list[tuple[str, str]]:
    """What is learned, in which steps, at which speed."""
    optim = plan.optim
    if not plan.total_steps:
        return [
            ("Model", plan.model),
            ("Recipe", f"{plan.recipe}: heads solved on frozen features, no step after it"),
        ]
    speeds = ", ".join(
        f"{seconds:.2f} s at {size} px ({plan.batch / seconds:.1f} images/s)"
        for size, seconds in sorted(costs.step_seconds.items())
    )
    sizes = f"{plan.preprocessing.size} px"
    if plan.full_size_from_step and plan.train_size != plan.preprocessing.size:
        sizes = f"{plan.train_size} px, from step {plan.full_size_from_step} on {sizes}"
    return [
        ("Model", f"{plan.model}, {plan.trainable} trainable, trained at {sizes}"),
        ("Recipe", f"{plan.recipe}: {optim.name}, lr {optim.lr:.3g}, layer decay {optim.layer_decay:g}"),
        ("Steps", f"{plan.total_steps:,} of {counted(plan.batch, 'photo')} ({_epochs(plan)})"),
        ("Measured", f"{speeds}; {counted(costs.measured_steps, 'step')}"),
    ]


def _epochs(plan: Plan) -> str:
    number = f"{plan.epochs:.3g}"
    return f"{number} epoch{'' if number == '1' else 's'}"


def _hours(plan: Plan, outlook: Forecast, of: Rank) -> tuple[float, str]:
    """Hours of the whole command, and of what: of every GPU that is taken for it, else of every machine."""
    hours = outlook.total_seconds / 3600
    return (hours * _machines(of), "machine-hours") if plan.device == "cpu" else (hours * of.world, "GPU-hours")


def _machines(of: Rank) -> int:
    return -(-of.world // of.local_world)


def _cost(outlook: Forecast, price: float, of: Rank) -> float:
    """``price`` is that of one machine an hour."""
    return outlook.total_seconds / 3600 * _machines(of) * price


def _hours_rows(plan: Plan, outlook: Forecast, request: TrainRequest) -> list[tuple[str, str]]:
    of, price = request.group.of, request.price_per_hour
    hours, unit = _hours(plan, outlook, of)
    text = f"{hours:.3g} {unit}"
    if price is not None:
        several = f" for each of {_machines(of)} machines" if _machines(of) > 1 else " for the machine"
        text += f", {format_money(_cost(outlook, price, of))} at {format_money(price)} an hour{several}"
    return [("Cost", text)]


def _hours_record(plan: Plan, outlook: Forecast, request: TrainRequest) -> dict[str, object]:
    of, price = request.group.of, request.price_per_hour
    hours, unit = _hours(plan, outlook, of)
    return {
        "hours": hours,
        "hours_of": unit,
        "machines": _machines(of),
        "cost": None if price is None else _cost(outlook, price, of),
    }


def _images_per_second(plan: Plan, teaching: Teaching) -> dict[Way, float]:
    """Of the whole training, in each way that was measured."""
    images = plan.total_steps * plan.batch
    ways = next(iter(teaching.seconds.values()))
    return {way: images / run_seconds(plan, teaching.seconds, way) for way in ways}


def _teaching_rows(plan: Plan, costs: Costs) -> list[tuple[str, str]]:
    """What the teacher costs, asked at every batch or remembered."""
    teaching = costs.teaching
    if teaching is None or plan.distill is None:
        return []
    speeds = ", ".join(f"{way} {speed:.4g}" for way, speed in _images_per_second(plan, teaching).items())
    part = f", measured on {teaching.batch} of {plan.batch} images a step" if teaching.batch < plan.batch else ""
    run = teaching.pays_from(plan)
    pays = f"pays from run {run} of these views on" if run is not None else "does not pay: reading is no faster"
    known = f", {teaching.known:.0%} of it known" if teaching.cached else ", not asked for (--teacher-cache)"
    names = ", ".join(map(_teacher_text, plan.distill.teachers))
    again = views_again(plan)
    return [
        ("Teacher", f"{names}, {plan.distill.kind} labels, {plan.distill.alpha:g} of the loss"),
        ("Images/s", f"{speeds}{part}"),
        ("Cache", f"{format_bytes(teaching.bytes)}{known}; it {pays}"),
        *([("Views", again)] if again else []),
    ]


def _teacher_text(teacher: TeacherPlan) -> str:
    """Who it is, and how good on the student's val photos, where that is known."""
    if not teacher.path:
        return f"{teacher.name} (not yet measured: it learns first)"
    return teacher.name if teacher.val_top1 is None else f"{teacher.name} ({teacher.val_top1:.1%} of val right)"


def _teaching_record(plan: Plan, costs: Costs) -> dict[str, object]:
    teaching = costs.teaching
    if teaching is None:
        return {}
    return {
        "images_per_second": _images_per_second(plan, teaching),
        "teacher_cache": {
            "bytes": teaching.bytes,
            "known_share": teaching.known if teaching.cached else None,
            "pays_from_run": teaching.pays_from(plan),
        },
    }
