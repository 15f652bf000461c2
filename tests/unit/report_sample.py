"""A report's data with invented predictions, for tests of the page only; run as a script it writes pages."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.errors import Notice
from deitft.evaluation.calibration import calibration_error, reliability_bins
from deitft.evaluation.statistics import wilson_interval
from deitft.reporting.report_data import (
    AttentionSample,
    Calibration,
    ClassRow,
    ConfusedPair,
    EpochRow,
    Estimate,
    HeadRow,
    History,
    PhotoCase,
    Pixels,
    Reliability,
    ReportData,
    SeenStep,
    SplitTable,
    TokenPart,
    WeightsReport,
)
from deitft.reporting.selection import select_photos

CLASSES = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
TEST_COUNTS = (15, 12, 72, 38, 42, 26, 73, 30, 12, 52)
FRIENDS = {"shirt": "t-shirt", "longsleeve": "shirt", "skirt": "dress", "dress": "skirt", "shorts": "pants"}

Photos = Callable[[int], tuple[str, Pixels]]
"""Row number to path and pixels."""


def drawn_photo(row: int, side: int = 48) -> Pixels:
    """A picture that differs by row and has something to look at."""
    y, x = np.mgrid[0:side, 0:side] / side
    draw = np.random.default_rng(row)
    colour = draw.integers(40, 216, 3)
    centre = draw.uniform(0.35, 0.65, 2)
    inside = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 0.09)[..., None]
    return np.where(inside, colour, 235 - 30 * y[..., None]).astype(np.uint8)


def estimate(right: int, n: int) -> Estimate:
    return Estimate(right / n, *wilson_interval(right, n)) if n else Estimate(None, reason="no photos")


def around(value: float, spread: float) -> Estimate:
    return Estimate(value, max(0.0, value - spread), min(1.0, value + spread))


def invented(
    classes: Sequence[str], counts: Sequence[int], seed: int = 0, confusable: float = 0.12, noise: float = 1.0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Labels [N] and probabilities [N, C] of a model that is mostly right and mixes up neighbours."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(classes)), counts)
    logits = draw.normal(0, noise, (len(labels), len(classes)))
    logits[np.arange(len(labels)), labels] += 7
    for row, label in enumerate(labels):
        friend = FRIENDS.get(classes[label])
        place = classes.index(friend) if friend in classes else (label + 1) % len(classes)
        if draw.random() < confusable * (2 if friend else 1):
            logits[row, place] += draw.uniform(5, 11)
    chance = np.exp(logits - logits.max(axis=1, keepdims=True))
    return labels, chance / chance.sum(axis=1, keepdims=True)


def class_rows(confusion: npt.NDArray[np.int64]) -> list[ClassRow]:
    rows = []
    for index in range(len(confusion)):
        hit, n, called = int(confusion[index, index]), int(confusion[index].sum()), int(confusion[:, index].sum())
        precision = estimate(hit, called) if called else Estimate(None, reason="never called")
        f1 = around(2 * hit / (n + called), 0.5 / np.sqrt(n)) if n + called else Estimate(None, reason="no photos")
        rows.append(ClassRow(n=n, predicted=called, precision=precision, recall=estimate(hit, n), f1=f1))
    return rows


def reliability(chance: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], power: float) -> Reliability:
    scaled = chance**power
    scaled /= scaled.sum(axis=1, keepdims=True)
    sure, right = scaled.max(axis=1), scaled.argmax(axis=1) == labels
    loss = float(-np.log(np.maximum(scaled[np.arange(len(labels)), labels], 1e-12)).mean())
    return Reliability(
        error=around(calibration_error(sure, right), 0.012), bins=reliability_bins(sure, right), loss=loss
    )


def history(epochs: int = 12, *, ema: bool = True, val: bool = True, late_rise: float = 0.0) -> History:
    draw = np.random.default_rng(1)
    rows = []
    for epoch in range(1, epochs + 1):
        at = epoch / epochs
        score = 0.905 - 0.35 * np.exp(-5 * at) + late_rise * max(0.0, at - 0.7) + draw.normal(0, 0.004)
        rows.append(
            EpochRow(
                step=epoch * 96,
                epoch=float(epoch),
                train_loss=0.62 + 1.6 * float(np.exp(-4 * at)),
                val_loss=0.41 + 0.9 * float(np.exp(-5 * at)) if val else None,
                lr=5e-4 * (0.5 + 0.5 * float(np.cos(np.pi * at))),
                val_score=float(score) if val else None,
                val_score_ema=float(score - 0.25 * np.exp(-7 * at) + 0.006) if val and ema else None,
            )
        )
    best = max(rows, key=lambda row: row.val_score_ema or row.val_score or 0)
    return History(rows=rows, best_step=best.step if val else None, best_which="ema" if ema else "raw")


def attention_map(row: int, tokens: int = 2, side: int = 14) -> npt.NDArray[np.float32]:
    y, x = np.mgrid[0:side, 0:side] / side
    draw = np.random.default_rng(row)
    maps = []
    for _ in range(tokens):
        cy, cx = draw.uniform(0.3, 0.7, 2)
        maps.append(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.05) + draw.uniform(0, 0.2, (side, side)))
    return np.stack(maps).astype(np.float32)


def cropped_views(image: Pixels, row: int, count: int = 6) -> list[Pixels]:
    draw = np.random.default_rng(row)
    height, width = image.shape[:2]
    views = []
    for _ in range(count):
        side = int(min(height, width) * draw.uniform(0.45, 0.95))
        top, left = draw.integers(0, height - side + 1), draw.integers(0, width - side + 1)
        view = image[top : top + side, left : left + side]
        view = view[:, ::-1] if draw.random() < 0.5 else view
        views.append((view * draw.uniform(0.7, 1.0)).astype(np.uint8))
    return views


def head_rows(right: int, in_five: int, n: int) -> list[HeadRow]:
    told = (
        ("class head", -3, 0.352, 0.051),
        ("distillation head", -1, 0.341, 0.046),
        ("both, mean of logits", 0, 0.331, 0.043),
        ("both, sum of softmax", 0, 0.330, 0.047),
    )
    return [
        HeadRow(
            name=name,
            top1=estimate(right + less, n),
            top5=estimate(in_five, n),
            loss=loss,
            calibration_error=error,
            served="mean" in name,
        )
        for name, less, loss, error in told
    ]


def sample(
    classes: Sequence[str] = CLASSES,
    counts: Sequence[int] = TEST_COUNTS,
    photos: Photos | None = None,
    *,
    seed: int = 0,
    confusable: float = 0.12,
    noise: float = 1.0,
) -> ReportData:
    """A full report: two heads, EMA, findings, everything."""
    labels, chance = invented(classes, counts, seed, confusable, noise)
    read = photos or (lambda row: (f"test/{classes[labels[row]]}/{row:04d}.jpg", drawn_photo(row)))
    predicted = chance.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    n, right = len(labels), int(np.trace(confusion))
    chosen = select_photos(labels, chance)

    def case(row: int) -> PhotoCase:
        path, image = read(row)
        return PhotoCase(
            path=path,
            image=image,
            label=int(labels[row]),
            predicted=int(predicted[row]),
            probability=float(chance[row, predicted[row]]),
            label_probability=float(chance[row, labels[row]]),
            split="test",
        )

    pairs = [
        ConfusedPair(
            label=pair.label,
            predicted=pair.predicted,
            count=pair.count,
            n=pair.n,
            photos=[case(row) for row in pair.photos],
        )
        for pair in chosen.pairs
    ]
    largest = int(np.argmax(counts))
    recalls = [row.recall.value or 0 for row in class_rows(confusion)]
    some = [int(row) for row in np.linspace(0, n - 1, 6)]
    rank = np.argsort(-chance, axis=1)[:, :5]
    in_five = int((rank == labels[:, None]).any(axis=1).sum())
    return ReportData(
        title="finetune-1",
        classes=tuple(classes),
        n=n,
        top1=estimate(right, n),
        confusion=confusion,
        model="deit_tiny_distilled_patch16_224.fb_in1k",
        recipe="finetune",
        data_name="clothing-small",
        data_fingerprint="9f2c41d07ab8e3556610",
        seed=0,
        command=("deitft", "finetune", "clothing-small", "--model", "deit_ti", "--set", "train.length=12 epochs"),
        made="2026-03-14T15:09:26+00:00",
        majority=estimate(int(counts[largest]), n),
        majority_class=largest,
        probe=estimate(int(right * 0.945), n),
        probe_note="logistic regression on the starting weights' features",
        top5=estimate(in_five, n) if len(classes) >= 6 else None,
        macro_f1=around(float(np.mean(recalls)) - 0.004, 0.035),
        balanced_accuracy=around(float(np.mean(recalls)), 0.033),
        loss=0.3312,
        per_class=class_rows(confusion),
        heads=head_rows(right, in_five, n),
        head_agreement=0.973,
        calibration=Calibration(
            before=reliability(chance, labels, 1.6), after=reliability(chance, labels, 0.9), temperature=1.312
        ),
        history=history(),
        pairs=pairs,
        mistakes=[case(row) for row in chosen.mistakes],
        label_errors=[case(row) for row in chosen.label_errors],
        views=[
            SeenStep(
                step=1 + 40 * number,
                side=160,
                views=cropped_views(read(row)[1], row),
                names=[classes[labels[row]], f"{classes[labels[row]]} + {classes[0]}"] * 3,
            )
            for number, row in enumerate(some[:4])
        ],
        attention=[
            AttentionSample(
                path=read(row)[0],
                image=read(row)[1],
                maps=attention_map(row),
                label=int(labels[row]),
                predicted=int(predicted[row]),
            )
            for row in some
        ],
        findings=FINDINGS,
        splits=SplitTable(
            counts={"train": [8 * c for c in counts], "val": list(counts), "test": list(counts)},
            note="Given by the folders train, validation, test.",
            left_out=2,
        ),
        weights=WEIGHTS,
        plan=PLAN,
        environment={
            "python": "3.11.9",
            "system": "Linux 6.1",
            "cores": 8,
            "versions": {"deitft": "0.1.0", "torch": "2.15.0", "timm": "1.0.31", "wandb": None},
        },
        seconds={"whole command": 1874.0, "training": 1622.4, "evaluation": 41.8},
        costs=(("training speed", "22.6 photos/s"), ("peak memory", "1.9 GB"), ("parameters", "5.5 million")),
        limits=("Near duplicates across splits were searched for by their pixels only.",),
    )


FINDINGS = (
    Notice(
        id="D12",
        severity="warning",
        text="3 test photos look almost the same as train photos",
        hint="compare before trusting the score",
        files=("test/hat/0007.jpg", "test/shoes/0112.jpg", "test/shoes/0113.jpg"),
    ),
    Notice(
        id="D2",
        severity="warning",
        text="2 photos cannot be read, left out by name",
        files=("train/hat/9.jpg",) * 2,
    ),
    Notice(id="D14", severity="info", text="ignored 9 files that are not photos", files=(".DS_Store",) * 9),
)
WEIGHTS = WeightsReport(
    facts=(
        ("architecture", "deit_tiny_distilled_patch16_224"),
        ("tag", "fb_in1k"),
        ("has seen", "ImageNet-1k"),
        ("licence", "Apache-2.0"),
        ("found in", "the weights folder"),
    ),
    taken=152,
    dropped=("head.weight", "head.bias", "head_dist.weight", "head_dist.bias"),
    started=("head.weight", "head.bias", "head_dist.weight", "head_dist.bias"),
)
PLAN = {
    "recipe": "finetune",
    "seed": 0,
    "model": "deit_tiny_distilled_patch16_224.fb_in1k",
    "preprocessing": {"size": 224, "mean": (0.485, 0.456, 0.406), "crop_share": 0.9, "aspect": "crop"},
    "classes": CLASSES,
    "total_steps": 1152,
    "steps_per_epoch": 96,
    "batch": 32,
    "micro_batch": 32,
    "save_every_seconds": 300.0,
    "precision": "bf16",
    "compile": False,
    "optim": {"name": "adamw", "lr": 0.0005, "weight_decay": 0.05, "warmup_steps": 96, "clip_norm": None},
    "ema_decay": 0.9995,
    "asked": {
        "model.name": "deit_ti",
        "model.image_size": "auto",
        "train.length": "12 epochs",
        "train.batch": "auto",
        "train.precision": "auto",
        "train.save_every": "5m",
        "optim.lr": "auto",
        "optim.warmup": "1 epochs",
        "ema.decay": "auto",
    },
}


def distilled(data: ReportData) -> ReportData:
    """The same run with a teacher; the table is that of the DeiT paper (table 4)."""
    voices = ("label", "teacher", "class head", "distillation head", "both (mean of logits)")
    table = (
        (0.0, 0.171, 0.170, 0.169, 0.166),
        (0.171, 0.0, 0.112, 0.100, 0.102),
        (0.170, 0.112, 0.0, 0.050, 0.033),
        (0.169, 0.100, 0.050, 0.0, 0.019),
        (0.166, 0.102, 0.033, 0.019, 0.0),
    )
    token = TokenPart(
        alone=True,
        kind="hard",
        teachers=("runs/teacher-mobilenetv2-5bafb4f9",),
        teacher=around(0.829, 0.03),
        voices=voices,
        disagreement=table,
        fusions_apart=0.004,
        apart=63,
        sides=(("class head", 12, 20), ("distillation head", 9, 30), ("both (mean of logits)", 11, 27)),
        gains=(("distillation head minus class head", Estimate(0.012, -0.004, 0.027)),),
        cosine_in=0.06,
        layers=(*np.linspace(0.1, 0.9, 12).tolist(), 0.93),
        cosine_photos=372,
    )
    return dataclasses.replace(data, token=token)


def bare(classes: Sequence[str] = ("cat", "dog"), counts: Sequence[int] = (20, 24)) -> ReportData:
    """The least a report may hold: an evaluation of somebody's folder, no mistake, nothing else known."""
    n = sum(counts)
    return ReportData(
        title="evaluate-1",
        verb="evaluate",
        classes=classes,
        n=n,
        top1=estimate(n, n),
        confusion=np.diag(counts).astype(np.int64),
    )


def real_photos(folder: Path) -> Photos:
    """Photos of the shared clothes, in the order of ``CLASSES`` and ``TEST_COUNTS``."""
    from deitft.data.decode import decode_file

    paths = [path for name in CLASSES for path in sorted((folder / "test" / name).iterdir())]
    return lambda row: (paths[row].relative_to(folder).as_posix(), decode_file(paths[row]))


def main(out: Path) -> None:
    photos = real_photos(Path(__file__).resolve().parents[3] / "shared/data/clothing-small")
    from deitft.reporting.html import write_report

    out.mkdir(parents=True, exist_ok=True)
    long = ["w" * 255, "שמלה", "émoji 👩‍👩‍👧", "<img src=x onerror=alert(1)>", "a\u202eb", *CLASSES[5:]]
    many = [f"class {index:04d} of many" for index in range(1000)]
    pages = {
        "full": sample(photos=photos),
        "bare": bare(),
        "distilled": distilled(sample(photos=photos)),
        "odd": sample(long, TEST_COUNTS, photos=photos),
        "many": sample(many, [5] * 1000, noise=1.8),
        "forty": sample([f"kind {index}" for index in range(40)], [20] * 40, noise=1.6),
        "two": sample(("cat", "dog"), (60, 40), confusable=0.3),
    }
    for name, data in pages.items():
        print(name, write_report(out / f"{name}.html", data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
