"""What a plan pushes down: labels alone, or labels and teachers, live or remembered."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from torch import Tensor

from deitft.core.progress import Progress
from deitft.core.units import format_bytes
from deitft.data.photos import PhotoSet
from deitft.data.stream import Batch, views_of
from deitft.errors import DataError, RecipeError
from deitft.objectives.cached_teacher import CachedTeacher, kept_of
from deitft.objectives.distillation import Distilled, TeacherAlone, Voice
from deitft.objectives.supervised import Supervised
from deitft.objectives.teacher import LiveTeacher
from deitft.objectives.teacher_cache import HEADER, CacheHeader, TeacherCache, header_of, stored_header
from deitft.recipe.plan_types import Plan
from deitft.runs.teacher import open_teacher
from deitft.training.step import Objective

FOLDER = "teacher-cache"
"""Where a run's cache is, if nothing else is said: below the run."""


class Learning:
    """The objective of a plan, and what has to be closed after it. ``memory`` is the cache in use, or None."""

    def __init__(self, objective: Objective, memory: CachedTeacher | None = None) -> None:
        self.objective, self.memory = objective, memory

    def close(self) -> None:
        """Write what a cache has in memory."""
        if self.memory is not None:
            self.memory.close()


class LazyTeacher:
    """Teachers that are opened at the first question: a warm cache never needs them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._live: LiveTeacher | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """See ``objectives.distillation.Voice``."""
        if self._live is None:
            distill = self._plan.distill
            assert distill is not None, "asked only where there are teachers"
            self._live = LiveTeacher([open_teacher(one) for one in distill.teachers], self._plan, distill.kind)
        return self._live(batch)


def learning_of(
    plan: Plan,
    photos: PhotoSet,
    progress: Progress,
    *,
    cache: Path | None = None,
    part: str = "run-0",
    share: int | None = None,
) -> Learning:
    """The objective of a plan. ``photos`` are the train photos; ``cache`` the folder of the teacher's answers, of
    which this process writes the files called ``part``; ``share``: rows of the batch that it has, default all.

    Raises:
        RecipeError: the cache is of other views (id CACHE).
        DataError: the teacher is not the plan's any more (id TEACHER).
    """
    if plan.distill is None:
        return Learning(Supervised(plan.loss, plan.train_counts, plan.device))
    voice: Voice = LazyTeacher(plan)
    memory = None if cache is None else remembering(plan, photos, progress, cache, voice, part=part, share=share)
    return Learning(heard(plan, memory or voice), memory)


def heard(plan: Plan, voice: Voice) -> Objective:
    """The objective of a plan whose teacher speaks with this voice."""
    assert plan.distill is not None, "asked only where there is a teacher"
    if "train" in plan.unlabelled:
        return TeacherAlone(plan.distill, voice)
    return Distilled(Supervised(plan.loss, plan.train_counts, plan.device), plan.distill, voice)


def remembering(
    plan: Plan,
    photos: PhotoSet,
    progress: Progress,
    folder: Path,
    voice: Voice,
    *,
    part: str = "run-0",
    share: int | None = None,
) -> CachedTeacher:
    """A cache in front of a teacher; says where its answers were given under other conditions."""
    opened = TeacherCache(folder, cache_header(plan, photos, share), part=part)
    progress.say(
        f"the cache {folder} takes {format_bytes(opened.header.bytes_for(view_steps(plan)))} when it is full"
    )
    if opened.inexact:
        progress.say(
            f"the cache {folder} was made elsewhere ({opened.inexact}): hardly any answer differs; "
            "it is read, and nothing is added to it"
        )
    return CachedTeacher(opened, voice, len(plan.classes), views_of(plan))


def check_cache(plan: Plan, photos: PhotoSet, folder: Path | None) -> None:
    """Prove that a plan can use the cache in a folder, before the run is begun.

    Raises:
        RecipeError, DataError, OutputError: see ``objectives.teacher_cache.stored_header``.
    """
    if folder is not None and plan.distill is not None:
        stored_header(folder, cache_header(plan, photos))


def cache_inside(run: Path, plan: Plan, photos: PhotoSet, progress: Progress) -> Path | None:
    """The cache inside a run, which ``teacher-cache`` fills, or None; one of other views is said, not used."""
    folder = run / FOLDER
    if plan.distill is None or not (folder / HEADER).is_file():
        return None
    try:
        check_cache(plan, photos, folder)
    except (RecipeError, DataError) as error:
        progress.say(f"{error.what}: it is not used")
        return None
    return folder


def view_steps(plan: Plan) -> int:
    """Steps of a plan whose views differ: all, or those of the first epochs where their views come again."""
    again = plan.distill.cache_views if plan.distill is not None else None
    return min(plan.total_steps, again * plan.steps_per_epoch) if again else plan.total_steps


def cache_header(plan: Plan, photos: PhotoSet, share: int | None = None) -> CacheHeader:
    """Of which views a plan's cache is, and how answers are computed by a process with so many rows of a batch."""
    distill = plan.distill
    assert distill is not None, "a cache is for a plan with a teacher"
    kept = 0 if distill.kind == "hard" else kept_of(len(plan.classes), distill.cache_classes)
    labels = blake2b(photos.labels.tobytes(), digest_size=16).hexdigest()
    return header_of(
        plan,
        photos_digest(photos),
        labels_digest="" if plan.balance == "none" else labels,
        kept=kept,
        precision=distill.cache_precision,
        share=share,
    )


def photos_digest(photos: PhotoSet) -> str:
    """Which photos in which order: by content where that is known, else by path."""
    digest = blake2b(digest_size=16)
    for number, path in enumerate(photos.paths):
        digest.update(
            photos.digests[number] if photos.digests is not None else path.encode("utf-8", "surrogateescape")
        )
    return digest.hexdigest()
