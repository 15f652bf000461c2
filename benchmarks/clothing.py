"""How good, how long: recipes and models on the 3,781 photos of clothing-small, a run at a time.

Every run is the command line in a process of its own; its figures go to ``records/clothing.jsonl``. Run again
after an interruption: finished runs are not repeated, a stopped one is resumed.

    python benchmarks/clothing.py --shared ../shared --runs-dir runs/clothing
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from ledger import Ledger

MODELS = ("deit_ti", "mobilenetv2")
RECIPES = ("linear-probe", "finetune-fast", "finetune")


def main() -> None:
    """Go through the study, cheapest recipes first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/clothing"))
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    asked = parser.parse_args()
    ledger = Ledger("clothing")
    for recipe in asked.recipes:
        for seed in asked.seeds:
            for model in asked.models:
                id = f"clothing-{recipe}-{model}-{seed}"
                if id not in ledger:
                    measure(ledger, id, asked, recipe, model, seed)


def measure(ledger: Ledger, id: str, asked: argparse.Namespace, recipe: str, model: str, seed: int) -> None:
    """One run, from the command to the report."""
    run = asked.runs_dir / f"{recipe}-{model}-{seed}"
    command = [sys.executable, "-m", "deitft"]
    if (run / "run.json").exists():
        command += ["resume", str(run)]
    else:
        command += ["finetune", str(asked.shared / "data" / "clothing-small"), "--model", model]
        command += ["--weights-dir", str(asked.shared / "weights"), "--recipe", recipe, "--seed", str(seed)]
        command += ["--runs-dir", str(asked.runs_dir), "--name", run.name]
    print("$", " ".join(command), flush=True)
    began = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    record = json.loads((run / "run.json").read_text())
    probe = json.loads((run / "probe.json").read_text()) if (run / "probe.json").exists() else None
    ledger.add(
        id,
        {
            "subject": {"recipe": recipe, "model": model, "seed": seed},
            "result": record["result"],
            "probe": probe,
            "seconds": {**record["seconds"], "command": seconds},
            "resumed": command[3] == "resume",
            "plan": json.loads((run / "plan.json").read_text()),
        },
    )


if __name__ == "__main__":
    main()
