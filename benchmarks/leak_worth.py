"""What is a leak worth? Test accuracy on a folder with five views of each article, split by photo and by article.

The articles are simulated: each of so many photos of clothing-small becomes five views (a part of 85 to 100 % a
side, at a place of its own; turned by up to 3 degrees; other brightness and contrast; two of them mirrored; JPEG
quality 60 to 90), called ART00017_1.jpg to ART00017_5.jpg. Real views differ more, so a leak is worth less there.

For each seed the frozen-feature probe is trained and tested through the command line in three ways:

- ``by article``: ``--group-by`` with an expression on the file names;
- ``near-duplicates``: nothing is asked for; what looks almost the same is kept together, as always;
- ``by photo``: ``--splits`` with as many photos of each class on each side as by article, drawn one by one.

Of each split it is said which share of the articles is on several sides, and which share of the test photos has a
view of its article in train.

    python benchmarks/leak_worth.py --shared ../shared
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from command import ledger_of, options
from data_tables import leak_worth
from ledger import Ledger
from photos import draw, of_study
from PIL import Image
from trial import Trial, carry_out, measured, table

from deitft.core.keys import generator, key, permutation
from deitft.data.crops import Pixels
from deitft.data.decode import decode_file

VIEWS, MIRRORED = 5, (1, 3)
EXPRESSION = r"^(ART\d+)_"
WAYS = ("by article", "near-duplicates", "by photo")
Row = dict[str, str]


def main() -> None:
    """All three ways with one seed before the next; ends with the table."""
    parser = options(__doc__, "runs/leak-worth")
    parser.add_argument("--articles", type=int, default=600)
    parser.add_argument("--model", default="deit_ti")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    asked = parser.parse_args()
    ledger = ledger_of(asked, "leak-worth")
    source = of_study(asked)
    count = 100 if asked.smoke else asked.articles
    data = articles(source, asked.place / f"articles-{count}", count)
    for seed in asked.seeds:
        for way in WAYS:
            short = f"{count}-{way.replace(' ', '-')}-{asked.model}-{seed}"
            trial = Trial(data=data, model=asked.model, recipe="linear-probe", seed=seed, name=short, asked=asked)
            if f"leak-worth-{short}" not in ledger:
                one(ledger, trial, way, count)
    print(leak_worth(list(ledger.rows.values())))


def articles(root: Path, folder: Path, count: int) -> Path:
    """Five views each of ``count`` photos, in class folders. Made once, the same bytes everywhere."""
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    number = 0
    for name, paths in draw(root, count, 0).items():
        (part / name).mkdir(parents=True)
        for path in paths:
            rgb = decode_file(path)
            for which in range(VIEWS):
                chance = generator(key("view of article", number, which))
                view = Image.fromarray(view_of(rgb, chance, mirrored=which in MIRRORED))
                quality = int(chance.integers(60, 91))
                view.save(part / name / f"ART{number:05d}_{which + 1}.jpg", quality=quality)
            number += 1
    part.rename(folder)
    return folder


def view_of(rgb: Pixels, chance: np.random.Generator, *, mirrored: bool) -> Pixels:
    """Another view of what a photo shows, as far as a photo alone can tell."""
    height, width = rgb.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), chance.uniform(-3, 3), 1.0)
    turned = cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    across, down = (round(side * chance.uniform(0.85, 1)) for side in (width, height))
    left, top = (int(chance.integers(0, room + 1)) for room in (width - across, height - down))
    part = turned[top : top + down, left : left + across].astype(np.float32)
    mean = part.mean()
    lit = ((part - mean) * chance.uniform(0.85, 1.15) + mean) * chance.uniform(0.85, 1.15)
    view = lit.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(view[:, ::-1]) if mirrored else view


def one(ledger: Ledger, trial: Trial, way: str, count: int) -> None:
    """A run, and which articles its split tears apart."""
    if way == "by article":
        trial = replace(trial, more=("--group-by", EXPRESSION))
    elif way == "by photo":
        beside = trial.folder.with_name(trial.name.replace("by-photo", "by-article"))
        file = trial.folder.with_name(f"{trial.name}.csv")
        write_by_photo(table(beside / "splits.csv"), file, trial.seed)
        trial = replace(trial, more=("--splits", str(file)))
    cost, resumed = carry_out(trial)
    values = measured(trial, cost, resumed=resumed)
    subject = trial.subject | {"data": f"{count} simulated articles of {VIEWS} views", "split": way}
    figures = json.loads((trial.folder / "metrics.json").read_text())
    leaks = {"said": figures["leaks"], **torn(table(trial.folder / "splits.csv"))}
    ledger.add(f"leak-worth-{trial.name}", values | {"subject": subject, "leaks": leaks})


def write_by_photo(rows: Sequence[Row], file: Path, seed: int) -> None:
    """A split with as many photos of each class on each side as ``rows`` has, whatever article they show."""
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_class[row["label"]].append(row)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("path", "label", "split"))
        for number, (label, own) in enumerate(sorted(by_class.items())):
            sides = sorted(row["split"] for row in own)
            for place, side in zip(permutation(len(own), "by photo", seed, number), sides, strict=True):
                writer.writerow((own[place]["path"], label, side))


def torn(rows: Sequence[Row]) -> dict[str, Any]:
    """Articles on several sides, and test photos whose article is also in train."""
    sides: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        sides[article_of(row)].add(row["split"])
    test = [row for row in rows if row["split"] == "test"]
    seen = sum("train" in sides[article_of(row)] for row in test)
    return {
        "articles": len(sides),
        "torn": sum(len(found) > 1 for found in sides.values()) / len(sides),
        "test_seen_in_train": seen / len(test),
        "photos": dict(Counter(row["split"] for row in rows)),
    }


def article_of(row: Row) -> str:
    """ART00017 of dress/ART00017_3.jpg."""
    return Path(row["path"]).stem.partition("_")[0]


if __name__ == "__main__":
    main()
