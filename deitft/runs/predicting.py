"""Photos -> a table of answers: goes on after a bad file, goes on after an interruption."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.core.files import write_bytes
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.core.records import csv_lines, unguard_cell
from deitft.data.inspect import default_cache_dir
from deitft.data.scan import list_photos
from deitft.data.source import Source
from deitft.errors import DeitftError, MissingInputError, Notice, OutputError, StorageError
from deitft.runs.classifier import Answer, load, unlabelled
from deitft.runs.folder import check_outside

CHUNK = 1024
"""Photos between two writes of the CSV: what an interruption costs at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTable:
    """One row a photo: path, label, probability, the likeliest classes; or the reason it could not be read."""

    model: str
    classes: tuple[str, ...]
    rows: Sequence[dict[str, Any]]
    failed: Sequence[dict[str, str]]
    out: Path | None
    reused: int  # photos that ``out`` had an answer for already
    fresh: int  # photos answered now

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "model": self.model,
            "classes": list(self.classes),
            "predictions": list(self.rows),
            "failed": list(self.failed),
            "out": str(self.out) if self.out else None,
        }

    def summary(self) -> list[tuple[str, str]]:
        """(photo, answer) rows for people; only the counts where the answers went to a file."""
        if self.out:
            done = [("Photos", str(self.fresh + self.reused)), ("Answers", str(self.out))]
            return done + ([("Not readable", str(len(self.failed)))] if self.failed else [])
        answers = [
            (row["path"], ", ".join(f"{name} {share:.1%}" for name, share in row["top"])) for row in self.rows
        ]
        return answers + [(row["path"], f"not readable: {row['reason']}") for row in self.failed]


def predict_photos(
    run: Path,
    photos: Sequence[Path],
    *,
    top: int,
    batch: int | None,
    device: str,
    threads: int | None,
    workers: int | None,
    precision: str | None,
    out: Path | None,
    progress: Progress,
) -> PredictionTable:
    """See ``jobs.predict``."""
    missing = [str(path) for path in photos if not path.exists()]
    if missing or not photos:
        what = f"no such photo or folder: {missing[0]}" if missing else "no photos named"
        raise MissingInputError(what, "check the path", id="D1", files=missing)
    if out is not None:
        folders = Source(tuple(path for path in photos if path.is_dir()))
        check_outside(out, folders, "file of answers", "--out")
        _check_out(out)
    listing = list_photos(photos, progress=progress, cache_dir=default_cache_dir())
    model = load(run, device=device, threads=threads, workers=workers, precision=precision)
    writer = _Writer(out, model.classes, min(top, len(model.classes)))
    stop = StopFlag()
    rows: list[dict[str, Any]] = []
    answered = 0
    failed: list[dict[str, str]] = []

    def on_bad(path: str, error: DeitftError) -> None:
        if path in listing.named or error.id == "S4":
            raise error
        failed.append({"path": path, "reason": error.what})
        progress.warn(Notice(id=error.id, severity="warning", text=error.what, files=(path,)))

    todo = [path for path in listing.paths if path not in writer.done]
    with catch_stop_signals(stop, progress):
        for first in range(0, len(todo), CHUNK):
            chunk = unlabelled(todo[first : first + CHUNK], listing.places)
            title = "looking at photos" if len(todo) <= CHUNK else f"photos {first + 1} to {first + len(chunk)}"
            found = model.predictions(chunk, batch=batch, title=title, progress=progress, stop=stop, on_bad=on_bad)
            unread = {row["path"] for row in failed}
            fresh = [
                _row(answer, model.classes, writer.top)
                for answer in model.answers(found)
                if answer.path not in unread
            ]
            writer.write(fresh)
            answered += len(fresh)
            rows.extend(fresh if out is None else [])
            if stop and first + CHUNK < len(todo):
                raise stop.error(
                    f"{first + len(chunk)} photos are answered", "repeat the command with --out to go on"
                )
    return PredictionTable(
        model=model.bundle.model_name,
        classes=model.classes,
        rows=rows,
        failed=failed,
        out=out,
        reused=len(writer.done),
        fresh=answered,
    )


def _row(answer: Answer, classes: Sequence[str], top: int) -> dict[str, Any]:
    return {
        "path": answer.path,
        "label": answer.label,
        "probability": answer.probability,
        "top": answer.top(classes, top),
    }


def _check_out(out: Path) -> None:
    """Prove that the answers can be written, before a photo is opened; leaves nothing behind.

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


class _Writer:
    """Appends answers to a CSV file; what is in it already need not be asked again."""

    def __init__(self, out: Path | None, classes: Sequence[str], top: int) -> None:
        self.out = out
        self.top = top
        self.columns = ["path", "label", "probability"]
        for place in range(2, top + 1):
            self.columns += [f"label_{place}", f"probability_{place}"]
        self.done: set[str] = set()
        if out is not None and out.exists():
            self._take_up(out, classes)

    def _take_up(self, out: Path, classes: Sequence[str]) -> None:
        """Read what is there. A kill can leave half a line: it is cut off, and its photo asked again.

        Raises:
            OutputError: it holds something else, or answers of a model with other classes (id OUT).
        """
        data = out.read_bytes()
        rows = self._rows(data)
        if rows is None:
            raise OutputError(f"{out} is there and holds something else", "choose another --out", id="OUT")
        other = next((cell for row in rows for cell in row[1::2] if cell not in classes), None)
        if other is not None:
            raise OutputError(
                f'{out} holds answers of another model ("{other}" is no class of this one)',
                "choose another --out",
                id="OUT",
            )
        whole = _bytes([self.columns, *rows]) if rows else b""
        if whole != data:
            write_bytes(out, whole)
        self.done = {row[0] for row in rows}

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

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append answers.

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
            reason = (error.strerror or str(error)).lower()
            raise StorageError(
                f"cannot write to {self.out} ({reason})", "make room and repeat the command: it goes on", id="OUT"
            ) from error


def _bytes(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as CSV. A file name that is not UTF-8 keeps its bytes."""
    return csv_lines(rows).encode("utf-8", "surrogateescape")
