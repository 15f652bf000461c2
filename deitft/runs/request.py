"""What a training verb was asked for, as one frozen value, and what it hands back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from deitft.compute.group import ALONE, Group
from deitft.core.progress import Progress, Silent
from deitft.data.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Everything a training verb was asked for. Field names are the options' names."""

    verb: str
    data: Source
    model: str | None = None
    recipe: str = "finetune"
    set: tuple[str, ...] = ()
    weights: str | None = None
    weights_dir: Path | None = None
    pretrained: bool = True
    seed: int = 0
    runs_dir: Path = Path("runs")
    name: str | None = None
    splits: Path | None = None
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    precision: str | None = None
    time_limit: float | None = None  # seconds, of the whole command
    strict: bool = False
    skip_bad: bool = False
    max_pixels: int | None = None
    allow_leak: bool = False
    resume: bool = False
    allow_changed: tuple[str, ...] = ()
    dry_run: bool = False
    price_per_hour: float | None = None  # of this machine, for a dry run
    log_to: tuple[str, ...] = ()
    probe: bool = True
    distill: str | None = None  # none, soft, hard; None as the recipe says
    teacher: tuple[str, ...] = ()
    adapt_teacher: str | None = None  # finetune, probe
    teacher_cache: Path | None = None
    cache_views: int | None = None  # as the recipe's distill.cache_views
    teacher_pretrained: bool = True  # False: a teacher that learns from nothing (the digits')
    unlabelled: bool = False
    group: Group = ALONE  # the processes of this command
    started: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Silent)

    def as_command(self) -> list[str]:
        """The command line that asks for the same: what a report names when python made the run."""
        words = ["deitft", self.verb, *self.data.words()]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in NOT_TYPED or value == item.default:
                continue
            option = "--" + item.name.replace("_", "-")
            if isinstance(value, bool):
                words.append(option if value else option.replace("--", "--no-", 1))
                continue
            if item.name == "time_limit":
                value = seconds_text(value)
            for one in value if isinstance(value, tuple) else (value,):
                words += [option, str(one)]
        return words


def seconds_text(seconds: float) -> str:
    """Seconds as an option or a recipe takes them: "1200s"."""
    return f"{f'{seconds:.2f}'.rstrip('0').rstrip('.')}s"


NOT_TYPED = ("verb", "data", "started", "progress", "teacher_pretrained", "group")
"""Fields that are no option of their own."""

DASHBOARDS = ("tensorboard", "wandb", "mlflow")
"""What ``log_to`` may name."""

DISTILL_KINDS = ("none", "hard", "soft")
"""What ``distill`` may be."""

ADAPT_WAYS = ("finetune", "probe")
"""What ``adapt_teacher`` may be."""

KEPT_OPTIONS = (
    *("strict", "skip_bad", "max_pixels", "allow_leak", "probe", "teacher_cache", "unlabelled"),
    "log_to",
)
"""What a run was allowed and asked beside its plan; ``run.json`` keeps it, so that it is resumed as it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a training verb hands back: where everything is, and the numbers people ask for first.

    ``status`` is "done" or "planned" (a dry run).
    """

    folder: Path | None
    status: str
    facts: Sequence[tuple[str, str]]
    values: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {"status": self.status, "folder": str(self.folder) if self.folder else None, **self.values}

    def summary(self) -> Sequence[tuple[str, str]]:
        """(name, text) rows for people."""
        return self.facts
