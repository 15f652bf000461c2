"""A plan in words: which weights, how many of everything."""

from __future__ import annotations

from typing import Any

import pytest
from recipe_helpers import facts

from deitft.recipe.load import load_recipe
from deitft.recipe.plan import resolve
from deitft.runs.plan_text import machine_text, one_line, weights_text

FOUND = {"path": "/w/model.safetensors", "sha256": "f" * 64, "architecture": "deit_small", "tag": "fb_in1k"}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"kind": "none"}, "none: it starts from random values"),
        (
            {"kind": "folder", **FOUND, "exact_tag": True},
            "deit_small.fb_in1k from /w/model.safetensors: exactly the published ones",
        ),
        (
            {"kind": "folder", **FOUND, "exact_tag": False},
            "deit_small.fb_in1k from /w/model.safetensors: not those published as deit_small_patch16_224.fb_in1k",
        ),
        (
            {"kind": "run", **FOUND, "tag": None, "exact_tag": False},
            "deit_small from /w/model.safetensors: weights of a run, not published ones",
        ),
        (
            {"kind": "file", "path": "/w/a.pth", "architecture": "", "tag": None, "exact_tag": False},
            "/w/a.pth: the file does not say whose weights it holds",
        ),
    ],
)
def test_weights_are_named_in_words(weights: dict[str, Any], words: str) -> None:
    assert weights_text(resolve(load_recipe("finetune"), facts(weights=weights), seed=0)) == words


def test_one_of_a_thing_is_singular() -> None:
    one = resolve(load_recipe("finetune"), facts(threads=1, workers=1), seed=0)
    assert machine_text(one) == "cpu, fp32, 1 thread, 1 worker"
    more = resolve(load_recipe("finetune"), facts(threads=2, workers=0), seed=0, max_steps=1)
    assert machine_text(more) == "cpu, fp32, 2 threads, 0 workers"
    assert ", 1 step of " in one_line(more)
