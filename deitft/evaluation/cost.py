"""What serving a model costs: milliseconds, photos a second, memory, megabytes; and whether to believe the clock.

Raw samples in, figures out. Who takes the samples: ``evaluation.timing``, in a process of its own
(``runs.costing``). Here no model and no torch.

Rounds: the models take turns, each gives one sample list a round, so that a machine that slows down does so for
all of them. The rounds make two passes, the first half and the second; a figure is believed where both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

COST_VERSION = 1
"""Of ``CostReport.record()``; grows when a field changes its meaning or goes."""

AGREE = 0.02
"""Two passes that differ by less than this share agree, however small the spread: a clock is no better."""
MOST_SPREAD = 0.10
"""A spread between rounds above this share of the median is no measurement."""
OTHERS = 0.10
"""The share of the cores that other processes may use meanwhile; a desktop at rest uses 1 to 3 % (assumed)."""
GAIN = 1.05
"""A larger batch pays where it gives this many times the photos a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSettings:
    """How to measure. The same for all models of a table.

    ``rounds`` is even: two passes of half of them. ``slice_seconds`` is what one model's one figure may take in
    a round. Batches 1, 2, 4, … up to ``batch_limit`` are tried (None: 32 on a processor, 1,024 on a GPU).
    """

    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    rounds: int = 10
    slice_seconds: float = 0.3
    batch_limit: int | None = None

    def __post_init__(self) -> None:
        if (
            self.rounds < 4
            or self.rounds % 2
            or self.slice_seconds < 0
            or (self.batch_limit is not None and self.batch_limit < 1)
        ):
            raise ValueError("rounds is even and at least 4, slice_seconds and batch_limit are positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds of one photo. ``p50`` and ``p95`` are over all calls of all rounds.

    ``spread`` is the distance between the quartiles of the rounds' medians, ``passes`` the median of each half.
    """

    p50: float
    p95: float
    spread: float
    passes: tuple[float, float]
    calls: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Photos a second at ``batch``, model only: the median of the rounds, with spread and passes as ``Timing``'s.

    ``tried`` are (batch, photos a second) of the search, which is quick and only chooses; ``stopped`` says why it
    went no further.
    """

    images_per_second: float
    spread: float
    passes: tuple[float, float]
    batch: int
    tried: tuple[tuple[int, float], ...]
    stopped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The most bytes in use while answering, in a process that holds this model alone.

    ``how`` is "allocator" (a GPU's tensors) or "resident" (the whole process: ``base_bytes`` were python and the
    libraries before the model came). ``one`` is at batch 1, ``best`` at the best batch, ``loading`` while the
    weights were read. Where the system cannot forget a peak, ``one`` and ``best`` include loading, and
    ``includes_loading`` says so.
    """

    how: str
    base_bytes: int
    loading_bytes: int
    one_bytes: int
    best_bytes: int
    includes_loading: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """One bundle's costs. What could not be measured is None, and ``error`` says why.

    ``weights_bytes`` is the size of the weights' file. ``flops`` are of one photo at batch 1, as ``counter``
    of the report counts them. ``latency`` is the model alone, from a normalised photo on the device to logits;
    ``photo`` is from the file to the answer: read, decode, resize, model, probabilities.
    """

    bundle: str
    sha256: str
    model: str
    image_size: int
    parameters: int
    weights_bytes: int
    flops: int | None = None
    latency: Timing | None = None
    photo: Timing | None = None
    throughput: Throughput | None = None
    memory: Memory | None = None
    error: Mapping[str, Any] | None = None

    @property
    def size_mb(self) -> float:
        """Decimal megabytes of the weights' file."""
        return self.weights_bytes / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Whether the machine let itself be measured. ``reasons`` are whole phrases; none where it did.

    ``load`` is the load average of a minute before and after; ``others`` the share of the cores that processes
    other than the measuring one used meanwhile (None where the system does not say).
    """

    noisy: bool
    reasons: tuple[str, ...]
    load: tuple[float, float] | None
    others: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """The costs of several bundles, measured together. ``machine`` says on what, with which versions.

    ``photos`` were decoded in turn; ``measured`` is when (UTC), which may be some time ago: see ``runs.costing``.
    """

    models: tuple[ModelCost, ...]
    settings: CostSettings
    machine: Mapping[str, Any]
    counter: str
    photos: int
    measured: str
    noise: Noise

    def record(self) -> dict[str, Any]:
        """Plain data, for ``--json`` and records."""
        return {"version": COST_VERSION, **asdict(self)}


def report_from(value: Mapping[str, Any]) -> CostReport:
    """The way back from ``record()`` after JSON. Only for what this program has written itself.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.
    """
    if value["version"] != COST_VERSION:
        raise ValueError(f"version {value['version']}")
    noise = value["noise"]
    load = noise["load"]
    return CostReport(
        models=tuple(_model_from(row) for row in value["models"]),
        settings=CostSettings(**value["settings"]),
        machine=value["machine"],
        counter=value["counter"],
        photos=value["photos"],
        measured=value["measured"],
        noise=Noise(
            **(noise | {"reasons": tuple(noise["reasons"]), "load": None if load is None else tuple(load)})
        ),
    )


def _model_from(row: Mapping[str, Any]) -> ModelCost:
    def timing(value: Any) -> Timing | None:
        return None if value is None else Timing(**(value | {"passes": tuple(value["passes"])}))

    through, memory = row["throughput"], row["memory"]
    if through is not None:
        tried = tuple((batch, rate) for batch, rate in through["tried"])
        through = Throughput(**(through | {"passes": tuple(through["passes"]), "tried": tried}))
    return ModelCost(
        **(
            dict(row)
            | {"latency": timing(row["latency"]), "photo": timing(row["photo"]), "throughput": through}
            | {"memory": None if memory is None else Memory(**memory)}
        )
    )


def timing_of(rounds: Sequence[Sequence[float]]) -> Timing:
    """Figures of the seconds of single calls, a list a round."""
    calls = 1000 * np.concatenate([np.asarray(samples, np.float64) for samples in rounds])
    medians = 1000 * np.array([np.median(samples) for samples in rounds])
    spread, passes = _spread(medians)
    p50, p95 = np.quantile(calls, (0.5, 0.95))
    return Timing(
        p50=float(p50), p95=float(p95), spread=spread, passes=passes, calls=len(calls), rounds=len(rounds)
    )


def throughput_of(
    rounds: Sequence[Sequence[float]], batch: int, tried: Sequence[tuple[int, float]], stopped: str
) -> Throughput:
    """Figures of the seconds of whole batches, a list a round."""
    rates = np.array([batch / np.median(samples) for samples in rounds])
    spread, passes = _spread(rates)
    return Throughput(
        images_per_second=float(np.median(rates)),
        spread=spread,
        passes=passes,
        batch=batch,
        tried=tuple((int(size), float(rate)) for size, rate in tried),
        stopped=stopped,
    )


def _spread(medians: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, tuple[float, float]]:
    """The distance between the quartiles of the rounds, and the median of each half of them in time."""
    low, high = np.quantile(medians, (0.25, 0.75))
    half = len(medians) // 2
    return float(high - low), (float(np.median(medians[:half])), float(np.median(medians[half:])))


def noise_of(models: Sequence[ModelCost], *, load: tuple[float, float] | None, others: float | None) -> Noise:
    """The verdict on a measurement: every figure's two passes agree, none is wide, and nobody else was at work."""
    reasons: list[str] = []
    for model in models:
        for what, figure, unit in (
            ("model-only latency", model.latency, "ms"),
            ("photo-to-answer latency", model.photo, "ms"),
            ("throughput", model.throughput, "photos/s"),
        ):
            if figure is None:
                continue
            middle = figure.p50 if isinstance(figure, Timing) else figure.images_per_second
            first, second = figure.passes
            if abs(first - second) > max(figure.spread, AGREE * middle):
                reasons.append(
                    f"{what} of {model.bundle}: {first:.3g} {unit} in the first pass, {second:.3g} in the second"
                )
            elif figure.spread > MOST_SPREAD * middle:
                reasons.append(f"{what} of {model.bundle}: rounds spread over {figure.spread / middle:.0%}")
    if others is not None and others > OTHERS:
        reasons.append(f"other processes used {others:.0%} of the cores")
    return Noise(noisy=bool(reasons), reasons=tuple(reasons), load=load, others=others)


def best_batch(tried: Sequence[tuple[int, float]]) -> int:
    """The smallest batch that no larger one beats by more than ``GAIN``: what a little noise does not change."""
    most = max(rate for _, rate in tried)
    return min(batch for batch, rate in tried if rate * GAIN >= most)
