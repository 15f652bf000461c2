"""Files that survive a kill: written beside, synced, renamed. Hashes and canonical JSON.

The commit protocol of a directory: write everything into a temporary sibling, sync every file, sync the
directory, rename, sync the parent. Without the syncs a power cut loses what was reported as saved.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from deitft.errors import DataError, OutputError

JSON_LIMIT = 256 * 1024 * 1024
"""Bytes of JSON read at most: no file of ours is larger, and a hostile one must not fill memory."""


def fsync_directory(path: Path) -> None:
    """Make a directory's entries durable. Silently skipped where directories cannot be opened (Windows)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part (mode 0644, synced)."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` at the end of the block, as in ``write_bytes``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` for UTF-8 text."""
    write_bytes(path, text.encode())


def _json_ready(value: object) -> object:
    """Numbers that JSON does not know become null; tuples, paths and numpy values become plain ones."""
    if isinstance(value, dict):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_json_ready(item) for item in items]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return _json_ready(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def canonical_json(value: object) -> bytes:
    """One byte string for one value: sorted keys, no spaces, UTF-8. What fingerprints are taken of."""
    text = json.dumps(_json_ready(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def write_json(path: Path, value: object) -> None:
    """Write readable JSON, durably. NaN and infinities become null: they are not JSON."""
    write_text(path, json.dumps(_json_ready(value), indent=2, ensure_ascii=True) + "\n")


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f'the key "{name}" appears twice')
        result[name] = value
    return result


def read_json(path: Path, *, limit: int = JSON_LIMIT) -> object:
    """Read JSON with its traps closed.

    Raises:
        DataError: not JSON, too large, nested too deep, or a key that appears twice (id S6).
    """
    size = path.stat().st_size
    if size > limit:
        raise DataError(f"{path} has {size} bytes (limit {limit})", "check where it comes from", id="S6")
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}", "check where it comes from", id="S6") from error


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit_directory(final: Path, fill: Callable[[Path], None]) -> None:
    """Create directory ``final`` whole or not at all: ``fill`` writes into a temporary sibling, then rename.

    An existing ``final`` is moved aside first and removed last, so one of the two is there at every moment.
    """
    temporary = final.with_name(f".tmp-{final.name}-{os.getpid()}")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        fill(temporary)
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                sync_file(path)
            else:
                fsync_directory(path)
        fsync_directory(temporary)
        old = final.with_name(f".del-{final.name}-{os.getpid()}")
        if final.exists():
            final.rename(old)
        temporary.rename(final)
        fsync_directory(final.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def probe_writable(directory: Path) -> None:
    """Create ``directory`` if need be and prove that a file can be written, synced, renamed and removed there.

    Raises:
        OutputError: it cannot (id C5); the line names the system's reason.
    """
    probe = directory / f".probe-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(b"deitft")
            file.flush()
            os.fsync(file.fileno())
        renamed = probe.with_suffix(".renamed")
        probe.rename(renamed)
        renamed.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot write to {directory} ({reason})",
            "choose another place with --runs-dir",
            id="C5",
        ) from error


def private_directory(path: Path) -> Path:
    """Make a directory that only this user can enter, if it is not there.

    Raises:
        OSError: it is a link, no directory, or belongs to somebody else: what is in it is not ours.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "a link, or no directory", str(path))
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", str(path))
    return path


def open_private(path: Path) -> BinaryIO:
    """Open a file of our own for reading; what is a link or belongs to somebody else is not ours.

    Raises:
        OSError: it is not there, or not ours.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    if hasattr(os, "geteuid") and os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "belongs to another user", str(path))
    return os.fdopen(descriptor, "rb")
