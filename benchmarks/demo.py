"""`make demo`: from an empty machine to trained models and reports, without a download.

Real handwritten digits (scikit-learn's copy) become a folder of photos. A small two-token DeiT, a plain ViT and a
convnet learn them from scratch; the table and the places of the reports are printed.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from deitft.data.digits import write_digits

DIGITS, RUNS = Path("runs/digits"), Path("runs/demo")
MODELS = {"deit_ti": "deit_ti", "vit_ti": "vit_ti", "mobilenetv2": "mobilenetv2"}
SETTINGS = [
    "model.image_size=64",
    "augment.flip=0.0",
    "augment.color_jitter=0.0",
    "augment.scale=[0.6, 1.0]",
    "train.length=20 epochs",
]


def main() -> None:
    """Train what is missing, then print the table."""
    write_digits(DIGITS)
    for name, model in MODELS.items():
        if not (RUNS / name / "report.html").exists():
            train(name, model)
    print(f"\n{'model':14} {'top-1':>7}  95 % interval    report")
    for name in MODELS:
        metrics = json.loads((RUNS / name / "metrics.json").read_text())["test"]
        low, high = metrics["intervals"]["top1"]
        print(f"{name:14} {metrics['top1']:7.1%}  {low:.1%} to {high:.1%}   {RUNS / name / 'report.html'}")


def train(name: str, model: str) -> None:
    """One run through the command line, as a person would start it; one that was interrupted goes on."""
    command = ["finetune", str(DIGITS), "--model", model, "--no-pretrained", "--no-probe"]
    command += ["--runs-dir", str(RUNS), "--name", name]
    for setting in SETTINGS:
        command += ["--set", setting]
    if (RUNS / name / "run.json").exists():
        command = ["resume", str(RUNS / name)]
    print("$", shlex.join(["deitft", *command]), flush=True)
    subprocess.run([sys.executable, "-m", "deitft", *command], check=True)


if __name__ == "__main__":
    main()
