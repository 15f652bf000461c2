"""Does a teacher help where the student starts from ImageNet weights, and does a convnet teach better than a ViT?

Declared beforehand: DeiT-Ti on clothing-small by ``finetune-fast``, its epochs as they are, last step taken, three
seeds; without a teacher, and with hard and soft labels of two teachers, each fine-tuned by ``finetune`` (seed 0):
MobileNetV2, a convnet, and ViT-Ti, a transformer that has seen ImageNet-21k. Nothing is chosen on val, so the
claim may stand on val and test together (713 photos); the usual figures (best on val, test) are kept beside it.
Records: ``records/distill-finetune.jsonl``. Seed after seed, so that what is there can be compared.

    python benchmarks/distill_finetune.py --shared ../shared
"""

from __future__ import annotations

from command import ledger_of, options
from distilling import heads, of_last_step, teacher
from photos import of_study
from trial import Trial, carry_out, measured

TEACHERS = ("mobilenetv2", "vit_ti")
KINDS = ("hard", "soft")


def main() -> None:
    """All rows of a seed before the next seed."""
    parser = options(__doc__, "runs/distill-finetune")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--model", default="deit_ti")
    asked = parser.parse_args()
    ledger = ledger_of(asked, "distill-finetune")
    data = of_study(asked)
    rows = [("none", ""), *((kind, name) for name in TEACHERS for kind in KINDS)]
    for seed in asked.seeds:
        for kind, name in rows:
            label = "none" if kind == "none" else f"{kind}-{name}"
            if f"distill-finetune-{label}-{seed}" in ledger:
                continue
            more = () if kind == "none" else ("--distill", kind, "--teacher", str(teacher(asked, data, name)))
            trial = Trial(
                data=data,
                model=asked.model,
                recipe="finetune-fast",
                seed=seed,
                name=f"{label}-{seed}",
                asked=asked,
                more=more,
            )
            cost, resumed = carry_out(trial)
            values = measured(trial, cost, resumed=resumed) | heads(trial.folder) | of_last_step(trial, data)
            subject = {**trial.subject, "recipe": label, "distill": kind, "teacher": name}
            ledger.add(f"distill-finetune-{label}-{seed}", values | {"subject": subject})


if __name__ == "__main__":
    main()
