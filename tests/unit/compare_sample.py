"""A comparison with everything in it, as data: for the tables and the page."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from deitft.reporting.compare_data import (
    ClassLine,
    Comparison,
    Cost,
    Curve,
    Disagreement,
    Pair,
    Row,
    Said,
    Verdict,
)
from deitft.reporting.report_data import Estimate

NAMES = (
    "deit_s",
    "resnet50",
    "vit_b",
    "mobilenetv2",
    "deit_ti taught by mobilenetv2",
    "swin_b",
    "mixer_b",
    "vit_ti",
)


def row(number: int, label: str, **more: Any) -> Row:
    """A contender, a little worse and a little cheaper than the one before it."""
    top1 = 0.93 - 0.01 * number
    values: dict[str, Any] = {
        "label": label,
        "model": f"{label}.tag",
        "recipe": "finetune",
        "seen": "ImageNet-1k",
        "epochs": 30.0,
        "planned_epochs": 30.0,
        "pixels": 224,
        "aspect": "crop",
        "crop_share": 0.9,
        "precision": "bf16",
        "seeds": (0, 1, 2),
        "runs": tuple(f"compare-{number}-{seed}" for seed in range(3)),
        "top1": Estimate(top1, top1 - 0.03, top1 + 0.02),
        "seed_sd": 0.004,
        "top5": Estimate(0.992, 0.98, 0.998),
        "macro_f1": Estimate(top1 - 0.02, top1 - 0.05, top1 + 0.01),
        "balanced_accuracy": Estimate(top1 - 0.01, top1 - 0.04, top1 + 0.02),
        "calibration_before": 0.11,
        "calibration_after": 0.03,
        "probe": Estimate(0.86, 0.82, 0.89),
        "val": top1 + 0.005,
        "parameters": 22_000_000 - number * 1_000_000,
        "size": 88_000_000 - number * 9_000_000,
        "training": 1200.0 - 60 * number,
        "training_memory": 2_000_000_000,
        "money": 0.6,
        "cost": Cost(
            latency=(0.0231 - 0.002 * number, 0.0302),
            latency_spread=0.0004,
            answer=(0.031, 0.04),
            answer_spread=0.0012,
            throughput=120.0 + number,
            throughput_spread=3.1,
            best_batch=32,
            memory=700_000_000,
            memory_base=310_000_000,
            flops=4_600_000_000,
        ),
    }
    return Row(**(values | more))


def comparison(count: int = 4, **more: Any) -> Comparison:
    """``count`` contenders on 372 photos of 10 classes, one of them failed."""
    classes = tuple(f"class {number}" for number in range(10))
    rows = [row(number, name) for number, name in enumerate(NAMES[:count])]
    second = rows[-1] if count == 1 else rows[1]
    draw = np.random.default_rng(0)
    said = [
        Said(label=one.label, answer=number % 3, probability=0.5 + 0.05 * number)
        for number, one in enumerate(rows)
    ]
    photos = [
        Disagreement(
            path=f"test/class {number}/{number:04d}.jpg",
            image=draw.integers(0, 255, (60, 80, 3), dtype=np.uint8) if number else None,
            label=number % 10,
            said=said,
        )
        for number in range(10)
    ]
    values: dict[str, Any] = {
        "title": "products",
        "classes": classes,
        "n": 372,
        "claim_split": "test",
        "fingerprint": "ab" * 32,
        "rows": [*rows, Row(label="swin_l", status="failed", why="out of memory, most likely")],
        "pairs": [
            Pair(
                first=rows[0].label,
                second=second.label,
                difference=Estimate(0.021, 0.008, 0.034),
                p=0.001,
                p_holm=0.002,
                sentence=f"{rows[0].label} beats {second.label} by 2.1 points (0.8 to 3.4, p = 0.002).",
            )
        ],
        "verdict": Verdict(
            label=rows[0].label,
            sentence=f"{rows[0].label} is chosen: the best on 341 val photos (93.5 %).",
            reasons=["swin_l is outside the limits."],
            changes=[f"With a margin above 1.2 points it would be {second.label}."],
        ),
        "class_lines": [
            ClassLine(name=name, n=37, recalls=[0.9 - 0.1 * (number == 3) * at for at in range(count)])
            for number, name in enumerate(classes)
        ],
        "agreement": np.where(np.eye(count, dtype=bool), 1.0, 0.91),
        "disagreements": photos,
        "disagreeing": 41,
        "curves": [Curve(label=one.label, seconds=[10.0, 20.0, 40.0], top1=[0.7, 0.8, 0.9]) for one in rows],
        "front": {"latency": [one.label for one in rows[:2]], "size": [rows[0].label]},
        "limits": ["Intervals cover which photos happened to be there."],
        "notes": ["Costs: a processor, bf16, 2 threads."],
        "published": (("model", "top-1"), (("DeiT-S", "79.8"),)),
        "published_notes": ["Read the source."],
        "gates": [("top1 >= 0.9", True, "top1 is 0.93, wanted >= 0.9")],
        "command": ["deitft", "compare", "runs/a", "runs/b"],
        "made": "2026-01-01T00:00:00+00:00",
        "environment": {"system": "Linux", "cores": 2, "versions": {"torch": "2.15.0"}},
    }
    return Comparison(**(values | more))


def named(data: Comparison, names: list[str]) -> Comparison:
    """The same with other class names and paths: those of a stranger."""
    classes = tuple((names * 10)[: len(data.classes)])
    lines = [dataclasses.replace(line, name=name) for line, name in zip(data.class_lines, classes, strict=True)]
    photos = [dataclasses.replace(one, path=f"{classes[0]}/x.jpg") for one in data.disagreements]
    return dataclasses.replace(
        data, title=names[0], classes=classes, class_lines=lines, disagreements=photos, verdict=data.verdict
    )
