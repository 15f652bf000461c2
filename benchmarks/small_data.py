"""Good at every size, and every recipe earns its place: 200 and 1,000 photos to learn from, the rest to judge.

Of the 3,781 photos of clothing-small (all three splits together) 200 or 1,000 are drawn in the proportions of
the classes, three times; what is not drawn is test (at least 2,781 photos). The draw of 200 lies in the draw of
1,000 of the same seed. Val is carved from the drawn photos by the command itself. Records:
``records/small-data.jsonl``; the verdicts are in one order for all runs, that of all photos.

Declared before the first run: where two slow cores have no day for it, ``--side 128`` trains and judges everything
at 128 pixels. The scores are lower than at 224 and are not mixed with those; nothing else is changed, nothing is
chosen on test photos, and every run that ends is recorded.

    python benchmarks/small_data.py --shared ../shared --side 128
"""

from __future__ import annotations

from command import ledger_of, options
from photos import by_class, digests, of_study, with_test
from trial import Trial, carry_out, measured

RECIPES = {
    200: ("finetune", "linear-probe"),
    1000: ("finetune", "finetune-fast", "linear-probe", "attention-only", "products", "finetune-best"),
}


def main() -> None:
    """All recipes of one seed before the next seed, so that what is there can be compared."""
    parser = options(__doc__, "runs/small-data")
    parser.add_argument("--sizes", nargs="*", type=int, default=tuple(RECIPES))
    parser.add_argument("--recipes", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--model", default="deit_ti")
    parser.add_argument("--side", type=int, help="pixels a side of every view; left out: the model's own")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "small-data")
    source = of_study(asked)
    universe = digests(path for paths in by_class(source).values() for path in paths)
    settings = (f"model.image_size={asked.side}",) if asked.side else ()
    at = f"-{asked.side}px" if asked.side else ""
    for seed in asked.seeds:
        for size in asked.sizes:
            drawn = 100 if asked.smoke else size
            data = with_test(source, asked.place / f"photos-{size}-{seed}", drawn, seed)
            for recipe in RECIPES[size]:
                name = f"{size}-{recipe}-{asked.model}{at}-{seed}"
                if f"small-data-{name}" in ledger or (asked.recipes and recipe not in asked.recipes):
                    continue
                trial = Trial(
                    data=data,
                    model=asked.model,
                    recipe=recipe,
                    seed=seed,
                    name=name,
                    asked=asked,
                    settings=settings,
                )
                cost, resumed = carry_out(trial)
                values = measured(trial, cost, resumed=resumed, universe=universe)
                subject = {**trial.subject, "data": f"{size} photos{f', {asked.side} px' if asked.side else ''}"}
                ledger.add(f"small-data-{name}", values | {"subject": subject})


if __name__ == "__main__":
    main()
