"""Recipes beside the paper that they follow and the authors' code, field by field. ``generate.py`` prints them.

A row holds what the others would have in the field. Where ours is not that, the row says why; a test sees to it
that no difference is without a reason, no reason without a difference, and no field of the recipe without a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deitft.recipe.load import load_recipe

SILENT = object()
"""The source says nothing of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: the words of the paper and of the code, and as values of our ``field`` where it has one.

    ``paper_value`` and ``code_value`` are compared with the recipe; ``ours`` stands where there is no field.
    """

    item: str
    field: str
    paper: str
    code: str
    paper_value: Any = SILENT
    code_value: Any = SILENT
    ours: str = ""
    reason: str = ""

    def values(self, recipe: str) -> tuple[object, bool]:
        """Ours, and whether it differs from what paper or code have."""
        if not self.field:
            return self.ours, bool(self.reason)
        value: Any = load_recipe(recipe).model_dump(mode="json")
        for name in self.field.split("."):
            value = value[name]
        return value, any(other is not SILENT and other != value for other in (self.paper_value, self.code_value))


def same(item: str, field: str, value: Any, paper: str, code: str) -> Row:
    """A row where whoever says something says what we do; "–" is silence."""
    return Row(item, field, paper, code, SILENT if paper == "–" else value, SILENT if code == "–" else value)


DEIT = (
    same("length", "train.length", "300 epochs", "300", "300"),
    Row(
        "batch", "train.batch", "1024", "64 a process", 1024, 64,
        reason="theirs is per process, so it changes with the number of GPUs; ours is the whole one, the paper's",
    ),
    same("optimizer", "optim.name", "adamw", "AdamW", "AdamW"),
    same("its betas", "optim.betas", [0.9, 0.999], "–", "the optimizer's own"),
    same("its epsilon", "optim.eps", 1e-8, "–", "1e-8"),
    same("peak learning rate", "optim.lr", 5e-4, "5e-4 × batch / 512", "5e-4, scaled"),
    same("the batch it is for", "optim.lr_batch", 512, "512", "512"),
    same("schedule", "optim.schedule", "cosine", "cosine", "cosine"),
    Row(
        "learning rate at the end", "optim.final_lr_share", "–", "1e-5", code_value="1e-5 at any batch",
        reason="a share of the peak, 1e-5 at 1024. Theirs is not scaled: below a batch of about 10 it is above "
        "the peak, and the cosine goes up",
    ),
    same("warm-up", "optim.warmup", "5 epochs", "5 epochs", "5 epochs"),
    Row(
        "how it rises", "", "–", "once an epoch, from 1e-6", ours="at every step, from 0",
        reason="theirs is set after an epoch with that epoch's number: the first two run at 1e-6 and all others "
        "are one late (deit#145)",
    ),
    same("weight decay", "optim.weight_decay", 0.05, "0.05", "0.05"),
    same("it reaches the distillation token", "optim.decay_distill_token", True, "–", "yes: timm 0.3.2 exempts "
         "positions and class token only"),
    same("clipping", "optim.clip_norm", None, "no", "none"),
    same("learning rate by layer", "optim.layer_decay", 1.0, "–", "the same for all"),
    same("heads begin as", "model.head_start", "random", "–", "drawn from a normal of 0.02"),
    Row("dropout", "", "–", "0", ours="none"),
    same("stochastic depth", "model.drop_path", 0.1, "0.1", "0.1, rising from 0 over the blocks"),
    same("label smoothing", "loss.label_smoothing", 0.1, "0.1", "0.1, true labels only"),
    Row(
        "repeated augmentation", "augment.repeats", "yes", "3, in distributed runs", 3, "distributed runs only",
        reason="with one process theirs draws without repeats and does not say so (main.py:212); below 256 photos "
        "its sampler gives none at all (samplers.py:35). Ours repeats with any number of processes and photos",
    ),
    same("changes of a view", "augment.policy", "randaugment", "RandAugment", "RandAugment"),
    same("their strength", "augment.magnitude", 9.0, "9", "m9"),
    same("its spread", "augment.magnitude_std", 0.5, "0.5", "mstd0.5"),
    same("changes a view", "augment.operations", 2, "–", "2 (timm's n)"),
    same("random crops keep", "augment.scale", [0.08, 1.0], "–", "0.08 to 1 (timm's)"),
    same("flips", "augment.flip", 0.5, "–", "0.5"),
    Row("colour jitter", "", "–", "0.3, which RandAugment switches off", ours="none beside RandAugment"),
    same("erasing", "augment.erasing", 0.25, "0.25", "0.25, by noise, once"),
    Row(
        "mixup", "mixing.mixup", "probability 0.8", "alpha 0.8", "a probability", 0.8,
        reason="the paper's table prints the Beta distribution's parameter as a probability; the code is right",
    ),
    Row(
        "cutmix", "mixing.cutmix", "probability 1.0", "alpha 1.0", "a probability", 1.0, reason="the same",
    ),
    same("steps that mix", "mixing.chance", 1.0, "–", "all"),
    same("cutmix among them", "mixing.switch", 0.5, "–", "half"),
    Row(
        "partner in mixing", "", "–", "the batch turned round", ours="the neighbour",
        reason="so that processes and micro-batches need no photo of each other; the order is random anyway",
    ),
    Row(
        "average of the weights", "ema.decay", "not used", "0.99996, never looked at", None, 0.99996,
        reason="the paper's figures are without; theirs is computed and not evaluated (deit#67)",
    ),
    same("size throughout", "train.full_size_from", 0.0, "224", "224"),
    Row("interpolation", "", "–", "bicubic", ours="bicubic (the model's)"),
    same("evaluation crop keeps", "image.crop_share", 0.875, "–", "0.875"),
    same("best by", "train.select_by", "top1", "–", "top-1 on val"),
    Row(
        "precision", "train.precision", "–", "fp16 with a scaler", code_value="fp16",
        reason="bf16 where the hardware has it, else fp32: with fp16 DeiT-B went to NaN for some (deit#29)",
    ),
    Row(
        "what is left over of an epoch", "", "–", "dropped", ours="goes into the next batch",
        reason="every batch is whole and no photo is lost; a set smaller than a batch gives theirs no step at all",
    ),
    Row(
        "chance", "", "–", "seed + rank, not repeatable to the bit", ours="a key for every view and step",
        reason="the same run for any number of workers, and after any interruption",
    ),
    Row(
        "teacher's share of the loss", "distill.alpha", "hard 0.5, soft 0.1", "0.5 for both", "auto", 0.5,
        reason="auto is the paper's: equations 3 and 2 with section 6",
    ),
    Row(
        "temperature of soft distillation", "distill.tau", "3", "1", 3.0, 1.0,
        reason="the paper's; its command lines would need --distillation-tau 3.0",
    ),
    Row(
        "soft loss is a mean over", "distill.reduction", "photos", "photos and classes", "batchmean", "numel",
        reason="divided by the classes too, the same settings mean 100 times less on 1,000 classes than on 10; "
        "`numel` is theirs",
    ),
    Row(
        "the teacher sees", "", "the student's view", "the student's tensor",
        ours="the student's view, normalised for the teacher, at its size",
        reason="theirs fits only teachers with ImageNet's mean and deviation and the student's size",
    ),
    Row(
        "both heads are fused by", "", "sum of softmaxes", "mean of logits", ours="mean of logits",
        reason="as the code and timm: what published figures were measured with. The report has both",
    ),
)  # fmt: skip
"""``pretrain-deit``. Paper: arXiv 2012.12877, table 9 unless said; code: facebookresearch/deit at 7e160fe."""

DEIT_384 = (
    same("size", "model.image_size", 384, "384", "384"),
    Row("length", "train.length", "25 epochs", "30", "25 epochs", "30 epochs", reason="the paper's"),
    same("batch", "train.batch", 512, "–", "32 on each of 16"),
    Row("optimizer", "optim.name", "AdamW; SGD is as good", "adamw", "adamw", "adamw"),
    same("learning rate", "optim.lr", 5e-6, "–", "5e-6"),
    same("the batch it is for", "optim.lr_batch", 512, "–", "512"),
    same("schedule", "optim.schedule", "constant", "–", "cosine down to 5e-6, which is the peak"),
    same("warm-up", "optim.warmup", "5 epochs", "–", "5 (its default)"),
    same("weight decay", "optim.weight_decay", 1e-8, "–", "1e-8"),
    same("learning rate by layer", "optim.layer_decay", 1.0, "–", "the same for all"),
    same("stochastic depth", "model.drop_path", 0.0, "–", "none: trained in evaluation mode (deit#167, #177)"),
    same("new heads begin as", "model.head_start", "random", "–", "drawn; those of the same classes stay"),
    same("strength of RandAugment", "augment.magnitude", 9.0, "as at 224", "as at 224"),
    same("erasing", "augment.erasing", 0.25, "as at 224", "as at 224"),
    same("repeated augmentation", "augment.repeats", 3, "as at 224", "as at 224"),
    same("random crops keep", "augment.scale", [0.08, 1.0], "as at 224", "as at 224"),
    same("mixup", "mixing.mixup", 0.8, "as at 224", "as at 224"),
    same("cutmix", "mixing.cutmix", 1.0, "as at 224", "as at 224"),
    same("steps that mix", "mixing.chance", 1.0, "as at 224", "as at 224"),
    same("size throughout", "train.full_size_from", 0.0, "384", "384"),
    same("best by", "train.select_by", "top1", "–", "top-1 on val"),
    Row(
        "evaluation crop keeps", "image.crop_share", "–", "0.875", code_value=0.875,
        reason="auto is the whole shorter side, as timm has it at 384: the released DeiT-B scores 83.1 so, and "
        "82.9 with 0.875",
    ),
    Row(
        "positions are resampled", "", "bicubic", "bicubic, not smoothed", ours="bicubic, smoothed (timm's)",
        reason="the difference is in making them smaller; here they become more",
    ),
    Row(
        "the teacher", "distill.teacher_size", "at 384, as the student", "not possible", 384, "an error",
        reason="the paper's; the public code refuses to distil here (main.py:196)",
    ),
)  # fmt: skip
"""``pretrain-deit-384``. Paper: sections 4 and 6; code: README_deit.md, line 246."""

TABLES = {"pretrain-deit": DEIT, "pretrain-deit-384": DEIT_384}


def page(made: str, table: Callable[..., str], value_text: Callable[[Any], str]) -> str:
    """``docs/reference/recipe-origins.md``."""
    parts = [
        made,
        "# DeiT's recipes: paper, code, ours\n",
        "What the DeiT paper prints (Touvron et al. 2021, arXiv 2012.12877), what the authors' code does "
        "(facebookresearch/deit at 7e160fe), and what our recipes do. Paper and code differ in places that "
        "matter. Where ours is not what both say, the last column says why.\n",
    ]
    for recipe, rows in TABLES.items():
        lines: list[tuple[object, ...]] = []
        for row in rows:
            value, _ = row.values(recipe)
            ours = value_text(value) if row.field else str(value)
            field = f"`{row.field}`" if row.field else ""
            lines.append((row.item, field, row.paper, row.code, ours, row.reason))
        parts.append(f"## {recipe}\n")
        parts.append(table(("setting", "field", "paper", "authors' code", "ours", "why it differs"), lines))
    parts.append(
        "`pretrain-deit3` follows DeiT III, of which only the code was at hand: its file says setting by setting "
        "what is theirs (`deitft recipes show pretrain-deit3`).\n"
    )
    return "\n".join(parts)
