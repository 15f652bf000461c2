"""The shipped recipes: each has its header, says why it deviates, and can be planned on any number of photos."""

from __future__ import annotations

import colorsys
import json
import re
import warnings
from typing import Any

import numpy as np
import pytest
from recipe_helpers import MOBILENET, facts

from deitft.data.stream import SampleOrder
from deitft.recipe.load import RecipeInfo, load_recipe, shipped_recipes
from deitft.recipe.mistakes import leaves
from deitft.recipe.plan import resolve
from deitft.recipe.schema import Recipe
from deitft.recipe.strict_yaml import read_yaml
from deitft.training.step import lr_at

RECIPES = shipped_recipes()
NAMES = [info.name for info in RECIPES]


def test_these_are_shipped() -> None:
    assert NAMES == [
        "attention-only",
        "finetune-best",
        "finetune-fast",
        "finetune",
        "linear-probe",
        "pretrain-deit-384",
        "pretrain-deit",
        "pretrain-deit3",
        "pretrain-small",
        "products",
    ]


@pytest.mark.parametrize("info", RECIPES, ids=NAMES)
def test_the_header_has_its_lines(info: RecipeInfo) -> None:
    lines = info.header.splitlines()
    assert lines[0] == info.title
    assert len(info.title) > 10
    assert lines[1].startswith("Source: ")
    assert lines[2].startswith("Cost: ")
    # Either nobody has measured it, or the record is named.
    assert re.fullmatch(r"Measured: (pending|.*\brecord [\w-]+.*)", lines[3])


@pytest.mark.parametrize("info", RECIPES, ids=NAMES)
def test_the_file_is_named_after_its_recipe(info: RecipeInfo) -> None:
    assert load_recipe(info.name).name == info.name == info.path.stem


def deviations(info: RecipeInfo) -> list[str]:
    """Names of fields that differ from the default."""
    asked, usual = load_recipe(info.name).model_dump(mode="json"), Recipe().model_dump(mode="json")
    found = []
    for path in leaves():
        value: Any = asked
        default: Any = usual
        for name in path:
            value, default = value[name], default[name]
        if value != default and path != ("name",):
            found.append(path[-1])
    return found


@pytest.mark.parametrize("info", RECIPES, ids=NAMES)
def test_every_deviation_says_why(info: RecipeInfo) -> None:
    lines = info.path.read_text().splitlines()
    names = deviations(info)
    assert names or info.name == "finetune"
    for name in names:
        places = [number for number, line in enumerate(lines) if re.match(rf"\s+{name}:", line)]
        assert places, name
        commented = [lines[place - 1].lstrip().startswith("#") or "  # " in lines[place] for place in places]
        assert any(commented), name


@pytest.mark.parametrize("info", RECIPES, ids=NAMES)
def test_nothing_is_written_down_that_is_the_default_but_in_the_first_recipe(info: RecipeInfo) -> None:
    value, _ = read_yaml(info.path.read_bytes(), source=info.name)
    assert isinstance(value, dict)
    written = [(head, field) for head, fields in value.items() if isinstance(fields, dict) for field in fields]
    if info.name != "finetune":
        assert sorted(field for _, field in written) == sorted(deviations(info))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("photos", [8, 200, 3_000, 50_000, 500_000])
def test_every_recipe_can_be_planned(name: str, photos: int) -> None:
    plan = resolve(load_recipe(name), facts(photos), seed=0)
    assert plan.recipe == name
    assert (plan.total_steps == 0) == (name == "linear-probe")
    if name != "attention-only":
        resolve(load_recipe(name), facts(photos, **MOBILENET), seed=0)


def test_what_the_recipes_are_for() -> None:
    plans = {name: resolve(load_recipe(name), facts(3_000), seed=0) for name in NAMES}
    usual = plans["finetune"]
    assert resolve(Recipe(), facts(3_000), seed=0) == usual
    assert plans["finetune-fast"].total_steps * 2 == usual.total_steps
    assert plans["finetune-fast"].train_size == 160
    assert plans["finetune-best"].total_steps == 2 * usual.total_steps
    assert plans["finetune-best"].mixing.on
    assert plans["finetune-best"].ema_decay == 0.999
    assert plans["linear-probe"].trainable == "head"
    assert (plans["linear-probe"].head_start, plans["linear-probe"].total_steps) == ("probe", 0)
    assert plans["attention-only"].trainable == "attention"
    assert plans["attention-only"].optim.lr > usual.optim.lr
    assert plans["products"].preprocessing.aspect == "pad"


PRETRAINING = [name for name in NAMES if name.startswith("pretrain")]


@pytest.mark.parametrize("name", [name for name in PRETRAINING if name != "pretrain-small"])
@pytest.mark.parametrize("batch", [2, 8, 64, 1024, 8192])
def test_the_rate_grows_with_the_global_batch_and_never_turns_upwards(name: str, batch: int) -> None:
    """The authors' --min-lr does not scale: below a batch of about 10 it is above the peak, and cosine rises."""
    recipe = load_recipe(name, overrides=(f"train.batch={batch}",))
    plan = resolve(recipe, facts(10_000, pretrained=False), seed=0)
    optim = plan.optim
    assert optim.lr == pytest.approx(recipe.optim.lr * batch / recipe.optim.lr_batch)
    steps = range(optim.warmup_steps, plan.total_steps, max(1, plan.total_steps // 50))
    rates = [lr_at(plan, step) for step in steps]
    assert rates == sorted(rates, reverse=True)
    assert optim.lr >= rates[-1] > 0


@pytest.mark.parametrize("name", [name for name in PRETRAINING if name != "pretrain-small"])
@pytest.mark.parametrize("photos", [1, 100, 255, 256])
def test_repeated_augmentation_shows_every_photo_of_a_small_set(name: str, photos: int) -> None:
    """The authors' sampler gives no sample at all below 256 photos, and a third of 256."""
    plan = resolve(load_recipe(name), facts(photos), seed=0)
    order = SampleOrder(plan, np.arange(photos))
    ids, epochs, repeats = (np.concatenate(parts).tolist() for parts in zip(order.at(0), order.at(1), strict=True))
    assert len(ids) == 2 * plan.batch > 2 * photos
    assert set(ids) == set(range(photos))
    assert len(set(zip(ids, epochs, repeats, strict=True))) == len(ids), "all views differ"


def test_no_epoch_is_lost_at_the_foot_of_the_warm_up() -> None:
    """The authors' schedule runs epochs 0 and 1 at the warm-up's start (facebookresearch/deit#145)."""
    plan = resolve(load_recipe("pretrain-deit"), facts(1_281_167, pretrained=False), seed=0)
    ends = [lr_at(plan, plan.steps_per_epoch * epoch - 1) / plan.optim.lr for epoch in range(1, 8)]
    assert ends[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert 1 > ends[5] > ends[6] > 0.999
    assert lr_at(plan, plan.total_steps - 1) == pytest.approx(1e-5, rel=1e-3)


def compose(specs: Any) -> Any:
    """The transforms of a recipe, built by albumentations itself, every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import albumentations

    def build(spec: dict[str, Any]) -> Any:
        ((name, arguments),) = spec.items()
        if name == "OneOf":
            return albumentations.OneOf([build(item) for item in arguments])
        return getattr(albumentations, name)(**arguments)

    return albumentations.Compose([build(spec) for spec in specs])


def test_product_transforms_keep_colour_and_fill_with_white() -> None:
    specs = load_recipe("products").augment.albumentations
    names = re.findall(r'"([A-Z]\w+)"', json.dumps(specs))
    assert not {"HueSaturationValue", "ColorJitter", "RGBShift", "ChannelShuffle", "ToGray", "InvertImg"} & set(
        names
    )
    transform = compose(specs)
    colours = {"red": (200, 30, 30), "orange": (230, 130, 30), "yellow": (230, 220, 40), "blue": (40, 60, 190)}
    colours["green"] = (40, 160, 60)
    for name, colour in colours.items():
        photo = np.full((32, 32, 3), colour, np.uint8)
        hue = colorsys.rgb_to_hsv(*(value / 255 for value in colour))[0]
        for key in range(40):
            transform.set_random_seed(key)
            seen = transform(image=photo)["image"][10:22, 10:22].reshape(-1, 3).mean(0) / 255
            turn = (colorsys.rgb_to_hsv(*seen)[0] - hue + 0.5) % 1 - 0.5
            assert abs(360 * turn) < 15, name
    white = np.full((32, 32, 3), 255, np.uint8)
    rotate = compose([spec for spec in specs if "Rotate" in spec])
    for key in range(20):
        rotate.set_random_seed(key)
        assert (rotate(image=white)["image"] == 255).all()
