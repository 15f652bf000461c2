"""Does a second measurement of costs say the same? Two of them, and how far their medians differ.

Bundles are made of the shared weights, with classifiers for ten classes: what they answer does not matter here.
On a machine at rest every p50 of the second run is within 5 % of the first's. A few minutes on two cores; records:
``records/cost-repeat.jsonl``.

    python benchmarks/cost_repeat.py --runs 2
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from command import ledger_of, options

from deitft.bundle.format import save_bundle
from deitft.evaluation.cost import CostReport, CostSettings
from deitft.models.build import build
from deitft.models.sources import find
from deitft.models.weights import load, preprocessing_of
from deitft.models.zoo import resolve
from deitft.runs.classifier import loose_photos
from deitft.runs.costing import measure_costs

MODELS = ("deit_ti", "vit_ti", "mobilenetv2")
WITHIN = 0.05
"""What two medians of a machine at rest may differ by."""


def main() -> None:
    """Measure twice (or more often), record both, print the largest difference."""
    parser = options(__doc__, "runs/cost-repeat")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    bundles = [bundle_of(asked, short) for short in MODELS]
    photos = loose_photos(sorted((asked.shared / "data" / "clothing-small" / "test").rglob("*.jpg")))
    settings = CostSettings(threads=asked.threads, rounds=asked.rounds)
    if asked.smoke:
        settings = CostSettings(threads=1, rounds=4, slice_seconds=0.01, batch_limit=1)
    reports = [measure_costs(bundles, photos, settings=settings) for _ in range(asked.runs)]
    differences = {name: spread(values) for name, values in figures(reports).items()}
    worst = max(differences, key=lambda name: differences[name])
    verdict = "within" if differences[worst] <= WITHIN else "not within"
    print(f"largest difference of a p50: {differences[worst]:.1%} ({worst}), {verdict} {WITHIN:.0%}")
    for number, report in enumerate(reports, start=1):
        print(f"run {number}: {'; '.join(report.noise.reasons) or 'quiet'}")
    ledger = ledger_of(asked, "cost-repeat")
    ledger.add(
        f"cost-repeat-{len(ledger.rows) + 1}",
        {
            "subject": {"models": MODELS, "runs": asked.runs},
            "metric": {"name": "relative difference of p50 between runs", "direction": "lower"},
            "differences": differences,
            "reports": [report.record() for report in reports],
        },
    )


def bundle_of(asked: argparse.Namespace, short: str) -> Path:
    """A bundle with the shared weights of a model."""
    folder: Path = asked.place / "bundles" / short
    if folder.exists():
        return folder
    choice = resolve(short)
    source = find(choice, weights_dir=asked.shared / "weights")
    classes = [f"class {number}" for number in range(10)]
    classifier = build(choice.timm_name, num_classes=len(classes)).eval()
    load(classifier, source, classes=classes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_bundle(
        folder,
        classifier=classifier,
        state=classifier.net.state_dict(),
        short_name=short,
        classes=classes,
        preprocessing=preprocessing_of(source, choice),
        temperature=1.0,
        starting_weights=source.record(),
        data={},
        metrics={},
        training={},
        card="# For measuring costs\n",
    )
    return folder


def figures(reports: list[CostReport]) -> dict[str, list[float]]:
    """Model and figure -> its p50 in each run."""
    found: dict[str, list[float]] = {}
    for report, model in itertools.chain.from_iterable(((r, m) for m in r.models) for r in reports):
        for what in ("latency", "photo"):
            timing: Any = getattr(model, what)
            if timing is None:
                raise SystemExit(f"{model.bundle} ({report.measured}): {model.error}")
            found.setdefault(f"{Path(model.bundle).name} {what}", []).append(timing.p50)
    return found


def spread(values: list[float]) -> float:
    """How far the largest is from the smallest, relative to that."""
    return max(values) / min(values) - 1


if __name__ == "__main__":
    main()
