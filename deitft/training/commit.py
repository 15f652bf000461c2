"""A folder of files is there whole and proven, or not there. No torch here: a name and bytes a file.

The order on disk: files into ``.tmp-NAME-PID/``, each synced; ``manifest.json`` last, with size and SHA-256 of
every file; the folder synced; renamed to NAME; the parent synced; only then are old ones renamed to
``.pruned-*`` and deleted. A reader believes a folder only after every byte in it has been hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.core.files import canonical_json, commit_directory, fsync_directory, read_json
from deitft.errors import DataError

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
STEP = re.compile(r"(step|best)-(\d{6,})")
_LEFTOVER = re.compile(r"\.(tmp|del|pruned)-(.+)-(\d+)")

Content = tuple[str, Callable[[], bytes]]
"""A file name, and what makes its bytes: called one after the other, so that one file is in memory at a time."""


class DamagedError(Exception):
    """A committed folder is not what was written. The text says which file and how."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A folder whose every file has been hashed: ``kind`` "step" or "best", and what the manifest says."""

    path: Path
    kind: str
    step: int
    facts: Mapping[str, Any]
    digests: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """A file's bytes, hashed again as they are read: what is used is what was proven.

        Raises:
            DataError: it changed since, or is not in the manifest (id C4).
        """
        if name not in self.digests:
            raise DataError(f"{self.path} has no {name}", "use another checkpoint", id="C4")
        data = (self.path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.digests[name]:
            raise DataError(f"{self.path / name} changed while it was read", "use another checkpoint", id="C4")
        return data

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum((self.path / name).stat().st_size for name in self.digests)


def step_name(kind: str, step: int) -> str:
    """The folder name of a step: ``step-000120``, ``best-000120``."""
    return f"{kind}-{step:06d}"


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _digest_of(body: Mapping[str, Any]) -> str:
    """What the manifest says of itself: a bit that flips in it is noticed too."""
    return hashlib.sha256(canonical_json(body)).hexdigest()


def commit(parent: Path, kind: str, step: int, contents: Iterable[Content], facts: Mapping[str, Any]) -> Path:
    """Write ``parent/KIND-STEP/`` with these files and a manifest that also holds ``facts`` (plain data).

    Raises:
        OSError: it could not be written; nothing of it is left. After a failed fsync a file is never synced
            again: the next save writes everything anew from memory.
    """
    final = parent / step_name(kind, step)

    def fill(folder: Path) -> None:
        files = {}
        for name, make in contents:
            data = make()
            _write_synced(folder / name, data)
            files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        body = {
            "version": MANIFEST_VERSION,
            "kind": kind,
            "step": step,
            "facts": dict(facts),
            "files": files,
        }
        manifest = {**body, "sha256": _digest_of(body)}
        _write_synced(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())

    commit_directory(final, fill)
    return final


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise DamagedError(f"{MANIFEST} is missing")
    try:
        value = read_json(file, limit=1 << 24)
    except DataError as error:
        raise DamagedError(f"{MANIFEST} is not valid JSON") from error
    if not isinstance(value, dict) or not isinstance(value.get("files"), dict) or not value["files"]:
        raise DamagedError(f"{MANIFEST} lists no files")
    if value.get("sha256") != _digest_of({name: value[name] for name in value if name != "sha256"}):
        raise DamagedError(f"{MANIFEST}: sha256 differs")
    if value.get("version") != MANIFEST_VERSION:
        raise DamagedError(f"{MANIFEST} is of version {value.get('version')!r}")
    if path.name != step_name(str(value["kind"]), int(value["step"])):
        raise DamagedError(f"{MANIFEST} belongs to {value['kind']} {value['step']}")
    return value


def _check_file(path: Path, name: str, entry: Any) -> str:
    """The proven SHA-256 of one file."""
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
    if not plain or not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
        raise DamagedError(f"{MANIFEST} has an entry that is not a file of its folder")
    file = path / name
    if file.is_symlink() or not file.is_file():
        raise DamagedError(f"{name} is missing")
    size, wanted = file.stat().st_size, entry.get("size")
    if not isinstance(wanted, int) or size != wanted:
        missing = wanted - size if isinstance(wanted, int) else 0
        raise DamagedError(f"{name} is {missing} bytes short" if missing > 0 else f"{name}: size differs")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry["sha256"]:
        raise DamagedError(f"{name}: sha256 differs")
    return digest


def verify(path: Path) -> Committed:
    """Hash everything the manifest names.

    Raises:
        DamagedError: anything is missing, short, different, or named outside the folder.
    """
    value = _manifest(path)
    try:
        digests = {name: _check_file(path, name, entry) for name, entry in value["files"].items()}
    except OSError as error:
        raise DamagedError(f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    return Committed(path, value["kind"], value["step"], value["facts"], digests)


def facts_of(path: Path) -> Mapping[str, Any]:
    """What the manifest says beside its files, without hashing those.

    Raises:
        DamagedError: the manifest is missing or not what was written.
    """
    facts: Mapping[str, Any] = _manifest(path)["facts"]
    return facts


def listed(parent: Path, kind: str) -> list[tuple[int, Path]]:
    """Committed folders of a kind by step number, newest first; not yet proven."""
    found = []
    for path in parent.iterdir() if parent.is_dir() else ():
        match = STEP.fullmatch(path.name)
        if match and match.group(1) == kind and path.is_dir() and not path.is_symlink():
            found.append((int(match.group(2)), path))
    return sorted(found, reverse=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # we hold the run's lock and are not saving now, so it is not us
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def clear_leftovers(parent: Path) -> list[str]:
    """Tidy up after a process that died while it saved; return the names of unfinished saves.

    What a living process writes is left alone. A folder that was moved aside to be replaced comes back if its
    successor never arrived.
    """
    unfinished = []
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        match = _LEFTOVER.fullmatch(path.name)
        if not match or _alive(int(match.group(3))):
            continue
        kind, name = match.group(1), match.group(2)
        if kind == "del" and not (parent / name).exists():
            path.rename(parent / name)
            fsync_directory(parent)
            continue
        if kind == "tmp":
            unfinished.append(name)
        shutil.rmtree(path, ignore_errors=True)
    return unfinished


def set_aside(path: Path, word: str) -> Path:
    """Rename a folder (``step-001300.damaged``) so that it is never considered again; it is not deleted.

    Raises:
        OSError: it could not be renamed.
    """
    target = path.with_name(f"{path.name}.{word}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{word}-{number}")
    path.rename(target)
    fsync_directory(path.parent)
    return target


def remove(path: Path) -> None:
    """Delete a committed folder: renamed first, so that no reader meets a half of it.

    Raises:
        OSError: it could not be renamed or deleted.
    """
    aside = path.with_name(f".pruned-{path.name}-{os.getpid()}")
    if aside.exists():
        shutil.rmtree(aside)
    path.rename(aside)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(aside)
