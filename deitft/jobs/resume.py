"""``deitft resume``: go on with a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.runs import asked
from deitft.runs.request import DASHBOARDS, RunResult


def resume(
    run: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    allow_changed: Sequence[str] = (),
    log_to: Sequence[str] = (),
    progress: Progress | None = None,
) -> RunResult:
    """Go on with the run in folder ``run`` at its newest good checkpoint, to the same end.

    ``run`` may also name one checkpoint (``runs/finetune-1/checkpoints/step-000120``): then exactly that one
    is taken, or refused if it is damaged. ``allow_changed`` names what may differ from the run that was saved
    ("data", "lr").

    Raises:
        RecipeError: the photos are not those of the run (id C12).
        DataError: no usable checkpoint (id C4).
        MissingInputError: no run there.
    """
    from deitft.core.records import read_run_record
    from deitft.recipe.plan import read_plan
    from deitft.runs.folder import open_run
    from deitft.runs.follow import follow
    from deitft.runs.resume import request_of
    from deitft.runs.resume import resume as go_on
    from deitft.runs.together import together

    run = asked.folder(run, "run")
    folder = open_run(run)
    record = read_run_record(folder.path)
    plan = read_plan(folder.plan)
    request = request_of(
        folder,
        record,
        plan,
        device=device,
        threads=asked.whole(threads, "threads", 1),
        workers=asked.whole(workers, "workers", 0),
        allow_changed=asked.texts(allow_changed, "allow_changed"),
        log_to=asked.texts(log_to, "log_to", DASHBOARDS),
        progress=progress or Silent(),
    )
    named = run if run.resolve().parent == folder.checkpoints.resolve() else None
    with pixel_limit(request.max_pixels), together(device, progress) as group:
        if not group.leads:
            return follow(group)
        return go_on(folder, replace(request, group=group), checkpoint=named)
