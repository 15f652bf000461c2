"""A teacher with a memory: what it has said of a view is read, what it has not is asked and kept.

Legend: B images, C classes, K classes kept a view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deitft.objectives.distillation import NO_ANSWER, Voice
from deitft.objectives.teacher_cache import TeacherCache, Words, known_words

if TYPE_CHECKING:
    from deitft.data.stream import Batch

StepOf = Callable[[int], int]
"""The step whose views a step shows: itself, or an earlier one where views come again."""


class CachedTeacher:
    """The teacher's answers, from the cache where they are there. ``asked`` and ``read`` count images.

    ``live`` is asked for the rest; it may be built at the first question, so that a warm cache needs no teacher.
    """

    def __init__(self, cache: TeacherCache, live: Voice, classes: int, step_of: StepOf) -> None:
        self._cache, self._live, self._classes, self._step_of = cache, live, classes, step_of
        self.asked = self.read = 0

    def __call__(self, batch: Batch) -> Tensor:
        """What the teacher says of a batch: see ``distillation.Voice``."""
        step, count = self._step_of(batch.step), len(batch)
        rows = slice(batch.first_row, batch.first_row + count)
        words = self._cache.read(step)[rows]
        if known_words(words).all():
            self.read += count
            return self._spoken(words).to(batch.images.device)
        said = self._live(batch)
        self.asked += count
        good = (said != NO_ANSWER) if said.ndim == 1 else said.isfinite()
        if bool(good.all()):  # a broken answer is the loop's business, and is not kept
            words = self._written(said)
            self._cache.write(step, batch.first_row, words)
            return self._spoken(words).to(said.device)
        return said

    def close(self) -> None:
        """Write what is in memory."""
        self._cache.flush()

    def _written(self, said: Tensor) -> Words:
        header = self._cache.header
        words = np.zeros(len(said), header.type)
        if not header.kept:
            words["classes"][:, 0] = said.cpu().numpy()
            return words
        values, classes = said.topk(header.kept, dim=1)
        words["classes"], words["log"] = classes.cpu().numpy(), values.cpu().numpy()
        return words

    def _spoken(self, words: Words) -> Tensor:
        """Hard: classes int64 [B]. Soft: log-probabilities float32 [B, C]; the mass that is left over after the K
        that were kept is shared evenly among the other classes."""
        kept, classes = self._cache.header.kept, torch.from_numpy(words["classes"].astype(np.int64))
        if not kept:
            return classes[:, 0]
        values = torch.from_numpy(words["log"].astype(np.float32))
        others = self._classes - kept
        left = (1 - values.double().exp().sum(dim=1)).clamp(min=1e-8) / max(others, 1)
        said = left.log().float()[:, None].repeat(1, self._classes)
        return said.scatter_(1, classes, values)


def kept_of(classes: int, wanted: int | None) -> int:
    """Classes kept a view for soft targets: as wanted, else all up to 16, at most all there are."""
    return min(classes, wanted or min(classes, 16))
