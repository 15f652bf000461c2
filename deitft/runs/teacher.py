"""A teacher for these classes: matched by name, adapted in a run of its own, measured; or refused.

A teacher with other classes would teach noise. So its classes are the student's by name, in any order; a model
from the zoo, which knows ImageNet's, is first fine-tuned on the user's photos, as a run that is kept and used
again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deitft.bundle.format import Bundle, load_bundle
from deitft.compute.device import Machine
from deitft.core.progress import StopFlag
from deitft.data.catalog import VAL, shown
from deitft.errors import DataError, Notice, RecipeError, UsageError
from deitft.evaluation.predict import predict
from deitft.evaluation.scores import top_k_score
from deitft.evaluation.statistics import wilson_interval
from deitft.models.build import Classifier, build
from deitft.models.sources import find_needed
from deitft.models.weights import load, preprocessing_of
from deitft.models.zoo import resolve as resolve_model
from deitft.objectives.teacher import Teacher
from deitft.recipe.plan_types import Plan, TeacherPlan
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest
from deitft.runs.teacher_named import Candidate, classes_of_weights


def columns_for(classes: Sequence[str], of_teacher: Sequence[str]) -> tuple[int, ...] | None:
    """Where each class is in the teacher's logits, by name; None where the two do not have the same names."""
    if set(classes) != set(of_teacher):
        return None
    place = {name: number for number, name in enumerate(of_teacher)}
    return tuple(place[name] for name in classes)


def class_difference(classes: Sequence[str], of_teacher: Sequence[str]) -> str:
    """How the names differ, in a line: the first few on each side."""
    parts = []
    for word, names in (
        ("it lacks", sorted(set(classes) - set(of_teacher))),
        ("it has besides", sorted(set(of_teacher) - set(classes))),
    ):
        if names:
            few = ", ".join(f'"{shown(name)}"' for name in names[:3])
            parts.append(f"{word} {few}{f' and {len(names) - 3} more' if len(names) > 3 else ''}")
    return "; ".join(parts)


def teachers_for(
    request: TrainRequest,
    named: Sequence[Candidate],
    prepared: Prepared,
    machine: Machine,
    stop: StopFlag,
    size: int | Literal["auto"] = "auto",
) -> tuple[TeacherPlan, ...]:
    """Teachers for the classes of these photos, adapted where that is needed, each measured on val and told.

    ``size``: pixels a side at which they see a full view, "auto" each its own.

    Raises:
        RecipeError: other classes, no better than chance, or a size that the teacher cannot take (id TEACHER).
    """
    return tuple(_teacher_for(request, candidate, prepared, machine, stop, size) for candidate in named)


def _teacher_for(
    request: TrainRequest,
    candidate: Candidate,
    prepared: Prepared,
    machine: Machine,
    stop: StopFlag,
    size: int | Literal["auto"],
) -> TeacherPlan:
    from deitft.runs.adapting import adapt, foretold

    classes, named = prepared.catalog.classes, candidate.named_classes
    if candidate.bundle is not None and (columns := columns_for(classes, candidate.bundle.classes)) is not None:
        plan = at_size(_of_bundle(candidate.spec, candidate.bundle, columns), size)
        return _measured(plan, request, prepared, machine, stop)
    if candidate.bundle is None and knows(candidate, classes):
        plan = at_size(_of_weights(candidate, request, classes), size)
        return _measured(plan, request, prepared, machine, stop)
    own = candidate.bundle is not None  # what it knows is its owner's choice; a model of the zoo is there to learn
    if named is not None and (request.unlabelled or (own and not request.adapt_teacher)):
        raise RecipeError(
            f"the teacher {shown(candidate.spec)} knows other classes: {class_difference(classes, named)}",
            "--adapt-teacher finetune trains it on these photos first"
            if not request.unlabelled
            else "teachers of photos without labels must know the same classes",
            id="TEACHER",
        )
    learned = (foretold if request.dry_run else adapt)(request, candidate, prepared, machine, size)
    if isinstance(learned, TeacherPlan):
        return learned
    adapted = load_bundle(learned.best)
    places = columns_for(classes, adapted.classes)
    assert places is not None, "the run was trained on these very classes"
    return _measured(_of_bundle(candidate.spec, adapted, places), request, prepared, machine, stop)


def knows(candidate: Candidate, classes: Sequence[str]) -> bool:
    """Whether a model knows these classes: its weights name them, or name none and they are ImageNet's."""
    return columns_for(classes, classes_of_weights(candidate.named_classes)) is not None


def at_size(plan: TeacherPlan, size: int | Literal["auto"]) -> TeacherPlan:
    """The teacher, looking at another size.

    Raises:
        RecipeError: it takes one size only (id TEACHER).
    """
    own = plan.preprocessing.size
    if isinstance(size, str) or size == own:
        return plan
    model = build(resolve_model(plan.model).timm_name, num_classes=2, image_size=own, device="meta")
    if model.fixed_size:
        raise RecipeError(
            f"distill.teacher_size is {size}, but the teacher {shown(plan.name)} takes {own} px only",
            "name a convnet, or leave distill.teacher_size on auto",
            id="TEACHER",
        )
    return replace(plan, preprocessing=replace(plan.preprocessing, size=size))


def _of_bundle(spec: str, bundle: Bundle, columns: tuple[int, ...]) -> TeacherPlan:
    return TeacherPlan(
        name=spec,
        model=bundle.model_name,
        path=str(bundle.folder.absolute()),
        sha256=bundle.manifest.sha256,
        preprocessing=bundle.preprocessing,
        columns=columns,
    )


def _of_weights(candidate: Candidate, request: TrainRequest, classes: tuple[str, ...]) -> TeacherPlan:
    """A model whose classifier knows the classes needs no adapting."""
    choice = candidate.choice
    assert choice is not None, "it is no bundle"
    source = candidate.weights(request)
    known = classes_of_weights(source.classes)
    columns = columns_for(classes, known)
    if columns is None:
        raise RecipeError(
            f"the teacher {shown(candidate.spec)} knows other classes: {class_difference(classes, known)}",
            "name a model that knows ImageNet's classes",
            id="TEACHER",
        )
    return TeacherPlan(
        name=candidate.spec if candidate.source is not None else choice.short_name or choice.timm_name,
        model=choice.timm_name,
        path=str(source.path),
        sha256=str(source.record()["sha256"]),
        preprocessing=preprocessing_of(source, choice),
        columns=columns,
    )


def open_teacher(plan: TeacherPlan) -> Teacher:
    """A teacher with its weights in.

    Raises:
        DataError: not the weights that the plan speaks of, or they have no classifier of the classes (id TEACHER).
    """
    path = Path(plan.path)
    if plan.path and path.is_dir():
        bundle = load_bundle(path)
        if bundle.manifest.sha256 != plan.sha256:
            raise _other_weights(plan)
        classifier = _built(plan, len(bundle.classes), bundle.preprocessing.size)
        classifier.net.load_state_dict(bundle.state(), strict=True)
        return Teacher(classifier, plan)
    choice = resolve_model(plan.model)
    if not plan.path:  # in a dry run, before it has learned: any weights are as fast
        return Teacher(_built(plan, len(plan.columns), plan.preprocessing.size), plan)
    source = find_needed(choice, weights=plan.path)
    if source.record().get("sha256") != plan.sha256:
        raise _other_weights(plan)
    classifier = _built(plan, len(classes_of_weights(source.classes)), plan.preprocessing.size)
    report = load(classifier, source, classes=source.classes)
    if report.started:
        raise DataError(
            f"the teacher {plan.name}: {plan.path} does not bring all of it, {report.started[0]} would be random",
            "name weights that have learned the classes",
            id="TEACHER",
        )
    return Teacher(classifier, plan)


def _built(plan: TeacherPlan, classes: int, size: int) -> Classifier:
    return build(resolve_model(plan.model).timm_name, num_classes=classes, image_size=size)


def _other_weights(plan: TeacherPlan) -> DataError:
    return DataError(
        f"the teacher {plan.name} at {plan.path} has other weights than the plan speaks of",
        "restore them, or start a new run",
        id="TEACHER",
    )


def _measured(
    plan: TeacherPlan, request: TrainRequest, prepared: Prepared, machine: Machine, stop: StopFlag
) -> TeacherPlan:
    """Its score on val, said before anything is spent; refused where it is hardly better than a guess."""
    from deitft.data.stream import EvalStream

    photos = prepared.photos(VAL)
    if not (photos.labels >= 0).any():
        why = "nobody has labelled the val photos" if len(photos) else "there are no val photos"
        request.progress.say(f"teacher {plan.name}: {plan.model}, not measured ({why})")
        return plan
    teacher = open_teacher(plan)
    teacher.classifier.to(machine.device).eval()
    with request.progress.task(f"looking at the teacher {plan.name}", len(photos), unit="photos") as task:
        found = predict(
            teacher.classifier,
            EvalStream(photos, plan.preprocessing, batch=32, workers=machine.workers),
            pre=plan.preprocessing,
            device=machine.device,
            precision=machine.precision,
            task=task,
            stop=stop,
        )
    found = found.rows(np.flatnonzero(found.labels >= 0))
    logits = found.logits()[:, list(plan.columns)]
    top1 = top_k_score(logits, found.labels, 1)
    guess = float(np.bincount(found.labels).max() / len(found.labels))
    low, high = wilson_interval(round(top1 * len(found)), len(found))
    request.progress.say(
        f"teacher {plan.name}: {plan.model}, {top1:.1%} of {len(found)} val photos right ({low:.1%} to {high:.1%})"
    )
    if top1 < guess + 0.1 * (1 - guess):
        raise RecipeError(
            f"the teacher {plan.name} is right for {top1:.1%} of the val photos; "
            f"always naming the commonest class gives {guess:.1%}",
            "it has nothing to teach: name another --teacher, or --adapt-teacher finetune",
            id="TEACHER",
        )
    return replace(plan, val_top1=top1)


def warn_if_weak(plan: Plan, probe: Mapping[str, Any], request: TrainRequest) -> None:
    """Say so where the student's own frozen features do better on val than the teacher."""
    own = probe.get("val_top1")
    weak = [one for one in (plan.distill.teachers if plan.distill else ()) if one.val_top1 is not None]
    for one in weak:
        if isinstance(own, float) and one.val_top1 is not None and one.val_top1 < own:
            text = (
                f"the teacher {one.name} is right for {one.val_top1:.1%} of the val photos, "
                f"the student's frozen features for {own:.1%} already"
            )
            request.progress.warn(Notice(id="TEACHER", severity="warning", text=text, hint="name a stronger one"))


def tell_unprobed(plan: Plan, request: TrainRequest) -> None:
    """Where no frozen features are there to compare the teachers with: what they are good for."""
    for one in plan.distill.teachers if plan.distill else ():
        if one.val_top1 is not None:
            request.progress.say(
                f"nothing says yet how good the student will be: the teacher {one.name} "
                f"({one.val_top1:.1%} of val right) helps one that would end below that"
            )


def refuse_other_teachers(plan: Plan, named: Sequence[Candidate]) -> None:
    """Refuse teachers that are not those a run began with; where none is named it keeps its own.

    Raises:
        RecipeError: they are others (id C12); this cannot be allowed.
    """
    stored = plan.distill.teachers if plan.distill is not None else ()
    if not named or (len(stored) == len(named) and all(map(_is_same, named, stored))):
        return
    before = ", ".join(shown(one.name) for one in stored) or "none"
    now = ", ".join(shown(one.spec) for one in named)
    raise RecipeError(
        f"this is not the run you saved — distill.teachers: {before} -> {now}",
        "name the teachers it began with, or start a new run",
        id="C12",
    )


def _is_same(candidate: Candidate, stored: TeacherPlan) -> bool:
    """By name, short or timm's; what is there as weights may be called by another path now: by content, too."""
    if candidate.spec == stored.name:
        return True
    if candidate.bundle is not None:
        return candidate.bundle.manifest.sha256 == stored.sha256
    if candidate.source is not None:
        return candidate.source.record().get("sha256") == stored.sha256
    with contextlib.suppress(UsageError):  # the stored one is no model's name
        return resolve_model(stored.name).timm_name == candidate.model
    return False
