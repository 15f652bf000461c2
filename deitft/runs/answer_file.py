"""The CSV file that answers go to: it goes on where an interruption left it, with the model that began it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deitft.bundle.format import Bundle
from deitft.core.files import canonical_json, read_json, write_bytes, write_json
from deitft.core.records import csv_lines, unguard_cell
from deitft.errors import DeitftError, OutputError, StorageError

NOTE_FORMAT = "deitft answers"
NOTE_VERSION = 1


class AnswerFile:
    """Answers, appended as they come; ``done`` are the paths that have one already.

    Beside ``answers.csv`` stands ``answers.csv.json``, which says which model answers: rows of two models do not
    mix, also where their classes are the same. Without ``out`` nothing is written.
    """

    def __init__(self, out: Path | None, bundle: Bundle, top: int) -> None:
        """Look at what is there, before a photo is opened; nothing is written but what a kill left is cut off.

        Raises:
            OutputError: it cannot be written, holds something else, or answers of another model (id OUT).
        """
        self.out = out
        self.top = min(top, len(bundle.classes))
        self.model = _identity(bundle)
        self.columns = ["path", "label", "probability"]
        for place in range(2, self.top + 1):
            self.columns += [f"label_{place}", f"probability_{place}"]
        self.done: set[str] = set()
        if out is not None:
            _check_writable(out)
            note = _read_note(note_of(out))
            if out.exists():
                self._take_up(out, note)

    def _take_up(self, out: Path, note: Mapping[str, Any] | None) -> None:
        """Read what is there. A kill can leave half a line: it is cut off, and its photo asked again."""
        data = out.read_bytes()
        rows = self._rows(data)
        if rows is None:
            raise OutputError(f"{out} is there and holds something else", "choose another --out", id="OUT")
        if rows:
            self._check_model(out, note)
        whole = _bytes([self.columns, *rows]) if rows else b""
        if whole != data:
            write_bytes(out, whole)
        self.done = {row[0] for row in rows}

    def _check_model(self, out: Path, note: Mapping[str, Any] | None) -> None:
        if note is None:
            name = note_of(out).name
            raise OutputError(
                f"{out} does not say which model answered ({name} is not beside it)",
                "choose another --out, or bring that file back",
                id="OUT",
            )
        other = [
            name for name, value in self.model.items() if canonical_json(note.get(name)) != canonical_json(value)
        ]
        if other:
            what = f"{out} holds answers of another model (with other {', '.join(other)})"
            raise OutputError(what, "choose another --out", id="OUT")

    def _rows(self, data: bytes) -> list[list[str]] | None:
        """The whole rows of a file of answers; None where it is something else."""
        text = data[: data.rfind(b"\n") + 1].decode("utf-8", "surrogateescape")
        if not text:  # empty, or killed in its first line
            return [] if ",".join(self.columns).encode().startswith(data) else None
        try:
            header, *rows = (
                [unguard_cell(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))
            )
        except csv.Error:
            return None
        if rows and len(rows[-1]) < len(header):
            rows.pop()  # killed in a file name of several lines
        return rows if header == self.columns and all(len(row) == len(header) for row in rows) else None

    def begin(self) -> None:
        """Note which model answers, before its first answer.

        Raises:
            StorageError: it cannot be written (id OUT, exit 74).
        """
        if self.out is None or self.done:
            return
        try:
            write_json(note_of(self.out), {"format": NOTE_FORMAT, "version": NOTE_VERSION, "model": self.model})
        except OSError as error:
            raise _cannot_write(note_of(self.out), error) from error

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append answers: "path", and "top" as pairs of class and probability.

        Raises:
            StorageError: they cannot be written any more (id OUT, exit 74).
        """
        if self.out is None:
            return
        cells: list[list[object]] = []
        for row in rows:
            likeliest = [cell for name, share in row["top"] for cell in (name, f"{share:.6f}")]
            cells.append([row["path"], *likeliest])
        try:
            new = not self.out.exists() or self.out.stat().st_size == 0
            with self.out.open("ab") as file:
                file.write(_bytes([self.columns, *cells] if new else cells))
        except OSError as error:
            raise _cannot_write(self.out, error) from error


def note_of(out: Path) -> Path:
    """Where it stands which model answered."""
    return out.with_name(f"{out.name}.json")


def _identity(bundle: Bundle) -> dict[str, Any]:
    """All that an answer depends on besides the photo; the devices' last bits do not count."""
    return {
        "name": bundle.model_name,
        "weights": bundle.manifest.sha256,
        "classes": list(bundle.classes),
        "preprocessing": bundle.preprocessing.record(),
        "temperature": bundle.temperature,
    }


def _read_note(path: Path) -> dict[str, Any] | None:
    """Which model answered; None where nothing says so.

    Raises:
        OutputError: a file of something else has its name (id OUT).
    """
    if not path.exists():
        return None
    try:
        note = read_json(path)
    except (DeitftError, OSError):
        note = None
    if not isinstance(note, dict) or note.get("format") != NOTE_FORMAT or not isinstance(note.get("model"), dict):
        raise OutputError(f"{path} is there and holds something else", "choose another --out", id="OUT")
    model: dict[str, Any] = note["model"]
    return model


def _check_writable(out: Path) -> None:
    """Prove that the answers can be written; leaves nothing behind.

    Raises:
        OutputError: they cannot (id OUT).
    """
    new = not out.exists()
    if not new and not out.is_file() and not out.is_dir():  # a device may never end, a pipe never begin
        raise OutputError(f"cannot write to {out} (not a file)", "choose another --out", id="OUT")
    try:
        with out.open("ab"):
            pass
        if new:
            out.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write to {out} ({reason})", "choose another --out", id="OUT") from error


def _cannot_write(path: Path, error: OSError) -> StorageError:
    reason = (error.strerror or str(error)).lower()
    return StorageError(
        f"cannot write to {path} ({reason})", "make room and repeat the command: it goes on", id="OUT"
    )


def _bytes(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as CSV. A file name that is not UTF-8 keeps its bytes."""
    return csv_lines(rows).encode("utf-8", "surrogateescape")
