"""Contradictions of a recipe with itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from deitft.recipe.schema import Recipe, contradictions

CASES: list[tuple[dict[str, Any], str]] = [
    (
        {"augment": {"policy": "albumentations"}},
        "augment.policy is albumentations, but augment.albumentations is empty",
    ),
    (
        {"augment": {"albumentations": [{"Rotate": {}}]}},
        "augment.albumentations is given, but augment.policy is randaugment",
    ),
    ({"augment": {"scale": [0.9, 0.5]}}, "augment.scale: 0.9 is above 0.5"),
    ({"augment": {"ratio": [2, 1]}}, "augment.ratio: 2.0 is above 1.0"),
    (
        {"train": {"length": "8 epochs", "length_factor": 2}},
        "train.length_factor is for the auto length, but train.length is 8 epochs",
    ),
    ({"train": {"batch": 64, "micro_batch": 24}}, "train.micro_batch 24 does not divide train.batch 64"),
    (
        {"train": {"batch": 7}, "mixing": {"cutmix": 1}},
        "mixing pairs photos up: train.batch 7 must be even (or mixing.chance 0)",
    ),
    (
        {"loss": {"name": "bce", "logit_adjustment": 1}},
        "loss.logit_adjustment is defined for cross_entropy, not for bce",
    ),
    (
        {"loss": {"logit_adjustment": 1}, "sampling": {"balance": "class"}},
        "sampling.balance and loss.logit_adjustment both correct for class counts: choose one",
    ),
    (
        {"loss": {"class_weights": "inverse"}, "sampling": {"balance": "sqrt"}},
        "sampling.balance and loss.class_weights both correct for class counts: choose one",
    ),
]


@pytest.mark.parametrize(("data", "said"), CASES)
def test_each_contradiction_is_named(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate_json(json.dumps(data))
    (error,) = caught.value.errors()
    assert error["ctx"]["mistakes"] == [said]


def test_the_default_contradicts_nothing() -> None:
    assert contradictions(Recipe()) == []


def test_what_goes_together_is_let_through() -> None:
    Recipe.model_validate_json('{"train": {"batch": 48, "micro_batch": 12}, "augment": {"repeats": 3}}')
    Recipe.model_validate_json('{"train": {"batch": 1024}, "augment": {"repeats": 3}}')
    Recipe.model_validate_json('{"train": {"batch": 7}, "mixing": {"chance": 0}}')
    Recipe.model_validate_json('{"loss": {"name": "bce", "class_weights": "inverse"}}')
    Recipe.model_validate_json('{"train": {"length": "8 epochs"}}')


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().name = "other"  # type: ignore[misc]
