"""Records of measurements: one line of JSON each, written once. A script run again goes on where it was."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deitft.core.records import environment, now

RECORDS = Path(__file__).parent / "records"


class Ledger:
    """The records of one topic, by id: ``records/<topic>.jsonl``."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.path = RECORDS / f"{topic}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["id"]: row for row in map(json.loads, lines)}

    def __contains__(self, id: str) -> bool:
        return id in self.rows

    def add(self, id: str, values: Mapping[str, Any]) -> None:
        """Append one record, with when, where and from which code it comes."""
        row = {
            "schema": 1,
            "id": id,
            "utc": now(),
            "topic": self.topic,
            **values,
            "load_before": os.getloadavg()[0],
            "environment": environment(),
            "code": code(),
        }
        RECORDS.mkdir(exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows[id] = row


def code() -> dict[str, Any]:
    """The commit that is measured, and whether the tree differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=RECORDS.parent)
        return done.stdout.strip()

    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
