"""Plan: what a run will do, resolved and frozen. Nothing is "auto", nothing is None for a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from deitft.recipe.preprocessing import Preprocessing

Precision = Literal["fp32", "bf16", "fp16"]
DistillKind = Literal["soft", "hard"]
Reduction = Literal["batchmean", "numel"]
PLAN_VERSION = 1
MOST_PROBED = 5000
"""Train photos that the frozen probe sees at most: it is a baseline, and must not cost a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimPlan:
    """``lr`` is the peak; ``layer_decay`` 1 is none; ``warmup_steps`` linear from 0 exclusive."""

    name: Literal["adamw", "lamb", "sgd"]
    lr: float
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    momentum: float
    layer_decay: float
    clip_norm: float | None
    warmup_steps: int
    schedule: Literal["cosine", "linear", "constant"]
    final_lr_share: float
    decay_distill_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentPlan:
    """What training sees of a photo; fields as in the recipe."""

    policy: Literal["none", "light", "randaugment", "three_augment", "albumentations"]
    magnitude: float
    magnitude_std: float
    operations: int
    crop: Literal["random_resized", "simple", "none"]
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    vertical_flip: float
    color_jitter: float
    erasing: float
    repeats: int
    albumentations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingPlan:
    """Beta parameters; 0 is off."""

    mixup: float
    cutmix: float
    chance: float
    switch: float

    @property
    def on(self) -> bool:
        """True where any step may mix."""
        return self.chance > 0 and (self.mixup > 0 or self.cutmix > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPlan:
    """``class_weights``: one factor a class, of mean 1 over the train photos, or None."""

    name: Literal["cross_entropy", "bce"]
    label_smoothing: float
    class_weights: tuple[float, ...] | None
    logit_adjustment: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherPlan:
    """One teacher, by content. ``columns`` [C]: where each of the student's classes is in its logits.

    ``path`` is a bundle's folder or a weights file ("" in a dry run, where it has yet to learn the classes),
    ``sha256`` that of its weights, ``val_top1`` what it scores on the student's val photos (None where there are
    none).
    """

    name: str
    model: str
    path: str
    sha256: str
    preprocessing: Preprocessing
    columns: tuple[int, ...]
    val_top1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillPlan:
    """What the teacher's word is worth: ``alpha`` of the loss, at temperature ``tau``; see ``objectives``.

    ``token``: the distillation head alone listens to it. ``cache_views``: epochs of views after which they come
    again, so that a cache of them is enough (an approximation); None never. ``cache_classes``: kept a view of soft
    targets, None as many as there are up to 16; their precision beside it.
    """

    kind: DistillKind
    token: bool
    alpha: float
    tau: float
    reduction: Reduction
    teachers: tuple[TeacherPlan, ...]
    cache_views: int | None = None
    cache_classes: int | None = None
    cache_precision: Literal["fp32", "fp16"] = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run, resolved. Written to ``plan.json`` before the first step, with what was asked beside it."""

    recipe: str
    seed: int
    # model
    model: str  # timm name with its tag
    short_name: str | None
    trainable: Literal["all", "attention", "head"]
    head_start: Literal["random", "probe"]
    drop_path: float
    weights: Mapping[str, Any]  # where the starting weights come from, or {"kind": "none"}
    preprocessing: Preprocessing
    # data
    data: str
    data_fingerprint: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]  # photos a class in train
    photos: Mapping[str, int]  # {"train": …, "val": …, "test": …}
    balance: Literal["none", "class", "sqrt"]
    # length, in optimizer steps; one epoch is `steps_per_epoch` steps
    total_steps: int
    steps_per_epoch: int
    batch: int
    micro_batch: int
    train_size: int
    full_size_from_step: int
    validate_every: int
    patience: int | None
    select_by: Literal["top1", "balanced_accuracy", "loss", "calibrated_loss"]
    log_every: int
    save_every_seconds: float
    keep_checkpoints: int
    # machine
    device: str
    precision: Precision
    channels_last: bool
    compile: bool
    threads: int
    workers: int
    # method
    optim: OptimPlan
    augment: AugmentPlan
    mixing: MixingPlan
    loss: LossPlan
    ema_decay: float | None
    ema_warmup: bool
    distill: DistillPlan | None = None
    probe_photos: int = MOST_PROBED  # train photos that the frozen probe sees at most
    unlabelled: tuple[str, ...] = ()  # splits without a single label: train learns from the teacher alone
    asked: Mapping[str, Any] = field(default_factory=dict)  # dotted field -> what was typed or "auto"
    version: int = PLAN_VERSION

    @property
    def epochs(self) -> float:
        """Passes over the train photos, counting repeats as views."""
        return self.total_steps / self.steps_per_epoch

    def size_at(self, step: int) -> int:
        """Pixels a side of the training views at a step (0 is the first)."""
        return self.preprocessing.size if step >= self.full_size_from_step else self.train_size

    def record(self) -> dict[str, Any]:
        """Plain data, for ``plan.json``."""
        return asdict(self)
