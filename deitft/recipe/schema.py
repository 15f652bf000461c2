"""Recipe: what may be asked for. One field, one meaning; strict about names and types.

``auto`` means that ``plan.resolve`` decides from the data and the machine; what it decided stands in
``plan.json`` beside what was asked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from deitft.core.units import parse_length, parse_seconds

Auto = Literal["auto"]


def _is_length(text: str) -> str:
    if text != "auto":
        parse_length(text)
    return text


def _is_length_or_none(text: str) -> str:
    if text != "auto":
        parse_length(text, least=0)
    return text


def _is_duration(text: str) -> str:
    parse_seconds(text)
    return text


# The formats are read by `recipe.mistakes`, which says in words what a field wants.
LengthText = Annotated[str, AfterValidator(_is_length), WithJsonSchema({"type": "string", "format": "length"})]
LengthOrNone = Annotated[
    str, AfterValidator(_is_length_or_none), WithJsonSchema({"type": "string", "format": "length"})
]
DurationText = Annotated[
    str, AfterValidator(_is_duration), WithJsonSchema({"type": "string", "format": "duration"})
]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Area = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[int, Field(ge=0, le=255)]


class Section(BaseModel):
    """A part of a recipe: unknown names are refused, types are not bent, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """Which function, and how much of it learns."""

    name: str = Field("deit_s", description="short name (`deitft models`) or any timm name with its tag")
    trainable: Literal["all", "attention", "head"] = Field(
        "all",
        description="`attention`: attention, position embedding and heads only (Touvron et al. 2022, "
        "arXiv 2203.09795, section 4); `head`: a linear probe on frozen features",
    )
    head_start: Literal["auto", "random", "probe"] = Field(
        "auto",
        description="`probe`: the heads begin as logistic regressions on the frozen features (Kumar et al. 2022, "
        "arXiv 2202.10054); auto: probe on pretrained weights",
    )
    drop_path: Share | Auto = Field("auto", description="stochastic depth of the last block (linear from 0)")
    image_size: Annotated[int, Field(ge=16, le=2048)] | Auto = Field(
        "auto", description="pixels a side at evaluation; auto: what the weights were made for"
    )


class ImageSection(Section):
    """How a photo becomes the square the model sees, in every verb."""

    aspect: Literal["auto", "crop", "pad", "squash"] = Field(
        "auto",
        description="what is done with photos not square; auto: crop, but pad or squash where many are longer "
        "than 2 : 1",
    )
    crop_share: Annotated[float, Field(ge=0.1, le=1)] | Auto = Field(
        "auto", description="timm's crop_pct; auto: 1, the whole shorter side"
    )
    background: tuple[Level, Level, Level] = Field(
        (255, 255, 255), description="what transparency is laid on, RGB"
    )


class TrainSection(Section):
    """How long, how many at a time, in which precision."""

    length: LengthOrNone = Field(
        "auto",
        description='"8 epochs", "2000 steps", "0 steps" (the start alone) or auto: from the number of photos',
    )
    length_factor: Positive = Field(1.0, description="factor on the auto length")
    batch: Count | Auto = Field("auto", description="photos a step, over all processes and micro-batches")
    micro_batch: Count | Auto = Field(
        "auto", description="photos in memory at once; changes memory, not the result"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool | Auto = "auto"
    compile: bool = Field(False, description="torch.compile: pays on long runs")
    train_size: Annotated[int, Field(ge=16, le=2048)] | Auto = Field(
        "auto",
        description="pixels a side in training before `full_size_from` (Touvron et al. 2019, FixRes); "
        "auto: about 5/7 of the full size where `full_size_from` is above 0",
    )
    full_size_from: Share = Field(0.85, description="share of the steps after which training is at full size")
    validate_every: LengthText = Field("1 epochs", description="how often the val photos are looked at")
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="validations without a better score before stopping early"
    )
    select_by: Literal["top1", "balanced_accuracy", "loss", "calibrated_loss"] = Field(
        "calibrated_loss",
        description="what `best` means, on val; calibrated_loss: the loss after temperature, which sees more than "
        "top-1 does of a few hundred photos",
    )
    save_every: DurationText = Field("5m", description="a checkpoint at least this often")
    keep_checkpoints: Count = Field(2, description="checkpoints kept, beside the best")


class OptimSection(Section):
    """How the weights move."""

    name: Literal["adamw", "lamb", "sgd"] = "adamw"
    lr: Positive | Auto = Field("auto", description="peak learning rate, at this recipe's batch")
    lr_batch: Count | None = Field(
        None, description="the batch that `lr` is for: it grows with the batch from there (Goyal et al. 2017)"
    )
    weight_decay: NotNegative = 0.05
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    eps: Positive = 1e-8
    momentum: BelowOne = Field(0.9, description="for sgd")
    layer_decay: Area | Auto = Field("auto", description="lr factor from each layer to the one below; 1 is none")
    clip_norm: Positive | None = Field(None, description="largest norm of all gradients together")
    warmup: LengthText = "auto"
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_lr_share: Share = Field(0.0, description="lr at the end, as a share of the peak")
    decay_distill_token: bool = Field(
        False,
        description="weight decay on the distillation token, as in DeiT's own run (timm 0.3.2); timm today: no",
    )


class AugmentSection(Section):
    """What training sees of a photo."""

    policy: Literal["none", "light", "randaugment", "three_augment", "albumentations"] = "randaugment"
    magnitude: Annotated[float, Field(ge=0, le=10)] = Field(
        7.0, description="RandAugment's m; DeiT: 9, over 300 epochs"
    )
    magnitude_std: NotNegative = Field(0.5, description="RandAugment's mstd")
    operations: Count = Field(2, description="RandAugment's n")
    crop: Literal["random_resized", "simple", "none"] = Field(
        "random_resized", description="`simple`: resize, pad, random crop (DeiT III); `none`: the eval view"
    )
    scale: tuple[Area, Area] | Auto = Field("auto", description="share of the area a random crop keeps")
    ratio: tuple[Positive, Positive] = (0.75, 1.3333333333333333)
    flip: Share = Field(0.5, description="chance of a horizontal flip")
    vertical_flip: Share = 0.0
    color_jitter: NotNegative = Field(
        0.3, description="brightness, contrast, saturation; with light and three_augment only"
    )
    erasing: Share = Field(0.1, description="chance of random erasing, by normal noise")
    repeats: Count = Field(1, description="views of a photo in one batch (repeated augmentation)")
    albumentations: tuple[dict[str, Any], ...] = Field(
        (), description="for `albumentations`: a list of {Name: {argument: value}} or {OneOf: [...]}"
    )


class MixingSection(Section):
    """Mixup and cutmix: Beta parameters, 0 is off. DeiT: 0.8 and 1.0."""

    mixup: NotNegative = 0.2
    cutmix: NotNegative = 1.0
    chance: Share = Field(0.5, description="share of the steps that mix")
    switch: Share = Field(0.5, description="share of cutmix among them where both are on")


class LossSection(Section):
    """What is pushed down."""

    name: Literal["cross_entropy", "bce"] = "cross_entropy"
    label_smoothing: BelowOne = 0.1
    class_weights: Literal["none", "inverse", "inverse_sqrt", "effective"] = Field(
        "none", description="`effective`: Cui et al. 2019, beta 0.999"
    )
    logit_adjustment: NotNegative = Field(0.0, description="tau of Menon et al. 2021; 0 is off")


class SamplingSection(Section):
    """Which photos a step draws."""

    balance: Literal["none", "class", "sqrt"] = Field(
        "none", description="`class`: every class equally often; `sqrt`: by the root of its count"
    )


class EmaSection(Section):
    """A running average of the weights, validated beside them; the better by val is kept."""

    decay: BelowOne | Auto | None = None
    warmup: bool = Field(True, description="decay grows as (1 + t) / (10 + t) up to `decay`")


class DistillSection(Section):
    """What a teacher says beside the labels. `--distill` and `--teacher` turn it on."""

    kind: Literal["none", "soft", "hard"] = Field(
        "none", description="hard: the class the teacher names; soft: all its probabilities"
    )
    token: bool | Auto = Field(
        "auto", description="the distillation head alone learns from the teacher; auto: where there is one"
    )
    alpha: Share | Auto = Field(
        "auto",
        description="the teacher's share of the loss; auto: hard 0.5, soft 0.1 (DeiT's paper), 1 without labels",
    )
    tau: Positive = Field(3.0, description="temperature of soft distillation (DeiT's paper)")
    reduction: Literal["batchmean", "numel"] = Field(
        "batchmean", description="numel divides the soft loss by the number of classes too, as DeiT's code does"
    )
    teacher_size: Annotated[int, Field(ge=16, le=2048)] | Auto = Field(
        "auto", description="pixels a side at which the teacher sees a full view; auto: its own"
    )
    cache_views: Count | None = Field(
        None,
        description="epochs after which the same views come again: an approximation that a small cache serves",
    )
    cache_classes: Count | Auto = Field(
        "auto", description="classes kept a view in a cache of soft targets; auto: all, at most 16"
    )
    cache_precision: Literal["fp32", "fp16"] = Field("fp32", description="of the kept log-probabilities")


class Recipe(Section):
    """Everything a run may be asked for; `deitft recipes show NAME` prints one with its comments."""

    schema_version: Literal[1] = 1
    name: str = "finetune"
    model: ModelSection = ModelSection()
    image: ImageSection = ImageSection()
    train: TrainSection = TrainSection()
    optim: OptimSection = OptimSection()
    augment: AugmentSection = AugmentSection()
    mixing: MixingSection = MixingSection()
    loss: LossSection = LossSection()
    sampling: SamplingSection = SamplingSection()
    ema: EmaSection = EmaSection()
    distill: DistillSection = DistillSection()

    @model_validator(mode="after")
    def _no_contradictions(self) -> Recipe:
        mistakes = list(contradictions(self))
        if mistakes:
            context = {"text": "; ".join(mistakes), "mistakes": mistakes}
            raise PydanticCustomError("contradiction", "{text}", context)
        return self


def contradictions(recipe: Recipe) -> list[str]:
    """Fields that do not go together, each named with its value."""
    found = []
    augment, train = recipe.augment, recipe.train
    if augment.policy == "albumentations" and not augment.albumentations:
        found.append("augment.policy is albumentations, but augment.albumentations is empty")
    if augment.albumentations and augment.policy != "albumentations":
        found.append(f"augment.albumentations is given, but augment.policy is {augment.policy}")
    if augment.scale != "auto" and augment.scale[0] > augment.scale[1]:
        found.append(f"augment.scale: {augment.scale[0]} is above {augment.scale[1]}")
    if augment.ratio[0] > augment.ratio[1]:
        found.append(f"augment.ratio: {augment.ratio[0]} is above {augment.ratio[1]}")
    if train.length != "auto" and train.length_factor != 1:
        found.append(f"train.length_factor is for the auto length, but train.length is {train.length}")
    if recipe.optim.lr_batch is not None and recipe.optim.lr == "auto":
        found.append(f"optim.lr_batch is {recipe.optim.lr_batch}, but optim.lr is auto: write the rate it is for")
    return found + _batch_contradictions(recipe) + _balance_contradictions(recipe)


def _batch_contradictions(recipe: Recipe) -> list[str]:
    """Whole batches only: micro-batches and pairs must fit in."""
    batch, micro = recipe.train.batch, recipe.train.micro_batch
    if not isinstance(batch, int):
        return []
    found = []
    if isinstance(micro, int) and batch % micro:
        found.append(f"train.micro_batch {micro} does not divide train.batch {batch}")
    if batch % 2 and recipe.mixing.chance and (recipe.mixing.mixup or recipe.mixing.cutmix):
        found.append(f"mixing pairs photos up: train.batch {batch} must be even (or mixing.chance 0)")
    return found


def _balance_contradictions(recipe: Recipe) -> list[str]:
    """Class counts are corrected for once: by the draw, by weights, or by the logits."""
    loss = recipe.loss
    found = []
    if loss.logit_adjustment and loss.name == "bce":
        found.append("loss.logit_adjustment is defined for cross_entropy, not for bce")
    ways = {
        "sampling.balance": recipe.sampling.balance != "none",
        "loss.class_weights": loss.class_weights != "none",
        "loss.logit_adjustment": bool(loss.logit_adjustment),
    }
    used = [name for name, on in ways.items() if on]
    if len(used) > 1:
        found.append(f"{' and '.join(used)} both correct for class counts: choose one")
    return found
