"""What ``compare`` was asked for, as one frozen value."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from deitft.data.source import Source
from deitft.evaluation.requirements import Requirement
from deitft.runs.request import TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """``train`` is what every run that is missing is made of; None where only finished runs are compared.

    ``runs`` are run folders; with neither these nor data, all runs of ``runs_dir``. ``test``: photos on which
    finished bundles are judged in the place of their own. ``margin`` is a share. ``equal_time`` are seconds a run,
    ``time_limit`` seconds of the whole command; ``price`` is money an hour of this machine.
    """

    runs: tuple[Path, ...] = ()
    train: TrainRequest | None = None
    models: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    runs_dir: Path = Path("runs")
    out: Path | None = None
    test: Source | None = None
    limits: tuple[Requirement, ...] = ()
    margin: float | None = None
    cheapest: str = "latency_ms"
    gates: tuple[Requirement, ...] = ()
    equal_time: float | None = None
    time_limit: float | None = None
    price: float | None = None
    measure: bool = True
    dry_run: bool = False
    device: str = "auto"
    threads: int | None = None
    started: float = field(default_factory=time.monotonic)
