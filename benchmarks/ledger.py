"""Records of measurements: one line of JSON each, written once. A script run again goes on where it was.

A record names no place of the machine it was made on: of every absolute path only the last two parts are kept.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deitft.core.records import environment, now

RECORDS = Path(__file__).parent / "records"

_PLACE = re.compile(r"(?<![\w.:/~-])/(?:[^\s/\"']+/)*([^\s/\"']+/[^\s/\"']+)")


class Ledger:
    """The records of one topic, by id: ``records/<topic>.jsonl``, or in another folder."""

    def __init__(self, topic: str, folder: Path = RECORDS) -> None:
        self.topic = topic
        self.path = folder / f"{topic}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["id"]: row for row in map(json.loads, lines)}

    def __contains__(self, id: str) -> bool:
        return id in self.rows

    def add(self, id: str, values: Mapping[str, Any]) -> None:
        """Append one record, with when, where and from which code it comes."""
        plain = json.loads(json.dumps(dict(values), default=str))
        row = {
            "schema": 1,
            "id": id,
            "utc": now(),
            "topic": self.topic,
            "load_after": os.getloadavg()[0],
            **without_places(plain),
            "environment": environment(),
            "code": code(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows[id] = row


def without_places(value: Any) -> Any:
    """Plain data with every absolute path in it, however deep, cut to its last two parts."""
    if isinstance(value, str):
        return _PLACE.sub(r"\1", value)
    if isinstance(value, dict):
        return {name: without_places(item) for name, item in value.items()}
    return [without_places(item) for item in value] if isinstance(value, list) else value


def code() -> dict[str, Any]:
    """The commit that is measured, and whether the tree differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=RECORDS.parent)
        return done.stdout.strip()

    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
