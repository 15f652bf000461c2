"""ImageNet figures as published: DeiT's paper, its rivals, and timm's own measurements, each with its source.

References, never measurements of ours, and not to be compared with figures on other photos. Each figure stands
once: those of models with a short name are in ``zoo``, and are taken from there. What no source says is None.
Importing this loads neither torch nor timm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deitft.models.zoo import ZOO, ZooEntry

PAPER = "arXiv 2012.12877"
TIMM = "timm results-imagenet.csv"
_IN1K, _IN21K = "ImageNet-1k", "ImageNet-21k, then 1k"
_BY_SHORT = {entry.short: entry for entry in ZOO}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One published top-1 on ImageNet-1k's 50,000 validation photos, in per cent, at ``size`` pixels a side.

    ``architecture`` is how timm's name of it begins; ``tag`` timm's full name, where the figure is of exactly
    those weights. ``millions`` of parameters include the classifier. ``crop`` is the share of the shorter side
    that was kept. ``note`` says what is often left out when the figure is quoted.
    """

    name: str
    architecture: str
    top1: float
    size: int | None
    source: str
    epochs: int | None = None
    seen: str = _IN1K
    millions: float | None = None
    crop: float | None = None
    tag: str | None = None
    note: str = ""


def _millions(short: str) -> float:
    """The parameters of a model of the zoo."""
    return round(_BY_SHORT[short].parameters / 1e6, 2)


_DEIT = (("Ti", "tiny", "deit_ti", "vit_ti"), ("S", "small", "deit_s", "vit_s"), ("B", "base", "deit_b", "vit_b"))
"""Letter, timm's word, and the short names that have its parameters with two tokens and with one."""
_TEACHER = "teacher RegNetY-16GF"


def _deit(
    what: str, top1s: Sequence[float], where: str, epochs: int, *, tokens: int, note: str = ""
) -> tuple[Reference, ...]:
    """A row of the paper: Ti, S and B at 224 px."""
    return tuple(
        Reference(
            name=f"DeiT-{letter}{what}",
            architecture=f"deit_{word}_distilled" if tokens == 2 else f"deit_{word}_patch16",
            top1=top1,
            size=224,
            source=f"{PAPER}, {where}",
            epochs=epochs,
            millions=_millions(two if tokens == 2 else one),
            note=note,
        )
        for top1, (letter, word, two, one) in zip(top1s, _DEIT, strict=True)
    )


def _deit_384(what: str, top1: float, epochs: int, *, tokens: int, note: str = "") -> Reference:
    return Reference(
        name=f"DeiT-B{what} ↑384",
        architecture="deit_base_distilled" if tokens == 2 else "deit_base_patch16",
        top1=top1,
        size=384,
        source=f"{PAPER}, table 5",
        epochs=epochs,
        millions=_millions("deit_b_384") if tokens == 2 else 86.86,
        note=note,
    )


def _deit3(
    letter: str, short: str | None, figures: Sequence[tuple[int, str, float, float | None]]
) -> tuple[Reference, ...]:
    word = {"S": "small", "M": "medium", "B": "base", "L": "large", "H/14": "huge"}[letter]
    return tuple(
        Reference(
            name=f"DeiT III-{letter}",
            architecture=f"deit3_{word}",
            top1=top1,
            size=size,
            source="DeiT III README (arXiv 2204.07118)",
            epochs=800 if seen == _IN1K and letter != "M" else None,
            seen=seen,
            millions=_millions(short) if short and size == 224 else millions,
            crop=1.0,
            note="no teacher and no distillation token",
        )
        for size, seen, top1, millions in figures
    )


_HARD = "hard labels of the teacher, one token: without the distillation token"
_SOFT = "soft labels of the teacher: no gain in the authors' setting"
_LONG = "1000 epochs; these 224 px weights were never released"

PAPERS: tuple[Reference, ...] = (
    *_deit("", (72.2, 79.8, 81.8), "tables 3 and 5", 300, tokens=1),
    *_deit(", soft distillation", (72.2, 79.8, 81.8), "table 3", 300, tokens=1, note=_SOFT),
    *_deit(", hard distillation", (74.3, 80.9, 83.0), "table 3", 300, tokens=1, note=_HARD),
    *_deit("⚗", (74.5, 81.2, 83.4), "tables 3 and 5", 300, tokens=2, note=f"{_TEACHER}, both heads"),
    *_deit("⚗, 1000 epochs", (76.6, 82.6, 84.2), "table 5", 1000, tokens=2, note=_LONG),
    _deit_384("", 83.1, 300, tokens=1, note="the released weights give 82.9 at the authors' crop of 0.875"),
    _deit_384("⚗", 84.5, 300, tokens=2),
    _deit_384("⚗, 1000 epochs", 85.2, 1000, tokens=2, note="fine-tuned at 384 px with the teacher"),
    Reference(
        name="RegNetY-16GF",
        architecture="regnety_160",
        top1=82.9,
        size=224,
        source=f"{PAPER}, tables 2 and 5",
        millions=_millions("regnety_160"),
        note="DeiT's teacher",
    ),
    Reference(
        name="ResNet-50",
        architecture="resnet50",
        top1=76.2,
        size=224,
        source=f"{PAPER}, table 5",
        millions=_millions("resnet50"),
        note="newer recipes give the same net some 4 points more",
    ),
    Reference(
        name="EfficientNet-B5",
        architecture="tf_efficientnet_b5",
        top1=83.6,
        size=456,
        source=f"{PAPER}, table 5",
        millions=_millions("efficientnet_b5"),
    ),
    Reference(
        name="EfficientNet-B5, RandAugment",
        architecture="tf_efficientnet_b5",
        top1=83.7,
        size=456,
        source=f"{PAPER}, table 5",
        millions=_millions("efficientnet_b5"),
    ),
    Reference(
        name="ViT-B/16",
        architecture="vit_base_patch16",
        top1=77.9,
        size=384,
        source=f"{PAPER}, table 5",
        millions=86.86,
        note="pre-trained on ImageNet-1k, judged at 384 px; better recipes give the same net more at 224 px",
    ),
    Reference(
        name="ViT-B/16, JFT",
        architecture="vit_base_patch16",
        top1=84.15,
        size=384,
        source=f"{PAPER}, section 5.2",
        seen="JFT-300M, 300 M private photos",
        millions=86.86,
    ),
    *_deit3("S", "deit3_s", [(224, _IN1K, 81.4, None), (384, _IN1K, 83.4, 22.21)]),
    *_deit3("S", "deit3_s", [(224, _IN21K, 83.1, None), (384, _IN21K, 84.8, 22.21)]),
    *_deit3("M", None, [(224, _IN1K, 83.0, 38.85), (224, _IN21K, 84.5, 38.85)]),
    *_deit3("B", "deit3_b", [(224, _IN1K, 83.8, None), (384, _IN1K, 85.0, 86.88)]),
    *_deit3("B", "deit3_b", [(224, _IN21K, 85.7, None), (384, _IN21K, 86.7, 86.88)]),
    *_deit3("L", "deit3_l", [(224, _IN1K, 84.9, None), (384, _IN1K, 85.8, 304.76)]),
    *_deit3("L", "deit3_l", [(224, _IN21K, 87.0, None), (384, _IN21K, 87.7, 304.76)]),
    *_deit3("H/14", None, [(224, _IN1K, 85.2, None), (224, _IN21K, 87.2, None)]),
    *(
        Reference(
            name="Swin-B",
            architecture="swin_base",
            top1=top1,
            size=size,
            source="Swin README",
            seen=seen,
            millions=_millions("swin_b") if size == 224 else 87.90,
        )
        for size, seen, top1 in ((224, _IN1K, 83.5), (384, _IN1K, 84.5), (224, _IN21K, 85.2), (384, _IN21K, 86.4))
    ),
    *(
        Reference(
            name="ConvNeXt-B",
            architecture="convnext_base",
            top1=top1,
            size=size,
            source="ConvNeXt README",
            seen=seen,
            millions=_millions("convnext_b"),
        )
        for size, seen, top1 in ((224, _IN1K, 83.8), (384, _IN1K, 85.1), (224, _IN21K, 85.8), (384, _IN21K, 86.8))
    ),
)
"""What papers and their authors' pages say."""


def _of_zoo(entry: ZooEntry, top1: float) -> Reference:
    how = "" if entry.top1_how == "own classifier" else entry.top1_how
    return Reference(
        name=entry.short,
        architecture=entry.architecture,
        top1=top1,
        size=entry.top1_size,
        source=entry.source,
        epochs=entry.epochs,
        seen=entry.seen,
        millions=_millions(entry.short),
        crop=entry.top1_crop,
        tag=entry.tag,
        note="; ".join(filter(None, (how, entry.note))),
    )


def _of_timm(
    tag: str, size: int, top1: float, millions: float, crop: float, seen: str = _IN1K, note: str = ""
) -> Reference:
    return Reference(
        name=tag,
        architecture=tag.partition(".")[0],
        top1=top1,
        size=size,
        source=TIMM,
        seen=seen,
        millions=millions,
        crop=crop,
        tag=tag,
        note=note,
    )


WEIGHTS: tuple[Reference, ...] = (
    *(_of_zoo(entry, entry.top1) for entry in ZOO if entry.top1 is not None),
    _of_timm("deit_tiny_patch16_224.fb_in1k", 224, 72.190, 5.72, 0.9),
    _of_timm("deit_small_patch16_224.fb_in1k", 224, 79.856, 22.05, 0.9),
    _of_timm("deit_base_patch16_224.fb_in1k", 224, 81.980, 86.57, 0.9, note="81.846 at the authors' crop"),
    _of_timm("deit_base_patch16_384.fb_in1k", 384, 83.108, 86.86, 1.0, note="82.890 at the authors' crop"),
    _of_timm("deit3_small_patch16_384.fb_in1k", 384, 83.432, 22.21, 1.0),
    _of_timm("deit3_base_patch16_384.fb_in1k", 384, 85.088, 86.88, 1.0),
    _of_timm("deit3_large_patch16_384.fb_in1k", 384, 85.820, 304.76, 1.0),
    _of_timm("vit_base_patch16_384.augreg_in1k", 384, 81.102, 86.86, 1.0),
    _of_timm("resnet50.tv_in1k", 224, 76.156, 25.56, 0.875),
    _of_timm("resnet50.tv2_in1k", 224, 80.846, 25.56, 0.965),
    _of_timm("regnety_160.deit_in1k", 288, 83.704, 83.59, 1.0),
    _of_timm("regnety_160.pycls_in1k", 224, 80.284, 83.59, 0.875, note="not DeiT's teacher"),
    _of_timm("tf_efficientnet_b5.in1k", 456, 83.170, 30.39, 0.934),
    _of_timm("tf_efficientnet_b5.aa_in1k", 456, 83.696, 30.39, 0.934),
    _of_timm(
        "tf_efficientnet_b5.ns_jft_in1k", 456, 86.096, 30.39, 0.934, "ImageNet-1k and 300 M unlabelled photos"
    ),
    _of_timm("swin_base_patch4_window12_384.ms_in1k", 384, 84.478, 87.90, 1.0),
    _of_timm("swin_base_patch4_window7_224.ms_in22k_ft_in1k", 224, 85.276, 87.77, 0.9, _IN21K),
    _of_timm("convnext_base.fb_in1k", 288, 84.466, 88.59, 1.0),
    _of_timm("convnext_base.fb_in22k_ft_in1k", 224, 85.814, 88.59, 0.875, _IN21K),
)
"""Weights that can be had: timm's table of 2025-10-30, or the source that a row names."""

REFERENCES = (*PAPERS, *WEIGHTS)

MISQUOTED: tuple[tuple[str, str], ...] = (
    (
        "DeiT-S reaches 81.2",
        "distilled, at 224 px, 300 epochs, both heads, teacher RegNetY-16GF; plain it is 79.8",
    ),
    (
        "DeiT-B reaches 85.2 with hard distillation",
        "and the token, 1000 epochs, and fine-tuning at 384 px; 83.4 at 224",
    ),
    (
        "the distillation token adds 3.4 points",
        "that sums teacher, 1000 epochs and 384 px; over hard labels alone: 0.4",
    ),
    ("6.3 points over ViT-B", "distilled, 224 px, 1000 epochs, against ViT-B at 384 px; plain DeiT-B: 3.9"),
    (
        "ViT-B/16 has 77.9 for want of data",
        "at 384 px; with DeiT III's recipe 83.8 at 224 px: it is the recipe as well",
    ),
    ("EfficientNet-B5 has 83.4", "83.6 at 456 px, 83.7 with RandAugment; 83.4 is distilled DeiT-B"),
    ("the teacher RegNetY-16GF has 84.0", "82.9; timm's weights 83.00 at 224 px, 83.70 at 288 px"),
    ("ConvNeXt-B has 84.3", "83.8 at 224 px, 85.1 at 384 px; 84.3 is ConvNeXt-L"),
    ("DeiT-S takes 86 MB, ViT-B 330 MB", "MiB of fp32; in MB 88.2 (distilled 89.7) and 346.3"),
    ("2.3 ms against 3.1 ms on an A100", "no source was found; a time needs batch, precision and size beside it"),
    (
        "soft distillation helps a little",
        "it gave nothing in the paper: 81.8 and 81.8; hard labels gave DeiT-B 1.2",
    ),
    ("DeiT II", "there is none: after DeiT came CaiT, ResMLP and others, then DeiT III"),
)
"""What is said, and what the sources say."""

COLUMNS = ("model", "top-1 %", "pixels", "crop", "epochs", "has seen", "params M", "source", "note")


def table(references: Iterable[Reference] = REFERENCES) -> list[tuple[str, ...]]:
    """Rows of plain text under ``COLUMNS``; "–" where the source does not say."""
    return [
        (
            row.name,
            f"{row.top1:.1f}" if round(row.top1, 1) == row.top1 else f"{row.top1:.3f}".rstrip("0"),
            _known(row.size),
            _known(row.crop),
            _known(row.epochs),
            row.seen,
            "–" if row.millions is None else f"{row.millions:.1f}",
            row.source,
            row.note,
        )
        for row in references
    ]


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def about(timm_names: Iterable[str]) -> tuple[Reference, ...]:
    """The references of these models' architectures, whatever their weights: what to show beside a comparison."""
    names = tuple(timm_names)
    return tuple(row for row in REFERENCES if any(name.startswith(row.architecture) for name in names))


def of_weights(tag: str, size: int, crop: float) -> Reference | None:
    """The figure of exactly these weights, at this size and crop; None where none is known here."""
    found = (row for row in WEIGHTS if (row.tag, row.size, row.crop) == (tag, size, crop))
    return next(found, None)
