"""``deitft evaluate``: a run on labelled photos -> metrics with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.runs import asked

if TYPE_CHECKING:
    from deitft.runs.evaluating import Evaluation

SPLITS = ("train", "val", "test", "all")


def evaluate(
    run: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    split: str | None = None,
    batch: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    precision: str | None = None,
    out: str | Path | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    max_pixels: str | int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a run (or bundle) on labelled photos.

    ``data`` is what ``finetune`` takes. Where it has splits, ``split`` says which ("test" where there is one).
    Classes are matched by name. With ``out`` a folder gets ``metrics.json`` and ``predictions.csv``.

    Raises:
        DataError: a class that the model does not know (id D9).
        MissingInputError: no such run, no photos.
    """
    from deitft.runs.evaluating import evaluate_run

    with pixel_limit(asked.pixels(max_pixels)):
        return evaluate_run(
            asked.folder(run, "run"),
            asked.source(data, root, nested),
            split=None if split is None else asked.texts(split, "split", SPLITS)[0],
            batch=asked.whole(batch, "batch", 1),
            device=device,
            threads=asked.whole(threads, "threads", 1),
            workers=asked.whole(workers, "workers", 0),
            precision=precision,
            out=None if out is None else asked.folder(out, "out"),
            strict=strict,
            skip_bad=skip_bad,
            progress=progress or Silent(),
        )
