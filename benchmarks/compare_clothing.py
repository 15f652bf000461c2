"""The whole comparison on clothing-small: DeiT-Ti, MobileNetV2, ViT-Ti, and DeiT-Ti taught by either of them.

Trains nothing: it compares the finished runs of ``distill_finetune.py`` (``finetune-fast``, 96 pixels, three
seeds), at its ``--place``, and measures what each model costs. What is kept is the page as Markdown, as
``compare`` writes it, without what others have published. Records: ``records/compare-clothing.jsonl``; the page
with its pictures is left at ``PLACE/comparison``. Some minutes on two cores.

    python benchmarks/compare_clothing.py --shared ../shared
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from command import deitft, ledger_of, options, timed
from distill_finetune import KINDS, TEACHERS, untaught

STUDENT = "deit_ti"


def main() -> None:
    """One comparison of what is there: a record for each number of seeds and kinds."""
    parser = options(__doc__, "runs/clothing-96")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--kinds", nargs="*", default=KINDS, help="ways to teach")
    parser.add_argument("--margin", type=float, default=1.0)
    asked = parser.parse_args()
    runs = [asked.place / "runs" / name for name in named(asked)]
    out: Path = asked.place / "comparison"
    words = ["compare", *runs, "--out", out, "--margin", asked.margin, "--format", "json"]
    cost = timed(deitft(*words, *(["--threads", asked.threads] if asked.threads else [])), capture=True)
    (table,) = json.loads(cost.output)["tables"]
    ledger_of(asked, "compare-clothing").add(
        f"compare-clothing-{'-'.join(asked.kinds)}-{len(asked.seeds)}",
        {
            **cost.record(),
            "subject": {"data": table["title"], "runs": [run.name for run in runs]},
            "verdict": table["verdict"],
            "markdown": (out / "compare.md").read_text("utf-8").partition("<details>")[0],
        },
    )
    print(table["verdict"]["sentence"])


def named(asked: argparse.Namespace) -> list[str]:
    """The run folders, seed after seed of each contender."""
    alone = [untaught(model, seed) for model in (STUDENT, *TEACHERS) for seed in asked.seeds]
    taught = [f"{kind}-{teacher}-{seed}" for kind in asked.kinds for teacher in TEACHERS for seed in asked.seeds]
    return alone + taught


if __name__ == "__main__":
    main()
