"""Training images a second without a teacher, with a live one, with a cold and with a warm cache, in turn.

Each measurement is a short run of its own (DeiT-Ti, `finetune` at its training size); a round is all four, so that
whatever else the machine does falls on all of them. Its first window warms up and is left out. The teacher is
MobileNetV2 with a probe on clothing-small. Goal: warm at least 0.97 of none. Records:
``records/distill-speed.jsonl``.

    python benchmarks/distill_speed.py --shared ../shared --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from command import ledger_of, options, timed
from ledger import Ledger
from photos import forget, of_study
from trial import Trial, carry_out, windows

WAYS = ("none", "live", "cold", "warm")


def main() -> None:
    """Round after round; ends with the medians of all."""
    parser = options(__doc__, "runs/distill-speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--kind", default="hard", choices=("hard", "soft"))
    asked = parser.parse_args()
    data = of_study(asked)
    ledger = ledger_of(asked, "distill-speed")
    for number in range(asked.rounds):
        if f"{asked.kind}-{number}" not in ledger:
            ledger.add(f"{asked.kind}-{number}", one_round(asked, data, number))
    tell(ledger)


def one_round(asked: argparse.Namespace, data: Path, number: int) -> dict[str, Any]:
    """All four ways, with the machine's load before each."""
    cache = asked.place / "answers" / f"{asked.kind}-{number}"
    forget(cache)
    load, speed = {}, {}
    for way in WAYS:
        load[way] = os.getloadavg()[0]
        speed[way] = one(asked, data, way, number, cache)
    print({name: round(value, 1) for name, value in speed.items()}, flush=True)
    return {
        "subject": {"model": "deit_ti", "teacher": "mobilenetv2", "kind": asked.kind, "data": data.name},
        "images_per_second": speed,
        "ratio": {name: speed[name] / speed["none"] for name in WAYS[1:]},
        "load_before": load,
        "steps": asked.steps,
    }


def one(asked: argparse.Namespace, data: Path, way: str, number: int, cache: Path) -> float:
    """Images a second of a short run, its first window left out."""
    more: tuple[str, ...] = ("--no-probe", "--quiet")
    if way != "none":
        more += ("--distill", asked.kind, "--teacher", str(teacher(asked, data)))
    if way in ("cold", "warm"):
        more += ("--teacher-cache", str(cache))
    length = f"{asked.steps} steps"
    trial = Trial(
        data=data,
        model="deit_ti",
        recipe="finetune",
        seed=0,
        name=f"{asked.kind}-{way}-{number}",
        asked=asked,
        settings=(f"train.length={length}", f"train.validate_every={length}", "train.full_size_from=0.99"),
        more=more,
    )
    forget(trial.folder)
    timed(trial.start())
    told = windows((trial.folder / "train.log").read_text())[:-1]  # the last step is at full size
    batch = 64
    seen = [((last - first) * batch, speed) for (first, _), (last, speed) in pairwise(told)]
    forget(trial.folder)
    return sum(images for images, _ in seen) / sum(images / speed for images, speed in seen)


def teacher(asked: argparse.Namespace, data: Path) -> Path:
    """Features as they come, with a probe: for the clock any teacher of this size will do."""
    trial = Trial(data=data, model="mobilenetv2", recipe="linear-probe", seed=0, name="teacher", asked=asked)
    if not (trial.folder / "best").exists():
        carry_out(trial)
    return trial.folder


def tell(ledger: Ledger) -> None:
    """Medians and spread of all rounds."""
    for kind in ("images_per_second", "ratio"):
        for name in next(iter(ledger.rows.values()))[kind]:
            values = [row[kind][name] for row in ledger.rows.values()]
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"{kind:18} {name:6} median {statistics.median(values):6.2f}, {spread}, {len(values)} rounds")


if __name__ == "__main__":
    main()
