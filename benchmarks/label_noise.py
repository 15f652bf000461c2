"""How many planted label errors does the audit find? clothing-small's train photos with 1, 5, 10 % wrong labels.

Features of a frozen model are computed once and kept. Then, for each share and seed, so many photos get another
label: of any class, or of one that a probe mixes theirs up with. Three lists of suspects are compared with what
was planted: the audit's, confident learning's own, and the ranking by lowest own-label probability alone. The
labels as they are count as right, though some are not: precision is a little better than what stands here.

    python benchmarks/label_noise.py --shared ../shared --cache runs/label-noise
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ledger import Ledger

from deitft.compute.device import choose
from deitft.core.keys import generator, key
from deitft.core.progress import Silent, StopFlag
from deitft.data.audit_labels import by_confident_learning, by_own_label, suspects_of
from deitft.data.catalog import TRAIN, Catalog
from deitft.data.inspect import default_cache_dir, inspect
from deitft.data.photos import photo_set
from deitft.data.scan import scan
from deitft.evaluation.out_of_fold import LOOSENESS, PARTS, out_of_fold
from deitft.runs.suspects import features_of, frozen_model

SHARES = (0.01, 0.05, 0.10)
SEEDS = range(5)
LOOKED_AT = 1.5
"""Suspects that a person looks at, as a multiple of what was planted: 230 for 153."""


def main() -> None:
    """All shares, kinds of mistakes and seeds with one model after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path("runs/label-noise"))
    parser.add_argument("--models", nargs="*", default=("deit_ti",))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    catalog = train_photos(asked.shared / "data" / "clothing-small")
    labels, size = catalog.labels.astype(np.int64), len(catalog.classes)
    ledger = Ledger("label-noise")
    for model in asked.models:
        features, groups = features_once(asked, catalog, model), catalog.pictures
        said = out_of_fold(features, labels, num_classes=size, groups=groups)
        found = suspects_of(said, labels)
        if (id := f"label-noise-{model}-as-it-is") not in ledger:
            result = {"top1": float((said.argmax(axis=1) == labels).mean()), "suspects": len(found.photos)}
            first = [
                (catalog.paths[photo], catalog.classes[suggestion], round(float(said[photo, labels[photo]]), 4))
                for photo, suggestion in zip(found.photos[:20].tolist(), found.suggestions.tolist(), strict=False)
            ]
            subject = {"model": model, "planted": "none", "photos": len(labels)}
            ledger.add(id, {"subject": subject, "result": result, "likeliest": first})
        for kind in ("any class", "a class mixed up with it"):
            likely = others(said, labels) if kind != "any class" else 1.0 - np.eye(size)
            for share in SHARES:
                id = f"label-noise-{model}-{kind.replace(' ', '-')}-{share:g}"
                if id not in ledger:
                    seeds = [one(features, labels, groups, likely, share, seed) for seed in SEEDS]
                    subject = {"model": model, "planted": kind, "share": share, "photos": len(labels)}
                    probe = {"parts": PARTS, "looseness": LOOSENESS}
                    ledger.add(id, {"subject": subject, "probe": probe, "result": mean(seeds), "seeds": seeds})
                print(ledger.rows[id]["subject"], ledger.rows[id]["result"], flush=True)


def train_photos(data: Path) -> Catalog:
    """The photos of train, read or remembered."""
    catalog = inspect(scan(data, progress=Silent()), workers=1, progress=Silent(), cache_dir=default_cache_dir())
    return catalog.select(np.flatnonzero(catalog.given == TRAIN))


def features_once(asked: argparse.Namespace, catalog: Catalog, model: str) -> np.ndarray:
    """Features [N, D] of all photos; computed where they are not kept yet."""
    file: Path = asked.cache / f"{model}-{catalog.fingerprint[:12]}.npy"
    if not file.exists():
        machine = choose("auto", threads=asked.threads, workers=0)
        weights = asked.shared / "weights"
        frozen = frozen_model(model, weights=None, weights_dir=weights, machine=machine, progress=Silent())
        photos = photo_set(catalog, np.arange(len(catalog)))
        found = features_of(frozen, photos, machine=machine, progress=Silent(), stop=StopFlag())
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, found)
    kept: np.ndarray = np.load(file)
    return kept


def others(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often a probe takes one class for another [C, C]: what people mix up too."""
    counts = np.zeros((said.shape[1],) * 2)
    np.add.at(counts, (labels, said.argmax(axis=1)), 1)
    np.fill_diagonal(counts, 0)
    return counts


def one(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, likely: np.ndarray, share: float, seed: int
) -> dict[str, Any]:
    """Plant, look, compare. ``likely`` [C, C]: how likely each class is given for another."""
    draw = generator(key("label noise", seed, round(1e6 * share)))
    count = round(share * len(labels))
    chosen = draw.permutation(len(labels))[:count]
    changed = labels.copy()
    for photo in chosen.tolist():
        row = likely[labels[photo]]
        changed[photo] = draw.choice(len(row), p=row / row.sum())
    wrong = changed != labels
    began = time.process_time()
    said = out_of_fold(features, changed, num_classes=len(likely), groups=groups, seed=seed)
    listed = suspects_of(said, changed)
    seconds = time.process_time() - began
    right_class = labels[listed.photos] == listed.suggestions
    first = round(LOOKED_AT * count)
    rankings = {
        "audit": listed.photos,
        "confident_learning": by_confident_learning(said, changed).photos,
        "own_label": by_own_label(said, changed).photos,
    }
    result: dict[str, Any] = {"planted": count, "looked_at": first, "seconds": seconds}
    for name, photos in rankings.items():
        result[name] = {
            "suspects": len(photos),
            "precision": float(wrong[photos].mean()),
            "recall": float(wrong[photos].sum() / count),
            "recall_of_the_first": float(wrong[photos[:first]].sum() / count),
        }
    result["audit"]["right_suggestion"] = float(right_class[wrong[listed.photos]].mean())
    return result


def mean(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, to four digits."""
    result: dict[str, Any] = {}
    for name, value in seeds[0].items():
        columns = [row[name] for row in seeds]
        result[name] = mean(columns) if isinstance(value, dict) else round(float(np.mean(columns)), 4)
    return result


if __name__ == "__main__":
    main()
