"""What timm's train.py writes while it trains, as numbers."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LINE = re.compile(
    r"^Train: (?P<epoch>\d+) \[ *(?P<step>\d+)/(?P<steps>\d+) .*?Time: (?P<now>[\d.]+)s, +(?P<speed>[\d.]+)/s +"
    r"\((?P<mean>[\d.]+)s,",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the step just taken, its seconds, and the mean seconds of the epoch's steps until here."""

    epoch: int
    step: int
    steps: int
    seconds: float
    mean_seconds: float
    images_per_second: float

    @property
    def images(self) -> float:
        """Photos a step."""
        return self.images_per_second * self.seconds


def lines(log: str) -> list[Line]:
    """Every training line."""
    return [
        Line(
            epoch=int(found["epoch"]),
            step=int(found["step"]),
            steps=int(found["steps"]),
            seconds=float(found["now"]),
            mean_seconds=float(found["mean"]),
            images_per_second=float(found["speed"]),
        )
        for found in _LINE.finditer(log)
    ]


def between(log: str, first: int, last: int) -> float | None:
    """Images a second of the steps after ``first`` up to ``last`` of the first epoch; None until they are told."""
    told = {line.step: line for line in lines(log) if line.epoch == 0}
    if first not in told or last not in told:
        return None
    seconds = told[last].mean_seconds * (last + 1) - told[first].mean_seconds * (first + 1)
    return round(told[last].images) * (last - first) / seconds


def epoch_speeds(log: str) -> list[float]:
    """Mean images a second of each epoch, in the order of the log."""
    last: dict[int, Line] = {}
    for line in lines(log):
        last[line.epoch] = line
    return [round(line.images) / line.mean_seconds for line in last.values()]


def best_epoch(summary: Path) -> dict[str, Any]:
    """The first of the epochs that are best on val, over all parts of a resumed run.

    timm's own choice forgets what was best before it was resumed; a row is written again with its header.
    """
    with summary.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["epoch"] != "epoch"]
    by_epoch = {int(row["epoch"]): float(row["eval_top1"]) for row in rows}
    epoch = max(by_epoch, key=lambda number: (by_epoch[number], -number))
    return {"epoch": epoch, "eval_top1": by_epoch[epoch]}
