"""Do 95 % intervals cover 95 %, with few seeds and grouped photos? Are the photos needed enough? Simulated.

Answers are drawn from a population whose truth is known (``crossed_sample.py``); no photo and no model is needed.
Each record is one row: how many simulations, what share, and that share's own 95 % interval.

    python benchmarks/coverage_of_intervals.py            # two minutes on one core
    python benchmarks/coverage_of_intervals.py --table    # the records as Markdown
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from crossed_sample import Population
from ledger import RECORDS, Ledger

from deitft.evaluation.decision import Candidate, best_on_val, decide
from deitft.evaluation.model_difference import compare_models, top_one
from deitft.evaluation.power import photos_needed
from deitft.evaluation.statistics import Interval, mcnemar_exact, wilson_interval

Bools = npt.NDArray[np.bool_]
BLOCK = 250
"""Simulations drawn at a time: memory stays small."""

SIXES = np.repeat(np.arange(62), 6)
UNEVEN = np.concatenate([np.repeat(np.arange(40), 7), 40 + np.arange(92) % 46])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A population, and how many photos and seeds of it are seen."""

    population: Population
    photos: int = 372
    seeds: tuple[int, int] = (3, 3)
    trials: int = 4000

    def draw(self, purpose: int, trials: int | None = None) -> Iterator[tuple[Bools, ...]]:
        """``correct`` [S, N] of each model, a simulation at a time."""
        draw = np.random.default_rng([purpose, self.photos, *self.seeds])
        left = self.trials if trials is None else trials
        while left > 0:
            blocks = self.population.draw(draw, min(BLOCK, left), max(self.seeds), self.photos)
            for rows in zip(*blocks, strict=True):
                yield tuple(row[:count] for row, count in zip(rows, self.seeds, strict=True))
            left -= BLOCK


def two(**more: Any) -> Population:
    """Two models of 90 and 89 %; a training's sd is 1 point unless said otherwise."""
    return Population(**{"top1": (0.9, 0.89), **more})


SCENES = {
    "three seeds": Scene(population=two()),
    "no variance between seeds": Scene(population=two(seed_sd=0.0)),
    "seeds vary by 0.5 points": Scene(population=two(seed_sd=0.005)),
    "seeds vary by 3 points": Scene(population=two(seed_sd=0.03)),
    "two seeds": Scene(population=two(), seeds=(2, 2)),
    "five seeds": Scene(population=two(), seeds=(5, 5)),
    "three seeds against one": Scene(population=two(), seeds=(3, 1)),
    "100 photos": Scene(population=two(), photos=100),
    "3,000 photos": Scene(population=two(), photos=3000, trials=1500),
    "models much alike": Scene(population=two(top1=(0.9, 0.9), shared=0.9, own=0.05)),
    "models almost the same": Scene(population=two(top1=(0.9, 0.9), shared=0.985, own=0.01, seed_sd=0.003)),
    "models near 99 %": Scene(population=two(top1=(0.99, 0.985), seed_sd=0.003)),
    "groups of 6": Scene(population=two(groups=SIXES)),
    "groups of 1, 2 and 7": Scene(population=two(groups=UNEVEN)),
    "groups of 6, models much alike": Scene(population=two(groups=SIXES, shared=0.9, own=0.05)),
    "one seed each": Scene(population=two(seed_sd=0.0), seeds=(1, 1), trials=800),
    "one seed each, groups of 6": Scene(population=two(seed_sd=0.0, groups=SIXES), seeds=(1, 1), trials=1200),
    "one seed each, groups of 1, 2 and 7": Scene(
        population=two(seed_sd=0.0, groups=UNEVEN), seeds=(1, 1), trials=1200
    ),
    "one seed each, seeds vary by 1 point": Scene(population=two(), seeds=(1, 1), trials=800),
}


def coverage(scene: Scene) -> dict[str, dict[str, float]]:
    """Shares of simulations whose interval holds the truth, by method, with the mean width in points."""
    one, other = scene.population.truth()
    groups = scene.population.groups
    pigeonhole = Pigeonhole(scene)
    ends: dict[str, list[tuple[float, float, float]]] = {}
    for a, b in scene.draw(1):
        found = compare_models(a, b, groups)
        alone = top_one(a, groups)
        rows = {"difference": (one - other, (found.low, found.high)), "one model": (one, (alone.low, alone.high))}
        if max(scene.seeds) > 1:
            rows |= {
                "difference, seeds pooled": (one - other, pooled(a, b)),
                "difference, photos only": (one - other, photos_only(a, b, groups)),
                "difference, pigeonhole bootstrap": (one - other, pigeonhole.interval(a, b)),
            }
        for name, (truth, (low, high)) in rows.items():
            ends.setdefault(name, []).append((truth, low, high))
    summary = {}
    for name, kept in ends.items():
        truth, low, high = np.array(kept).T
        width = {"width_points": float(100 * (high - low).mean())}
        summary[name] = share((low <= truth) & (truth <= high)) | width
    return summary


def share(hits: npt.NDArray[np.bool_]) -> dict[str, float]:
    """A share of simulations with its own interval."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"simulations": len(hits), "share": float(hits.mean()), "low": low, "high": high}


def pooled(a: Bools, b: Bools) -> Interval:
    """As if each seed had seen photos of its own."""
    seeds = min(len(a), len(b))
    gain = (a[:seeds].astype(float) - b[:seeds]).ravel()
    half = 1.96 * float(gain.std(ddof=1)) / np.sqrt(gain.size)
    return float(a.mean() - b.mean()) - half, float(a.mean() - b.mean()) + half


def photos_only(a: Bools, b: Bools, groups: npt.NDArray[np.int64] | None) -> Interval:
    """The mean over seeds as if it were one model: other photos, or groups of them, but no other training."""
    gain = a.mean(axis=0) - b.mean(axis=0)
    rest = gain - gain.mean()
    sums = rest if groups is None else np.bincount(groups, weights=rest)
    half = 1.96 * float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1))) / len(gain)
    return float(gain.mean()) - half, float(gain.mean()) + half


class Pigeonhole:
    """Photos (or groups) and seeds drawn with replacement, each by itself (Owen 2007); percentiles."""

    def __init__(self, scene: Scene, draws: int = 400) -> None:
        draw = np.random.default_rng(0)
        groups = np.arange(scene.photos) if scene.population.groups is None else scene.population.groups
        count = int(groups.max()) + 1
        self.photos = draw.multinomial(count, np.full(count, 1 / count), draws)[:, groups].T.astype(float)
        self.photos /= self.photos.sum(axis=0)
        self.seeds = [draw.multinomial(seeds, np.full(seeds, 1 / seeds), draws).T / seeds for seeds in scene.seeds]

    def interval(self, a: Bools, b: Bools) -> Interval:
        """95 %."""
        means = [
            ((correct @ self.photos) * seeds).sum(axis=0)
            for correct, seeds in zip((a, b), self.seeds, strict=True)
        ]
        low, high = np.quantile(means[0] - means[1], (0.025, 0.975))
        return float(low), float(high)


POWER_SCENES = {
    "one seed each, 3 points": Scene(population=two(top1=(0.9, 0.87), seed_sd=0.0), seeds=(1, 1)),
    "three seeds, 4 points": Scene(population=two(top1=(0.9, 0.86))),
    "three seeds, 2 points, seeds vary by 0.3": Scene(population=two(top1=(0.9, 0.88), seed_sd=0.003)),
    "three seeds, 5 points, groups of 6": Scene(population=two(top1=(0.9, 0.85), groups=SIXES)),
    "three seeds, 2 points: more seeds": Scene(population=two(top1=(0.9, 0.88))),
}


def power(scene: Scene, trials: int = 1000) -> dict[str, Any]:
    """The number of photos (and seeds) asked for from the true sources of variance, and the power it then has."""
    sixes = scene.population.groups is not None

    def grown(photos: int) -> Population:
        return dataclasses.replace(scene.population, groups=np.arange(photos) // 6 if sixes else None)

    one, other = scene.population.truth()
    known, a, b = grown(18000), [], []
    long_look = Scene(population=known, photos=18000, seeds=(8, 8))
    (a, b), *_ = long_look.draw(2, trials=1)
    seen = compare_models(a, b, known.groups)
    between = scene.population.seed_sd**2
    seeds = scene.seeds[0]
    if seeds == 1:
        seen = compare_models(a[:1], b[:1], known.groups)
        between = 0.0
    # As it would be found on 372 photos; eight seeds tell their own variance badly, and it is known.
    found = dataclasses.replace(
        seen,
        difference=one - other,
        photos=372,
        groups=62 if sixes else None,
        seeds_a=seeds,
        seeds_b=seeds,
        only_a=372 * (_apart(a, b) + one - other) / 2,
        only_b=372 * (_apart(a, b) - one + other) / 2,
        sources=dataclasses.replace(seen.sources, between_a=between, between_b=between),
    )
    needed = photos_needed(found)
    more = needed.more_seeds
    photos = needed.photos if more is None else more[1]
    seeds = seeds if more is None else more[0]
    assert photos is not None
    there = Scene(population=grown(photos), photos=photos, seeds=(seeds, seeds), trials=trials)
    hits = np.array([_p(a, b, there) <= 0.05 for a, b in there.draw(3)])
    return {"needed": needed.record(), "photos": photos, "seeds": seeds, "power": share(hits)}


def _apart(a: Bools, b: Bools) -> float:
    return float((a != b).mean())


def _p(a: Bools, b: Bools, scene: Scene) -> float:
    if len(a) == 1 and scene.population.groups is None:  # as compare_models, without the bootstrap
        return mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum()))
    return compare_models(a, b, scene.population.groups).p


def selection(seed_sd: float, seeds: int, trials: int = 800) -> dict[str, Any]:
    """Twenty equal models: how much too good, in points, is the winner's test top-1, chosen on val?

    ``of its weights``: against the true top-1 of the trained weights (on 3,000 further photos). ``of its kind``:
    against the mean of all trainings, which a lucky seed passes with its weights.
    """
    val, test, further = 341, 372, 3000
    equal = Population(top1=(0.9,) * 20, seed_sd=seed_sd)
    draw, off = np.random.default_rng(8), []
    for _ in range(trials // 20):
        drawn = equal.draw(draw, 20, seeds, val + test + further)
        for trial in range(20):
            rows = [model[trial] for model in drawn]
            candidates = [Candidate(name=f"{place:02d}", val=row[:, :val]) for place, row in enumerate(rows)]
            best = best_on_val(candidates, "latency_ms")
            assert best is not None
            weights = rows[int(best.name)]
            reported = weights[:, val : val + test].mean()
            on_test = max(row[:, val : val + test].mean() for row in rows)
            truth = equal.truth()[0]
            own = weights[:, val + test :].mean()
            off.append((reported - own, reported - truth, best.top1 - truth, on_test - truth))
    points = 100 * np.array(off)
    names = ("test, of its weights", "test, of its kind", "val, of its kind", "chosen on test, of its kind")
    error = 1.96 * points.std(axis=0, ddof=1) / np.sqrt(len(points))
    return {
        name: {"simulations": len(points), "points": float(mean), "plus_minus": float(half)}
        for name, mean, half in zip(names, points.mean(axis=0), error, strict=True)
    }


def margin(photos: int, trials: int = 1000) -> dict[str, Any]:
    """Four cheaper models, each truly worse by exactly the margin of 2 points: how often is one of them chosen?"""
    population = Population(top1=(0.92, 0.9, 0.9, 0.9, 0.9), seed_sd=0.003, shared=0.8, own=0.1)
    draw, wrong = np.random.default_rng(9), []
    for _ in range(trials // BLOCK):
        drawn = population.draw(draw, BLOCK, 3, photos)
        for trial in range(BLOCK):
            candidates = [
                Candidate(name=str(place), val=rows[trial], figures={"latency_ms": float(5 - place)})
                for place, rows in enumerate(drawn)
            ]
            verdict = decide(candidates, margin=0.02)
            wrong.append(verdict.chosen != "0" and verdict.reason == "cheapest")
    return share(np.array(wrong))


def main() -> None:
    """Every row that is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the records")
    parser.add_argument("--records", type=Path, default=RECORDS, help="another folder for them")
    asked = parser.parse_args()
    ledger = Ledger("coverage", asked.records)
    if asked.table:
        print(table(ledger))
        for id, row in ledger.rows.items():
            if not id.startswith("coverage: "):
                print(f"\n{id}: {row['result']}")
        return
    rows: dict[str, Callable[[], dict[str, Any]]] = {}
    rows |= {f"coverage: {name}": lambda scene=scene: coverage(scene) for name, scene in SCENES.items()}
    rows |= {f"power: {name}": lambda scene=scene: power(scene) for name, scene in POWER_SCENES.items()}
    rows |= {
        "selection: equal weights": lambda: selection(0.0, 1),
        "selection: three seeds, sd 1 point": lambda: selection(0.01, 3),
        "margin: four models worse by the margin, 341 photos": lambda: margin(341),
        "margin: four models worse by the margin, 3,000 photos": lambda: margin(3000),
    }
    for id, measure in rows.items():
        if id not in ledger:
            ledger.add(id, {"subject": {"simulated": id}, "result": measure()})
            print(id, flush=True)


COLUMNS = {
    "difference": "difference",
    "one model": "one model",
    "difference, seeds pooled": "seeds pooled",
    "difference, photos only": "photos only",
    "difference, pigeonhole bootstrap": "pigeonhole",
}


def table(ledger: Ledger) -> str:
    """The records of coverage as Markdown, in percent."""
    lines = ["| simulated | n | " + " | ".join(COLUMNS.values()) + " |", "| :-- | --: |" + " --: |" * len(COLUMNS)]
    for name in SCENES:
        result = ledger.rows[f"coverage: {name}"]["result"]
        cells = [f"{100 * result[each]['share']:.1f}" if each in result else "" for each in COLUMNS]
        lines.append(f"| {name} | {result['difference']['simulations']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
