"""Does a teacher help where the student starts from ImageNet weights, and does a convnet teach better than a ViT?

Declared beforehand: DeiT-Ti on clothing-small by ``finetune-fast``, its epochs as they are, last step taken, three
seeds; without a teacher, and with hard and soft labels of two teachers, each fine-tuned by ``finetune`` (seed 0):
MobileNetV2, a convnet, and ViT-Ti, a transformer that has seen ImageNet-21k. Val chooses nothing of this: students
and teachers begin with random heads (a probe's penalty would be chosen on val), nothing stops early, and of
teachers too the last step is taken. So the claim may stand on val and test together (713 photos); the last step on
test alone and the usual figures (best on val, test) are kept beside it. What the teachers' models make of the
students' recipe without a teacher stands beside it, too ("alone").

And what ``--adapt-teacher`` gives, with hard labels of MobileNetV2 as a user gets them, seed by seed: a teacher
adapted by ``finetune``, beside ``finetune`` on that model (val points of the two), and a merely probed one. These
teachers are best on val, and the probe's penalty is chosen there: of these students the claim is on test alone.

Declared before the first run: everything at 96 pixels a side (students, teachers and what they are judged on),
because two slow cores have no week for 224. Scores are lower than at 224 and are not mixed with those.

Records: ``records/distill-finetune.jsonl``. Seed after seed, so that what is there can be compared; ``--rows``
takes some of the rows, so that two processes can share the work.

    python benchmarks/distill_finetune.py --shared ../shared
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from command import ledger_of, options
from distilling import heads, of_last_step, teacher
from photos import of_study
from trial import Trial, at_side, carry_out, measured

TEACHERS = ("mobilenetv2", "vit_ti")
KINDS = ("hard", "soft")
ADAPTED = "mobilenetv2"
WAYS = {"adapted": "finetune", "probed": "probe"}
UNCHOSEN = ("model.head_start=random",)
"""Heads whose beginning val has no part in."""
ALONE = "teacher-alone"
"""The row of ``finetune`` on the model that is adapted."""


def main() -> None:
    """All rows of a seed before the next seed."""
    parser = options(__doc__, "runs/distill-finetune")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--model", default="deit_ti")
    parser.add_argument("--side", type=int, default=96, help="pixels a side of every view")
    parser.add_argument("--rows", nargs="*", help="only these")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "distill-finetune")
    data = of_study(asked)
    for seed in asked.seeds:
        for label, kind, name in _rows():
            if f"distill-finetune-{label}-{seed}" not in ledger and (asked.rows is None or label in asked.rows):
                ledger.add(f"distill-finetune-{label}-{seed}", _row(asked, data, seed, label, kind, name))


def _rows() -> list[tuple[str, str, str]]:
    """(label, kind, model of the teacher, or of a row without one)."""
    rows = [("none", "none", ""), *((f"{kind}-{name}", kind, name) for name in TEACHERS for kind in KINDS)]
    rows += [(f"alone-{name}", "none", name) for name in TEACHERS]
    return rows + [(f"{way}-{ADAPTED}", "hard", ADAPTED) for way in WAYS] + [(ALONE, "none", ADAPTED)]


def _row(asked: argparse.Namespace, data: Path, seed: int, label: str, kind: str, name: str) -> dict[str, Any]:
    """One run, made or gone on with, and what a record says of it."""
    usual = label.partition("-")[0] in WAYS or label == ALONE
    taught = kind != "none"
    settings = at_side(asked) + (() if label == ALONE else UNCHOSEN)
    if label.partition("-")[0] in WAYS and not asked.smoke:
        settings += (f"distill.teacher_size={asked.side}",)
    trial = Trial(
        data=data,
        model=asked.model if taught or not name else name,
        recipe="finetune" if label == ALONE else "finetune-fast",
        seed=seed,
        name=f"{label}-{seed}",
        asked=asked,
        settings=settings,
        more=("--distill", kind, *_teacher(asked, data, label, name)) if taught else (),
    )
    cost, resumed = carry_out(trial)
    values = measured(trial, cost, resumed=resumed) | heads(trial.folder)
    if label != ALONE:
        values |= of_last_step(trial, data, pooled=not usual)
    subject = {
        **trial.subject,
        "data": f"{data.name}, {asked.side} px",
        "recipe": label.replace(ALONE, "teacher alone"),
    }
    return values | {"subject": {**subject, "distill": kind, "teacher": name if taught else ""}}


def _teacher(asked: argparse.Namespace, data: Path, label: str, name: str) -> tuple[str, ...]:
    """The words that name a student's teacher; it is made here, if the student's own command does not adapt it."""
    way = label.partition("-")[0]
    if way in WAYS:
        return ("--teacher", name, "--adapt-teacher", WAYS[way])
    settings = () if asked.smoke else UNCHOSEN  # a smoke's few steps from random heads would have nothing to teach
    return ("--teacher", str(teacher(asked, data, name, *settings, *at_side(asked)) / "last"))


if __name__ == "__main__":
    main()
