"""Does ``--dry-run`` foretell time, memory and disk? Runs of different kinds, forecast first and then made.

Each command has an empty cache of its own, so that both read every photo. Memory is sampled once a second over the
program and its data workers: "process" is the program alone, "tree_rss" adds its workers, "tree_pss" counts a page
that they share once. Records: ``records/dry-run.jsonl``; about an hour on two cores.

    python benchmarks/dry_run.py --shared ../shared
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from command import ledger_of, options, timed
from distilling import teacher
from photos import forget, of_study, plain
from trial import Trial, measured

CASES = (
    ("deit_ti", "finetune-fast", None, ""),
    ("mobilenetv2", "finetune", 1000, ""),
    ("vit_ti", "linear-probe", 200, ""),
    ("deit_ti", "finetune", 200, ""),
    ("deit_ti", "finetune-fast", 1000, "mobilenetv2"),
)
"""Model, recipe, photos (None: all 3,781 in their splits), teacher: fine-tuned on these photos before."""


def main() -> None:
    """Case after case; ends with the ratios."""
    asked = options(__doc__, "runs/dry-run").parse_args()
    ledger = ledger_of(asked, "dry-run")
    source = of_study(asked)
    for model, recipe, size, teaches in CASES:
        data = source
        if size is not None:
            data = plain(source, asked.place / f"photos-{size}", 120 if asked.smoke else size, 0)
        name = f"{recipe}-{model}-{size or 'all'}{f'-taught-by-{teaches}' if teaches else ''}"
        if name in ledger:
            continue
        more = ("--distill", "hard", "--teacher", str(teacher(asked, data, teaches))) if teaches else ()
        ledger.add(
            name,
            compare(Trial(data=data, model=model, recipe=recipe, seed=0, name=name, asked=asked, more=more)),
        )
    for row in ledger.rows.values():
        print(row["id"], {name: round(value, 2) for name, value in row["measured_over_predicted"].items()})


def compare(trial: Trial) -> dict[str, Any]:
    """The forecast, the run, and measured over predicted of each."""
    asked: argparse.Namespace = trial.asked
    forget(trial.folder)
    planned = replace(trial, more=(*trial.more, "--dry-run", "--json"))
    looked = timed(planned.start(), capture=True, more_environment=empty_cache(asked))
    forecast = json.loads(looked.output)
    made = timed(trial.start(), memory=True, more_environment=empty_cache(asked))
    disk = sum(path.stat().st_size for path in trial.folder.rglob("*") if path.is_file())
    predicted = {
        "seconds": forecast["seconds"]["total"],
        "memory": forecast["memory_bytes"],
        "disk": forecast["disk_bytes"],
    }
    found = {"seconds": made.wall, "memory": made.memory["process"], "disk": disk}
    return measured(trial, made) | {
        "dry_run": {**looked.record(), "forecast": {**forecast, "plan": None}},
        "predicted": predicted,
        "measured": found,
        "measured_over_predicted": {
            **{name: found[name] / predicted[name] for name in predicted},
            "memory_of_all": made.memory["tree_pss"] / predicted["memory"],
        },
    }


def empty_cache(asked: argparse.Namespace) -> dict[str, str]:
    """What makes a command look at every photo again."""
    cache: Path = asked.place / "cache"
    forget(cache)
    return {"XDG_CACHE_HOME": str(cache.resolve())}


if __name__ == "__main__":
    main()
