"""Make the tables inside the guides and concepts; ``make reference`` calls it.

What rules decide is made from the code, what was measured from the records of the benchmarks.

A table stands between `<!-- table: NAME … -->` and `<!-- end of table -->`; the text around it is written by hand.
A test fails where a table and the code differ.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from generate import table

from deitft.data.splits import held_out_share
from deitft.models.zoo import ZOO, ZooEntry
from deitft.recipe import auto_rules
from deitft.recipe.facts import Facts
from deitft.recipe.load import load_recipe
from deitft.recipe.plan import resolve
from deitft.recipe.plan_types import Plan
from deitft.recipe.preprocessing import Preprocessing

DOCS = Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / "benchmarks"
PLANNED = (200, 500, 1_000, 3_000, 10_000, 30_000, 100_000, 200_000, 500_000)
"""Photos in the folders that the guide's table plans for."""
KINDS: tuple[tuple[str, str, bool, auto_rules.Trainable], ...] = (
    ("DeiT-Ti, DeiT-S and other small transformers", "deit_s", True, "all"),
    ("DeiT-B, ViT-B", "deit_b", True, "all"),
    ("DeiT III-L", "deit3_l", True, "all"),
    ("ResNet-50 and smaller convnets", "resnet50", True, "all"),
    ("a transformer, attention only", "deit_s", True, "attention"),
    ("any model, head only", "deit_s", True, "head"),
    ("a transformer from scratch", "deit_s", False, "all"),
)
"""What the second table has a row for: words, a model of that kind, pretrained, what is trained."""
MARK = re.compile(r"(<!-- table: (\w+) .*?-->\n)(.*?)(<!-- end of table -->)", re.DOTALL)


def entry_of(short: str) -> ZooEntry:
    """The zoo's row of a short name."""
    return next(entry for entry in ZOO if entry.short == short)


def plan_of(photos: int) -> Plan:
    """The plan of the recipe ``finetune`` for DeiT-S on a folder of ten equal classes, on a GPU."""
    held = round(photos * held_out_share(photos))
    train = photos - 2 * held
    entry = entry_of("deit_s")
    facts = Facts(
        classes=tuple("abcdefghij"),
        train_counts=(train // 10,) * 10,
        photos={"train": train, "val": held, "test": held},
        data="",
        data_fingerprint="",
        model=entry.tag,
        short_name=entry.short,
        weights={},
        pretrained=True,
        family=entry.family,
        parameters=entry.parameters,
        depth=12,
        weights_preprocessing=Preprocessing(),
        preferred_aspect="crop",
        device="cuda",
        precision="bf16",
        threads=8,
        workers=8,
        memory_bytes=24_000_000_000,
        seconds_per_image=None,
    )
    return resolve(load_recipe("finetune"), facts, seed=0)


def plan_table() -> str:
    """What the auto rules make of folders of different size."""
    rows: list[tuple[object, ...]] = []
    for photos in PLANNED:
        plan = plan_of(photos)
        sides = " / ".join(f"{plan.photos[name]:,}" for name in ("train", "val", "test"))
        rows.append(
            (
                f"{photos:,}",
                sides,
                plan.batch,
                f"{plan.epochs:.3g}",
                f"{plan.total_steps:,}",
                f"{plan.optim.warmup_steps:,}",
                f"{plan.optim.lr:.3g}",
                f"{plan.augment.scale[0]:.0%}",
            )
        )
    header = ("photos", "train / val / test", "batch", "epochs", "steps", "warm-up", "peak lr", "crops keep from")
    return table(header, rows)


def kinds_table() -> str:
    """The learning rates of different models, and how much of them their lowest layer gets."""
    rows: list[tuple[object, ...]] = []
    for words, short, pretrained, trainable in KINDS:
        entry = entry_of(short)
        lr = auto_rules.peak_lr(
            optimizer="adamw",
            family=entry.family,
            trainable=trainable,
            pretrained=pretrained,
            batch=auto_rules.LR_BATCH,
            parameters=entry.parameters,
            size=entry.size,
            weights_size=entry.size,
        )
        if trainable == "head":
            lowest = "not trained"
        else:
            lowest = f"{auto_rules.BOTTOM_SHARE[entry.family]:.1%}" if pretrained else "all of it"
        drop = auto_rules.drop_path(
            family=entry.family, trainable=trainable, photos=10_000, parameters=entry.parameters
        )
        rows.append((words, f"{lr:.3g}", lowest, f"{drop:g}"))
    return table((f"model, AdamW, batch {auto_rules.LR_BATCH}", "peak lr", "lowest layer gets", "drop path"), rows)


def shares_table() -> str:
    """The share of photos that val and test get, by the size of the folder."""
    sizes = [10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 999_999]
    rows: list[tuple[object, ...]] = [(f"up to {size:,}", f"{held_out_share(size):.1%}") for size in sizes]
    rows.append(("1,000,000 and more", f"{held_out_share(1_000_000):.1%}"))
    return table(("photos", "val, and test as well"), rows)


def measured(topic: str) -> str:
    """What was measured, as ``benchmarks/tables.py`` prints it; where there is no record, a line that says so."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    from ledger import Ledger
    from tables import TABLES

    kept = "clothing" if topic == "scores" else topic
    rows = list(Ledger(kept, BENCHMARKS / "records").rows.values())
    if rows:
        return TABLES[topic](rows) + "\n"
    return f"_Not measured yet: there is no `benchmarks/records/{topic}.jsonl`._\n"


def made(name: str) -> str:
    """The table of a name; "measured_TOPIC" is made of the records of a benchmark."""
    if name.startswith("measured_"):
        return measured(name.removeprefix("measured_").replace("_", "-"))
    return {"plan": plan_table, "kinds": kinds_table, "shares": shares_table}[name]()


def guides() -> dict[str, str]:
    """Page (path below docs/; the README beside it) -> its text with every table in it made anew."""
    found = {}
    for file in sorted(
        [*(DOCS / "guides").glob("*.md"), *(DOCS / "concepts").glob("*.md"), DOCS.parent / "README.md"]
    ):
        text = file.read_text("utf-8")
        if MARK.search(text):
            new = MARK.sub(lambda match: f"{match[1]}\n{made(match[2])}\n{match[4]}", text)
            found[os.path.relpath(file, DOCS)] = new
    return found


def main() -> int:
    """Write every table anew."""
    for name, text in guides().items():
        (DOCS / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
