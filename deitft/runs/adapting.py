"""The run that teaches a teacher the user's classes: begun, gone on with, used again, or foretold."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deitft.compute.device import Machine
from deitft.compute.group import ALONE
from deitft.core.files import canonical_json, read_json, sha256_bytes
from deitft.core.progress import StopFlag
from deitft.errors import RecipeError, UsageError
from deitft.models.weights import WeightSource
from deitft.models.zoo import ModelChoice
from deitft.objectives.teacher_cache import HEADER
from deitft.recipe.facts import Facts
from deitft.recipe.plan_types import Plan, TeacherPlan
from deitft.runs import assemble, measure
from deitft.runs.folder import RunFolder
from deitft.runs.frozen_probe import to_look_at
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest
from deitft.runs.teacher_named import Candidate
from deitft.runs.together import trains_in_one

RECIPES = {"finetune": "finetune", "probe": "linear-probe", "from nothing": "pretrain-small"}
"""What a teacher learns by: ``--adapt-teacher``, or from random weights (the digits')."""
MEASURED_WITHIN = 60.0
"""As if it were the time limit of the teacher's run: its speed is measured in a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """A run that comes before the student's. ``outlook``: the whole of it, also where it was ``begun`` before."""

    teacher: str
    folder: RunFolder
    begun: bool
    plan: Plan
    outlook: measure.Forecast


def adapt(
    request: TrainRequest,
    candidate: Candidate,
    prepared: Prepared,
    machine: Machine,
    size: int | Literal["auto"] = "auto",
) -> RunFolder:
    """The run that teaches a model these classes: the one there is, gone on with if need be, else a new one.

    Its name holds what makes it: photos and splits, model and weights, the way, the seed.

    Raises:
        UsageError: a time limit, and the teacher is not done (id TIME).
        RecipeError: the cache that was named is of another teacher (id CACHE).
    """
    from deitft.runs.resume import resume
    from deitft.runs.train import train

    wanted = _adapting(request, candidate, prepared, machine, size)
    folder = _folder(wanted)
    if _status(folder) == "done":
        request.progress.say(f"the teacher {candidate.spec} has learned your classes before: {folder.path}")
        return folder
    _refuse_before(request, candidate, wanted)
    if folder.begun:
        request.progress.say(f"the teacher {candidate.spec} was not finished: {folder.path} goes on")
        resume(folder, wanted, same_recipe=True)
    else:
        request.progress.say(f"the teacher {candidate.spec} learns your classes first: {folder.path}")
        folder.clear_unbegun()
        train(wanted)
    return folder


def foretold(
    request: TrainRequest,
    candidate: Candidate,
    prepared: Prepared,
    machine: Machine,
    size: int | Literal["auto"] = "auto",
) -> RunFolder | TeacherPlan:
    """For a dry run: the run of a teacher that has learned the classes; else the teacher as it will be.

    Such a teacher has no ``path``: ``open_teacher`` gives it random weights, which are as fast as any.

    Raises:
        UsageError, RecipeError: see ``adapt``.
    """
    wanted = _adapting(request, candidate, prepared, machine, size)
    folder = _folder(wanted)
    if _status(folder) == "done":
        return folder
    _refuse_before(request, candidate, wanted)
    plan = _planned(wanted, prepared, machine)[0]
    classes = tuple(range(len(plan.classes)))
    pre = plan.preprocessing
    return TeacherPlan(
        name=candidate.spec, model=plan.model, path="", sha256="", preprocessing=pre, columns=classes
    )


def first_runs(
    request: TrainRequest,
    named: Sequence[Candidate],
    teachers: Sequence[TeacherPlan],
    prepared: Prepared,
    machine: Machine,
    stop: StopFlag,
    size: int | Literal["auto"] = "auto",
) -> list[FirstRun]:
    """What the runs of those ``teachers`` will take that have yet to learn the classes. Nothing is written."""
    found = []
    for candidate, teacher in zip(named, teachers, strict=True):
        if teacher.path:
            continue
        wanted = _adapting(request, candidate, prepared, machine, size)
        folder = _folder(wanted)
        found.append(_first_run(candidate.spec, folder, wanted, prepared, machine, stop))
    return found


def _first_run(
    name: str, folder: RunFolder, wanted: TrainRequest, prepared: Prepared, machine: Machine, stop: StopFlag
) -> FirstRun:
    plan, facts, choice, source = _planned(wanted, prepared, machine)
    classifier = assemble.start(choice, source, plan).classifier
    costs = measure.measure(
        classifier, plan, prepared, wanted.progress, stop, limit=MEASURED_WITHIN, group=wanted.group
    )
    probe = to_look_at(plan, prepared, classifier.body_sha256(), wanted)
    outlook = measure.forecast(plan, costs, facts.parameters, elapsed=0.0, probe_photos=probe)
    return FirstRun(teacher=name, folder=folder, begun=folder.begun, plan=plan, outlook=outlook)


def _planned(
    wanted: TrainRequest, prepared: Prepared, machine: Machine
) -> tuple[Plan, Facts, ModelChoice, WeightSource]:
    """The plan of the teacher's run, as ``train`` makes it."""
    from deitft.runs.train import read_recipe

    recipe = read_recipe(wanted)
    choice, source = assemble.choose_weights(recipe, wanted)
    facts = assemble.facts_of(prepared, wanted, machine, choice, source)
    return assemble.make_plan(recipe, facts, wanted), facts, choice, source


def _refuse_before(request: TrainRequest, candidate: Candidate, wanted: TrainRequest) -> None:
    """What stands against training the teacher now."""
    folder = _folder(wanted)
    if request.teacher_cache is not None and not folder.begun and (request.teacher_cache / HEADER).is_file():
        raise RecipeError(
            f"{request.teacher_cache} holds answers of another teacher: {candidate.spec} has yet to learn your "
            "classes",
            "name another --teacher-cache",
            id="CACHE",
        )
    if request.time_limit is not None:  # a teacher in a hurry would be used again by runs that have time
        words = ["deitft", "resume", str(folder.path)] if folder.begun else wanted.as_command()
        raise UsageError(
            f"--time-limit is for the whole command; the teacher {candidate.spec} has yet to learn your classes",
            f"let it learn first: {shlex.join(words)}",
            id="TIME",
        )


def _folder(wanted: TrainRequest) -> RunFolder:
    return RunFolder(wanted.runs_dir / str(wanted.name))


def _adapting(
    request: TrainRequest,
    candidate: Candidate,
    prepared: Prepared,
    machine: Machine,
    size: int | Literal["auto"],
) -> TrainRequest:
    """The request of the teacher's own run."""
    bundle, choice = candidate.bundle, candidate.choice
    recipe = RECIPES[(request.adapt_teacher or "finetune") if request.teacher_pretrained else "from nothing"]
    weights: str | None
    if bundle is not None:
        weights, sha = str(bundle.folder), bundle.manifest.sha256
    else:
        found = candidate.weights(request)
        weights = None if candidate.source is None else str(found.path)
        sha = str(found.record().get("sha256"))
    identity = [prepared.catalog.fingerprint, _sides(prepared), candidate.model, recipe, request.seed, sha]
    identity += [request.teacher_pretrained] + ([] if size == "auto" else [size])
    short = choice.short_name if choice is not None else None
    label = (short or candidate.model.partition(".")[0])[:40]
    alone = trains_in_one(candidate.model, request.group, machine.device)
    return replace(
        request,
        group=ALONE if alone else request.group,
        verb="finetune",
        model=short or candidate.model,
        recipe=recipe,
        set=() if size == "auto" else (f"model.image_size={size}",),
        weights=weights,
        pretrained=request.teacher_pretrained,
        probe=request.teacher_pretrained,
        name=f"teacher-{label}-{sha256_bytes(canonical_json(identity))[:8]}",
        distill=None,
        teacher=(),
        adapt_teacher=None,
        teacher_cache=None,
        cache_views=None,
        price_per_hour=None,
        resume=False,
        dry_run=False,
        time_limit=None,
        unlabelled=False,
    )


def _sides(prepared: Prepared) -> str:
    return sha256_bytes(np.ascontiguousarray(prepared.splits.split).tobytes())


def _status(folder: RunFolder) -> str:
    path = folder.path / "run.json"
    value = read_json(path) if path.is_file() else None
    return str(value.get("status")) if isinstance(value, dict) else ""
