"""``deitft pretrain``: DeiT's way of training from the start, with a teacher or without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deitft.core.progress import Progress
from deitft.data.bad_photo import pixel_limit
from deitft.runs.request import RunResult
from deitft.runs.typed import train_request


def pretrain(
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    group_by: str | None = None,
    unlabelled: bool = False,
    model: str | None = None,
    recipe: str | Path | None = None,
    set: Sequence[str] = (),
    distill: str | None = None,
    teacher: str | Path | Sequence[str | Path] = (),
    adapt_teacher: str | None = None,
    teacher_cache: str | Path | None = None,
    cache_views: int | None = None,
    weights: str | Path | None = None,
    weights_dir: str | Path | None = None,
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
    progress: Progress | None = None,
) -> RunResult:
    """Train from random weights (or from ``weights``) by a recipe of DeiT's, and leave a run folder.

    ``data`` as for ``finetune``; without it the embedded digits are learned, with ``distill`` from a small convnet
    that learns them first.
    ``unlabelled``: the photos have no labels, and all that is learned comes from ``teacher``. ``recipe`` is
    ``pretrain-deit`` unless named, for the digits ``pretrain-small``. ``weights_dir`` is where a teacher's weights
    are. The other keywords are those of ``finetune``.

    Returns:
        Where the run is, and its figures: ``.folder``, ``.record()``.

    Raises:
        DeitftError: anything that a user can mend; ``.line`` says how.
    """
    started = time.monotonic()  # a time limit counts the imports below, too
    from deitft.runs.digits import digits_instead
    from deitft.runs.follow import follow
    from deitft.runs.resume import resume_newest
    from deitft.runs.together import together
    from deitft.runs.train import train

    probe, pretrained = weights is not None, weights is not None
    given = dict(locals())
    with together(device, progress) as group:
        if not group.leads:
            return follow(group)
        instead = {} if data is not None else digits_instead(given)
        given |= instead
        request = train_request("pretrain", given | {"recipe": given["recipe"] or "pretrain-deit"})
        request = replace(request, teacher_pretrained="teacher" not in instead, group=group)
        with pixel_limit(request.max_pixels):
            return resume_newest(request) if resume else train(request)
