"""Training images a second, ours and timm's in turn: the same photos, model, weights, batch and precision.

Each measurement is a process of its own, stopped when it has been seen for long enough; its first steps are left
out. A round is ours at 160 px, ours at 224 px (``finetune`` as shipped, all but its length), and timm's train.py
at 224 px (settings of timm_baseline.py). Whatever else the machine does falls on all three. A round takes about
three minutes on two cores; records: ``records/speed-against-timm.jsonl``.

    python benchmarks/speed_against_timm.py --timm-scripts ~/pytorch-image-models --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from command import ledger_of, options, until
from ledger import Ledger
from photos import forget, of_study
from timm_baseline import MODEL, threads, train_command
from timm_log import between
from trial import Trial, windows

SIZES = (160, 224)


def main() -> None:
    """Round after round; ends with the medians of all."""
    parser = options(__doc__, "runs/speed")
    parser.add_argument("--timm-scripts", type=Path, required=True, help="folder with timm's train.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm", type=int, default=10, help="steps that are left out")
    parser.add_argument("--steps", type=int, default=10, help="steps that are measured, twice as many at 160 px")
    asked = parser.parse_args()
    data = of_study(asked)
    if asked.smoke:
        asked.warm, asked.steps = 1, 2
    (asked.place / "logs").mkdir(parents=True, exist_ok=True)
    ledger = ledger_of(asked, "speed-against-timm")
    for number in range(asked.rounds):
        if f"round-{number}" not in ledger:
            ledger.add(f"round-{number}", one_round(asked, data, number))
    tell(ledger)


def one_round(asked: argparse.Namespace, data: Path, number: int) -> dict[str, Any]:
    """All three, with the machine's load before each."""
    load = {}
    speed = {}
    for size in SIZES:
        load[f"deitft-{size}"] = os.getloadavg()[0]
        speed[f"deitft-{size}"] = ours(asked, data, number, size)
    load["timm-224"] = os.getloadavg()[0]
    speed["timm-224"] = timms(asked, data, number)
    print({name: round(value, 1) for name, value in speed.items()}, flush=True)
    return {
        "subject": {"model": MODEL, "data": data.name, "warm": asked.warm, "steps": asked.steps},
        "images_per_second": speed,
        "ratio": {name: speed[name] / speed["timm-224"] for name in speed if name != "timm-224"},
        "load_before": load,
    }


def ours(asked: argparse.Namespace, data: Path, number: int, size: int) -> float:
    """Windows of a step each after the warm-up, until enough are there. The frozen probe is not needed for it."""
    settings: tuple[str, ...] = ("train.length=500 steps", "train.validate_every=500 steps")
    steps = asked.steps if size == SIZES[-1] else 2 * asked.steps
    if size != SIZES[-1]:
        settings += (f"train.train_size={16 if asked.smoke else size}", "train.full_size_from=0.99")
    else:
        settings += ("train.full_size_from=0.0",)
    trial = Trial(
        data=data,
        model=f"{MODEL}.fb_in1k",
        recipe="finetune",
        seed=number,
        name=f"speed-{number}-{size}",
        asked=asked,
        settings=settings,
        more=("--no-probe", "--quiet"),
    )
    forget(trial.folder)
    log = trial.folder / "train.log"

    def told() -> list[tuple[int, float]]:
        return windows(log.read_text()) if log.exists() else []

    def measured() -> list[tuple[int, int, float]]:
        """(first, last, images a second) of the windows that begin after the warm-up."""
        ends = [(0, 0.0), *told()]
        return [(first, last, speed) for (first, _), (last, speed) in pairwise(ends) if first >= asked.warm]

    def enough() -> bool:
        return sum(last - first for first, last, _ in measured()) >= int(steps)

    until(trial.start(), enough, log=asked.place / "logs" / f"{trial.name}.log")
    seen = measured()
    forget(trial.folder)
    return sum(last - first for first, last, _ in seen) / sum(
        (last - first) / speed for first, last, speed in seen
    )


def timms(asked: argparse.Namespace, data: Path, number: int) -> float:
    """timm's script, until its log tells of the last step that is measured."""
    first, last = asked.warm, asked.warm + asked.steps
    log = asked.place / "logs" / f"speed-{number}-timm.log"
    folder = asked.place / "runs" / f"speed-{number}-timm"
    forget(folder)
    more = ["--epochs", 8, "--log-interval", 1, "--output", folder.parent, "--experiment", folder.name]
    command = train_command(asked, data, number, *more)
    until(
        command,
        lambda: log.exists() and between(log.read_text(), first, last) is not None,
        log=log,
        more_environment=threads(asked),
    )
    forget(folder)
    return between(log.read_text(), first, last) or 0.0


def tell(ledger: Ledger) -> None:
    """Medians and spread of all rounds."""
    for kind in ("images_per_second", "ratio"):
        for name in next(iter(ledger.rows.values()))[kind]:
            values = [row[kind][name] for row in ledger.rows.values()]
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"{kind:18} {name:12} median {statistics.median(values):6.2f}, {spread}, {len(values)} rounds")


if __name__ == "__main__":
    main()
