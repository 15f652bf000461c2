"""Is the plan of ``compare`` right, and does its ``--time-limit`` hold? Three models on clothing-small.

Declared beforehand: DeiT-Ti, MobileNetV2 and ViT-Ti, seed 0. *Planned*: ``finetune-fast`` at 96 pixels without a
limit, forecast by ``--dry-run``, then made; right where the whole command takes 70 to 130 % of the forecast.
*Limited*: the default recipe under ``--time-limit 60m``; right where it ends in time with every row filled
and those that lost steps marked. Each has its own folder and cache. Records: ``records/compare-plan.jsonl``;
two hours on two cores.

    python benchmarks/compare_plan.py --shared ../shared
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from command import Cost, deitft, ledger_of, options, timed
from photos import forget, of_study
from trial import SMOKE, SMOKE_LENGTH

MODELS = ("deit_ti", "mobilenetv2", "vit_ti")
QUICK = ("--recipe", "finetune-fast", "--set", "model.image_size=96")


def main() -> None:
    """Planned, then limited."""
    parser = options(__doc__, "runs/compare-plan")
    parser.add_argument("--cases", nargs="*", default=("planned", "limited"))
    parser.add_argument("--limit", type=int, default=3600, help="seconds")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "compare-plan")
    data = of_study(asked)
    for case, measure in (("planned", planned), ("limited", limited)):
        if case in asked.cases and case not in ledger:
            ledger.add(case, measure(asked, data))
        if case in ledger:
            print(json.dumps({name: ledger.rows[case].get(name) for name in ("ok", "ratio", "seconds", "rows")}))


def planned(asked: argparse.Namespace, data: Path) -> dict[str, Any]:
    """The forecast of each run and of all, and what they took."""
    settings = [word for one in (*SMOKE, *SMOKE_LENGTH) for word in ("--set", one)] if asked.smoke else QUICK
    looked = command(asked, data, "planned", *settings, "--dry-run")
    forecast = {row["run"]: row["seconds"] for row in json.loads(looked.output)["to_train"]}
    made = command(asked, data, "planned", *settings)
    took = {}
    for run in sorted((asked.place / "planned").glob("*/run.json")):
        record = json.loads(run.read_text())
        took[f"{record['model']}, seed {record['seed']}"] = record["seconds"]
    ratio = made.wall / sum(forecast.values())
    return made.record() | {
        "subject": {"data": data.name, "models": MODELS, "asked": list(map(str, settings))},
        "dry_run": looked.record(),
        "forecast": forecast,
        "runs": took,
        "ratio": ratio,
        "rows": rows(made),
        "ok": 0.7 <= ratio <= 1.3,
    }


def limited(asked: argparse.Namespace, data: Path) -> dict[str, Any]:
    """What a comparison under a limit ends with, and when."""
    made = command(asked, data, "limited", "--time-limit", f"{asked.limit}s")
    found = rows(made)
    whole = len(found) == len(MODELS) and all(row["top1"]["value"] is not None for row in found)
    return made.record() | {
        "subject": {"data": data.name, "models": MODELS, "limit": asked.limit},
        "rows": found,
        "ok": whole and made.wall <= asked.limit,
    }


def command(asked: argparse.Namespace, data: Path, case: str, *more: object) -> Cost:
    """One ``compare`` in a folder of its own; where it begins, there is nothing of it yet."""
    runs = asked.place / case
    cache = asked.place / f"cache-{case}"
    forget(runs)
    forget(cache)
    words = [data, "--models", ",".join(MODELS), "--weights-dir", asked.shared / "weights", "--runs-dir", runs]
    words += ["--threads", asked.threads] if asked.threads else []
    environment = {"XDG_CACHE_HOME": str(cache.resolve())}
    return timed(deitft("compare", *words, *more, "--json"), capture=True, more_environment=environment)


def rows(made: Cost) -> list[dict[str, Any]]:
    """A line a model: status and scores."""
    (table,) = json.loads(made.output)["tables"]
    kept = ("label", "status", "why", "epochs", "planned_epochs", "top1", "top5", "probe", "val", "training")
    return [{name: row[name] for name in kept} for row in table["rows"]]


if __name__ == "__main__":
    main()
