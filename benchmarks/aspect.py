"""Crop, pad or squash: is what ``image.aspect=auto`` takes as good as the best of the three, on val?

On clothing-small as it is (most photos are 3 : 4), and on a copy of it padded to 1 : 3: each photo stands at the
upper or the lower end of a white page three times as high as wide, where a centre crop sees little of it. Every
run is the command line in a process of its own. What ``auto`` takes is run once, as ``auto``; the other two beside
it. Run again after an interruption: finished runs are not repeated, a stopped one is resumed.

    python benchmarks/aspect.py --shared ../shared
    python benchmarks/aspect.py --shared ../shared --recipe finetune-fast --size 128
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from command import ledger_of, options
from data_tables import aspects
from ledger import Ledger
from photos import SPLITS, of_study
from PIL import Image
from trial import Trial, carry_out, measured, table

from deitft.core.keys import key

MODELS = ("deit_ti", "mobilenetv2")
ASPECTS = ("auto", "crop", "pad", "squash")
FOLDERS = ("as it is", "padded to 1:3")
HEIGHT = 3
"""Times its width, of a padded photo."""
NO_CHANCE = {("linear-probe", "mobilenetv2")}
"""Where the seed changes nothing: features of the one view, and a regression solved exactly."""


def main() -> None:
    """Both folders, all models and seeds; ends with the table."""
    parser = options(__doc__, "runs/aspect")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--recipe", default="linear-probe", choices=("linear-probe", "finetune-fast"))
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--data", nargs="*", default=FOLDERS, choices=FOLDERS)
    parser.add_argument("--aspects", nargs="*", default=ASPECTS, choices=ASPECTS)
    parser.add_argument("--size", type=int, help="pixels a side that the model sees; left out: as its weights did")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "aspect")
    plain = of_study(asked)
    both = (plain, padded(plain, asked.place / f"{plain.name}-padded"))
    folders = {name: data for name, data in zip(FOLDERS, both, strict=True) if name in asked.data}
    for seed in asked.seeds:
        for model in asked.models:
            for name, data in folders.items():
                if seed == asked.seeds[0] or (asked.recipe, model) not in NO_CHANCE:
                    compare(
                        ledger,
                        name,
                        Trial(data=data, model=model, recipe=asked.recipe, seed=seed, name="", asked=asked),
                    )
    print(aspects(list(ledger.rows.values())))


def padded(root: Path, folder: Path) -> Path:
    """Every photo at one end of a white page; which end, says a key of its name. Made once."""
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for split in SPLITS:
        for path in sorted((root / split).glob("*/*.jpg")):
            with Image.open(path) as photo:
                width, height = photo.size
                page = Image.new("RGB", (width, max(height, HEIGHT * width)), "white")
                below = key("padded photo", int.from_bytes(path.stem.encode()[-15:])) % 2
                page.paste(photo.convert("RGB"), (0, below * (page.height - height)))
            target = part / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            page.save(target, quality=95)
    part.rename(folder)
    return folder


def compare(ledger: Ledger, name: str, trial: Trial) -> None:
    """``auto`` first; then those of the three that it did not take."""
    taken, size = "", trial.asked.size
    recipe = f"{trial.recipe}-{size}px" if size else trial.recipe
    for aspect in ASPECTS:
        short = f"{name.replace(' ', '-')}-{recipe}-{trial.model}-{aspect}-{trial.seed}".replace(":", "-")
        id = f"aspect-{short}"
        if aspect == taken or aspect not in trial.asked.aspects:
            continue
        if id not in ledger:
            ledger.add(id, one(name, aspect, short, trial))
        if aspect == "auto":
            taken = ledger.rows[id]["aspect"]


def one(name: str, aspect: str, short: str, like: Trial) -> dict[str, Any]:
    """A run, and what it reached on val."""
    size = like.asked.size
    settings = (f"image.aspect={aspect}", *([f"model.image_size={size}"] if size else []))
    trial = Trial(
        data=like.data, model=like.model, recipe=like.recipe, seed=like.seed, name=short, asked=like.asked,
        settings=settings,
    )  # fmt: skip
    cost, resumed = carry_out(trial)
    values = measured(trial, cost, resumed=resumed)
    return values | {
        "subject": trial.subject
        | {"data": name, "aspect": aspect}
        | ({"recipe": f"{like.recipe}, {size} px"} if size else {}),
        "aspect": values["plan"]["preprocessing"]["aspect"],
        "val": val_of(trial.folder, values["result"]),
    }


def val_of(run: Path, result: dict[str, Any]) -> dict[str, float]:
    """Top-1 on val, its photos, and the loss after temperature that chose the best step."""
    figures = json.loads((run / "metrics.json").read_text())["val"]
    chosen = next(row for row in table(run / "metrics.csv") if int(row["step"]) == result["best_step"])
    loss = float(chosen[f"{result['best_which']}_calibrated_loss"])
    return {"top1": figures["top1"], "calibrated_loss": loss, "n": figures["n"]}


if __name__ == "__main__":
    main()
