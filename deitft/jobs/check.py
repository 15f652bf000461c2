"""``deitft check``: a folder of photos -> what is wrong with it, and files to look at and to decide in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.runs import asked

if TYPE_CHECKING:
    from deitft.runs.checking import CheckResult


def check(
    data: str | Path | Sequence[str | Path],
    *,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    group_by: str | None = None,
    splits: str | Path | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    max_pixels: str | int | None = None,
    allow_leak: bool = False,
    apply_labels: str | Path | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    weights_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    html: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Say what is wrong with photos and labels, and whether they can be trained on. Nothing of yours is changed.

    The same look that ``finetune`` takes first, and as it is remembered, ``finetune`` need not take it again.
    ``out`` is a folder for ``findings.csv``, ``check.json`` and ``fixes.csv`` ("check-NAME" where it is left out);
    ``html`` adds a page with the photos that were found. ``fixes.csv`` has a row for every photo whose label is in
    doubt, and room for a decision; with ``apply_labels``, such a file with decisions in it, the labels are checked
    as they were decided, and the folder gets them as ``labels.csv``: a list that ``finetune`` takes for its data.

    Labels that look wrong are looked for with the features of ``model``: where none is named, of a small model
    whose weights are at hand; "none" does not look.

    Errors among the findings do not raise: ``.ok`` says whether there are any, ``.raise_errors()`` raises one.

    Raises:
        MissingInputError: no folder, no photos (D1).
        DataError: nothing there can be read as photos with labels (D1, D9, D21, LAYOUT, S4).
        DataError: decisions that do not fit the photos (FIXES).
        OutputError: the files cannot be written (C5, OUT).
    """
    from deitft.runs.checking import CheckRequest, check_data
    from deitft.runs.doubts import Looker

    processes = asked.whole(workers, "workers", 0)
    looker = Looker(
        model=asked.text(model, "model"),
        weights=weights if isinstance(weights, str | None) else str(asked.folder(weights, "weights")),
        weights_dir=Path(weights_dir) if weights_dir else None,
        device=device,
        threads=asked.whole(threads, "threads", 1),
        workers=processes,
    )
    request = CheckRequest(
        data=asked.source(data, root, nested, group_by),
        splits=Path(splits) if splits else None,
        **asked.bad_photos(strict=strict, skip_bad=skip_bad),
        max_pixels=asked.pixels(max_pixels),
        allow_leak=allow_leak,
        seed=asked.whole(seed, "seed", 0) or 0,
        out=None if out is None else asked.folder(out, "out"),
        html=html,
        apply_labels=None if apply_labels is None else asked.folder(apply_labels, "apply_labels"),
        workers=_workers(processes),
        looker=looker,
    )
    with pixel_limit(request.max_pixels):
        return check_data(request, progress or Silent())


def _workers(asked_for: int | None) -> int:
    """Processes that read photos; 0 is one of its own."""
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if asked_for is None else max(1, asked_for)
