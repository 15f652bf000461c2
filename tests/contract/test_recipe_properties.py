"""Properties of rules, recipes and plans over their whole range."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe_helpers import MOBILENET, facts

from deitft.core.files import canonical_json
from deitft.recipe import auto_rules
from deitft.recipe.load import recipe_yaml
from deitft.recipe.mistakes import mistakes_in
from deitft.recipe.plan import changed_fields, read_plan, resolve
from deitft.recipe.plan_types import Plan
from deitft.recipe.schema import Recipe
from deitft.recipe.strict_yaml import read_yaml, write_yaml

FEW = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PHOTOS = st.one_of(st.integers(2, 2_000), st.integers(200, 500_000))
SHARE = st.floats(0, 1)
ABOVE = st.floats(1e-9, 1e3)
LENGTH = st.one_of(
    st.floats(0.01, 500).map(lambda value: f"{value:.3f} epochs"),
    st.integers(1, 10**6).map(lambda value: f"{value} steps"),
    st.integers(1, 10**5).map(lambda value: f"{value}m"),
    st.just("auto"),
)
AUTO = st.just("auto")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**17), 10**17),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXT,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)


def section(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


RECIPES = section(
    name=TEXT,
    model=section(name=TEXT, drop_path=st.one_of(AUTO, SHARE), trainable=st.sampled_from(["all", "head"])),
    image=section(
        aspect=st.sampled_from(["auto", "crop", "pad", "squash"]),
        crop_share=st.one_of(AUTO, st.floats(0.1, 1)),
        background=st.lists(st.integers(0, 255), min_size=3, max_size=3),
    ),
    train=section(
        length=LENGTH,
        validate_every=LENGTH,
        full_size_from=SHARE,
        patience=st.one_of(st.none(), st.integers(1, 9)),
        precision=st.sampled_from(["auto", "fp32", "bf16"]),
        channels_last=st.one_of(AUTO, st.booleans()),
        save_every=st.integers(1, 10**6).map(lambda value: f"{value}s"),
    ),
    optim=section(
        name=st.sampled_from(["adamw", "lamb", "sgd"]),
        lr=st.one_of(AUTO, ABOVE),
        weight_decay=st.floats(0, 10),
        betas=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
        eps=ABOVE,
        layer_decay=st.one_of(AUTO, st.floats(0.01, 1)),
        clip_norm=st.one_of(st.none(), ABOVE),
    ),
    augment=section(
        policy=st.sampled_from(["none", "light", "randaugment", "three_augment"]),
        repeats=st.integers(1, 6),
        scale=st.one_of(AUTO, st.just([0.3, 1]), st.just([1, 1])),
        erasing=SHARE,
    ),
    mixing=section(mixup=st.floats(0, 4), cutmix=st.floats(0, 4), chance=SHARE),
    loss=section(class_weights=st.sampled_from(["none", "inverse", "inverse_sqrt", "effective"])),
    ema=section(decay=st.one_of(st.none(), AUTO, st.floats(0, 1, exclude_max=True)), warmup=st.booleans()),
)


def made(data: dict[str, Any]) -> Recipe:
    if data.get("train", {}).get("length", "auto") == "auto":
        data.setdefault("train", {})["length_factor"] = 1.5
    return Recipe.model_validate_json(json.dumps(data))


@FEW
@given(st.lists(PHOTOS, min_size=2, max_size=8), st.booleans())
def test_more_photos_mean_fewer_epochs_but_more_views(counts: list[int], pretrained: bool) -> None:
    counts = sorted(counts)
    epochs = [auto_rules.epochs(count, pretrained=pretrained) for count in counts]
    assert epochs == sorted(epochs, reverse=True)
    views = [count * passes for count, passes in zip(counts, epochs, strict=True)]
    assert views == sorted(views)
    factor = 1 if pretrained else 3.5
    assert all(
        passes >= factor * auto_rules.epochs(count, pretrained=True)
        for count, passes in zip(counts, epochs, strict=True)
    )


@FEW
@given(st.lists(PHOTOS, min_size=2, max_size=8), st.integers(1, 8))
def test_batches_grow_with_the_photos_and_always_fit(counts: list[int], repeats: int) -> None:
    counts = sorted(counts)
    batches = [auto_rules.batch(count, repeats=repeats) for count in counts]
    assert batches == sorted(batches)
    for count, batch in zip(counts, batches, strict=True):
        assert batch % 2 == 0
        assert batch % repeats == 0
        assert batch <= max(count, 2 * repeats)


@FEW
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=6), st.integers(1, 20_000))
def test_rules_of_the_steps_are_monotone(totals: list[int], epoch: int) -> None:
    totals = sorted(totals)
    warmups = [auto_rules.warmup_steps(total, epoch) for total in totals]
    decays = [auto_rules.ema_decay(total) for total in totals]
    assert warmups == sorted(warmups)
    assert decays == sorted(decays)
    assert all(0 <= warmup < total for warmup, total in zip(warmups, totals, strict=True))


@FEW
@given(
    st.integers(1, 512),
    st.lists(st.integers(10**7, 10**12), min_size=2, max_size=5),
    st.floats(1e6, 1e9),
    st.sampled_from(["cpu", "cuda"]),
)
def test_micro_batches_divide_and_grow_with_the_memory(
    batch: int, memories: list[int], image_bytes: float, device: str
) -> None:
    found = [
        auto_rules.micro_batch(
            batch, memory_bytes=memory, device=device, parameters=5_000_000, image_bytes=image_bytes
        )
        for memory in sorted(memories)
    ]
    assert found == sorted(found)
    assert all(batch % micro == 0 for micro in found)
    assert batch % 2 or all(micro % 2 == 0 for micro in found)


@FEW
@given(
    st.lists(st.integers(1, 10**5), min_size=2, max_size=20),
    st.sampled_from(["inverse", "inverse_sqrt", "effective"]),
    st.randoms(),
)
def test_class_weights_have_mean_one_and_follow_their_classes(counts: list[int], name: Any, chance: Any) -> None:
    weights = auto_rules.class_weights(name, counts)
    assert weights is not None
    mean = sum(weight * count for weight, count in zip(weights, counts, strict=True)) / sum(counts)
    assert abs(mean - 1) < 1e-9
    order = list(range(len(counts)))
    chance.shuffle(order)
    moved = auto_rules.class_weights(name, [counts[place] for place in order])
    assert moved is not None
    assert all(abs(moved[at] - weights[place]) < 1e-9 * weights[place] for at, place in enumerate(order))


@FEW
@given(RECIPES)
def test_a_recipe_written_as_yaml_reads_back_equal(data: dict[str, Any]) -> None:
    recipe = made(data)
    value, mistakes = read_yaml(recipe_yaml(recipe).encode(), source="r.yaml")
    assert mistakes == []
    assert mistakes_in(value) == []
    assert Recipe.model_validate_json(json.dumps(value)) == recipe


@FEW
@given(PLAIN)
def test_any_plain_value_survives_our_yaml(value: object) -> None:
    back, mistakes = read_yaml(write_yaml({"value": value}).encode(), source="r.yaml")
    assert mistakes == []
    assert canonical_json(back) == canonical_json({"value": value})


def words(value: object) -> list[object]:
    if isinstance(value, dict):
        return [word for item in value.values() for word in words(item)]
    if isinstance(value, list | tuple):
        return [word for item in value for word in words(item)]
    return [value]


def restored(plan: Plan, folder: Any) -> Plan:
    path = folder / "plan.json"
    path.write_text(json.dumps(plan.record()))
    return read_plan(path)


@FEW
@given(RECIPES, PHOTOS, st.booleans(), st.booleans(), st.one_of(st.none(), st.integers(1, 10**6)))
def test_nothing_is_auto_in_a_plan_and_it_survives_the_disk(
    tmp_path_factory: Any,
    data: dict[str, Any],
    photos: int,
    convnet: bool,
    pretrained: bool,
    max_steps: int | None,
) -> None:
    recipe = made(data)
    known = facts(photos, pretrained=pretrained, seconds_per_image=0.02, **(MOBILENET if convnet else {}))
    plan = resolve(recipe, known, seed=photos, max_steps=max_steps)
    values = asdict(plan)
    values.pop("asked")
    assert "auto" not in words(values)
    assert 1 <= plan.total_steps <= (max_steps or plan.total_steps)
    assert plan.batch % plan.micro_batch == 0
    assert recipe.train.batch != "auto" or plan.batch % recipe.augment.repeats == 0
    assert 1 <= plan.validate_every <= plan.total_steps
    assert 1 <= plan.log_every <= plan.total_steps
    assert 0 <= plan.optim.warmup_steps < plan.total_steps
    assert 0 <= plan.full_size_from_step <= plan.total_steps
    assert 16 <= plan.train_size <= plan.preprocessing.size
    assert plan.steps_per_epoch * plan.batch >= photos
    assert all(isinstance(name, str) and name.count(".") <= 1 for name in plan.asked)
    back = restored(plan, tmp_path_factory.mktemp("plan"))
    assert back == plan
    assert changed_fields(plan, back) == {}
    assert resolve(recipe, known, seed=photos, max_steps=max_steps) == plan
