"""One real training run of the command line, and what a record says of it."""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import Cost, deitft, timed
from photos import forget, verdicts

from deitft.core.records import parse_csv_text
from deitft.recipe.plan import read_plan
from deitft.recipe.plan_types import Plan

SMOKE = ("model.image_size=32", "train.batch=16", "train.micro_batch=16")
"""With these a run takes seconds: for trying a script, not for measuring."""
SMOKE_LENGTH = ("train.length_factor=1.0", "train.length=4 steps")

_WINDOW = re.compile(r" step (\d+) loss .*images_per_second (\S+)$", re.MULTILINE)


def at_side(asked: argparse.Namespace) -> tuple[str, ...]:
    """The setting of a study at ``--side`` pixels; a trial of the script has its own."""
    return () if asked.smoke else (f"model.image_size={asked.side}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A run to be made: what is asked, and where it goes."""

    data: Path
    model: str
    recipe: str
    seed: int
    name: str
    asked: argparse.Namespace
    settings: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    verb: str = "finetune"

    @property
    def folder(self) -> Path:
        """The run folder."""
        runs: Path = self.asked.place / "runs"
        return runs / self.name

    @property
    def subject(self) -> dict[str, Any]:
        """What is measured."""
        return {"data": self.data.name, "model": self.model, "recipe": self.recipe, "seed": self.seed}

    def start(self) -> list[str]:
        """The command that starts it."""
        words = [self.data, "--model", self.model, "--weights-dir", self.asked.shared / "weights"]
        words += ["--recipe", self.recipe, "--seed", self.seed, *self._machine()]
        words += ["--runs-dir", self.folder.parent, "--name", self.name, *self.more]
        settings = list(self.settings)
        if self.asked.smoke:
            settings = [*SMOKE, *(() if self.recipe == "linear-probe" else SMOKE_LENGTH), *settings]
        for setting in {text.partition("=")[0]: text for text in settings}.values():
            words += ["--set", setting]
        return deitft(self.verb, *words)

    def go_on(self) -> list[str]:
        """The command that goes on with it."""
        return deitft("resume", self.folder, *self._machine())

    def _machine(self) -> list[str]:
        return ["--threads", str(self.asked.threads)] if self.asked.threads else []


def carry_out(trial: Trial, *, memory: bool = False) -> tuple[Cost, bool]:
    """Make the run, or go on with it; the cost, and whether it had begun before.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    begun = (trial.folder / "run.json").exists()
    if not begun:
        forget(trial.folder)  # stopped before there was anything to go on with
    return timed(trial.go_on() if begun else trial.start(), memory=memory), begun


def measured(
    trial: Trial, cost: Cost, *, resumed: bool = False, universe: Sequence[str] | None = None
) -> dict[str, Any]:
    """All that a record says of a finished run. Times of a resumed run are those of its last part."""
    run = trial.folder
    record = json.loads((run / "run.json").read_text())
    plan = read_plan(run / "plan.json")
    probe = run / "probe.json"
    values = cost.record()
    return values | {
        "subject": trial.subject,
        "status": record["status"],
        "result": record["result"],
        "probe": json.loads(probe.read_text()) if probe.exists() else None,
        "seconds": {**record["seconds"], **values["seconds"]},
        "resumed": resumed,
        "images_per_second": speeds(run, plan),
        "plan": plan.record(),
        "verdicts": run_verdicts(run, universe),
    }


def run_verdicts(run: Path, universe: Sequence[str] | None = None) -> dict[str, str]:
    """Which test photos a finished run got right."""
    digests = {row["path"]: row["sha256"] for row in table(run / "splits.csv")}
    rows = table(run / "predictions.csv")
    return verdicts({digests[row["path"]]: row["predicted"] == row["label"] for row in rows}, universe)


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file that a run wrote."""
    return parse_csv_text(path.read_bytes().decode())


def speeds(run: Path, plan: Plan) -> dict[str, dict[str, float]]:
    """Training images a second by image side, from the windows of ``train.log``.

    Validation and saving are not in these windows. The first window of the run warms up, and is left out; so
    are windows with two sizes in them, and the first after going back to a checkpoint.
    """
    log = run / "train.log"
    found: dict[int, list[tuple[int, float]]] = {}
    last = 0
    for step, speed in windows(log.read_text()) if log.exists() else ():
        size = plan.size_at(step - 1)
        if 0 < last < step and plan.size_at(last) == size:
            found.setdefault(size, []).append(((step - last) * plan.batch, speed))
        last = step
    return {
        str(size): {
            "median": statistics.median(speed for _, speed in seen),
            "mean": sum(images for images, _ in seen) / sum(images / speed for images, speed in seen),
            "slowest": min(speed for _, speed in seen),
            "fastest": max(speed for _, speed in seen),
            "windows": len(seen),
            "images": sum(images for images, _ in seen),
        }
        for size, seen in sorted(found.items())
    }


def windows(log: str) -> list[tuple[int, float]]:
    """(last step, images a second) of every window that a log tells of."""
    return [(int(step), float(speed)) for step, speed in _WINDOW.findall(log)]


def weights_digests(run: Path) -> Mapping[str, str]:
    """SHA-256 of the weights that a finished run hands over."""
    from deitft.core.files import sha256_file

    names = ("best/model.safetensors", "last/model.safetensors")
    return {name: sha256_file(run / name) for name in names}
