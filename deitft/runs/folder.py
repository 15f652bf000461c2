"""The folder a run leaves: its name, its lock, its files, and which runs are there."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deitft.core.files import probe_writable
from deitft.core.progress import Progress
from deitft.core.records import RunRecord, now, read_run_record
from deitft.data.source import Source
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

    @property
    def begun(self) -> bool:
        """Whether there is something to go on with: the record is what a starting run writes last."""
        return (self.path / "run.json").is_file() and self.plan.is_file()

    def clear_unbegun(self) -> None:
        """Take away what a run left that ended before it had begun: its name is free again.

        Raises:
            StoppedError: another living process is just beginning it (id C5, exit 75).
        """
        if self.path.is_dir() and not self.begun and not any(self.checkpoints.glob("step-*")):
            with self.locked():
                pass
            shutil.rmtree(self.path)

    @contextlib.contextmanager
    def locked(self, progress: Progress | None = None) -> Iterator[None]:
        """Hold the folder for this process: two writers in one run would corrupt it.

        Raises:
            StoppedError: another living process holds it (id C5, exit 75).
            OutputError: it cannot be written to (id C5, exit 73).
        """
        check_writable(self.path, "make it writable, or go on with a copy of it")
        lock = self.path / "lock"
        descriptor, before = _take(lock)
        if before and progress is not None:
            progress.say(f"{self.name} was left by process {before}, which is gone: taken over")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def _take(lock: Path) -> tuple[int, str]:
    """The lock, open and ours, and who left it behind.

    The system's lock decides, not what the file says: it goes with the process that holds it, however that ends,
    and a later process of the same number is not taken for it. Forked workers do not inherit it.
    """
    while True:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o644)
        holder = os.read(descriptor, 1000).decode("utf-8", "replace").split()
        if not _is_ours(descriptor):
            os.close(descriptor)
            raise StoppedError(
                f"{lock.parent} is in use by {_holder(holder)}", "wait for it, or stop it first", id="C5"
            )
        if _stands(lock, descriptor):
            break
        os.close(descriptor)  # its holder took the file away between our two looks
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {platform.node() or 'unknown'} {now()}\n".encode(), 0)
    return descriptor, holder[0] if holder and holder[0] != str(os.getpid()) else ""


def _is_ours(descriptor: int) -> bool:
    """Lock an open file for this process. True, too, where the system or the disk knows no locks."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _stands(lock: Path, descriptor: int) -> bool:
    """True where the name still leads to the open file."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(words: list[str]) -> str:
    """Who holds a lock, as the file tells: process, host, since when (UTC)."""
    if len(words) != 3:
        return "another process"
    process, host, since = words
    return f"process {process} on host {host} since {since.replace('T', ' ').removesuffix('+00:00')} UTC"


def check_writable(place: Path, hint: str) -> None:
    """Prove that files can be written in a folder; it is made if need be.

    Raises:
        OutputError: they cannot (id C5, exit 73).
    """
    try:
        probe_writable(place)
    except OutputError as error:
        raise OutputError(error.what, hint, id="C5") from error


def check_outside(place: Path, data: Source, what: str, option: str) -> None:
    """Prove that a folder is not among the photos. ``what`` it is, and the ``option`` that names another.

    Raises:
        OutputError: it lies inside the data (id C5, exit 73).
    """
    inside = data.holds(place)
    if inside is not None:
        raise OutputError(
            f"the {what} {place} lies inside the data {inside}",
            f"nothing is written into your data; choose another place with {option}",
            id="C5",
        )


def check_place(runs_dir: Path, name: str | None, data: Source) -> None:
    """Prove that a run folder can be made, before any photo is read; leaves nothing behind.

    Raises:
        OutputError: inside the data, already there, or not writable (exit 73; ids C5, RUN).
        UsageError: not a name for a folder.
    """
    if name is not None and not NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot name a run', "use letters, digits, dots, dashes and underscores", id="RUN"
        )
    check_outside(runs_dir, data, "runs folder", "--runs-dir")
    if name is not None and (runs_dir / name).exists():
        raise _taken(runs_dir / name)
    check_creatable(runs_dir, "choose another place with --runs-dir")


def check_creatable(place: Path, hint: str) -> None:
    """Prove that a folder can be made, or written to where it is there; leaves nothing behind.

    Raises:
        OutputError: it cannot, or it is a file (id C5, exit 73).
    """
    existing = place
    while not existing.exists():
        existing = existing.parent
    check_writable(existing, hint)


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


def newest_unfinished(runs_dir: Path, verb: str, data: Source, name: str | None) -> RunFolder:
    """The newest run of this verb on this data that is not done: what ``--resume`` goes on with.

    Raises:
        MissingInputError: there is none (exit 66); it never starts a new one by itself.
    """
    for folder, record in reversed(list_runs(runs_dir)):
        if isinstance(record, DeitftError) or record.verb != verb or record.status == "done":
            continue
        if name is not None and folder.name != name:
            continue
        of_run = Source.read(record.data.get("source"), str(record.data.get("path")))
        if of_run == data.resolve() and folder.plan.is_file():
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
