"""Kill the program at random steps, resume it, and compare the weights with those of a run nobody disturbed.

``kill -9`` of the real command line at 20 random moments of a short run (64 px, 96 photos, at most 40 steps;
mixup, cutmix, drop-path, running average, early stopping, two micro-batches a step), half of them with a data
worker. Then ``deitft resume`` to the end. SHA-256 of ``best/`` and ``last/model.safetensors`` must
be those of the control. Every kill is a record; run again after an interruption and what is recorded stays.

    python benchmarks/resume_kills.py            # 20 kills, about 15 minutes on two cores
    python benchmarks/resume_kills.py --kills 200
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from ledger import Ledger
from PIL import Image

STEPS, CLASSES, PHOTOS = 40, ("dress", "hat", "shoe"), 32
MODELS = ("deit_ti", "mobilenetv2")
SETTINGS = (
    "model.image_size=64",
    "model.drop_path=0.2",
    f"train.length={STEPS} steps",
    "train.batch=16",
    "train.micro_batch=8",
    "train.validate_every=5 steps",
    "train.patience=4",
    "train.save_every=1s",
    "train.keep_checkpoints=2",
    "mixing.chance=1.0",
    "mixing.mixup=0.8",
    "mixing.cutmix=1.0",
    "augment.policy=randaugment",
    "augment.color_jitter=0.0",
    "augment.erasing=0.25",
    "ema.decay=auto",
)
WEIGHTS = ("best/model.safetensors", "last/model.safetensors")
PATIENCE = 300.0
"""Seconds that any one command may take."""


def main() -> None:
    """The controls, then kill after kill; ends with 1 if a single bit differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--place", type=Path, default=Path("runs/resume-kills"))
    asked = parser.parse_args()
    ledger = Ledger("resume-kills")
    photos = write_photos(asked.place / "photos")
    controls = {model: control(ledger, asked.place, photos, model) for model in MODELS}
    for number in range(asked.kills):
        model, workers = MODELS[number // 2 % 2], number % 2
        if f"kill-{number}" not in ledger:
            one_kill(ledger, asked.place, photos, number, model, workers, controls[model])
    rows = [row for id, row in ledger.rows.items() if id.startswith("kill-")]
    same = sum(row["same_bits"] for row in rows)
    print(f"{same} of {len(rows)} killed runs ended with the bits of the run that nobody disturbed")
    sys.exit(0 if same == len(rows) else 1)


def write_photos(root: Path) -> Path:
    """The same files each time: blots of a colour a class."""
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(1000 + number).integers(60, 195, 3)
        for photo in range(PHOTOS):
            draw = np.random.default_rng((number, photo))
            pixels = draw.normal(colour, 45, (72, 80, 3)) + 40 * draw.normal(size=3)
            file = root / name / f"{photo:04d}.png"
            if not file.exists():
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return root


def finetune(photos: Path, place: Path, name: str, model: str, workers: int) -> list[str]:
    """The command of a run."""
    command = [sys.executable, "-m", "deitft", "finetune", str(photos), "--model", model, "--no-pretrained"]
    command += ["--runs-dir", str(place), "--name", name, "--workers", str(workers), "--threads", "1"]
    command += ["--precision", "fp32", "--quiet"]
    for setting in SETTINGS:
        command += ["--set", setting]
    return command


def resume(run: Path) -> list[str]:
    """The command that goes on with it."""
    return [sys.executable, "-m", "deitft", "resume", str(run), "--quiet"]


@dataclass(frozen=True)
class Control:
    """The run that nobody disturbed."""

    steps: int
    digests: dict[str, str]


def control(ledger: Ledger, place: Path, photos: Path, model: str) -> Control:
    """Digests of the run that nobody disturbs; it is made in this session, of this code."""
    run = place / f"control-{model}"
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    subprocess.run(
        finetune(photos, place, run.name, model, 0), check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL
    )
    found = digests(run)
    steps = last_step(run)
    number = sum(id.startswith(f"control-{model}-") for id in ledger.rows)
    values = {"subject": {"model": model}, "digests": found, "steps": steps, "seconds": time.monotonic() - began}
    ledger.add(f"control-{model}-{number}", values)
    print(f"control {model}: {steps} steps, {found[WEIGHTS[0]][:12]}", flush=True)
    return Control(steps, found)


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of the weights of a finished run."""
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in WEIGHTS}


def one_kill(
    ledger: Ledger, place: Path, photos: Path, number: int, model: str, workers: int, expected: Control
) -> None:
    """Start, kill at a random step, resume to the end, compare."""
    draw = random.Random(number)
    run = place / f"kill-{number}"
    shutil.rmtree(run, ignore_errors=True)
    asked_step, pause = draw.randrange(expected.steps), draw.uniform(0, 0.5)
    step, orphans = kill_at(finetune(photos, place, run.name, model, workers), run, asked_step, pause)
    kept = sorted(int(path.name[5:]) for path in run.glob("checkpoints/step-??????"))
    torn = sorted(path.name for path in run.glob("checkpoints/.tmp-*"))
    began = time.monotonic()
    ended = subprocess.run(
        resume(run), check=False, timeout=PATIENCE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    found = digests(run) if ended.returncode == 0 else {}
    same = found == expected.digests
    ledger.add(
        f"kill-{number}",
        {
            "subject": {
                "model": model,
                "workers": workers,
                "steps": expected.steps,
                "photos": len(CLASSES) * PHOTOS,
            },
            "asked_step": asked_step,
            "killed_after_step": step,
            "checkpoints_left": kept,
            "torn_saves_left": torn,
            "orphans_after_5_s": orphans,
            "resume_exit": ended.returncode,
            "resume_said": ended.stderr[-2000:],
            "resume_seconds": time.monotonic() - began,
            "digests": found,
            "same_bits": same and not orphans,
        },
    )
    print(
        f"kill {number:3}: {model}, {workers} workers, after step {step}, from step {kept[-1] if kept else 0}: "
        f"{'same bits' if same else 'DIFFERENT'}{', orphans' if orphans else ''}",
        flush=True,
    )
    if same:
        shutil.rmtree(run)


def kill_at(command: list[str], run: Path, step: int, pause: float) -> tuple[int, int]:
    """Kill the program ``pause`` seconds after a step is told; the last step told, and workers left 5 s later."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + PATIENCE
    while last_step(run) < step and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(pause)
    process.kill()  # the program alone: its workers must notice by themselves
    process.wait()
    reached = last_step(run)
    end = time.monotonic() + 5
    while left(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    orphans = left(process.pid)
    for pid in orphans:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return reached, len(orphans)


def last_step(run: Path) -> int:
    """The last step that the log tells of; -1 before the run has a folder."""
    log = run / "train.log"
    if not log.exists():
        return -1
    steps = [line.split(" step ")[1].split()[0] for line in log.read_text().splitlines() if " step " in line]
    return int(steps[-1]) if steps else 0


def left(session: int) -> list[int]:
    """Living processes of a session."""
    found: list[int] = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


if __name__ == "__main__":
    main()
