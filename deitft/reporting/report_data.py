"""What a report shows, as plain data: numbers, names, arrays. The caller fills it, ``html.py`` lays it out.

Everything but the first block may be missing; its part of the page is then left out, or says why. Classes
are named by their index into ``classes``. Photos come in as decoded RGB arrays: this room opens none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deitft.errors import Notice
from deitft.evaluation.calibration import ReliabilityBin
from deitft.reporting.check_data import Part, Pixels


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its 95 % interval. ``value`` None is "n/a", and ``reason`` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class on the claim split: ``n`` photos carry its label, ``predicted`` were called so."""

    n: int
    predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRow:
    """One way to read the model's heads: "class head", "distillation head", "both", "softmax sum"."""

    name: str
    top1: Estimate
    top5: Estimate | None = None
    loss: float | None = None
    calibration_error: float | None = None
    served: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPart:
    """What the distillation token learned, beside the heads' own scores; photos are those of the claim split.

    ``alone``: the distillation head alone listened to the teacher; ``labelled``: there were labels to learn from,
    too; ``kind`` is "hard" or "soft". ``voices`` name
    the rows and columns of ``disagreement`` [K, K], shares in 0..1, or None for a teacher that could not be asked
    (``note`` says why). ``sides``: of the ``apart`` photos on which teacher and label differ, how many each voice
    calls as the label does and as the teacher does. ``gains``: (what, points of top-1 as a share, low, high),
    paired. ``layers``: cosine of the two tokens after each block and as the heads see them, means over
    ``cosine_photos``; ``cosine_in`` that of the learned tokens themselves.
    """

    alone: bool
    kind: str
    teachers: Sequence[str]
    teacher: Estimate
    voices: Sequence[str]
    disagreement: Sequence[Sequence[float]]
    fusions_apart: float
    apart: int = 0
    sides: Sequence[tuple[str, int, int]] = ()
    gains: Sequence[tuple[str, Estimate]] = ()
    cosine_in: float | None = None
    layers: Sequence[float] = ()
    cosine_photos: int = 0
    note: str = ""
    labelled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoCase:
    """A photo and what the model said of it.

    ``label`` and ``predicted`` are class indices (-1: no label); ``probability`` is the predicted class's,
    ``label_probability`` the label's; ``image`` is None where the photo could not be read again.
    """

    path: str
    image: Pixels | None
    label: int
    predicted: int
    probability: float
    label_probability: float | None = None
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """``count`` of the ``n`` photos labelled ``label`` were called ``predicted``; some of them as photos."""

    label: int
    predicted: int
    count: int
    n: int
    photos: Sequence[PhotoCase] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One validation point; None where nothing was measured. Scores are shares in 0..1."""

    step: int
    epoch: float
    train_loss: float | None = None
    val_loss: float | None = None
    lr: float | None = None
    val_score: float | None = None
    val_score_ema: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The run over time, and the point that was kept. With the ``score_name`` "loss" less is better.

    ``by_teacher``: val has no labels, and its scores are agreement with the teacher.
    """

    rows: Sequence[EpochRow]
    best_step: int | None = None
    best_which: Literal["raw", "ema"] = "raw"
    score_name: str = "top-1"
    by_teacher: bool = False

    @property
    def score_is_share(self) -> bool:
        """True where the score is a share of photos, shown in percent; False for a loss in nats."""
        return self.score_name != "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Confidence against accuracy: the calibration error, the bins it is made of, the loss in nats a photo."""

    error: Estimate
    bins: Sequence[ReliabilityBin]
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Before and after the temperature; ``after`` None with a ``reason`` where none could be fitted.

    ``fitted_photos`` of ``fitted_on`` chose it, 0 where that is not known.
    """

    before: Reliability
    after: Reliability | None = None
    temperature: float | None = None
    fitted_on: str = "val"
    fitted_photos: int = 0
    reason: str = ""

    @property
    def is_worse(self) -> bool:
        """Whether the error is higher with the temperature, in the digits that the page shows."""
        before, after = self.before.error.value, self.after.error.value if self.after is not None else None
        return before is not None and after is not None and round(after, 3) > round(before, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenStep:
    """Some of the pictures that one step learned from, and the classes that each was said to show.

    ``step`` counts from 1; ``side`` is in pixels.
    """

    step: int
    side: int
    views: Sequence[Pixels]
    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSample:
    """A photo as the model sees it and the attention of each token over it, ``maps`` [T, h, w]."""

    path: str
    image: Pixels
    maps: npt.NDArray[np.floating[Any]]
    label: int = -1
    predicted: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTable:
    """Photos of each class in each split ([C] each), how the split came about, what was left out by name."""

    counts: Mapping[str, Sequence[int]]
    note: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """Where the starting weights come from and what was taken of them."""

    facts: Sequence[tuple[str, str]] = ()
    taken: int = 0
    converted: Sequence[str] = ()
    dropped: Sequence[str] = ()
    started: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """One run, or one evaluation, for one page.

    ``claim_split`` names the photos that the figures are measured on, ``select_split`` those that chose the
    model and the temperature. ``by_teacher``: the claim split has no labels, and every figure is of agreement with
    the teacher. ``confusion`` is [C, C], rows are labels, in photos. ``plan`` is
    ``Plan.record()``, ``environment`` that of ``core.records``. ``banners`` are sentences that must be read
    before any figure (a leak that was allowed, say); ``more_scores`` are (name, meaning, estimate). ``findings``
    None is "nobody looked", ``found`` are the same with photos of them. ``untrained`` says how a model without a
    training step came about: it has no ``history`` and no ``views``. With the verb "evaluate" the page does not
    say how the model came about.
    """

    # what ran
    title: str
    classes: Sequence[str]
    n: int
    top1: Estimate
    confusion: npt.NDArray[np.integer[Any]]
    verb: str = "finetune"
    model: str = ""
    recipe: str = ""
    data_name: str = ""
    data_fingerprint: str = ""
    seed: int | None = None
    command: Sequence[str] = ()
    made: str = ""
    claim_split: str = "test"
    by_teacher: bool = False
    select_split: str = "val"
    banners: Sequence[str] = ()
    # how good
    majority: Estimate | None = None
    majority_class: int | None = None
    probe: Estimate | None = None
    probe_note: str = ""
    top5: Estimate | None = None
    macro_f1: Estimate | None = None
    balanced_accuracy: Estimate | None = None
    more_scores: Sequence[tuple[str, str, Estimate]] = ()
    loss: float | None = None
    per_class: Sequence[ClassRow] = ()
    heads: Sequence[HeadRow] = ()
    head_agreement: float | None = None
    token: TokenPart | None = None
    calibration: Calibration | None = None
    history: History | None = None
    untrained: str = ""
    # photos
    pairs: Sequence[ConfusedPair] = ()
    mistakes: Sequence[PhotoCase] = ()
    label_errors: Sequence[PhotoCase] = ()
    views: Sequence[SeenStep] = ()
    attention: Sequence[AttentionSample] = ()
    attention_tokens: Sequence[str] = ("class token", "distillation token")
    # where it comes from
    findings: Sequence[Notice] | None = None
    found: Sequence[Part] = ()
    splits: SplitTable | None = None
    weights: WeightsReport | None = None
    plan: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    costs: Sequence[tuple[str, str]] = ()
    allowed_changes: Sequence[str] = ()
    limits: Sequence[str] = ()

    def __post_init__(self) -> None:
        count = len(self.classes)
        if self.confusion.shape != (count, count):
            raise ValueError(f"confusion is {self.confusion.shape}, want {(count, count)}")
        if self.per_class and len(self.per_class) != count:
            raise ValueError(f"per_class has {len(self.per_class)} rows, want {count}")

    @property
    def score_name(self) -> str:
        """What the first figure of the page is."""
        return "Agreement with the teacher" if self.by_teacher else "Top-1 accuracy"

    @property
    def truth(self) -> str:
        """What the model is compared with."""
        return "teacher's answer" if self.by_teacher else "label"

    @property
    def slip(self) -> str:
        """What it is called where the two differ."""
        return "disagreement" if self.by_teacher else "mistake"

    @property
    def mistake_count(self) -> int:
        """Photos of the claim split that were called by another name."""
        return int(self.confusion.sum() - np.trace(self.confusion))

    @property
    def class_sizes(self) -> npt.NDArray[np.int64]:
        """Photos a class on the claim split, [C]."""
        return np.asarray(self.confusion.sum(axis=1), dtype=np.int64)
