"""Every row of the DeiT paper's table 3 can be asked for: from the command line to the loss."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from recipe_helpers import facts
from torch import Tensor

from deitft.cli.app import app
from deitft.models.build import Heads
from deitft.objectives.distillation import Distilled
from deitft.objectives.supervised import Supervised
from deitft.recipe.plan import resolve
from deitft.recipe.plan_types import Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.train import read_recipe
from deitft.runs.typed import train_request

TEACHER = TeacherPlan(
    name="t", model="resnet50", path="t", sha256="", preprocessing=Preprocessing(), columns=(0, 1)
)
ONE_HEAD = ("--model", "deit_small_patch16_224.fb_in1k")
TWO_HEADS = ("--model", "deit_s")
WITHOUT_TOKEN = ("--set", "distill.token=false")

# row of the table, options, who teaches the class head, who the distillation head (None: there is none)
ROWS: list[tuple[str, tuple[str, ...], str, str | None]] = [
    ("no distillation", ONE_HEAD, "label", None),
    ("usual distillation", (*ONE_HEAD, "--distill", "soft", "--teacher", "resnet50"), "both", None),
    ("hard distillation", (*ONE_HEAD, "--distill", "hard", "--teacher", "resnet50"), "both", None),
    ("token, hard", (*TWO_HEADS, "--distill", "hard", "--teacher", "resnet50"), "label", "teacher"),
    # beyond the table
    ("token, soft", (*TWO_HEADS, "--distill", "soft", "--teacher", "resnet50"), "label", "teacher"),
    ("two tokens, none", TWO_HEADS, "label", "label"),
    (
        "two tokens, usual",
        (*TWO_HEADS, "--distill", "soft", "--teacher", "resnet50", *WITHOUT_TOKEN),
        "both",
        "both",
    ),
    (
        "two tokens, hard",
        (*TWO_HEADS, "--distill", "hard", "--teacher", "resnet50", *WITHOUT_TOKEN),
        "both",
        "both",
    ),
]


def plan_of(photos: Path, words: tuple[str, ...]) -> Plan:
    """What a command line comes to: typed, parsed, read as a recipe, resolved."""
    command: Any = typer.main.get_command(app)
    typed = command.commands["pretrain"].make_context("pretrain", [str(photos), *words]).params
    given = {name: value.value if isinstance(value, Enum) else value for name, value in typed.items()}
    given |= {name: tuple(given[name] or ()) for name in ("set", "log_to", "allow_changed", "root", "teacher")}
    given |= {"recipe": "pretrain-deit", "pretrained": False, "probe": False, "started": 0.0, "progress": None}
    recipe = read_recipe(train_request("pretrain", given))
    teachers = (TEACHER,) if "--teacher" in words else ()
    known = facts(3_000, two_heads=recipe.model.name == "deit_s", teachers=teachers, pretrained=False)
    return resolve(recipe, known, seed=0)


def pushed(plan: Plan, two_heads: bool) -> list[str]:
    """By whom each head is pushed: "label", "teacher" or "both"."""
    draw = torch.Generator().manual_seed(2)
    logits = [torch.randn(4, 2, generator=draw).requires_grad_() for _ in range(1 + two_heads)]
    said = torch.tensor([0, 1, 1, 0])
    answers = (
        said if plan.distill and plan.distill.kind == "hard" else torch.randn(4, 2, generator=draw).log_softmax(1)
    )
    objective: Any = Supervised(plan.loss, plan.train_counts, "cpu")
    if plan.distill is not None:
        objective = Distilled(objective, plan.distill, lambda batch: answers)
    batch = SimpleNamespace(targets=torch.eye(2)[said])
    heard = []
    for head in logits:
        by = []
        for part in ("label", "teacher"):
            parts = objective(Heads(*logits), batch)
            alone = parts["total"] if part == "label" else None
            loss = alone if plan.distill is None else parts[part]
            gradient: Tensor | None = None
            if loss is not None:
                (gradient,) = torch.autograd.grad(loss, [head], allow_unused=True)
            if gradient is not None and gradient.abs().max() > 0:
                by.append(part)
        heard.append("both" if len(by) == 2 else by[0])
    return heard


@pytest.mark.parametrize(
    ("words", "of_class", "of_distill"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_row_is_what_is_trained(
    tmp_path: Path, words: tuple[str, ...], of_class: str, of_distill: str | None
) -> None:
    plan = plan_of(tmp_path, words)
    kind = words[words.index("--distill") + 1] if "--distill" in words else None
    assert (plan.distill.kind if plan.distill else None) == kind
    wanted = [of_class] if of_distill is None else [of_class, of_distill]
    assert pushed(plan, of_distill is not None) == wanted
    if plan.distill is not None:
        assert plan.distill.alpha == {"hard": 0.5, "soft": 0.1}[plan.distill.kind], "equations 3 and 2"
        assert (plan.distill.tau, plan.distill.reduction) == (3.0, "batchmean")


def test_the_authors_soft_loss_and_weights_can_be_asked_for(tmp_path: Path) -> None:
    """Their code's defaults: alpha 0.5, tau 1, divided by the classes too (losses.py, main.py:146)."""
    row = {name: words for name, words, _, _ in ROWS}["token, soft"]
    legacy = ("distill.alpha=0.5", "distill.tau=1.0", "distill.reduction=numel")
    plan = plan_of(tmp_path, (*row, *(word for text in legacy for word in ("--set", text))))
    assert plan.distill == replace(
        plan_of(tmp_path, row).distill,
        alpha=0.5,
        tau=1.0,
        reduction="numel",  # type: ignore[type-var]
    )
