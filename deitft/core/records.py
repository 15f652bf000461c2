"""Records on disk: what ran, on what, and what came of it. Each carries a version."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import io
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deitft.core.files import read_json, write_json
from deitft.errors import DataError

RUN_RECORD_VERSION = 1

LIBRARIES = ("deitft", "torch", "torchvision", "timm", "numpy", "pillow", "albumentations", "scikit-learn")


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def version_of(library: str) -> str | None:
    """The installed version of a library, without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, object]:
    """What the numbers were made with: versions, system, processor, cores. No host name, no user name."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {name: version_of(name) for name in LIBRARIES},
    }


def processor_name() -> str:
    """What the system calls its processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """One run as a person may read it: ``run.json``.

    ``status`` is "running", "stopped" (resumable), "failed" or "done".
    """

    name: str
    verb: str
    command: list[str]
    status: str
    started: str
    model: str = ""
    recipe: str = ""
    seed: int = 0
    data: dict[str, object] = field(default_factory=dict)
    environment: dict[str, object] = field(default_factory=environment)
    result: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)  # "peak": of the process that ended the run
    findings: list[dict[str, object]] = field(default_factory=list)
    errors: list[dict[str, object]] = field(default_factory=list)
    allowed_changes: list[str] = field(default_factory=list)
    weights: dict[str, object] = field(default_factory=dict)
    options: dict[str, bool | int | str | list[str] | None] = field(default_factory=dict)
    ended: str | None = None
    version: int = RUN_RECORD_VERSION

    def write(self, folder: Path) -> None:
        """Write ``run.json`` durably."""
        write_json(folder / "run.json", {name: getattr(self, name) for name in self.__slots__})


def read_run_record(folder: Path) -> RunRecord:
    """Read ``run.json`` of a run folder.

    Raises:
        DataError: not a run record, or of a later version than this program knows (id RUN).
    """
    value = read_json(folder / "run.json")
    names = set(RunRecord.__slots__)
    if not isinstance(value, dict) or not {"name", "verb", "status", "version"} <= set(value):
        raise DataError(f"{folder / 'run.json'} is not a run record", "name a folder under runs/", id="RUN")
    if isinstance(value["version"], int) and value["version"] > RUN_RECORD_VERSION:
        raise DataError(
            f"{folder} was written by a newer deitft (record version {value['version']})",
            "upgrade deitft",
            id="RUN",
        )
    record = RunRecord(**{"command": [], "started": "", **{key: value[key] for key in names & value.keys()}})
    fresh = RunRecord(name="", verb="", command=[], status="", started="", environment={})
    wrong = [
        key
        for key in RunRecord.__slots__
        if key != "ended" and not isinstance(getattr(record, key), type(getattr(fresh, key)))
    ]
    if wrong:
        kind = type(getattr(fresh, wrong[0])).__name__
        raise DataError(
            f'{folder / "run.json"} is not a run record ("{wrong[0]}" is no {kind})',
            "check where it comes from",
            id="RUN",
        )
    return record


def command_line(argv: Sequence[str] | None = None) -> list[str]:
    """The exact command of this process, with the program's short name in front; [] in another program."""
    words = list(sys.argv if argv is None else argv)
    ours = bool(words) and Path(words[0]).name in ("deitft", "deitft.exe", "__main__.py")
    return ["deitft", *words[1:]] if ours else []


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def guard_cell(value: object) -> object:
    """A text cell that a spreadsheet would run as a formula gets a leading apostrophe (fault S5)."""
    if isinstance(value, str) and value.startswith((*_FORMULA_STARTS, "'")):
        return "'" + value
    return value


def unguard_cell(text: str) -> str:
    """Take the guard off again."""
    return text[1:] if len(text) > 1 and text[0] == "'" and text[1] in (*_FORMULA_STARTS, "'") else text


def csv_text(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Rows as CSV text, every text cell guarded."""
    return csv_lines([columns, *([row.get(name, "") for name in columns] for row in rows)])


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Cells as CSV text, every text cell guarded; what ``csv.reader`` reads back."""
    out = io.StringIO()
    plain, quoted = csv.writer(out, lineterminator="\n"), csv.writer(out, csv.unix_dialect)
    for row in rows:
        cells = [guard_cell(cell) for cell in row]
        # The writer does not quote a lone carriage return, and the reader refuses it unquoted.
        (quoted if any("\r" in cell for cell in cells if isinstance(cell, str)) else plain).writerow(cells)
    return out.getvalue()


def parse_csv_text(text: str) -> list[dict[str, str]]:
    """The reader of ``csv_text``: cells come back as they were."""
    reader = csv.reader(io.StringIO(text))
    header = [unguard_cell(cell) for cell in next(reader, [])]
    return [dict(zip(header, map(unguard_cell, row), strict=False)) for row in reader]
