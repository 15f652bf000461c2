"""`make demo`: from an empty machine to trained models, reports and a comparison, without a download.

Real handwritten digits (scikit-learn's copy) become a folder of photos. A small convnet learns them from nothing
and teaches a two-token DeiT, which is then fine-tuned; a plain ViT learns alone. `deitft compare` says what came
of it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deitft.data.digits import write_digits

DIGITS, RUNS = Path("runs/digits"), Path("runs/demo-digits")
TEACHER, STUDENT, BEGUN, ALONE = "resnet10t", "deit_ti", "deit_ti-pretrained", "vit_ti"
SETTINGS = [
    "model.image_size=64",
    "train.full_size_from=0.0",
    # A mirrored digit is another one, and so is a mixed or hidden one.
    "augment.policy=light",
    "augment.flip=0.0",
    "augment.color_jitter=0.0",
    "augment.scale=[0.6, 1.0]",
    "augment.erasing=0.0",
    "mixing.chance=0.0",
]


def main() -> None:
    """Train what is missing, then compare."""
    write_digits(DIGITS)
    # A convnet learns digits from nothing in fewer passes than a transformer does.
    train("pretrain", TEACHER, TEACHER, 10)
    train("pretrain", BEGUN, STUDENT, 14, "--distill", "hard", "--teacher", str(RUNS / TEACHER))
    train("finetune", STUDENT, STUDENT, 4, "--weights", str(RUNS / BEGUN), "--no-probe")
    train("pretrain", ALONE, ALONE, 18)
    runs = [str(RUNS / name) for name in (TEACHER, STUDENT, ALONE)]
    deitft(["compare", *runs, "--out", str(RUNS / "comparison")])
    print(f"reports: {', '.join(str(RUNS / name / 'report.html') for name in (TEACHER, STUDENT, ALONE))}")


def train(verb: str, name: str, model: str, epochs: int, *more: str) -> None:
    """One run through the command line, as a person would start it; one that was interrupted goes on."""
    folder = RUNS / name
    if finished(folder):
        return
    words = [verb, str(DIGITS), "--model", model, "--runs-dir", str(RUNS), "--name", name, *more]
    if verb == "pretrain":
        words += ["--recipe", "pretrain-small"]
    for setting in [*SETTINGS, f"train.length={epochs} epochs"]:
        words += ["--set", setting]
    deitft(["resume", str(folder)] if (folder / "run.json").exists() else words)


def finished(folder: Path) -> bool:
    """Whether a run has come to its end."""
    record = folder / "run.json"
    return record.exists() and json.loads(record.read_text()).get("status") == "done"


def deitft(words: Sequence[str]) -> None:
    """One command, shown before it is run."""
    print("$", shlex.join(["deitft", *words]), flush=True)
    subprocess.run([sys.executable, "-m", "deitft", *words], check=True)


if __name__ == "__main__":
    main()
