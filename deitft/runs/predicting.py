"""Photos -> a table of answers: goes on after a bad file, goes on after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.bundle.format import load_bundle
from deitft.core.progress import Progress, StopFlag, Task, catch_stop_signals
from deitft.data.inspect import default_cache_dir
from deitft.data.scan import Listing, list_photos
from deitft.data.source import Source
from deitft.errors import DeitftError, MissingInputError, Notice, StoppedError
from deitft.runs.answer_file import AnswerFile
from deitft.runs.classifier import Answer, LoadedClassifier, bundle_folder, load, unlabelled
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
    reused: int  # photos asked about that ``out`` had an answer for already
    fresh: int  # photos answered now

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "model": self.model,
            "classes": list(self.classes),
            "predictions": list(self.rows),
            "failed": list(self.failed),
            "out": str(self.out) if self.out else None,
            "answered": self.fresh,
            "reused": self.reused,
        }

    def summary(self) -> list[tuple[str, str]]:
        """(photo, answer) rows for people; only the counts where the answers went to a file."""
        if self.out:
            there = f" ({self.reused} were there already)" if self.reused else ""
            done = [("Photos", f"{self.fresh + self.reused}{there}"), ("Answers", str(self.out))]
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
    file = AnswerFile(out, load_bundle(bundle_folder(run)), top)
    listing = list_photos(photos, progress=progress, cache_dir=default_cache_dir())
    todo = [path for path in listing.paths if path not in file.done]
    reused = len(listing) - len(todo)
    if reused:
        progress.say(f"{reused} of {len(listing)} photos were there already, in {out}")
    model = load(run, device=device, threads=threads, workers=workers, precision=precision)
    file.begin()
    answered, rows, failed = _answer(model, listing, todo, file, batch, progress)
    return PredictionTable(
        model=model.bundle.model_name,
        classes=model.classes,
        rows=rows,
        failed=failed,
        out=out,
        reused=reused,
        fresh=answered,
    )


def _answer(
    model: LoadedClassifier,
    listing: Listing,
    todo: Sequence[str],
    file: AnswerFile,
    batch: int | None,
    progress: Progress,
) -> tuple[int, list[dict[str, Any]], list[dict[str, str]]]:
    """Look at photos: how many were answered, the answers where no file takes them, and what could not be read."""
    stop = StopFlag()
    answered = 0
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with catch_stop_signals(stop, progress), progress.task("looking at photos", len(todo), unit="photos") as bar:
        task = _Counted(bar)

        def on_bad(path: str, error: DeitftError) -> None:
            if path in listing.named or error.id == "S4":
                raise error
            failed.append({"path": path, "reason": error.what})
            progress.warn(Notice(id=error.id, severity="warning", text=error.what, files=(path,)))
            task.advance(1)

        photos = unlabelled(todo, listing.places)
        try:
            with closing(model.in_parts(photos, CHUNK, batch=batch, task=task, stop=stop, on_bad=on_bad)) as parts:
                for found in parts:
                    fresh = [_row(answer, model.classes, file.top) for answer in model.answers(found)]
                    file.write(fresh)
                    answered += len(fresh)
                    rows.extend(fresh if file.out is None else [])
        except StoppedError as error:
            if not stop:
                raise
            there = f"; {answered} answers are in {file.out}" if file.out else ""
            what = f"{task.done} of {len(todo)} photos were looked at{there}"
            hint = "repeat the command to go on" if file.out else "run the command again; with --out it can go on"
            raise stop.error(what, hint) from error
    return answered, rows, failed


class _Counted:
    """A task that knows how far it is."""

    def __init__(self, inner: Task) -> None:
        self.inner, self.done = inner, 0

    def advance(self, count: int = 1, **shown: float | str) -> None:
        """Move the task."""
        self.done += count
        self.inner.advance(count, **shown)

    def line(self, text: str) -> None:
        """Hand a line on."""
        self.inner.line(text)


def _row(answer: Answer, classes: Sequence[str], top: int) -> dict[str, Any]:
    return {
        "path": answer.path,
        "label": answer.label,
        "probability": answer.probability,
        "top": answer.top(classes, top),
    }
