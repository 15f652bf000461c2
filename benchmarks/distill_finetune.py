"""Does a teacher help where the student starts from ImageNet weights, and does a convnet teach better than a ViT?

Declared beforehand: DeiT-Ti on clothing-small by ``finetune-fast``, its epochs as they are, last step taken,
three seeds; without a teacher, and with hard and soft labels of two teachers: MobileNetV2, a convnet, and
ViT-Ti, a transformer that has seen ImageNet-21k. A teacher is the last step of the same recipe on that model,
seed 0; what the recipe makes of the model stands beside the students ("alone"). Heads begin as a probe, as a
user's do. Its penalty is chosen on val, so the claim is on test alone (372 photos); val and test together are
kept beside it. Nothing else is chosen: no epochs, no weights.

That is the second declaration. In the first, heads began at random so that val could be pooled in; MobileNetV2
then ended ten points below its own probe, a straw man of a teacher (``records/distill-random-heads.jsonl``, two
seeds).

And what ``--adapt-teacher`` gives, with hard labels of MobileNetV2 as a user gets them, seed by seed: a teacher
adapted by ``finetune``, beside ``finetune`` on that model (val points of the two), and a merely probed one.

Everything at 96 pixels a side (students, teachers and what they are judged on), because two slow cores have no
week for 224. Scores are lower than at 224 and are not mixed with those.

Records: ``records/distill-finetune.jsonl``. Seed after seed, so that what is there can be compared; ``--rows``
takes some of the rows, so that two processes can share the work. The runs without a teacher are those of
``lr_sweep.py`` with the learning rate as it is: with the same ``--place`` they are made once.

    python benchmarks/distill_finetune.py --shared ../shared
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from command import ledger_of, options
from distilling import heads, of_last_step
from photos import of_study
from trial import Trial, at_side, carry_out, measured

TEACHERS = ("mobilenetv2", "vit_ti")
KINDS = ("hard", "soft")
ADAPTED = "mobilenetv2"
WAYS = {"adapted": "finetune", "probed": "probe"}
TEACHERS_SEED = 0
ALONE = "teacher-alone"
"""The row of ``finetune`` on the model that is adapted."""


def main() -> None:
    """All rows of a seed before the next seed."""
    parser = options(__doc__, "runs/clothing-96")
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
    """(label, kind, model of the teacher, or of a row without one). Who teaches comes before who is taught."""
    rows = [(f"alone-{name}", "none", name) for name in TEACHERS]
    rows += [("none", "none", ""), *((f"{kind}-{name}", kind, name) for kind in KINDS for name in TEACHERS)]
    return rows + [(f"{way}-{ADAPTED}", "hard", ADAPTED) for way in WAYS] + [(ALONE, "none", ADAPTED)]


def _row(asked: argparse.Namespace, data: Path, seed: int, label: str, kind: str, name: str) -> dict[str, Any]:
    """One run, made or gone on with, and what a record says of it."""
    taught = kind != "none"
    trial = Trial(
        data=data,
        model=asked.model if taught or not name else name,
        recipe="finetune" if label == ALONE else "finetune-fast",
        seed=seed,
        name=f"{label}-{seed}" if taught or label == ALONE else untaught(name or asked.model, seed),
        asked=asked,
        settings=at_side(asked),
        more=("--distill", kind, *_teacher(asked, label, name)) if taught else (),
    )
    cost, resumed = carry_out(trial)
    values = measured(trial, cost, resumed=resumed) | heads(trial.folder) | of_last_step(trial, data)
    subject = {
        **trial.subject,
        "data": f"{data.name}, {asked.side} px",
        "recipe": label.replace(ALONE, "teacher alone"),
    }
    return values | {"subject": {**subject, "distill": kind, "teacher": name if taught else ""}}


def untaught(model: str, seed: int) -> str:
    """The folder of ``finetune-fast`` on this model without a teacher."""
    return f"{model}-as-it-is-{seed}"


def _teacher(asked: argparse.Namespace, label: str, name: str) -> tuple[str, ...]:
    """The words that name a student's teacher."""
    way = label.partition("-")[0]
    if way in WAYS:
        size = () if asked.smoke else ("--set", f"distill.teacher_size={asked.side}")
        return ("--teacher", name, "--adapt-teacher", WAYS[way], *size)
    return ("--teacher", str(asked.place / "runs" / untaught(name, TEACHERS_SEED) / "last"))


if __name__ == "__main__":
    main()
