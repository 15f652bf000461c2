"""What a teacher adds to the labels: soft or hard distillation, through the distillation token or without it.

Legend: B images, C classes; z the student's logits, t the teacher's, sm the softmax.

Sources. P: Touvron et al. 2021, arXiv 2012.12877, section 4. Code: facebookresearch/deit at 7e160fe, losses.py.
They differ: P's soft loss has weight 0.1 and temperature 3, the code's defaults are 0.5 and 1; and the code
divides the divergence by the number of classes as well. Both are named here, P is the default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from deitft.objectives.supervised import Supervised, wide
from deitft.recipe.plan_types import DistillPlan, Reduction

if TYPE_CHECKING:
    from deitft.data.stream import Batch
    from deitft.models.build import Heads

Voice = Callable[["Batch"], Tensor]
"""What the teacher says of a batch's images: classes int64 [B] (hard), or log-probabilities float32 [B, C] (soft).

An answer that is not finite stays one: ``NO_ANSWER`` in the place of a class, NaN among log-probabilities.
"""

NO_ANSWER = -1
"""In the place of a class: the teacher's logits were not finite. Their argmax would be a class like any other, and
would be learned."""


def soft_loss(
    logits: Tensor, log_probabilities: Tensor, *, tau: float, reduction: Reduction = "batchmean"
) -> Tensor:
    """Soft distillation, a 0-d tensor in nats: ``tau² KL(sm(t / tau) || sm(z / tau))``, mean over images.

    P, equation 2, in the direction of the code (Hinton et al. 2015: the teacher's distribution comes first).
    ``log_probabilities`` [B, C] are the teacher's at temperature 1; dividing them by tau and normalising again is
    the same as dividing t. Summed over classes ("batchmean"); "numel" divides by C as well, as the code does, so
    that the same weight means less the more classes there are.
    """
    logits = wide(logits)
    with torch.autocast(logits.device.type, enabled=False):
        teacher = F.log_softmax(log_probabilities.to(logits.dtype) / tau, dim=1)
        student = F.log_softmax(logits / tau, dim=1)
        per_image = (teacher.exp() * (teacher - student)).sum(1) * (tau * tau)
        loss = per_image.mean()
        return loss / logits.shape[1] if reduction == "numel" else loss


def hard_loss(logits: Tensor, said: Tensor) -> Tensor:
    """Hard distillation, a 0-d tensor in nats: cross-entropy with the class the teacher names (P, equation 3).

    ``said`` int64 [B]. No label smoothing: P smooths true labels only, and so does the code. NaN where an answer
    is ``NO_ANSWER``: such a step is skipped (fault N1).
    """
    logits = wide(logits)
    with torch.autocast(logits.device.type, enabled=False):
        loss = F.cross_entropy(logits, said.clamp(min=0))
        return torch.where((said == NO_ANSWER).any(), torch.nan, loss)


class Distilled:
    """The loss of a plan with a teacher: ``(1 - alpha) * label + alpha * teacher``.

    With the token the class head learns from the labels and the distillation head from the teacher. Without it
    ("usual" distillation) each head learns from both; where a model has two heads their losses are averaged, as in
    ``Supervised``. Photos without labels are ``TeacherAlone``'s.
    """

    def __init__(self, supervised: Supervised, plan: DistillPlan, voice: Voice) -> None:
        self._supervised, self.plan, self.voice = supervised, plan, voice

    def __call__(self, heads: Heads, batch: Batch) -> dict[str, Tensor]:
        """Losses by name, each a 0-d mean over the B images; ``total`` is the one to push down.

        ``label`` is what the labels say, ``teacher`` what the teacher says.
        """
        said = self.voice(batch)
        if self.plan.token:
            assert heads.distill_logits is not None, "the plan has seen to it that there is a distillation head"
            label = self._label(heads.class_logits, batch.targets)
            teacher = self._teacher(heads.distill_logits, said)
        else:
            every = [heads.class_logits, *([] if heads.distill_logits is None else [heads.distill_logits])]
            label = torch.stack([self._label(logits, batch.targets) for logits in every]).mean()
            teacher = torch.stack([self._teacher(logits, said) for logits in every]).mean()
        alpha = self.plan.alpha
        return {"total": (1 - alpha) * label + alpha * teacher, "label": label, "teacher": teacher}

    def _label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Kept in the graph with weight 0 where alpha is 1: each head has a gradient then, if one of zeros."""
        return self._supervised.of_one_head(logits, targets)

    def _teacher(self, logits: Tensor, said: Tensor) -> Tensor:
        return teacher_loss(self.plan, logits, said)


class TeacherAlone:
    """The loss of photos without labels: the teacher's term and no other, on every head.

    ``mean over heads of hard_loss`` (or ``soft_loss``) with what the teacher says of this very view. There is no
    weight to choose: with one term it would only scale the learning rate.
    """

    def __init__(self, plan: DistillPlan, voice: Voice) -> None:
        self._plan, self._voice = plan, voice

    def __call__(self, heads: Heads, batch: Batch) -> dict[str, Tensor]:
        """Losses by name, each a 0-d mean over the B images: ``total`` and ``teacher`` are the same."""
        said = self._voice(batch)
        every = [heads.class_logits, *([] if heads.distill_logits is None else [heads.distill_logits])]
        loss = torch.stack([teacher_loss(self._plan, logits, said) for logits in every]).mean()
        return {"total": loss, "teacher": loss}


def teacher_loss(plan: DistillPlan, logits: Tensor, said: Tensor) -> Tensor:
    """The loss of one head's logits [B, C] by what the teacher has said, of the plan's kind; a 0-d tensor."""
    if plan.kind == "hard":
        return hard_loss(logits, said)
    return soft_loss(logits, said, tau=plan.tau, reduction=plan.reduction)
