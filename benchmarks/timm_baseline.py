"""The same photos with timm's own train.py: what a person gets who fine-tunes the same weights with timm.

timm's wheel has no scripts: give the folder that holds train.py (from the repository, of the installed version).
Each seed trains 8 epochs at 224 px; the epoch that is best on val then looks at the 372 test photos through timm's
own eval transform. Records go to ``records/clothing.jsonl``. A finished seed is skipped, a stopped one goes on at
its last epoch.

    python benchmarks/timm_baseline.py --timm-scripts ~/pytorch-image-models --shared ../shared
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import timm
import torch
from command import ledger_of, options, timed
from photos import digests, of_study, verdicts
from PIL import Image
from timm_log import best_epoch, epoch_speeds

MODEL = "deit_tiny_patch16_224"
EPOCHS = 8
BATCH = 64
SETTINGS = (
    *("--warmup-epochs", "1", "--warmup-lr", "1e-6", "--opt", "adamw", "--lr", "5e-4"),
    *("--weight-decay", "0.05", "--layer-decay", "0.75", "--drop-path", "0.1"),
    *("--amp", "--amp-dtype", "bfloat16", "--device", "cpu", "--sched-on-updates"),
)
"""What is shared with our own recipe: AdamW, its peak rate, decay, layer decay, drop-path, batch, precision.

Length, size and changes of photos are timm's: 8 epochs at 224 px, crop and colour. Its tests see 90 % of the
shorter side.
"""
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def main() -> None:
    """Seed after seed."""
    parser = options(__doc__, "runs/timm")
    parser.add_argument("--timm-scripts", type=Path, required=True, help="folder with timm's train.py")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    asked = parser.parse_args()
    ledger = ledger_of(asked, "clothing")
    data = of_study(asked)
    for seed in asked.seeds:
        if f"clothing-timm-train-{MODEL}-{seed}" not in ledger:
            ledger.add(f"clothing-timm-train-{MODEL}-{seed}", one_seed(asked, data, seed))


def train_command(asked: argparse.Namespace, data: Path, seed: int, *more: object) -> list[str]:
    """timm's train.py with the settings of this study."""
    words = [sys.executable, asked.timm_scripts / "train.py", data, "--train-split", "train"]
    words += ["--val-split", "validation", "--model", MODEL, "--pretrained", "--pretrained-path"]
    words += [asked.shared / "weights" / MODEL / "model.safetensors"]
    words += ["--num-classes", len(classes_of(data)), "--batch-size", 16 if asked.smoke else BATCH]
    words += ["--workers", 1, *SETTINGS, "--seed", seed, *more]
    return [
        str(word) for word in words + (["--img-size", 32, "--model-kwargs", "img_size=32"] if asked.smoke else [])
    ]


def one_seed(asked: argparse.Namespace, data: Path, seed: int) -> dict[str, Any]:
    """Train what is missing, then judge the best epoch."""
    folder = asked.place / f"timm-{seed}"
    epochs = 2 if asked.smoke else EPOCHS
    more: list[object] = ["--epochs", epochs, "--output", asked.place, "--experiment", folder.name]
    more += ["--log-interval", 2 if asked.smoke else 20]
    resumed = (folder / "last.pth.tar").exists()
    if resumed:
        more += ["--resume", folder / "last.pth.tar"]
    asked.place.mkdir(parents=True, exist_ok=True)
    log = asked.place / f"timm-{seed}.log"
    if not resumed:
        log.unlink(missing_ok=True)
        (folder / "summary.csv").unlink(missing_ok=True)
    cost = timed(train_command(asked, data, seed, *more), log=log, more_environment=threads(asked))
    best = best_epoch(folder / "summary.csv")
    size = 32 if asked.smoke else 224
    began = time.monotonic()
    result, right = judge(folder / f"checkpoint-{best['epoch']}.pth.tar", data, size)
    values = cost.record()
    return values | {
        "subject": {"data": data.name, "model": MODEL, "recipe": "timm train.py", "seed": seed},
        "result": {**result, "val_top1": best["eval_top1"] / 100, "best_epoch": best["epoch"], "epochs": epochs},
        "seconds": {**values["seconds"], "judging": time.monotonic() - began},
        "resumed": resumed,
        "images_per_second": {str(size): speed_of(log.read_text())},
        "verdicts": right,
    }


def threads(asked: argparse.Namespace) -> dict[str, str]:
    """What tells timm's script how many threads to use: the variable that torch reads."""
    return OFFLINE | ({"OMP_NUM_THREADS": str(asked.threads)} if asked.threads else {})


def speed_of(log: str) -> dict[str, float]:
    """Training images a second of every epoch, as timm's log says."""
    epochs = epoch_speeds(log)
    return {
        "median": statistics.median(epochs),
        "mean": statistics.harmonic_mean(epochs),
        "slowest": min(epochs),
        "fastest": max(epochs),
        "windows": len(epochs),
    }


def classes_of(data: Path) -> list[str]:
    """Class names in timm's order."""
    return sorted(path.name for path in (data / "train").iterdir() if path.is_dir())


def judge(checkpoint: Path, data: Path, size: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Top-1 and top-5 on test in bfloat16, as train.py validates; and which photos were right."""
    classes = classes_of(data)
    model = timm.create_model(MODEL, num_classes=len(classes), img_size=size)
    timm.models.load_checkpoint(model, str(checkpoint), weights_only=False)
    model.eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({"img_size": size}, model=model), is_training=False
    )
    paths = sorted((data / "test").glob("*/*.jpg"))
    labels = torch.tensor([classes.index(path.parent.name) for path in paths])
    logits = []
    for start in range(0, len(paths), BATCH):
        views = torch.stack([transform(opened(path)) for path in paths[start : start + BATCH]])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits.append(model(views).float())
    order = torch.cat(logits).argsort(dim=1, descending=True, stable=True)
    hits = order == labels[:, None]
    top = min(5, len(classes))
    result = {
        "split": "test",
        "n": len(paths),
        "top1": hits[:, 0].double().mean().item(),
        "top5": hits[:, :top].any(dim=1).double().mean().item(),
        "precision": "bf16",
    }
    return result, verdicts(dict(zip(digests(paths), hits[:, 0].tolist(), strict=True)))


def opened(path: Path) -> Image.Image:
    """A photo as timm's data set opens it."""
    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    os.environ.update(OFFLINE)
    main()
