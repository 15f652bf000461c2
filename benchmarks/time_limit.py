"""Is ``--time-limit 5m`` kept? Runs on an idle machine, and runs where it gets busy halfway.

Busy: two processes that only spin, from the middle of the limit to the end. A run is right when it ends by itself
with bundle and report after 70 to 100 % of the limit. Records: ``records/time-limit.jsonl``; 50 minutes.

    python benchmarks/time_limit.py --shared ../shared
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command import ledger_of, options, timed
from photos import forget, of_study
from trial import Trial

SPINNING = 2
LEAST = 0.7
"""Share of the limit that must be used at least: 3:30 of 5:00."""


def main() -> None:
    """Idle and busy in turn."""
    parser = options(__doc__, "runs/time-limit")
    parser.add_argument("--limit", type=int, default=300, help="seconds")
    parser.add_argument("--times", type=int, default=5, help="runs of each case")
    parser.add_argument("--model", default="deit_ti")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "time-limit")
    data = of_study(asked)
    for number in range(asked.times):
        for case in ("idle", "busy"):
            if f"{case}-{number}" not in ledger:
                ledger.add(f"{case}-{number}", one_run(asked, data, case, number))
    rows = list(ledger.rows.values())
    for row in rows:
        word = "ok" if row["ok"] else "NOT OK"
        print(f"{row['id']:8} {row['seconds']['command']:6.1f} s, {row['steps']} steps, {word}")
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


def one_run(asked: argparse.Namespace, data: Path, case: str, number: int) -> dict[str, Any]:
    """One command under the limit, and what is there when it has ended."""
    trial = Trial(
        data=data,
        model=asked.model,
        recipe="finetune",
        seed=number,
        name=f"{case}-{number}",
        asked=asked,
        settings=("train.length=100000 steps",) if asked.smoke else (),
        more=("--time-limit", f"{asked.limit}s"),
    )
    forget(trial.folder)
    with busy(asked.limit / 2) if case == "busy" else contextlib.nullcontext():
        cost = timed(trial.start(), check=False)
    run = trial.folder
    record = json.loads((run / "run.json").read_text()) if (run / "run.json").exists() else {}
    plan = json.loads((run / "plan.json").read_text()) if (run / "plan.json").exists() else {}
    result = record.get("result", {})
    bundle = all((run / "best" / name).is_file() for name in ("model.safetensors", "config.json", "deitft.json"))
    report = (run / "report.html").is_file()
    in_time = LEAST * asked.limit <= cost.wall <= asked.limit
    values = cost.record()
    return values | {
        "subject": {**trial.subject, "case": case, "limit": asked.limit, "spinning": SPINNING * (case == "busy")},
        "status": record.get("status"),
        "bundle": bundle,
        "report": report,
        "steps": result.get("steps", 0),
        "planned_steps": plan.get("total_steps", 0),
        "ended": result.get("ended"),
        "result": result,
        "seconds": {**record.get("seconds", {}), **values["seconds"]},
        "plan": plan,
        "ok": cost.exit_code == 0 and bundle and report and in_time,
    }


@contextlib.contextmanager
def busy(after: float) -> Iterator[None]:
    """Processes that spin, from ``after`` seconds on until the block ends."""
    spinning: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        for _ in range(SPINNING):
            spinning.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))

    timer = threading.Timer(after, start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for process in spinning:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
