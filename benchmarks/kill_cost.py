"""What a kill costs: a real run killed with -9 twice in the middle of an epoch, resumed, and compared.

The control is the same run that nobody disturbs; its own record says how much of its time went into saving. At
each kill: the seconds since the newest checkpoint was complete, which must be trained again. At the end SHA-256 of
both weights must be those of the control. Records: ``records/kill-cost.jsonl``; half an hour on two cores.

    python benchmarks/kill_cost.py --shared ../shared
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from command import ledger_of, options, shown, timed
from photos import forget, of_study
from resume_kills import left
from trial import Trial, measured, weights_digests, windows

KILLS = 2


def main() -> None:
    """The control, then the disturbed run; ends with 1 if a bit differs."""
    parser = options(__doc__, "runs/kill-cost")
    parser.add_argument("--model", default="deit_ti")
    parser.add_argument("--recipe", default="finetune-fast")
    parser.add_argument("--draw", type=int, default=0, help="which random moments; a record each")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "kill-cost")
    data = of_study(asked)
    settings = ("train.length=60 steps", "train.save_every=1s") if asked.smoke else ()
    trial = Trial(
        data=data,
        model=asked.model,
        recipe=asked.recipe,
        seed=0,
        name=f"control-{asked.recipe}-{asked.model}",
        asked=asked,
        settings=settings,
    )
    if trial.name not in ledger:
        forget(trial.folder)
        values = measured(trial, timed(trial.start()))
        ledger.add(trial.name, values | saving(values) | {"digests": weights_digests(trial.folder)})
    name = f"killed-{asked.recipe}-{asked.model}-{asked.draw}"
    if name not in ledger:
        ledger.add(name, disturbed(replace(trial, name=name), ledger.rows[trial.name], asked.draw))
    row = ledger.rows[name]
    print(json.dumps({"kills": row["kills"], "same_bits": row["same_bits"]}, indent=1))
    sys.exit(0 if row["same_bits"] else 1)


def saving(values: dict[str, Any]) -> dict[str, float]:
    """Share of the time that went into saving."""
    seconds = values["seconds"]
    return {
        "saving_share_of_training": seconds["saving"] / seconds["training"],
        "saving_share_of_command": seconds["saving"] / seconds["command"],
    }


def moments(draw: int, total: int, epoch: int) -> list[int]:
    """Steps at which to kill: at random in the middle half of an epoch, never in the last one."""
    middle = [step for step in range(1, total - 1) if epoch // 4 <= step % epoch <= 3 * epoch // 4]
    early = [step for step in middle if step // epoch < (total - 1) // epoch]
    return sorted(random.Random(draw).sample(early or middle, KILLS))


def disturbed(trial: Trial, control: dict[str, Any], draw: int) -> dict[str, Any]:
    """Kill, go on, kill, go on to the end."""
    plan = control["plan"]
    forget(trial.folder)
    command = trial.start()
    parts: list[dict[str, Any]] = []
    kills: list[dict[str, Any]] = []
    for step in moments(draw, plan["total_steps"], plan["steps_per_epoch"]):
        began = time.monotonic()
        pause = 0.0 if trial.asked.smoke else random.Random(step).uniform(0, 5)
        kills.append(kill_at(command, trial.folder, step, pause))
        parts.append({"command": shown(command), "seconds": time.monotonic() - began})
        command = trial.go_on()
    cost = timed(command)
    parts.append({"command": cost.command, "seconds": cost.wall})
    digests = weights_digests(trial.folder)
    took = sum(part["seconds"] for part in parts)
    return measured(trial, cost, resumed=True) | {
        "kills": kills,
        "parts": parts,
        "seconds_lost": sum(kill["seconds_lost"] for kill in kills),
        "seconds_more_than_control": took - control["seconds"]["command"],
        "digests": digests,
        "same_bits": digests == control["digests"],
    }


def kill_at(command: list[str], run: Path, step: int, pause: float) -> dict[str, Any]:
    """Kill ``pause`` seconds after the log tells of ``step``; what was lost, and workers left 5 s later."""
    print("$", " ".join(shown(command)), f"# until step {step}", flush=True)
    began = time.time()
    process = subprocess.Popen(command, start_new_session=True)
    while last_step(run, began) < step and process.poll() is None:
        time.sleep(0.05)
    time.sleep(pause)
    if process.poll() is not None:
        raise RuntimeError(f"ended with {process.returncode} before step {step}")
    process.kill()  # the program alone: its data workers must notice by themselves
    killed = time.time()
    process.wait()
    kept = sorted(run.glob("checkpoints/step-??????/manifest.json"))
    saved = kept[-1].stat().st_mtime if kept else began
    time.sleep(5)
    return {
        "asked_step": step,
        "logged_step": last_step(run, began),
        "checkpoint_step": int(kept[-1].parent.name[5:]) if kept else 0,
        "seconds_lost": killed - max(saved, began),
        "seconds_into_this_part": killed - began,
        "orphans_after_5_s": len(left(process.pid)),
    }


def last_step(run: Path, since: float) -> int:
    """The last step that the log tells of, once this part of the run has written to it; -1 before."""
    log = run / "train.log"
    if not log.exists() or log.stat().st_mtime < since:
        return -1
    told = windows(log.read_text())
    return told[-1][0] if told else 0


if __name__ == "__main__":
    main()
