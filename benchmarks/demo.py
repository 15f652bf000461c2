"""`make demo`: from an empty machine to trained models and reports, without a download.

Real handwritten digits (scikit-learn's copy) become a folder of photos. A small convnet, a two-token DeiT and a
plain ViT learn them from scratch; the table and the places of the reports are printed.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from deitft.data.digits import write_digits

DIGITS, RUNS = Path("runs/digits"), Path("runs/demo-digits")
EPOCHS = {"resnet10t": 10, "deit_ti": 18, "vit_ti": 18}
"""A small convnet learns digits from nothing in fewer passes than a transformer does."""
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
    """Train what is missing, then print the table."""
    write_digits(DIGITS)
    for model in EPOCHS:
        if not (RUNS / model / "report.html").exists():
            train(model)
    print(f"\n{'model':14} {'top-1':>7}  95 % interval    report")
    for name in EPOCHS:
        metrics = json.loads((RUNS / name / "metrics.json").read_text())["test"]
        low, high = metrics["intervals"]["top1"]
        print(f"{name:14} {metrics['top1']:7.1%}  {low:.1%} to {high:.1%}   {RUNS / name / 'report.html'}")


def train(model: str) -> None:
    """One run through the command line, as a person would start it; one that was interrupted goes on."""
    command = ["finetune", str(DIGITS), "--model", model, "--no-pretrained", "--no-probe"]
    command += ["--runs-dir", str(RUNS), "--name", model]
    for setting in [*SETTINGS, f"train.length={EPOCHS[model]} epochs"]:
        command += ["--set", setting]
    if (RUNS / model / "run.json").exists():
        command = ["resume", str(RUNS / model)]
    print("$", shlex.join(["deitft", *command]), flush=True)
    subprocess.run([sys.executable, "-m", "deitft", *command], check=True)


if __name__ == "__main__":
    main()
