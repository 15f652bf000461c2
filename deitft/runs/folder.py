"""The folder a run leaves: its name, its lock, its files, and which runs are there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deitft.core.files import probe_writable
from deitft.core.records import RunRecord, read_run_record
from deitft.errors import DeitftError, MissingInputError, OutputError, StoppedError, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run's files. See ``docs/concepts/run-folder.md``."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: the folder's."""
        return self.path.name

    @property
    def plan(self) -> Path:
        """What will be done, resolved."""
        return self.path / "plan.json"

    @property
    def recipe(self) -> Path:
        """What was asked."""
        return self.path / "recipe.yaml"

    @property
    def splits(self) -> Path:
        """Which photo is where."""
        return self.path / "splits.csv"

    @property
    def checkpoints(self) -> Path:
        """States a run can go on from."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The bundle chosen on val."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The bundle of the last step."""
        return self.path / "last"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process: two writers in one run would corrupt it.

        Raises:
            StoppedError: another living process holds it (id C5, exit 75).
        """
        lock = self.path / "lock"
        _take(lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _take(lock: Path) -> None:
    for _ in range(2):
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            holder = _holder(lock)
            if holder is not None:
                raise StoppedError(
                    f"{lock.parent} is in use by process {holder}",
                    "wait for it, or stop it first",
                    id="C5",
                ) from None
            lock.unlink(missing_ok=True)  # left by a process that is gone
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{os.getpid()}\n")
        return
    raise StoppedError(f"{lock.parent} is in use", "wait for the other process", id="C5")


def _holder(lock: Path) -> int | None:
    """The living process that holds a lock, or None."""
    try:
        holder = int(lock.read_text().split()[0])
        os.kill(holder, 0)
    except (OSError, ValueError, IndexError):
        return None
    return None if holder == os.getpid() else holder


def check_place(runs_dir: Path, name: str | None, data: Path) -> None:
    """Prove that a run folder can be made, before any photo is read; leaves nothing behind.

    Raises:
        OutputError: inside the data, already there, or not writable (exit 73; ids C5, RUN).
        UsageError: not a name for a folder.
    """
    if name is not None and not NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot name a run', "use letters, digits, dots, dashes and underscores", id="RUN"
        )
    place, inside = runs_dir.resolve(), data.resolve()
    if place == inside or inside in place.parents:
        raise OutputError(
            f"the runs folder {runs_dir} lies inside the data {data}",
            "nothing is written into your data; choose another place with --runs-dir",
            id="C5",
        )
    if name is not None and (runs_dir / name).exists():
        raise _taken(runs_dir / name)
    existing = runs_dir
    while not existing.exists():
        existing = existing.parent
    probe_writable(existing)


def _taken(path: Path) -> OutputError:
    return OutputError(
        f"{path} is already there", "choose another --name, or go on with `deitft resume`", id="RUN"
    )


def create(runs_dir: Path, verb: str, name: str | None) -> RunFolder:
    """Make a new run folder: ``name``, or the verb with the next free number.

    Raises:
        OutputError: already there, or not writable (exit 73).
    """
    probe_writable(runs_dir)
    if name is not None:
        try:
            (runs_dir / name).mkdir()
        except FileExistsError:
            raise _taken(runs_dir / name) from None
        return RunFolder(runs_dir / name)
    numbered = re.compile(rf"{re.escape(verb)}-(\d+)")
    taken = [int(match.group(1)) for path in runs_dir.iterdir() if (match := numbered.fullmatch(path.name))]
    number = max(taken, default=0)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):
            (runs_dir / f"{verb}-{number}").mkdir()
            return RunFolder(runs_dir / f"{verb}-{number}")


def list_runs(runs_dir: Path) -> list[tuple[RunFolder, RunRecord | DeitftError]]:
    """Every run below ``runs_dir``, oldest first; a broken record comes as its error."""
    found: list[tuple[RunFolder, RunRecord | DeitftError]] = []
    if not runs_dir.is_dir():
        return found
    for path in sorted(runs_dir.iterdir()):
        if not (path / "run.json").is_file():
            continue
        try:
            found.append((RunFolder(path), read_run_record(path)))
        except DeitftError as error:
            found.append((RunFolder(path), error))
    return sorted(found, key=lambda pair: pair[1].started if isinstance(pair[1], RunRecord) else "")


def newest_unfinished(runs_dir: Path, verb: str, data: Path, name: str | None) -> RunFolder:
    """The newest run of this verb on this data that is not done: what ``--resume`` goes on with.

    Raises:
        MissingInputError: there is none (exit 66); it never starts a new one by itself.
    """
    for folder, record in reversed(list_runs(runs_dir)):
        if isinstance(record, DeitftError) or record.verb != verb or record.status == "done":
            continue
        if name is not None and folder.name != name:
            continue
        if record.data.get("path") == str(data.resolve()) and folder.plan.is_file():
            return folder
    what = f"no unfinished {verb} run{f' called {name}' if name else ''} of {data} in {runs_dir}"
    raise MissingInputError(
        what, "leave out --resume to start one, or name a run: `deitft resume RUN`", id="RESUME"
    )


def open_run(run: Path) -> RunFolder:
    """A run folder by its path, or by the path of one of its checkpoints or bundles.

    Raises:
        MissingInputError: there is no run there (exit 66).
    """
    for path in (run, run.parent, run.parent.parent):
        if (path / "run.json").is_file():
            return RunFolder(path)
    raise MissingInputError(f"no run at {run}", "see `deitft runs` for what is there", id="RUN")
