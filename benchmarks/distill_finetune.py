"""Does a teacher help where the student starts from ImageNet weights, and does a convnet teach better than a ViT?

Declared beforehand: DeiT-Ti on clothing-small by ``finetune-fast``, its epochs as they are, last step taken, three
seeds; without a teacher, and with hard and soft labels of two teachers, each fine-tuned by ``finetune`` (seed 0):
MobileNetV2, a convnet, and ViT-Ti, a transformer that has seen ImageNet-21k. Val chooses nothing of this: students
and teachers begin with random heads (a probe's penalty would be chosen on val), nothing stops early, and of
teachers too the last step is taken. So the claim may stand on val and test together (713 photos); the last step on
test alone and the usual figures (best on val, test) are kept beside it.

And what ``--adapt-teacher`` gives, with hard labels of MobileNetV2 as a user gets them, seed by seed: a teacher
adapted by ``finetune``, beside ``finetune`` on that model (val points of the two), and a merely probed one. These
teachers are best on val, and the probe's penalty is chosen there: of these students the claim is on test alone.

Records: ``records/distill-finetune.jsonl``. Seed after seed, so that what is there can be compared.

    python benchmarks/distill_finetune.py --shared ../shared
"""

from __future__ import annotations

import argparse
from pathlib import Path

from command import ledger_of, options
from distilling import heads, of_last_step, teacher
from ledger import Ledger
from photos import of_study
from trial import Trial, carry_out, measured

TEACHERS = ("mobilenetv2", "vit_ti")
KINDS = ("hard", "soft")
ADAPTED = "mobilenetv2"
WAYS = {"adapted": "finetune", "probed": "probe"}
UNCHOSEN = ("model.head_start=random",)
"""Heads whose beginning val has no part in."""


def main() -> None:
    """All rows of a seed before the next seed."""
    parser = options(__doc__, "runs/distill-finetune")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--model", default="deit_ti")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "distill-finetune")
    data = of_study(asked)
    for seed in asked.seeds:
        for label, kind, name in [("none", "none", ""), *_taught()]:
            if f"distill-finetune-{label}-{seed}" in ledger:
                continue
            more = () if kind == "none" else ("--distill", kind, *_teacher(asked, data, label, name))
            usual = label.partition("-")[0] in WAYS
            trial = Trial(
                data=data,
                model=asked.model,
                recipe="finetune-fast",
                seed=seed,
                name=f"{label}-{seed}",
                asked=asked,
                settings=UNCHOSEN,
                more=more,
            )
            cost, resumed = carry_out(trial)
            values = measured(trial, cost, resumed=resumed) | heads(trial.folder)
            values |= of_last_step(trial, data, pooled=not usual)
            subject = {**trial.subject, "recipe": label, "distill": kind, "teacher": name}
            ledger.add(f"distill-finetune-{label}-{seed}", values | {"subject": subject})
        _finetuned(asked, ledger, data, seed)


def _taught() -> list[tuple[str, str, str]]:
    """(label, kind, teacher) of the students that have one."""
    rows = [(f"{kind}-{name}", kind, name) for name in TEACHERS for kind in KINDS]
    return rows + [(f"{way}-{ADAPTED}", "hard", ADAPTED) for way in WAYS]


def _teacher(asked: argparse.Namespace, data: Path, label: str, name: str) -> tuple[str, ...]:
    """The words that name a student's teacher; it is made here, if the student's own command does not adapt it."""
    way = label.partition("-")[0]
    if way in WAYS:
        return ("--teacher", name, "--adapt-teacher", WAYS[way])
    settings = () if asked.smoke else UNCHOSEN  # a smoke's few steps from random heads would have nothing to teach
    return ("--teacher", str(teacher(asked, data, name, *settings) / "last"))


def _finetuned(asked: argparse.Namespace, ledger: Ledger, data: Path, seed: int) -> None:
    """What an adapted teacher is compared with: ``finetune`` on its model."""
    id = f"distill-finetune-teacher-alone-{seed}"
    if id in ledger:
        return
    name = f"teacher-alone-{seed}"
    trial = Trial(data=data, model=ADAPTED, recipe="finetune", seed=seed, name=name, asked=asked)
    cost, resumed = carry_out(trial)
    subject = {**trial.subject, "recipe": "teacher alone", "distill": "none", "teacher": ""}
    ledger.add(id, measured(trial, cost, resumed=resumed) | {"subject": subject})


if __name__ == "__main__":
    main()
