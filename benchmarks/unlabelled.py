"""What photos without labels are worth: a teacher of 300 labelled photos passes on what it knows to a student of
3,068.

Declared beforehand: 300 of clothing-small's train photos are drawn in the proportions of the classes, three times;
val and test stay as they are. MobileNetV2 learns the 300 (`finetune`). DeiT-Ti learns the 300 with labels
(`finetune`), and all 3,068 without any, from that teacher (`pretrain --unlabelled`, recipe `finetune-fast`,
ImageNet weights). Test top-1 with paired intervals; the teacher's stands beside it. All of it at 96 pixels a side,
because two slow cores have no day for 224: scores are lower than there. Records: ``records/unlabelled.jsonl``.

    python benchmarks/unlabelled.py --shared ../shared
"""

from __future__ import annotations

import argparse
from pathlib import Path

from command import ledger_of, options
from photos import SPLITS, by_class, draw, of_study, write_folder
from trial import Trial, at_side, carry_out, measured

LABELLED = 300


def main() -> None:
    """All three runs of a seed before the next seed."""
    parser = options(__doc__, "runs/unlabelled")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--side", type=int, default=96, help="pixels a side of every view")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "unlabelled")
    source = of_study(asked)
    for seed in asked.seeds:
        few = labelled(source, asked.place / f"labelled-{seed}", 60 if asked.smoke else LABELLED, seed)
        for trial in trials(asked, source, few, seed):
            if f"unlabelled-{trial.name}" in ledger:
                continue
            cost, resumed = carry_out(trial)
            values = measured(trial, cost, resumed=resumed)
            told = f"{source.name}, {asked.side} px"
            subject = {**trial.subject, "data": told, "recipe": trial.name.rpartition("-")[0]}
            ledger.add(f"unlabelled-{trial.name}", values | {"subject": subject})


def trials(asked: argparse.Namespace, source: Path, few: Path, seed: int) -> list[Trial]:
    """Teacher, student of the labelled photos, student of all photos without labels."""

    def trial(name: str, data: Path, model: str, recipe: str, *more: str, verb: str = "finetune") -> Trial:
        return Trial(
            data=data,
            model=model,
            recipe=recipe,
            seed=seed,
            name=f"{name}-{seed}",
            asked=asked,
            settings=at_side(asked),
            more=more,
            verb=verb,
        )

    first = trial("labelled-teacher", few, "mobilenetv2", "finetune")
    weights = asked.shared / "weights" / "deit_tiny_patch16_224" / "model.safetensors"
    words = ("--unlabelled", "--teacher", str(first.folder), "--weights", str(weights))
    return [
        first,
        trial("labelled-student", few, "deit_ti", "finetune"),
        trial("taught-student", source, "deit_ti", "finetune-fast", *words, verb="pretrain"),
    ]


def labelled(source: Path, folder: Path, size: int, seed: int) -> Path:
    """``size`` of the train photos, with val and test as they are."""
    whole = by_class(source)
    train = {
        name: [path for path in paths if path.parent.parent.name == SPLITS[0]] for name, paths in whole.items()
    }
    chosen = draw(source, size, seed, photos=train)
    placed: dict[str, list[Path]] = {f"{SPLITS[0]}/{name}": paths for name, paths in chosen.items()}
    for split in SPLITS[1:]:
        for name, paths in whole.items():
            placed[f"{split}/{name}"] = [path for path in paths if path.parent.parent.name == split]
    return write_folder(folder, placed)


if __name__ == "__main__":
    main()
