"""Recipe and facts to a Plan: pure, everything decided, nothing "auto" left; and plans read back and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from deitft.core.files import read_json
from deitft.core.units import parse_seconds
from deitft.errors import DataError, MissingInputError
from deitft.recipe import auto_rules
from deitft.recipe.facts import Facts
from deitft.recipe.mistakes import leaves, recipe_error
from deitft.recipe.plan_types import PLAN_VERSION, AugmentPlan, DistillPlan, LossPlan, MixingPlan, OptimPlan, Plan
from deitft.recipe.preprocessing import Preprocessing
from deitft.recipe.schema import Recipe
from deitft.recipe.steps import Steps, count_steps, precision_of

__all__ = ["SAFE_FIELDS", "Facts", "changed_fields", "read_plan", "resolve"]

SAFE_FIELDS = frozenset(
    {
        # How fast, how often, where: not what.
        "device",
        "threads",
        "workers",
        "log_every",
        "save_every_seconds",
        "keep_checkpoints",
        # Changes memory, not the result: what to lower when memory runs out (fault N2).
        "micro_batch",
        # Names of things whose content is compared elsewhere: the photos by their fingerprint, the recipe field
        # by field, the starting weights not at all, because a checkpoint has left them behind.
        "data",
        "recipe",
        "weights.path",
        "distill.teachers",  # their contents are compared by hash where they are opened
        "asked",
        "version",
    }
)


def resolve(recipe: Recipe, facts: Facts, *, seed: int, max_steps: int | None = None) -> Plan:
    """Decide every field from the recipe and the facts. No file is read, no chance is drawn.

    ``max_steps`` shortens the run; the schedule ends there too. ``Plan.asked`` keeps every recipe field that was
    "auto" or differs from the default, as it was asked.

    Raises:
        RecipeError: what was asked contradicts the facts; all contradictions at once (id RECIPE).
    """
    mistakes = _against_facts(recipe, facts)
    pre = _preprocessing(recipe, facts)
    train_size = _train_size(recipe, facts, pre, mistakes)
    steps = count_steps(recipe, facts, pre, train_size, max_steps, mistakes)
    head_start = _head_start(recipe, facts)
    if not steps.total and head_start == "random":
        mistakes.append("train.length is 0 and model.head_start is random: nothing is learned")
    distill = _distill(recipe, facts, mistakes)
    if distill is not None and distill.cache_views and train_size != pre.size:
        mistakes.append("distill.cache_views shows views again, at one size: write train.full_size_from 0")
    mistakes += _needing_labels(recipe, facts)
    if mistakes:
        raise recipe_error(f"recipe {recipe.name}", mistakes)
    train = recipe.train
    auto_layout = auto_rules.channels_last(family=facts.family, device=facts.device)
    return Plan(
        recipe=recipe.name,
        seed=seed,
        model=facts.model,
        short_name=facts.short_name,
        trainable=recipe.model.trainable,
        head_start=head_start,
        drop_path=_drop_path(recipe, facts),
        weights=_plain(facts.weights),
        preprocessing=pre,
        data=facts.data,
        data_fingerprint=facts.data_fingerprint,
        classes=tuple(facts.classes),
        train_counts=tuple(facts.train_counts),
        photos=dict(facts.photos),
        balance=recipe.sampling.balance,
        total_steps=steps.total,
        steps_per_epoch=steps.epoch,
        batch=steps.batch,
        micro_batch=steps.micro_batch,
        train_size=train_size,
        full_size_from_step=steps.full_size_from,
        validate_every=steps.validate,
        patience=train.patience,
        select_by=train.select_by,
        log_every=auto_rules.log_every(steps.total, steps.epoch),
        save_every_seconds=parse_seconds(train.save_every),
        keep_checkpoints=train.keep_checkpoints,
        device=facts.device,
        precision=precision_of(recipe, facts),
        channels_last=auto_layout if train.channels_last == "auto" else train.channels_last,
        compile=train.compile,
        threads=facts.threads,
        workers=facts.workers,
        optim=_optim(recipe, facts, steps, pre.size),
        augment=_augment(recipe, facts),
        mixing=MixingPlan(**recipe.mixing.model_dump()),
        loss=_loss(recipe, facts),
        ema_decay=auto_rules.ema_decay(steps.total) if recipe.ema.decay == "auto" else recipe.ema.decay,
        ema_warmup=recipe.ema.warmup,
        distill=distill,
        unlabelled=tuple(facts.unlabelled),
        asked=_asked(recipe, max_steps),
    )


def _against_facts(recipe: Recipe, facts: Facts) -> list[str]:
    """What contradicts the model or the device, whatever the numbers are."""
    found = []
    if recipe.model.trainable == "attention" and facts.family == "convnet":
        found.append(f"model.trainable is attention, but {facts.model} has none (it is a convnet)")
    if precision_of(recipe, facts) == "fp16" and facts.device == "cpu":
        found.append("train.precision fp16 needs a GPU: on cpu write bf16 or fp32")
    return found


def _preprocessing(recipe: Recipe, facts: Facts) -> Preprocessing:
    """Mean, std and interpolation follow the weights; the rest follows them where it is "auto"."""
    made_for, image = facts.weights_preprocessing, recipe.image
    return Preprocessing(
        size=made_for.size if recipe.model.image_size == "auto" else recipe.model.image_size,
        mean=made_for.mean,
        std=made_for.std,
        interpolation=made_for.interpolation,
        crop_share=auto_rules.CROP_SHARE if image.crop_share == "auto" else image.crop_share,
        aspect=facts.preferred_aspect if image.aspect == "auto" else image.aspect,
        background=image.background,
    )


def _train_size(recipe: Recipe, facts: Facts, pre: Preprocessing, mistakes: list[str]) -> int:
    """Pixels a side before training at full size; a size that would never be used is a mistake."""
    asked, from_share = recipe.train.train_size, recipe.train.full_size_from
    if asked == "auto":
        return auto_rules.train_size(
            pre.size, full_size_from=from_share, fixed_size=facts.fixed_size, model=facts.model
        )
    if asked > pre.size:
        mistakes.append(f"train.train_size {asked} is above the image size {pre.size}")
    elif asked < pre.size and facts.fixed_size:
        mistakes.append(f"train.train_size {asked}: {facts.model} takes {pre.size} only")
    elif asked < pre.size and not from_share:
        mistakes.append(f"train.train_size {asked} is never used: train.full_size_from is 0 (write 0.85, say)")
    return asked


def _head_start(recipe: Recipe, facts: Facts) -> Literal["random", "probe"]:
    asked = recipe.model.head_start
    if asked != "auto":
        return asked
    return "probe" if facts.pretrained and facts.linear_heads and facts.labelled else "random"


def _drop_path(recipe: Recipe, facts: Facts) -> float:
    if recipe.model.drop_path != "auto":
        return recipe.model.drop_path
    return auto_rules.drop_path(
        family=facts.family,
        trainable=recipe.model.trainable,
        photos=facts.photos["train"],
        parameters=facts.parameters,
    )


def _optim(recipe: Recipe, facts: Facts, steps: Steps, size: int) -> OptimPlan:
    optim, trainable = recipe.optim, recipe.model.trainable
    lr, layer_decay = optim.lr, optim.layer_decay
    if lr == "auto":
        lr = auto_rules.peak_lr(
            optimizer=optim.name,
            family=facts.family,
            trainable=trainable,
            pretrained=facts.pretrained,
            batch=steps.batch,
            parameters=facts.parameters,
            size=size,
            weights_size=facts.weights_preprocessing.size,
        )
    elif optim.lr_batch is not None:
        lr = lr * steps.batch / optim.lr_batch
    if layer_decay == "auto":
        layer_decay = auto_rules.layer_decay(
            family=facts.family, trainable=trainable, pretrained=facts.pretrained, depth=facts.depth
        )
    return OptimPlan(
        name=optim.name,
        lr=lr,
        weight_decay=optim.weight_decay,
        betas=optim.betas,
        eps=optim.eps,
        momentum=optim.momentum,
        layer_decay=layer_decay,
        clip_norm=optim.clip_norm,
        warmup_steps=steps.warmup,
        schedule=optim.schedule,
        final_lr_share=optim.final_lr_share,
        decay_distill_token=optim.decay_distill_token,
    )


def _distill(recipe: Recipe, facts: Facts, mistakes: list[str]) -> DistillPlan | None:
    """What the teachers' word is worth; None without one."""
    asked = recipe.distill
    if asked.kind == "none":
        if not facts.labelled:
            mistakes.append("photos without labels need a teacher: --teacher NAME --distill hard")
        return None
    if not facts.teachers:
        mistakes.append(f"distill.kind is {asked.kind}, but no teacher is named (--teacher NAME)")
    if asked.token is True and not facts.two_heads:
        mistakes.append(
            f"distill.token is true, but {facts.model} has no distillation token (deit_ti, _s, _b have)"
        )
    if asked.alpha != "auto" and asked.alpha < 1 and not facts.labelled:
        mistakes.append(f"distill.alpha is {asked.alpha:g}, but there are no labels: it must be 1")
    usual = auto_rules.DISTILL_ALPHA[asked.kind] if facts.labelled else 1.0
    return DistillPlan(
        kind=asked.kind,
        # Without labels a class head of its own would never learn: both heads listen to the teacher.
        token=facts.two_heads and facts.labelled if asked.token == "auto" else asked.token,
        alpha=usual if asked.alpha == "auto" else asked.alpha,
        tau=asked.tau,
        reduction=asked.reduction,
        teachers=tuple(facts.teachers),
        cache_views=asked.cache_views,
        cache_classes=None if asked.cache_classes == "auto" else asked.cache_classes,
        cache_precision=asked.cache_precision,
    )


def _needing_labels(recipe: Recipe, facts: Facts) -> list[str]:
    """What was asked for and cannot be had of train photos without labels."""
    if facts.labelled:
        return []
    asked = {
        "model.head_start is probe": recipe.model.head_start == "probe",
        "distill.token is true": recipe.distill.token is True,
        f"sampling.balance is {recipe.sampling.balance}": recipe.sampling.balance != "none",
        f"loss.class_weights is {recipe.loss.class_weights}": recipe.loss.class_weights != "none",
        f"loss.logit_adjustment is {recipe.loss.logit_adjustment:g}": bool(recipe.loss.logit_adjustment),
    }
    return [f"{text}, but there are no labels" for text, there in asked.items() if there]


def _augment(recipe: Recipe, facts: Facts) -> AugmentPlan:
    values = recipe.augment.model_dump()
    if values["scale"] == "auto":
        values["scale"] = auto_rules.crop_scale(facts.photos["train"])
    return AugmentPlan(**values)


def _loss(recipe: Recipe, facts: Facts) -> LossPlan:
    return LossPlan(
        name=recipe.loss.name,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=auto_rules.class_weights(recipe.loss.class_weights, facts.train_counts),
        logit_adjustment=recipe.loss.logit_adjustment,
    )


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as JSON gives it back: lists for tuples, text for paths."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(value), default=str))
    return plain


def _asked(recipe: Recipe, max_steps: int | None) -> dict[str, Any]:
    """Every recipe field that was "auto" or is not the default, by its dotted name."""
    asked: dict[str, Any] = {}
    given, usual = recipe.model_dump(mode="json"), Recipe().model_dump(mode="json")
    for path in leaves():
        value: Any = given
        default: Any = usual
        for name in path:
            value, default = value[name], default[name]
        if path[0] not in ("name", "schema_version") and (value == "auto" or value != default):
            asked[".".join(path)] = value
    if max_steps is not None:
        asked["max_steps"] = max_steps
    return asked


def read_plan(path: Path) -> Plan:
    """Read ``plan.json`` back: equal to the plan that was written.

    Raises:
        MissingInputError: no such file (exit 66).
        DataError: not a plan, or one of a later version (id PLAN); not JSON (id S6).
    """
    if not path.is_file():
        raise MissingInputError(f"no plan at {path}", "name a run folder that was begun", id="PLAN")
    value = read_json(path)
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > PLAN_VERSION:
        raise DataError(f"{path} was written by a newer deitft (plan {version})", "upgrade deitft", id="PLAN")
    try:
        return TypeAdapter(Plan).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        what = f"{path} is not a plan ({where}: {first['msg'].lower()})"
        raise DataError(what, "restore it from a copy, or start a new run", id="PLAN") from error


def changed_fields(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    """Dotted fields that differ, with both values; those that cannot change the result (``SAFE_FIELDS``) left out.

    A field that only one of them has (a key of ``weights``) is None in the other.
    """
    before, after = dict(_flat("", old)), dict(_flat("", new))
    names = [name for name in before | after if name not in SAFE_FIELDS]
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """(dotted name, value) of everything below; SAFE_FIELDS may name a whole section."""
    if name in SAFE_FIELDS:
        return []
    if is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    else:
        return [(name, value)]
    return [pair for key, item in items for pair in _flat(f"{name}.{key}" if name else key, item)]
