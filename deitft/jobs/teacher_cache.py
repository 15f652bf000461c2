"""``deitft teacher-cache``: the teacher's answers of a run's plan, in advance; or compared with it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.errors import UsageError
from deitft.runs import asked

if TYPE_CHECKING:
    from deitft.runs.filling import CacheResult


def teacher_cache(
    run: str | Path,
    *,
    verify: float | None = None,
    teacher_cache: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CacheResult:
    """Ask the teacher of a run about every view that its plan shows, and keep the answers.

    A run whose views are these (same photos, seed, augmentation, batch) needs no teacher then. ``teacher_cache``
    is the folder: the run's own unless named, else one inside the run. What is known already is not asked again:
    an interrupted filling goes on. ``workers`` processes read photos meanwhile. Several processes (``torchrun``)
    share what is left. ``resume`` reads the cache inside a run, if the run has no other.

    With ``verify`` nothing is filled: chunks are compared with their digests, and this share of the steps (0.01)
    with what the teacher says now.

    Returns:
        How many views there are, how many have an answer, how many bytes that takes; ``.record()``.

    Raises:
        UsageError: the run has no teacher (id CACHE).
        RecipeError: the cache is of other views, each difference named, or was begun with other threads, device or
            batches of the teacher and is not full (id CACHE); other photos (id C12).
        DataError: damaged chunks (id CACHE), or a teacher that is not the plan's any more (id TEACHER).
        GateError: less than 99.9 % of the sample are the same (id CACHE, exit 3).
    """
    from deitft.core.records import read_run_record
    from deitft.recipe.plan import read_plan
    from deitft.runs.filling import CacheResult, ask_along, teacher_cache_of
    from deitft.runs.folder import open_run
    from deitft.runs.resume import request_of
    from deitft.runs.together import together

    if verify is not None and not (isinstance(verify, int | float) and 0 < verify <= 1):
        raise UsageError(
            f"--verify {verify!r} is no share of the views", "write 0.01 for one in a hundred", id="USAGE"
        )
    folder = open_run(asked.folder(run, "run"))
    record, plan = read_run_record(folder.path), read_plan(folder.plan)
    request = request_of(
        folder,
        record,
        plan,
        device=device,
        threads=asked.whole(threads, "threads", 1),
        workers=asked.whole(workers, "workers", 0),
        progress=progress or Silent(),
        **({"teacher_cache": asked.folder(teacher_cache, "teacher_cache")} if teacher_cache else {}),
    )
    began_with = record.environment.get("processes")
    processes = began_with if isinstance(began_with, int) and began_with > 0 else 1
    with pixel_limit(request.max_pixels), together(device, progress) as group:
        if not group.leads:
            ask_along(group)
            return CacheResult(folder=folder.path, views=0, known=0, bytes=0)
        request = replace(request, group=group)
        return teacher_cache_of(folder, plan, request, verify=verify, processes=processes)
