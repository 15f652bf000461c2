"""The tables of the studies of teachers and of learning rates. ``tables.py`` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from cells import cell, markdown, middle
from comparison import Row, by_kind

from deitft.evaluation.model_difference import ModelDifference, compare_models
from deitft.evaluation.statistics import holm

QUESTIONS = (
    ("hard-mobilenetv2", "none"),
    ("soft-mobilenetv2", "none"),
    ("hard-vit_ti", "none"),
    ("soft-vit_ti", "none"),
    ("hard-mobilenetv2", "hard-vit_ti"),
    ("soft-mobilenetv2", "soft-vit_ti"),
)
"""What ``distill_finetune.py`` was declared to ask: its pairs, and Holm's correction is over all of them."""

VERDICTS = {"test": "last_step_test_verdicts", "val and test": "last_step_verdicts"}
"""What a claim may stand on, and where a record keeps it."""


def taught(rows: Sequence[Row], *, on: str = "test") -> str:
    """The students head by head, then the differences that were asked for, ``on`` what was declared."""
    table = differences(rows, on=on)
    return by_head(rows) + (f"\n\n{table}" if table else "")


def taught_pooled(rows: Sequence[Row]) -> str:
    """``taught`` where val has chosen nothing."""
    return taught(rows, on="val and test")


def differences(rows: Sequence[Row], *, on: str) -> str:
    """Top-1 of the last step on these photos, both heads, of one row minus another, in points.

    The intervals are for other photos and other seeds (``model_difference``).
    """
    kinds = {recipe: by_seed for (_, _, recipe), by_seed in by_kind(rows).items()}
    found: list[tuple[str, str, ModelDifference]] = []
    for one, other in QUESTIONS:
        if one in kinds and other in kinds:
            shared = sorted(kinds[one].keys() & kinds[other].keys())
            if shared:
                a, b = (_right(kinds[name], shared, VERDICTS[on]) for name in (one, other))
                found.append((one, other, compare_models(a, b)))
    adjusted = holm([difference.p for *_, difference in found])
    lines = [
        [
            f"{one} − {other}",
            f"{each.seeds_a}, {each.seeds_b}",
            each.photos,
            f"{100 * each.difference:+.2f}",
            f"{100 * each.low:+.2f} to {100 * each.high:+.2f}",
            f"{p:.2g}",
        ]
        for (one, other, each), p in zip(found, adjusted, strict=True)
    ]
    head = (f"last step, {on}, both heads", "seeds", "photos", "points")
    head += ("95 % interval (photos and seeds)", "p (Holm)")
    return markdown(head, lines) if lines else ""


def _right(by_seed: Mapping[int, Row], seeds: Sequence[int], verdicts: str) -> npt.NDArray[np.bool_]:
    """[S, N] of S seeds on N photos."""
    kept = [by_seed[seed][verdicts]["both"] for seed in seeds]
    if len({one["photos"] for one in kept}) > 1:
        raise ValueError("not the same photos")
    return np.array([[mark == "1" for mark in one["right"]] for one in kept])


def by_head(rows: Sequence[Row]) -> str:
    """Top-1 of each way to read the heads, mean ± standard deviation over seeds; of the last step where it is
    kept; and the teacher's own on val."""
    lines = []
    for (data, model, recipe), by_seed in by_kind(rows).items():
        of = list(by_seed.values())
        cells = [cell([row["result"]["top1"] for row in of], 2, 100)]
        for head in ("class", "distill", "both"):
            known = [row["heads"][head]["top1"] for row in of if row.get("heads")]
            cells.append(cell(known, 2, 100))
        for name in ("last_step_test", "last_step"):
            cells.append(cell([row[name]["both"]["top1"] for row in of if row.get(name)], 2, 100))
        cells.append(cell([score for row in of if (score := _teachers_score(row)) is not None], 2, 100))
        lines.append([recipe, model, data, len(of), *cells])
    served = ("served", "class head", "distillation head", "both")
    last = ("last step, test", "last step, val and test", "teacher, val")
    return markdown(("teacher", "model", "data", "seeds", *served, *last), lines)


def _teachers_score(row: Row) -> float | None:
    """The val top-1 of a student's teacher; of a run that is there as a teacher its own."""
    if row["subject"]["recipe"] == "teacher alone":
        score: float | None = row["result"].get("val_top1")
        return score
    teachers = (row.get("plan") or {}).get("distill") or {}
    return next((one["val_top1"] for one in teachers.get("teachers", ())), None)


def teaching_speed(rows: Sequence[Row]) -> str:
    """Medians and spread over rounds, and over what it is without a teacher."""
    lines = []
    for name in rows[0]["images_per_second"]:
        values = [row["images_per_second"][name] for row in rows]
        ratios = [row["ratio"][name] for row in rows if name in row["ratio"]]
        lines.append([name, len(rows), middle(values, 1), middle(ratios, 2) if ratios else "1"])
    return markdown(("teacher", "rounds", "images/s: median (range)", "over none: median (range)"), lines)


def rates(rows: Sequence[Row]) -> str:
    """Best val top-1 of each learning rate, mean ± standard deviation over seeds, and what it gains, in points."""
    kinds = by_kind(rows)
    lines = []
    for (data, model, recipe), by_seed in kinds.items():
        name, _, rate = recipe.partition(", lr ")
        base = kinds.get((data, model, f"{name}, lr as it is"), {})
        gains = [
            by_seed[seed]["result"]["val_top1"] - base[seed]["result"]["val_top1"]
            for seed in by_seed
            if seed in base
        ]
        of = list(by_seed.values())
        lines.append(
            [
                model,
                name,
                f"{of[0]['plan']['optim']['lr']:.2g} ({rate})",
                data,
                len(of),
                cell([row["result"]["val_top1"] for row in of], 1, 100),
                "–" if rate == "as it is" else cell(gains, 1, 100),
            ]
        )
    return markdown(("model", "recipe", "learning rate", "data", "seeds", "val top-1 %", "gain, points"), lines)
