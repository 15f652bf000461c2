"""``deitft predict``: photos -> classes and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.runs import asked

if TYPE_CHECKING:
    from deitft.runs.predicting import PredictionTable


def predict(
    run: str | Path,
    photos: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    max_pixels: str | int | None = None,
    batch: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    precision: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> PredictionTable:
    """Say what is on photos. ``photos`` are files, folders, tar shards and tables (CSV, Parquet) of paths; ``top``
    classes are given for each.

    A photo that was named and cannot be read is an error; one found in a folder is listed as such and the
    others go on. With ``out`` (a CSV file) the answers are written as they come, and the same command goes on
    where it was interrupted: paths that are in it are not asked again. ``out`` with ".json" behind its name says
    which model answers.

    Raises:
        MissingInputError: no such run, path, or no photos there.
        DataError: a named photo cannot be read.
        OutputError: ``out`` cannot be written, holds something else, or answers of another model.
    """
    from deitft.runs.predicting import predict_photos

    with pixel_limit(asked.pixels(max_pixels)):
        return predict_photos(
            asked.folder(run, "run"),
            [asked.folder(photo, "photos") for photo in ([photos] if isinstance(photos, str | Path) else photos)],
            top=asked.whole(top, "top", 1) or 1,
            batch=asked.whole(batch, "batch", 1),
            device=device,
            threads=asked.whole(threads, "threads", 1),
            workers=asked.whole(workers, "workers", 0),
            precision=precision,
            out=None if out is None else asked.folder(out, "out"),
            progress=progress or Silent(),
        )
