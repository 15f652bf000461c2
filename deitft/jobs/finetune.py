"""``deitft finetune``: a folder of photos -> a model and a report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deitft.core.progress import Progress
from deitft.data.bad_photo import pixel_limit
from deitft.runs.request import RunResult
from deitft.runs.typed import train_request


def finetune(
    data: str | Path | Sequence[str | Path],
    *,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    group_by: str | None = None,
    model: str | None = None,
    recipe: str | Path = "finetune",
    set: Sequence[str] = (),
    distill: str | None = None,
    teacher: str | Path | Sequence[str | Path] = (),
    adapt_teacher: str | None = None,
    teacher_cache: str | Path | None = None,
    cache_views: int | None = None,
    weights: str | Path | None = None,
    weights_dir: str | Path | None = None,
    pretrained: bool = True,
    seed: int = 0,
    runs_dir: str | Path = "runs",
    name: str | None = None,
    splits: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    precision: str | None = None,
    time_limit: str | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    max_pixels: str | int | None = None,
    allow_leak: bool = False,
    resume: bool = False,
    allow_changed: Sequence[str] = (),
    dry_run: bool = False,
    price_per_hour: float | None = None,
    log_to: Sequence[str] = (),
    probe: bool = True,
    progress: Progress | None = None,
) -> RunResult:
    """Train a classifier on a folder of photos and leave a run folder with model, evidence and report.

    ``data`` is a folder of one folder a class, or of train/val/test folders of these; a table (CSV, Parquet) of
    paths and labels, which begin at its own folder or at ``root``; tar shards; or several of these. With
    ``nested`` every folder inside a class folder is a class of its own. ``group_by``, a table's column or a
    regular expression on file names, says what stays on one side of the split. ``set`` overrides recipe fields
    ("optim.lr=1e-4"). ``time_limit`` ("30m") bounds the whole command. ``resume`` goes on with the newest
    unfinished run of these photos. ``distill`` ("hard", "soft") learns from ``teacher`` too: a run, a bundle, or a
    model, which first learns your classes in a run of its own (``adapt_teacher``); ``teacher_cache`` keeps what it
    said, ``cache_views`` shows the views of so many epochs again and again, an approximation that a small cache
    serves. ``dry_run`` measures and plans, and writes nothing; ``price_per_hour`` is what the machine costs.
    ``probe`` adds the frozen-feature baseline to the report. The other keywords are those of
    ``deitft finetune --help``.

    Returns:
        Where the run is, and its figures: ``.folder``, ``.record()``.

    Raises:
        DeitftError: anything that a user can mend; ``.line`` says how.
    """
    started = time.monotonic()  # a time limit counts the imports below, too
    request = train_request("finetune", dict(locals()))
    from deitft.runs.follow import follow
    from deitft.runs.resume import resume_newest
    from deitft.runs.together import together
    from deitft.runs.train import train

    with pixel_limit(request.max_pixels), together(device, progress) as group:
        if not group.leads:
            return follow(group)
        request = replace(request, group=group)
        return resume_newest(request) if resume else train(request)
