"""A plan in words: which weights, how many of everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from recipe_helpers import facts

from deitft.compute.group import Group
from deitft.compute.rank import Rank
from deitft.data.source import Source
from deitft.recipe.load import load_recipe
from deitft.recipe.plan import resolve
from deitft.runs.measure import Costs, Forecast
from deitft.runs.plan_text import machine_text, one_line, planned, rows, weights_text
from deitft.runs.request import TrainRequest

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


@pytest.mark.parametrize(
    ("device", "rank", "hours", "unit", "cost"),
    [
        ("cpu", Rank(), 2.0, "machine-hours", 10.0),
        ("cuda", Rank(), 2.0, "GPU-hours", 10.0),
        ("cuda", Rank(0, 8, 0, 8), 16.0, "GPU-hours", 10.0),
        ("cuda", Rank(0, 16, 0, 8), 32.0, "GPU-hours", 20.0),
        ("cpu", Rank(0, 4, 0, 2), 4.0, "machine-hours", 20.0),
    ],
)
def test_every_gpu_is_counted_and_every_machine_paid(
    device: str, rank: Rank, hours: float, unit: str, cost: float
) -> None:
    """Two hours at 5 a machine."""
    plan = replace(resolve(load_recipe("linear-probe"), facts(), seed=0), device=device)
    request = TrainRequest(verb="finetune", data=Source.of("."), price_per_hour=5.0, group=Group(rank))
    costs = Costs(step_seconds={}, photo_seconds=0.1, peak_bytes=1, measured_steps=0)
    outlook = Forecast(seconds={"training": 7200.0}, memory_bytes=1, disk_bytes=1)
    values = planned(plan, costs, outlook, request).values
    assert (values["hours"], values["hours_of"], values["cost"]) == (hours, unit, cost)
    told = dict(rows(plan, costs, outlook, request))["Cost"]
    assert told.startswith(f"{hours:g} {unit}, ")
    assert ("for each of 2 machines" in told) == (cost == 20.0)
