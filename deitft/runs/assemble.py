"""Recipe, photos, weights and machine joined: a model with its weights in, and a plan with nothing left open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.compute.device import Machine
from deitft.core.progress import Progress
from deitft.data.catalog import Catalog
from deitft.errors import RecipeError
from deitft.models.build import Classifier, build
from deitft.models.weights import LoadReport, WeightSource, find, load, preprocessing_of
from deitft.models.zoo import ModelChoice
from deitft.models.zoo import resolve as resolve_model
from deitft.recipe.facts import Facts
from deitft.recipe.plan import resolve
from deitft.recipe.plan_types import Plan, TeacherPlan
from deitft.recipe.preprocessing import Aspect
from deitft.recipe.schema import Recipe
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What training starts from: the function, where its weights come from, what was taken of them."""

    choice: ModelChoice
    source: WeightSource
    classifier: Classifier
    report: LoadReport


def choose_weights(recipe: Recipe, request: TrainRequest) -> tuple[ModelChoice, WeightSource]:
    """The model and its starting weights, found but not yet read: cheap, so that it comes before the photos.

    Raises:
        UsageError: no such model.
        UnavailableError: no weights to be had (exit 69).
    """
    choice = resolve_model(request.model or recipe.model.name)
    source = find(
        choice,
        weights=request.weights,
        weights_dir=request.weights_dir,
        pretrained=request.pretrained,
        progress=request.progress,
    )
    return choice, source


def start(choice: ModelChoice, source: WeightSource, plan: Plan) -> Start:
    """Build the model of a plan and load its starting weights."""
    classifier = build(
        plan.model,
        num_classes=len(plan.classes),
        image_size=plan.preprocessing.size,
        drop_path=plan.drop_path,
        seed=plan.seed,
    )
    report = load(classifier, source, classes=plan.classes)
    classifier.freeze(plan.trainable)
    return Start(choice=choice, source=source, classifier=classifier, report=report)


def source_of(plan: Plan, request: TrainRequest) -> WeightSource:
    """The starting weights of a plan, found again, and the same ones.

    Raises:
        UnavailableError: they are gone.
        RecipeError: other weights stand there now (id C12).
    """
    stored = plan.weights
    choice = resolve_model(plan.model)
    path = stored.get("path")
    source = find(choice, weights=str(path) if path else None, weights_dir=None, pretrained=path is not None)
    if source.record().get("sha256") != stored.get("sha256"):
        raise RecipeError(
            f"this is not the run you saved — the starting weights {path} are others",
            "restore them, or start a new run",
            id="C12",
        )
    return source


LONG, OFTEN, MOSTLY = 2.0, 0.1, 0.5
"""A photo of 2 : 1 loses half of itself in a centre crop; a tenth of the photos like that are too many to lose.
Where most are long, and the same way, padding would leave half of every view empty (benchmarks/aspect.py)."""


def preferred_aspect(catalog: Catalog) -> Aspect:
    """What to do with photos that are not square: crop where little is lost; where many are long, keep them whole.

    Where most are long the same way, and few the other, they are squashed: bent alike, and no pixel is given to
    the background. Else they are padded, so that things keep their shape.
    """
    wide, high = catalog.widths, catalog.heights
    known = (wide > 0) & (high > 0)
    if not known.any():
        return "crop"
    lying = float((wide[known] > LONG * high[known]).mean())
    standing = float((high[known] > LONG * wide[known]).mean())
    if lying + standing <= OFTEN:
        return "crop"
    return "squash" if max(lying, standing) > MOSTLY and min(lying, standing) <= OFTEN else "pad"


def facts_of(
    prepared: Prepared,
    request: TrainRequest,
    machine: Machine,
    choice: ModelChoice,
    source: WeightSource,
    seconds_per_image: float | None = None,
    teachers: tuple[TeacherPlan, ...] = (),
) -> Facts:
    """What ``recipe.plan.resolve`` needs to know about data, weights and machine."""
    shape = build(choice.timm_name, num_classes=len(prepared.catalog.classes), image_size=None, device="meta")
    return Facts(
        classes=prepared.catalog.classes,
        train_counts=prepared.train_counts(),
        photos=prepared.counts(),
        data=str(request.data.resolve()),
        data_fingerprint=prepared.catalog.fingerprint,
        model=choice.timm_name,
        short_name=choice.short_name,
        weights=_findable(source),
        pretrained=source.kind != "none",
        family=shape.family,
        parameters=sum(parameter.numel() for parameter in shape.net.parameters()),
        depth=shape.depth,
        weights_preprocessing=preprocessing_of(source, choice),
        preferred_aspect=preferred_aspect(prepared.catalog),
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads,
        workers=machine.workers,
        memory_bytes=machine.memory_bytes,
        seconds_per_image=seconds_per_image,
        fixed_size=shape.fixed_size,
        linear_heads=shape.linear_heads,
        two_heads=shape.two_heads,
        unlabelled=prepared.unlabelled,
        teachers=teachers,
    )


def _findable(source: WeightSource) -> dict[str, Any]:
    """The record of the weights, with a path that holds in every working directory."""
    record = source.record()
    return record | ({"path": str(Path(record["path"]).absolute())} if record.get("path") else {})


def make_plan(recipe: Recipe, facts: Facts, request: TrainRequest, max_steps: int | None = None) -> Plan:
    """The plan of a request. See ``recipe.plan`` for the rules."""
    return resolve(recipe, facts, seed=request.seed, max_steps=max_steps)


def tell_load(report: LoadReport, progress: Progress) -> None:
    """Say in one or two lines what was taken of the weights."""
    for line in report.lines():
        progress.say(line)


__all__ = ["Facts", "Start", "choose_weights", "facts_of", "make_plan", "start", "tell_load"]
