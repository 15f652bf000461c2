"""How good, how long: recipes and models on the 3,781 photos of clothing-small, a run at a time.

Every run is the command line in a process of its own; its figures go to ``records/clothing.jsonl``. Run again
after an interruption: finished runs are not repeated, a stopped one is resumed.

    python benchmarks/clothing.py --shared ../shared
"""

from __future__ import annotations

from command import ledger_of, options
from photos import of_study
from trial import Trial, carry_out, measured

MODELS = ("deit_ti", "mobilenetv2")
RECIPES = ("linear-probe", "finetune-fast", "finetune")


def main() -> None:
    """Go through the study, cheapest recipes first."""
    parser = options(__doc__, "runs/clothing")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    asked = parser.parse_args()
    ledger = ledger_of(asked, "clothing")
    data = of_study(asked)
    for recipe in asked.recipes:
        for seed in asked.seeds:
            for model in asked.models:
                name = f"{recipe}-{model}-{seed}"
                if f"clothing-{name}" in ledger:
                    continue
                trial = Trial(data=data, model=model, recipe=recipe, seed=seed, name=name, asked=asked)
                cost, resumed = carry_out(trial)
                ledger.add(f"clothing-{name}", measured(trial, cost, resumed=resumed))


if __name__ == "__main__":
    main()
