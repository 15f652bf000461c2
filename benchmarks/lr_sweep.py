"""Is any family a straw man: would a third, or three times, of the recipe's learning rate do better on val?

Declared beforehand: DeiT-Ti, MobileNetV2 and ViT-Ti on clothing-small by ``finetune-fast`` at 96 pixels, with the
learning rate that the recipe comes to, a third of it and three times it; nothing else is changed. What counts is
the best val top-1 (341 photos), as a user would choose: a family's recipe stands where neither gains a point. Test
is not looked at for it. Records: ``records/lr-sweep.jsonl``. Seed after seed.

Three times was better for all in a first sweep (seed 0; "lr-sweep-before-…" in the records), and the rule was
changed for views smaller than those of the weights. These are the rates of the new rule. ``--side 224`` asks the
same where that rule changes nothing.

    python benchmarks/lr_sweep.py --shared ../shared --seeds 0
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from command import ledger_of, options
from ledger import Ledger
from photos import of_study
from trial import Trial, at_side, carry_out, measured

MODELS = ("deit_ti", "mobilenetv2", "vit_ti")
SIDE = 96
FACTORS = {"as it is": 1.0, "a third": 1 / 3, "three times": 3.0}


def main() -> None:
    """All rates of a model before the next model, all models of a seed before the next seed."""
    parser = options(__doc__, "runs/clothing-96")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--recipe", default="finetune-fast")
    parser.add_argument("--rates", nargs="*", default=tuple(FACTORS), help="in this order")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--side", type=int, default=SIDE, help="pixels a side of every view")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "lr-sweep")
    data = of_study(asked)
    for seed in asked.seeds:
        for model in asked.models:
            for rate in asked.rates:
                id = f"lr-sweep-{named(asked, model, rate, seed)}"
                if id not in ledger:
                    ledger.add(id, one(asked, ledger, data, model, rate, seed))


def named(asked: argparse.Namespace, model: str, rate: str, seed: int) -> str:
    """The name of a run."""
    side = "" if asked.side == SIDE else f"-{asked.side}px"
    return f"{model}-{rate.replace(' ', '-')}{side}-{seed}"


def one(asked: argparse.Namespace, ledger: Ledger, data: Path, model: str, rate: str, seed: int) -> dict[str, Any]:
    """One run; its learning rate is a multiple of what the recipe came to on these photos."""
    settings = at_side(asked)
    if FACTORS[rate] != 1.0:
        base = ledger.rows[f"lr-sweep-{named(asked, model, 'as it is', seed)}"]["plan"]["optim"]["lr"]
        settings += (f"optim.lr={base * FACTORS[rate]:.6g}",)
    trial = Trial(
        data=data,
        model=model,
        recipe=asked.recipe,
        seed=seed,
        name=named(asked, model, rate, seed),
        asked=asked,
        settings=settings,
    )
    cost, resumed = carry_out(trial)
    values = measured(trial, cost, resumed=resumed)
    subject = {**trial.subject, "data": f"{data.name}, {asked.side} px", "recipe": f"{asked.recipe}, lr {rate}"}
    return values | {"subject": subject}


if __name__ == "__main__":
    main()
