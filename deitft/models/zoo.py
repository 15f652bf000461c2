"""Short names that are exact: which weights, how large, what they have seen, what was published about them.

Importing this loads no timm, so that ``deitft models`` is quick; ``resolve`` asks timm only about names that
do not stand in the table. A bare timm name often means weights that saw more data than one thinks, hence the
tags. Figures: timm's ``results-imagenet.csv`` of 2025-10-30 where no other source is named.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deitft.errors import UsageError

Family = Literal["transformer", "convnet"]
How = Literal["own classifier", "linear probe", "zero-shot"]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""What the weights in a folder may be called, the first choice first."""
HUB_FILES = WEIGHT_FILES[:2]
"""The same of timm's folders on the hub."""

_CSV = "timm results-imagenet.csv"
_IN1K = "ImageNet-1k"
_IN21K = "ImageNet-21k, then 1k"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """One short name.

    ``tag`` is timm's full name; ``size`` the weights' input in pixels a side; ``parameters`` those of the
    published model, its own classifier included. ``top1`` is in per cent on ImageNet's 50,000 validation
    photos, measured at ``top1_size`` pixels with the centre crop ``top1_crop`` by ``top1_how``; None stands
    where the source does not say. ``family`` says which settings suit it: the mixer, which has no attention,
    trains like a transformer. ``tokens`` counts the tokens before the patches (2: class and distillation);
    ``patch`` is the side of a patch in pixels, by which a training size must divide.
    """

    short: str
    tag: str
    parameters: int
    seen: str = _IN1K
    size: int = 224
    top1: float | None = None
    top1_size: int | None = 224
    top1_crop: float | None = 0.9
    top1_how: How = "own classifier"
    epochs: int | None = None
    license: str = "apache-2.0"
    source: str = _CSV
    family: Family = "transformer"
    tokens: int = 0
    patch: int | None = None
    note: str = ""

    @property
    def architecture(self) -> str:
        """timm's name without the tag."""
        return self.tag.partition(".")[0]

    @property
    def weights_mb(self) -> float:
        """Decimal megabytes of the weights in fp32, 4 bytes a parameter."""
        return self.parameters * 4 / 1e6


def _deit(size: str, parameters: int, top1: float) -> ZooEntry:
    return ZooEntry(
        short={"tiny": "deit_ti", "small": "deit_s", "base": "deit_b"}[size],
        tag=f"deit_{size}_distilled_patch16_224.fb_in1k",
        parameters=parameters,
        top1=top1,
        epochs=300,
        tokens=2,
        patch=16,
        source=f"{_CSV}; arXiv 2012.12877",
    )


def _deit3(size: str, parameters: int, top1: float) -> ZooEntry:
    return ZooEntry(
        short=f"deit3_{size[0]}",
        tag=f"deit3_{size}_patch16_224.fb_in1k",
        parameters=parameters,
        top1=top1,
        epochs=800,
        tokens=1,
        patch=16,
        source=f"{_CSV}; arXiv 2204.07118",
    )


def _vit(short: str, size: str, tag: str, parameters: int, top1: float, seen: str) -> ZooEntry:
    return ZooEntry(
        short=short,
        tag=f"vit_{size}_patch16_224.{tag}",
        parameters=parameters,
        seen=seen,
        top1=top1,
        tokens=1,
        patch=16,
    )


def _probed(short: str, tag: str, size: int, parameters: int, top1: float, seen: str, readme: str) -> ZooEntry:
    """A model without a classifier of its own; its figure is a linear probe from the authors' README."""
    return ZooEntry(
        short=short,
        tag=tag,
        size=size,
        parameters=parameters,
        seen=seen,
        top1=top1,
        top1_size=None,
        top1_crop=None,
        top1_how="linear probe",
        tokens=1,
        patch=14 if "patch14" in tag else 16,
        source=f"{readme} README",
    )


ZOO: tuple[ZooEntry, ...] = (
    _deit("tiny", 5_910_800, 74.538),
    _deit("small", 22_436_432, 81.204),
    _deit("base", 87_338_192, 83.384),
    ZooEntry(
        short="deit_b_384",
        tag="deit_base_distilled_patch16_384.fb_in1k",
        size=384,
        parameters=87_630_032,
        top1=85.438,
        top1_size=384,
        top1_crop=1.0,
        epochs=1000,
        tokens=2,
        patch=16,
        source=f"{_CSV}; arXiv 2012.12877",
        note="1000 epochs at 224 px, then fine-tuned at 384 px with the teacher",
    ),
    _deit3("small", 22_059_496, 81.382),
    _deit3("base", 86_585_320, 83.800),
    _deit3("large", 304_374_760, 84.772),
    _vit("vit_ti", "tiny", "augreg_in21k_ft_in1k", 5_717_416, 75.452, _IN21K),
    _vit("vit_s", "small", "augreg_in1k", 22_050_664, 78.842, _IN1K),
    _vit("vit_b", "base", "augreg_in1k", 86_567_656, 79.154, _IN1K),
    _vit("vit_b_21k", "base", "augreg_in21k_ft_in1k", 86_567_656, 84.534, _IN21K),
    ZooEntry(
        short="resnet50",
        tag="resnet50.a1_in1k",
        parameters=25_557_032,
        top1=80.382,
        top1_crop=0.95,
        epochs=600,
        family="convnet",
        source=f"{_CSV}; arXiv 2110.00476",
    ),
    ZooEntry(
        short="regnety_160",
        tag="regnety_160.deit_in1k",
        parameters=83_590_140,
        top1=83.000,
        top1_crop=0.95,
        family="convnet",
        note="DeiT's teacher; timm's own default for this name, sw_in12k_ft_in1k, saw more data",
    ),
    ZooEntry(
        short="efficientnet_b5",
        tag="tf_efficientnet_b5.ra_in1k",
        size=456,
        parameters=30_389_784,
        top1=83.834,
        top1_size=456,
        top1_crop=0.934,
        family="convnet",
        note="not timm's efficientnet_b5, whose default weights saw ImageNet-12k",
    ),
    ZooEntry(
        short="swin_b",
        tag="swin_base_patch4_window7_224.ms_in1k",
        parameters=87_768_224,
        top1=83.604,
        license="mit",
        patch=4,
    ),
    ZooEntry(
        short="swinv2_b",
        tag="swinv2_base_window8_256.ms_in1k",
        size=256,
        parameters=87_918_816,
        top1=84.246,
        top1_size=256,
        license="mit",
        patch=4,
    ),
    ZooEntry(
        short="convnext_b",
        tag="convnext_base.fb_in1k",
        parameters=88_591_464,
        top1=83.838,
        top1_crop=0.875,
        family="convnet",
    ),
    ZooEntry(
        short="mixer_b",
        tag="mixer_b16_224.goog_in21k_ft_in1k",
        parameters=59_880_472,
        seen=_IN21K,
        top1=76.616,
        top1_crop=0.875,
        patch=16,
    ),
    _probed(
        "dino_s",
        "vit_small_patch16_224.dino",
        224,
        21_665_664,
        77.0,
        "ImageNet-1k, no labels",
        "facebookresearch/dino",
    ),
    _probed(
        "dino_b",
        "vit_base_patch16_224.dino",
        224,
        85_798_656,
        78.2,
        "ImageNet-1k, no labels",
        "facebookresearch/dino",
    ),
    _probed(
        "dinov2_s",
        "vit_small_patch14_dinov2.lvd142m",
        518,
        22_056_192,
        81.1,
        "142 M photos, no labels",
        "facebookresearch/dinov2",
    ),
    _probed(
        "dinov2_b",
        "vit_base_patch14_dinov2.lvd142m",
        518,
        86_579_712,
        84.5,
        "142 M photos, no labels",
        "facebookresearch/dinov2",
    ),
    ZooEntry(short="mvitv2_s", tag="mvitv2_small.fb_in1k", parameters=34_870_216, top1=83.772),
    ZooEntry(
        short="clip_b",
        tag="vit_base_patch16_clip_224.openai",
        parameters=86_193_152,
        seen="400 M photo-text pairs",
        top1=68.34,
        top1_crop=None,
        top1_how="zero-shot",
        tokens=1,
        patch=16,
        source="open_clip docs/openclip_results.csv",
    ),
    ZooEntry(
        short="mobilenetv2",
        tag="mobilenetv2_100.ra_in1k",
        parameters=3_504_872,
        top1=72.910,
        top1_crop=0.875,
        family="convnet",
    ),
)

_BY_SHORT = {entry.short: entry for entry in ZOO}
_BY_TAG = {entry.tag: entry for entry in ZOO}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model a name means: timm's name with its tag, and the table's entry where there is one.

    ``note`` says what a user might not expect of the name he typed; empty where there is nothing to say.
    """

    timm_name: str
    short_name: str | None = None
    entry: ZooEntry | None = None
    note: str = ""

    @property
    def architecture(self) -> str:
        """timm's name without the tag."""
        return self.timm_name.partition(".")[0]

    @property
    def tag(self) -> str:
        """The tag alone; empty for an architecture that has no published weights."""
        return self.timm_name.partition(".")[2]

    @property
    def folder_names(self) -> list[str]:
        """What its folder in a folder of weights may be called, the first choice first."""
        names = []
        for architecture in (self.architecture, plain_variant(self.architecture)):
            if architecture is not None:
                names += [f"{architecture}.{self.tag}", architecture] if self.tag else [architecture]
        return names


def plain_variant(architecture: str) -> str | None:
    """The one-token DeiT of a two-token one; None for any other model."""
    return architecture.replace("_distilled", "") if "_distilled" in architecture else None


def shortest_name(timm_name: str) -> str:
    """The short name of a model that has one, else the name itself."""
    entry = _BY_TAG.get(timm_name)
    return entry.short if entry else timm_name


def _of_entry(entry: ZooEntry) -> ModelChoice:
    return ModelChoice(entry.tag, entry.short, entry, entry.note)


def resolve(name: str) -> ModelChoice:
    """What a model name means: a short name (they win), a timm name with its tag, or a bare timm name.

    Raises:
        UsageError: no such model, or no such tag of it (id MODEL, exit 2), with the nearest names.
    """
    entry = _BY_SHORT.get(name) or _BY_TAG.get(name)
    if entry is not None:
        return _of_entry(entry)
    from deitft.models import registry  # only now: it loads timm

    architecture, _, tag = name.partition(".")
    if not registry.is_architecture(architecture):
        nearest = _nearest(name, [*_BY_SHORT, *registry.architectures()])
        raise UsageError(
            f'there is no model "{name}"',
            f"did you mean {nearest}? `deitft models` lists the short names"
            if nearest
            else "`deitft models` lists the short names; timm's names work too",
            id="MODEL",
        )
    tags = registry.tags(architecture)
    if tag and tag not in tags:
        nearest = _nearest(tag, tags) or ", ".join(tags[:5]) or "none"
        raise UsageError(f'timm has no weights "{tag}" for {architecture}', f"its tags: {nearest}", id="MODEL")
    if tag:
        return ModelChoice(name)
    return _bare(architecture, registry.default_tag(architecture))


def _bare(architecture: str, tag: str) -> ModelChoice:
    """A timm name without a tag means timm's default, which is said; a near short name is named."""
    if not tag:
        return ModelChoice(architecture, note=f"timm publishes no weights for {architecture}")
    full = f"{architecture}.{tag}"
    note = f"{architecture} means {full} here (timm's default)"
    others = [entry for entry in ZOO if entry.architecture == architecture and entry.tag != full]
    if others:
        note += "; " + ", ".join(f"{entry.short} is {entry.tag}" for entry in others)
    entry = _BY_TAG.get(full)
    return ModelChoice(full, entry.short if entry else None, entry, note)


def _nearest(name: str, known: Sequence[str]) -> str:
    return " or ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.6))
