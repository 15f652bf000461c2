"""What a comparison shows, as plain data: the same for terminal, Markdown, CSV, LaTeX, JSON and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deitft.reporting.check_data import Pixels
from deitft.reporting.report_data import Estimate

Status = Literal["ok", "undertrained", "shortened", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a contender costs, measured; None where it was not. Times in seconds, memory in bytes.

    ``latency`` and ``answer`` are (p50, p95) of one photo: the model alone, and from the file to the answer.
    ``throughput`` is photos a second at ``best_batch``, ``memory`` the most in use at that batch, ``memory_base``
    the part of it that python and the libraries take (0 on a GPU). A ``…_spread`` is the distance between the
    quartiles of the rounds. ``noisy`` says why the times cannot be relied on.
    """

    latency: tuple[float, float] | None = None
    latency_spread: float | None = None
    answer: tuple[float, float] | None = None
    answer_spread: float | None = None
    throughput: float | None = None
    throughput_spread: float | None = None
    best_batch: int | None = None
    memory: int | None = None
    memory_base: int | None = None
    flops: int | None = None
    noisy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender: a model with its recipe and teacher, over its seeds.

    Scores are means over the seeds on the photos that judge; ``seed_sd`` is the standard deviation of top-1 over
    seeds, None of one seed. ``val`` is the mean top-1 on val: what chooses. ``training`` is the mean seconds of a
    run, ``training_memory`` the largest of them in bytes. ``why`` says what is wrong with its status.
    ``epochs`` were trained, mean over the seeds, ``planned_epochs`` were to be. ``pixels`` a side, ``aspect`` and
    ``crop_share`` are of the preprocessing, ``precision`` that of training.
    """

    label: str
    status: Status = "ok"
    why: str = ""
    model: str = ""
    recipe: str = ""
    teacher: str = ""
    seen: str = ""
    epochs: float | None = None
    planned_epochs: float | None = None
    pixels: int | None = None
    aspect: str = ""
    crop_share: float | None = None
    precision: str = ""
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    top1: Estimate = field(default_factory=lambda: Estimate(None))
    seed_sd: float | None = None
    top5: Estimate = field(default_factory=lambda: Estimate(None))
    macro_f1: Estimate = field(default_factory=lambda: Estimate(None))
    balanced_accuracy: Estimate = field(default_factory=lambda: Estimate(None))
    calibration_before: float | None = None
    calibration_after: float | None = None
    probe: Estimate | None = None
    val: float | None = None
    parameters: int | None = None
    size: int | None = None
    training: float | None = None
    training_memory: int | None = None
    money: float | None = None
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two contenders on the same photos; ``difference`` in top-1 is the first's minus the second's."""

    first: str
    second: str
    difference: Estimate
    p: float
    p_holm: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which one to take: ``label`` "" where none can be. ``reasons`` and ``changes`` are sentences."""

    label: str
    sentence: str
    reasons: Sequence[str] = ()
    changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLine:
    """One class: its photos, and the share of them that each contender gets right, in the table's order."""

    name: str
    n: int
    recalls: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one contender said of a photo, by its first seed; ``answer`` is a class index."""

    label: str
    answer: int
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A photo that the contenders see differently."""

    path: str
    image: Pixels | None
    label: int
    said: Sequence[Said]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Top-1 on val over seconds of training, of a contender's first seed."""

    label: str
    seconds: Sequence[float]
    top1: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Contenders on the same photos, best on val first (by name where val does not choose), failed ones last.

    ``title`` and ``fingerprint`` are of the data that judges: the runs' own, or the photos of ``--test``.
    ``sides`` is the fingerprint of which photos were train, val and test; "" where they are those of ``--test``.
    ``agreement`` is [K, K] for the contenders that were judged: how often two of them name the same class.
    ``front`` maps a cost ("latency", "size") to the labels that no other beats in both accuracy and that cost.
    ``score_notes`` are sentences that belong below the scores, ``notes`` those about how it was measured;
    ``published`` are the columns and rows of figures of others.
    """

    title: str
    classes: tuple[str, ...]
    n: int
    claim_split: str
    fingerprint: str
    rows: Sequence[Row]
    sides: str = ""
    pairs: Sequence[Pair] = ()
    verdict: Verdict = field(default_factory=lambda: Verdict(label="", sentence="Nothing was judged."))
    groups: int | None = None
    class_lines: Sequence[ClassLine] = ()
    agreement: npt.NDArray[np.floating[Any]] | None = None
    disagreements: Sequence[Disagreement] = ()
    disagreeing: int = 0
    curves: Sequence[Curve] = ()
    front: Mapping[str, Sequence[str]] = field(default_factory=dict)
    limits: Sequence[str] = ()
    score_notes: Sequence[str] = ()
    notes: Sequence[str] = ()
    published: tuple[Sequence[str], Sequence[Sequence[str]]] = ((), ())
    published_notes: Sequence[str] = ()
    gates: Sequence[tuple[str, bool, str]] = ()
    command: Sequence[str] = ()
    made: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> list[Row]:
        """Those with figures."""
        return [row for row in self.rows if row.status != "failed"]

    @property
    def all_notes(self) -> list[str]:
        """Where one place is for all of them."""
        return [*self.score_notes, *self.notes]

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``compare.json``; photos stay out."""
        bare = replace(
            self, disagreements=[replace(one, image=None) for one in self.disagreements], agreement=None
        )
        agreement = None if self.agreement is None else self.agreement.tolist()
        return {"version": 1, **asdict(bare), "agreement": agreement}
