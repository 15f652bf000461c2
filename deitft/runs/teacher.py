"""A teacher for these classes: matched by name, adapted in a run of its own, measured; or refused.

A teacher with other classes would teach noise. So its classes are the student's by name, in any order; a model
from the zoo, which knows ImageNet's, is first fine-tuned on the user's photos, as a run that is kept and used
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deitft.bundle.format import Bundle, load_bundle
from deitft.compute.device import Machine
from deitft.compute.group import ALONE
from deitft.core.files import canonical_json, read_json, sha256_bytes
from deitft.core.progress import StopFlag
from deitft.data.catalog import VAL, shown
from deitft.errors import DataError, Notice, RecipeError, UsageError
from deitft.evaluation.predict import predict
from deitft.evaluation.scores import top_k_score
from deitft.evaluation.statistics import wilson_interval
from deitft.models import imagenet
from deitft.models.build import Classifier, build
from deitft.models.sources import find_needed
from deitft.models.weights import load, preprocessing_of
from deitft.models.zoo import ModelChoice
from deitft.models.zoo import resolve as resolve_model
from deitft.objectives.teacher import Teacher
from deitft.objectives.teacher_cache import HEADER
from deitft.recipe.plan_types import Plan, TeacherPlan
from deitft.runs.classifier import bundle_folder
from deitft.runs.folder import RunFolder
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest
from deitft.runs.together import trains_in_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What ``--teacher`` named: a bundle with classes, or a model of the zoo that has yet to learn them."""

    spec: str
    bundle: Bundle | None = None
    choice: ModelChoice | None = None


def candidates(request: TrainRequest) -> list[Candidate]:
    """What the request's teachers are, looked up but not yet read: cheap, so that it comes before the photos.

    Raises:
        UsageError: no such run, bundle or model (id TEACHER).
        DataError: the bundle is damaged or hostile (id S6).
    """
    return [_candidate(spec) for spec in request.teacher]


def _candidate(spec: str) -> Candidate:
    path = Path(spec).expanduser()
    if path.is_dir():
        return Candidate(spec=spec, bundle=load_bundle(bundle_folder(path)))
    if path.exists():
        raise UsageError(
            f"--teacher {shown(spec)} is a file",
            "name a model, a run or a bundle; weights of your own become one with `deitft finetune --weights`",
            id="TEACHER",
        )
    try:
        return Candidate(spec=spec, choice=resolve_model(spec))
    except UsageError as error:
        if "/" in spec or path.suffix:
            raise UsageError(
                f"--teacher: no run or bundle at {shown(spec)}", "see `deitft runs`", id="TEACHER"
            ) from error
        raise


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
    classes = prepared.catalog.classes
    if candidate.bundle is not None:
        columns = columns_for(classes, candidate.bundle.classes)
        if columns is None and not request.adapt_teacher:
            raise RecipeError(
                f"the teacher {shown(candidate.spec)} knows other classes: "
                f"{class_difference(classes, candidate.bundle.classes)}",
                "--adapt-teacher finetune trains it on these photos first"
                if not request.unlabelled
                else "teachers of photos without labels must know the same classes",
                id="TEACHER",
            )
        if columns is not None:
            plan = _of_bundle(candidate.spec, candidate.bundle, columns)
            return _measured(at_size(plan, size), request, prepared, machine, stop)
    elif imagenet.are_imagenet(classes) and len(classes) == len(imagenet.synsets()):
        assert candidate.choice is not None
        plan = at_size(_of_imagenet(candidate.choice, request, classes), size)
        return _measured(plan, request, prepared, machine, stop)
    adapted = load_bundle(adapt(request, candidate, prepared, machine, size).best)
    columns = columns_for(classes, adapted.classes)
    assert columns is not None, "the run was trained on these very classes"
    return _measured(_of_bundle(candidate.spec, adapted, columns), request, prepared, machine, stop)


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


def _of_imagenet(choice: ModelChoice, request: TrainRequest, classes: tuple[str, ...]) -> TeacherPlan:
    """A model of the zoo on ImageNet's own classes needs no adapting."""
    source = find_needed(choice, weights_dir=request.weights_dir)
    return TeacherPlan(
        name=choice.short_name or choice.timm_name,
        model=choice.timm_name,
        path=str(source.path),
        sha256=str(source.record()["sha256"]),
        preprocessing=preprocessing_of(source, choice),
        columns=columns_for(classes, imagenet.synsets()) or (),
    )


def adapt(
    request: TrainRequest,
    candidate: Candidate,
    prepared: Prepared,
    machine: Machine,
    size: int | Literal["auto"] = "auto",
) -> RunFolder:
    """The run that teaches a model these classes: the one there is, gone on with if need be, else a new one.

    Its name holds what makes it: photos and splits, model and weights, the way, the seed.
    """
    from deitft.runs.resume import resume
    from deitft.runs.train import train

    how = request.adapt_teacher or "finetune"
    wanted = _adapting(request, candidate, prepared, machine, how, size)
    folder = RunFolder(wanted.runs_dir / str(wanted.name))
    new = not (folder.path / "run.json").is_file()
    if new and request.teacher_cache is not None and (request.teacher_cache / HEADER).is_file():
        raise RecipeError(
            f"{request.teacher_cache} holds answers of another teacher: {candidate.spec} has yet to learn your "
            "classes",
            "name another --teacher-cache",
            id="CACHE",
        )
    if new:
        request.progress.say(f"the teacher {candidate.spec} learns your classes first: {folder.path}")
        train(wanted)
    elif _status(folder) != "done":
        request.progress.say(f"the teacher {candidate.spec} was not finished: {folder.path} goes on")
        resume(folder, wanted, same_recipe=True)
    else:
        request.progress.say(f"the teacher {candidate.spec} has learned your classes before: {folder.path}")
    return folder


def _adapting(
    request: TrainRequest,
    candidate: Candidate,
    prepared: Prepared,
    machine: Machine,
    how: str,
    size: int | Literal["auto"],
) -> TrainRequest:
    """The request of the teacher's own run."""
    bundle, choice = candidate.bundle, candidate.choice
    model = bundle.model_name if bundle is not None else choice.timm_name if choice is not None else ""
    short = choice.short_name if choice is not None else None
    identity = [prepared.catalog.fingerprint, _sides(prepared), model, how, request.seed]
    identity.append(bundle.manifest.sha256 if bundle is not None else "")
    identity += [] if size == "auto" else [size]
    label = (short or model.partition(".")[0])[:40]
    alone = trains_in_one(choice.timm_name if choice is not None else model, request.group, machine.device)
    return replace(
        request,
        group=ALONE if alone else request.group,
        verb="finetune",
        model=short or model,
        recipe=_recipe_to_adapt(request, how),
        set=() if size == "auto" else (f"model.image_size={size}",),
        weights=str(bundle.folder) if bundle is not None else None,
        pretrained=request.teacher_pretrained,
        probe=request.teacher_pretrained,
        name=f"teacher-{label}-{sha256_bytes(canonical_json(identity))[:8]}",
        distill=None,
        teacher=(),
        teacher_cache=None,
        cache_views=None,
        price_per_hour=None,
        resume=False,
        dry_run=False,
        time_limit=None,
        unlabelled=False,
    )


def _recipe_to_adapt(request: TrainRequest, how: str) -> str:
    if not request.teacher_pretrained:
        return "pretrain-small"
    return "linear-probe" if how == "probe" else "finetune"


def _sides(prepared: Prepared) -> str:
    return sha256_bytes(np.ascontiguousarray(prepared.splits.split).tobytes())


def _status(folder: RunFolder) -> str:
    value = read_json(folder.path / "run.json")
    return str(value.get("status")) if isinstance(value, dict) else ""


def open_teacher(plan: TeacherPlan) -> Teacher:
    """A teacher with its weights in.

    Raises:
        DataError: not the weights that the plan speaks of (id TEACHER).
    """
    path = Path(plan.path)
    if path.is_dir():
        bundle = load_bundle(path)
        if bundle.manifest.sha256 != plan.sha256:
            raise _other_weights(plan)
        classifier = _built(plan, len(bundle.classes), bundle.preprocessing.size)
        classifier.net.load_state_dict(bundle.state(), strict=True)
        return Teacher(classifier, plan)
    choice = resolve_model(plan.model)
    source = find_needed(choice, weights=plan.path)
    if source.record().get("sha256") != plan.sha256:
        raise _other_weights(plan)
    classifier = _built(plan, len(imagenet.synsets()), plan.preprocessing.size)
    load(classifier, source, classes=imagenet.synsets())
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
