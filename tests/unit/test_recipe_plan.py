"""Recipe and facts to a plan; plans on disk; what differs between two."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from recipe_helpers import MOBILENET, facts

from deitft.core.files import write_json
from deitft.errors import DataError, MissingInputError, RecipeError
from deitft.recipe.load import load_recipe
from deitft.recipe.plan import changed_fields, read_plan, resolve
from deitft.recipe.plan_types import Plan
from deitft.recipe.preprocessing import Preprocessing
from deitft.recipe.schema import Recipe


def recipe(**sections: dict[str, Any]) -> Recipe:
    return Recipe.model_validate_json(json.dumps(sections))


def mistakes_of(asked: Recipe, known: Any, max_steps: int | None = None) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        resolve(asked, known, seed=0, max_steps=max_steps)
    found = caught.value.details["mistakes"]
    assert isinstance(found, list)
    assert caught.value.line == f"recipe {asked.name}: " + "; ".join(found)
    return found


def test_the_default_recipe_on_three_thousand_photos() -> None:
    plan = resolve(Recipe(), facts(3_000), seed=7)
    assert (plan.batch, plan.micro_batch, plan.steps_per_epoch, plan.total_steps) == (64, 32, 47, 658)
    assert plan.epochs == 14
    assert plan.optim.lr == 5e-4
    assert plan.optim.layer_decay == 0.75
    assert plan.optim.warmup_steps == 66
    assert plan.drop_path == 0.1
    assert plan.augment.scale == (0.08, 1.0)
    assert plan.preprocessing == Preprocessing(crop_share=1.0)
    assert (plan.train_size, plan.full_size_from_step) == (160, 560)
    assert (plan.validate_every, plan.log_every, plan.save_every_seconds) == (47, 10, 300)
    assert (plan.precision, plan.channels_last, plan.compile) == ("fp32", False, False)
    assert (plan.ema_decay, plan.loss.class_weights, plan.patience) == (None, None, None)
    assert (plan.seed, plan.recipe, plan.classes, plan.train_counts) == (
        7,
        "finetune",
        ("boot", "shoe"),
        (1800, 1200),
    )
    assert plan.asked["optim.lr"] == "auto"
    assert "optim.weight_decay" not in plan.asked


def test_a_small_convnet_from_scratch() -> None:
    plan = resolve(Recipe(), facts(500, pretrained=False, **MOBILENET), seed=0)
    assert (plan.batch, plan.steps_per_epoch) == (32, 16)
    assert plan.optim.layer_decay == 1
    assert plan.drop_path == 0
    assert plan.channels_last
    assert plan.augment.scale == (0.35, 1.0)
    assert plan.epochs > 4 * resolve(Recipe(), facts(500, **MOBILENET), seed=0).epochs


def test_what_is_asked_is_done_and_kept_beside() -> None:
    asked = recipe(
        model={"image_size": 256, "drop_path": 0.2},
        image={"aspect": "pad", "crop_share": 1.0, "background": [0, 0, 0]},
        train={
            "length": "3 epochs",
            "batch": 30,
            "micro_batch": 10,
            "precision": "bf16",
            "channels_last": True,
            "compile": True,
            "validate_every": "50 steps",
            "patience": 3,
            "select_by": "loss",
            "save_every": "90s",
            "keep_checkpoints": 5,
        },
        optim={"lr": 0.001, "layer_decay": 0.9, "warmup": "1 epochs", "clip_norm": 1.0, "name": "sgd"},
        augment={"scale": [0.5, 0.9]},
        mixing={"mixup": 0.8},
        loss={"class_weights": "inverse"},
        ema={"decay": 0.99, "warmup": False},
    )
    plan = resolve(asked, facts(300), seed=0)
    assert plan.preprocessing == Preprocessing(size=256, crop_share=1.0, aspect="pad", background=(0, 0, 0))
    assert (plan.total_steps, plan.steps_per_epoch, plan.batch, plan.micro_batch) == (30, 10, 30, 10)
    assert (plan.validate_every, plan.patience, plan.select_by) == (30, 3, "loss")
    assert (plan.save_every_seconds, plan.keep_checkpoints) == (90, 5)
    assert (plan.precision, plan.channels_last, plan.compile) == ("bf16", True, True)
    assert (plan.optim.name, plan.optim.lr, plan.optim.layer_decay, plan.optim.warmup_steps) == (
        "sgd",
        0.001,
        0.9,
        10,
    )
    assert (plan.drop_path, plan.optim.clip_norm, plan.augment.scale) == (0.2, 1.0, (0.5, 0.9))
    assert plan.mixing.on
    assert (plan.ema_decay, plan.ema_warmup) == (0.99, False)
    assert plan.loss.class_weights == pytest.approx((300 / 360, 300 / 240))
    assert plan.asked["train.length"] == "3 epochs"
    assert plan.asked["image.background"] == [0, 0, 0]
    assert plan.asked["optim.name"] == "sgd"


@pytest.mark.parametrize(
    ("length", "factor", "steps"),
    [
        ("auto", 1.0, 658),
        ("auto", 0.5, 329),
        ("2.5 epochs", 1.0, 118),
        ("7 steps", 1.0, 7),
        ("0.001 epochs", 1.0, 1),
    ],
)
def test_length(length: str, factor: float, steps: int) -> None:
    plan = resolve(recipe(train={"length": length, "length_factor": factor}), facts(3_000), seed=0)
    assert plan.total_steps == steps


def test_a_time_is_turned_into_steps_by_the_measured_speed() -> None:
    timed = facts(3_000, seconds_per_image=0.01)
    full = {"full_size_from": 0.0}
    assert resolve(recipe(train={"length": "1m", **full}), timed, seed=0).total_steps == 93  # 60 / 0.64
    assert resolve(recipe(train={"length": "0.1s"}), timed, seed=0).total_steps == 1
    # Small views are cheaper, so more steps fit in: 0.85 of them cost (160 / 224)^2.
    small = resolve(recipe(train={"length": "1m", "full_size_from": 0.85}), timed, seed=0)
    assert small.train_size == 160
    assert small.total_steps == int(60 / (0.64 * (0.15 + 0.85 * (160 / 224) ** 2)))
    plan = resolve(recipe(optim={"warmup": "6.4s"}, train={"validate_every": "32s", **full}), timed, seed=0)
    assert (plan.optim.warmup_steps, plan.validate_every) == (10, 50)


def test_max_steps_shortens_the_run_and_its_schedule() -> None:
    plan = resolve(Recipe(), facts(3_000), seed=0, max_steps=20)
    assert (plan.total_steps, plan.optim.warmup_steps, plan.validate_every, plan.asked["max_steps"]) == (
        20,
        2,
        20,
        20,
    )
    asked = recipe(train={"length": "10 epochs"}, optim={"warmup": "5 epochs"})
    assert resolve(asked, facts(3_000), seed=0, max_steps=20).optim.warmup_steps == 10
    assert resolve(asked, facts(3_000), seed=0, max_steps=1).optim.warmup_steps == 0
    assert resolve(Recipe(), facts(3_000), seed=0, max_steps=10**6).total_steps == 658


def test_an_epoch_is_as_many_views_as_photos_whatever_the_repeats() -> None:
    plan = resolve(recipe(augment={"repeats": 3}), facts(3_000), seed=0)
    assert (plan.batch, plan.steps_per_epoch) == (60, 50)


def test_training_small_then_at_full_size() -> None:
    plan = resolve(load_recipe("finetune-fast"), facts(3_000), seed=0)
    assert (plan.train_size, plan.full_size_from_step, plan.total_steps) == (160, 280, 329)
    assert [plan.size_at(step) for step in (0, 279, 280, 328)] == [160, 160, 224, 224]
    asked = recipe(train={"train_size": 128, "full_size_from": 1.0})
    assert resolve(asked, facts(3_000), seed=0).size_at(657) == 128
    same = recipe(train={"train_size": 224})
    assert resolve(same, facts(3_000, fixed_size=True), seed=0).full_size_from_step == 0
    fixed = resolve(load_recipe("finetune-fast"), facts(3_000, fixed_size=True), seed=0)
    assert (fixed.train_size, fixed.full_size_from_step) == (224, 0)


def test_all_contradictions_with_the_facts_come_at_once() -> None:
    asked = recipe(
        model={"trainable": "attention"},
        train={
            "batch": 128,
            "train_size": 512,
            "precision": "fp16",
            "validate_every": "30s",
            "length": "2 steps",
        },
        optim={"warmup": "2 steps"},
    )
    assert mistakes_of(asked, facts(93, **MOBILENET), max_steps=0) == [
        "model.trainable is attention, but mobilenetv2_100.ra_in1k has none (it is a convnet)",
        "train.precision fp16 needs a GPU: on cpu write bf16 or fp32",
        "train.train_size 512 is above the image size 224",
        "train.batch 128 is more than the 93 train photos",
        "optim.warmup 2 steps leaves nothing of train.length (2 steps): "
        "take a shorter one, as --set optim.warmup=auto",
        "max_steps is 0, want at least 1",
        "train.validate_every is 30s, but how long a step takes is not known: write epochs or steps",
    ]


@pytest.mark.parametrize(
    ("train", "changes", "said"),
    [
        ({"micro_batch": 24}, {}, "train.micro_batch 24 does not divide the batch of 64"),
        ({"micro_batch": 128}, {}, "train.micro_batch 128 does not divide the batch of 64"),
        (
            {"length": "30m"},
            {},
            "train.length is 30m, but how long a step takes is not known: write epochs or steps",
        ),
        (
            {"train_size": 160, "full_size_from": 0.0},
            {},
            "train.train_size 160 is never used: train.full_size_from is 0 (write 0.85, say)",
        ),
        (
            {"train_size": 160, "full_size_from": 0.5},
            {"fixed_size": True},
            "train.train_size 160: deit_small_patch16_224.fb_in1k takes 224 only",
        ),
    ],
)
def test_each_contradiction_with_the_facts(train: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    assert mistakes_of(recipe(train=train), facts(3_000, **changes)) == [said]


def test_repeats_count_as_views_not_as_photos() -> None:
    asked = recipe(train={"batch": 96}, augment={"repeats": 3})
    assert resolve(asked, facts(32), seed=0).batch == 96
    assert resolve(asked, facts(31), seed=0).batch == 96, "some are shown four times"
    once = recipe(train={"batch": 96})
    assert mistakes_of(once, facts(95)) == ["train.batch 96 is more than the 95 train photos"]


def test_weights_of_a_plan_are_plain_data() -> None:
    plan = resolve(Recipe(), facts(weights={"path": Path("/w"), "size": (3, 224)}), seed=0)
    assert plan.weights == {"path": "/w", "size": [3, 224]}


@pytest.mark.parametrize("name", ["finetune", "finetune-fast", "finetune-best", "linear-probe", "products"])
def test_a_plan_on_disk_comes_back_equal(tmp_path: Path, name: str) -> None:
    asked = load_recipe(name, overrides=["loss.class_weights=effective"])
    plan = resolve(asked, facts(3_000, **MOBILENET), seed=2**40, max_steps=17)
    write_json(tmp_path / "plan.json", plan.record())
    back = read_plan(tmp_path / "plan.json")
    assert back == plan
    assert isinstance(back.augment.scale, tuple)
    assert isinstance(back.preprocessing.mean, tuple)
    assert isinstance(back.loss.class_weights, tuple)
    assert changed_fields(plan, back) == {}


def test_plans_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(MissingInputError, match="no plan at") as missing:
        read_plan(path)
    assert missing.value.exit_code == 66
    good = json.loads(json.dumps(resolve(Recipe(), facts(), seed=0).record()))
    for change, said in (
        ({"version": 99}, "written by a newer deitft"),
        ({"batch": "64"}, "is not a plan (batch: "),
        ({"optim": {}}, "is not a plan (optim.name: "),
        ({"precision": "int8"}, "is not a plan (precision: "),
    ):
        write_json(path, {**good, **change})
        with pytest.raises(DataError) as caught:
            read_plan(path)
        assert said in caught.value.line
        assert caught.value.id == "PLAN"
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match="is not a plan"):
        read_plan(path)
    path.write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_plan(path)


def test_changed_fields_names_what_matters_and_only_that() -> None:
    old = resolve(Recipe(), facts(), seed=0)
    assert changed_fields(old, old) == {}
    new = resolve(
        recipe(optim={"lr": 0.001}, augment={"flip": 0.0}),
        facts(weights={"kind": "file", "path": "/elsewhere", "license": "MIT"}, data_fingerprint="0" * 64),
        seed=1,
    )
    assert changed_fields(old, new) == {
        "seed": (0, 1),
        "weights.tag": ("fb_in1k", None),
        "weights.license": (None, "MIT"),
        "data_fingerprint": ("f" * 64, "0" * 64),
        "optim.lr": (5e-4, 0.001),
        "augment.flip": (0.5, 0.0),
    }


def test_where_and_how_fast_is_no_change() -> None:
    old = resolve(Recipe(), facts(), seed=0)
    new = replace(
        old,
        device="cuda",
        threads=9,
        workers=9,
        log_every=3,
        save_every_seconds=1.0,
        keep_checkpoints=9,
        micro_batch=2,
        data="/moved",
        recipe="renamed",
        asked={},
    )
    assert changed_fields(old, new) == {}


def test_every_other_field_of_a_plan_is_compared() -> None:
    from deitft.recipe.plan import SAFE_FIELDS

    old = resolve(load_recipe("finetune-best"), facts(), seed=0)
    for field in fields(Plan):
        if field.name in SAFE_FIELDS:
            continue
        changed = changed_fields(old, replace(old, **{field.name: "another"}))
        assert any(name.split(".")[0] == field.name for name in changed), field.name
