"""What the teacher says of the very images the student sees: frozen, with its own mean, deviation and size.

The teacher sees the mixed and erased pixels, as DeiT's does (arXiv 2012.12877, section 4): its answer is for this
view, not for the photo. Its classes are the student's by name; the columns were matched before anything was spent.

Legend: B images, C classes of the student, S pixels a side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from deitft.compute.device import autocast
from deitft.models.build import Classifier, logit_mean
from deitft.objectives.distillation import NO_ANSWER
from deitft.objectives.supervised import wide
from deitft.recipe.auto_rules import size_unit
from deitft.recipe.plan_types import DistillKind, Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing

if TYPE_CHECKING:
    from deitft.data.stream import Batch


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model with its weights in, and what the plan says of it."""

    classifier: Classifier
    plan: TeacherPlan


class LiveTeacher:
    """One teacher or the mean of several, asked at every batch. It never learns, nor leaves evaluation mode."""

    def __init__(self, teachers: Sequence[Teacher], plan: Plan, kind: DistillKind) -> None:
        self._plan, self._kind = plan, kind
        self._teachers = [(_frozen(teacher.classifier, plan), teacher.plan) for teacher in teachers]

    def __call__(self, batch: Batch) -> Tensor:
        """Classes int64 [B] (hard) or log-probabilities float32 [B, C] (soft) of the batch's images."""
        said = self.log_probabilities(batch.images)
        if self._kind == "soft":
            return said
        return torch.where(said.isfinite().all(dim=1), said.argmax(dim=1), NO_ANSWER)

    @torch.no_grad()
    def log_probabilities(self, images: Tensor) -> Tensor:
        """Of images [B, 3, S, S], normalised for the student: float32 [B, C]; of several teachers their mean."""
        every = []
        for classifier, teacher in self._teachers:
            seen = self._as_seen(images, classifier, teacher.preprocessing)
            with autocast(self._plan.device, self._plan.precision):
                logits = logit_mean(classifier(seen))
            columns = torch.tensor(teacher.columns, device=logits.device)
            every.append(F.log_softmax(wide(logits)[:, columns], dim=1))
        if len(every) == 1:
            return every[0]
        return torch.logsumexp(torch.stack(every), dim=0) - math.log(len(every))

    def _as_seen(self, images: Tensor, classifier: Classifier, pre: Preprocessing) -> Tensor:
        """The same images with the teacher's mean and deviation, at the teacher's size."""
        seen = renormalise(images, self._plan.preprocessing, pre)
        size = size_for(images.shape[-1], self._plan.preprocessing.size, classifier, pre)
        if size != images.shape[-1]:
            seen = F.interpolate(seen, size=(size, size), mode="bicubic", antialias=True)
        return seen.contiguous(memory_format=torch.channels_last) if classifier.family == "convnet" else seen


def _frozen(classifier: Classifier, plan: Plan) -> Classifier:
    classifier.eval()
    classifier.requires_grad_(False)
    classifier.set_fused_attention(not plan.device.startswith("cpu"))
    classifier.to(plan.device)
    if classifier.family == "convnet":
        classifier.to(memory_format=torch.channels_last)
    return classifier


def renormalise(images: Tensor, old: Preprocessing, new: Preprocessing) -> Tensor:
    """Images [B, 3, S, S], normalised by one mean and deviation, as if they had been by another's.

    ``(x * s + m - m') / s'`` a channel; the same tensor where nothing differs.
    """
    if (old.mean, old.std) == (new.mean, new.std):
        return images
    mean, std, new_mean, new_std = (
        torch.tensor(values, dtype=torch.float64).to(images)[:, None, None]
        for values in (old.mean, old.std, new.mean, new.std)
    )
    return (images * std + (mean - new_mean)) / new_std


def size_for(size: int, full: int, classifier: Classifier, pre: Preprocessing) -> int:
    """Pixels a side that the teacher sees of a view of ``size``, where the student's full size is ``full``.

    Its own size for a full view, and the same share of it for a smaller one, in whole patches; a teacher that
    takes one size only gets that.
    """
    if classifier.fixed_size or size == full:
        return pre.size
    unit = size_unit(pre.size, classifier.timm_name)
    return max(unit, round(pre.size * size / full / unit) * unit)
