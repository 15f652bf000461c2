"""DeiT's table 3 in miniature: from random weights, with a convnet teacher that knows the photos.

Declared beforehand: DeiT-Ti at 64 px on clothing-small by ``pretrain-small``, 20 epochs, photos mirrored half of
the time, three seeds; no teacher, soft and hard labels without the token, hard labels with the token; the teacher
is MobileNetV2 fine-tuned by ``finetune`` with seed 0, at 64 px too: it sees what the student sees. Of the row with
the token class head, distillation head and both are read. Figures are of test, of the weights that were best on
val. With ``--digits`` the same at 64 px on the embedded digits, with a ResNet-10-T that learned them from nothing.
Records: ``records/distill-scratch.jsonl``. Seed after seed.

    python benchmarks/distill_scratch.py --shared ../shared
"""

from __future__ import annotations

import argparse
from pathlib import Path

from command import ledger_of, options
from distilling import heads, teacher
from photos import of_study
from trial import Trial, carry_out, measured

from deitft.data.digits import write_digits

ROWS = {
    "none": (),
    "soft": ("--distill", "soft", "--set", "distill.token=false"),
    "hard": ("--distill", "hard", "--set", "distill.token=false"),
    "hard, token": ("--distill", "hard"),
}
SIDE = "model.image_size=64"
PHOTOS = (SIDE, "train.length=20 epochs", "augment.flip=0.5")
DIGITS = ("train.length=20 epochs",)


def main() -> None:
    """All rows of a seed before the next seed."""
    parser = options(__doc__, "runs/distill-scratch")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--model", default="deit_ti")
    parser.add_argument("--digits", action="store_true", help="the embedded digits in the place of photos")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "distill-scratch")
    data = digits(asked) if asked.digits else of_study(asked)
    for seed in asked.seeds:
        for label, words in ROWS.items():
            id = f"distill-scratch-{data.name}-{label.replace(', ', '-')}-{seed}"
            if id in ledger:
                continue
            more = words
            if words:
                cache = asked.place / "answers" / f"{data.name}-{label.split(',')[0]}-{seed}"
                more = (*words, "--teacher", str(teacher_of(asked, data)), "--teacher-cache", str(cache))
            trial = Trial(
                data=data,
                model=asked.model,
                recipe="pretrain-small",
                seed=seed,
                name=f"{data.name}-{label.replace(', ', '-')}-{seed}",
                asked=asked,
                settings=DIGITS if asked.digits else PHOTOS,
                more=more,
                verb="pretrain",
            )
            cost, resumed = carry_out(trial)
            values = measured(trial, cost, resumed=resumed) | heads(trial.folder)
            ledger.add(id, values | {"subject": {**trial.subject, "recipe": label}})


def digits(asked: argparse.Namespace) -> Path:
    """The embedded digits as a folder."""
    folder: Path = asked.place / "digits"
    write_digits(folder)
    return folder


def teacher_of(asked: argparse.Namespace, data: Path) -> Path:
    """Who teaches: for photos a fine-tuned MobileNetV2, for digits a convnet that learned them from nothing."""
    if not asked.digits:
        return teacher(asked, data, "mobilenetv2", *(() if asked.smoke else (SIDE,)))
    trial = Trial(
        data=data,
        model="resnet10t",
        recipe="pretrain-small",
        seed=0,
        name="teacher-resnet10t",
        asked=asked,
        settings=("train.length=10 epochs",),
        verb="pretrain",
    )
    if not (trial.folder / "best").exists():
        carry_out(trial)
    return trial.folder


if __name__ == "__main__":
    main()
