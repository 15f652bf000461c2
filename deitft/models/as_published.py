"""ImageNet weights as they are: the function they were published as, nothing of it random, nothing left out.

And how their photos are cropped: timm's way for the tag, or the authors', which differ (DeiT-B 81.8 or 82.0 %).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from deitft.core.progress import Progress
from deitft.errors import DataError, UsageError
from deitft.models import imagenet
from deitft.models.build import Classifier, build
from deitft.models.published import Reference, of_weights
from deitft.models.sources import WeightSource, find_needed
from deitft.models.weights import LoadReport, load, preprocessing_of
from deitft.models.zoo import ModelChoice, plain_variant, resolve
from deitft.recipe.preprocessing import Preprocessing

Crop = Literal["timm", "authors"]

AUTHORS_CROP = {"deit": 0.875, "deit3": 1.0}
"""Family (the name up to the first "_") -> share of the shorter side in the authors' own evaluation: DeiT's
main.py resizes to int(size / 0.875) by default (256 for 224 px), DeiT III's command lines say 1.0."""
CROP_WORDS: Mapping[Crop, str] = {"timm": "timm's crop for these weights", "authors": "the authors' crop"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A classifier of ImageNet's 1,000 classes, in evaluation mode, on the CPU.

    ``choice`` is what is measured, which may be the one-token model of a two-token name; ``crop`` says whose crop
    ``preprocessing`` holds.
    """

    choice: ModelChoice
    classifier: Classifier
    report: LoadReport
    preprocessing: Preprocessing
    crop: Crop
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What is measured, in a few lines for people."""
        pre = self.preprocessing
        way = f"shorter side to {pre.resize_to} px, the middle {pre.size} px, {pre.interpolation}"
        if pre.aspect != "crop":
            way = f"whole photo to {pre.size} px ({pre.aspect}), {pre.interpolation}"
        return [*self.notes, *self.report.lines(), f"photos: {way} ({CROP_WORDS[self.crop]})"]

    @property
    def figure(self) -> Reference | None:
        """What was published of exactly these weights at this size and crop; None where it is not known here."""
        pre, source = self.preprocessing, self.report.source
        exact = source.exact_tag and pre.aspect == "crop"
        return of_weights(self.choice.timm_name, pre.size, pre.crop_share) if exact else None

    def record(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        source, figure = self.report.source, self.figure
        return {
            "model": self.choice.timm_name,
            "weights": {name: value for name, value in source.record().items() if name != "path"},
            "file": str(source.path),
            "crop": self.crop,
            "preprocessing": self.preprocessing.record(),
            "changed": list(self.report.converted),
            "published": None if figure is None else {"top1": figure.top1 / 100, "source": figure.source},
        }


def as_published(
    model: str,
    *,
    weights: str | None = None,
    weights_dir: Path | None = None,
    crop: Crop = "timm",
    progress: Progress | None = None,
) -> Published:
    """ImageNet weights and the model they are of.

    Weights of a one-token DeiT under the name of the two-token one are measured as what they are.

    Raises:
        UsageError: no such model (id MODEL), or no crop of its authors is known (id USAGE).
        UnavailableError, MissingInputError: no weights (id WEIGHTS).
        DataError: they do not fit, or bring no classifier of ImageNet's classes (id WEIGHTS); or they are hostile
            (ids S1, S6).
    """
    choice = resolve(model)
    source = find_needed(choice, weights=weights, weights_dir=weights_dir, progress=progress)
    notes = [choice.note] if choice.note else []
    plain = plain_variant(choice.architecture)
    if plain is not None and source.architecture == plain:
        choice = _one_token(plain, source.tag or choice.tag)
        source = replace(source, exact_tag=source.tag == choice.tag)
        notes.append(f"these weights have one token: {choice.timm_name} is measured, not {model}")
    found = _loaded(choice, source)
    if plain is not None and "dist_token" in found[1].started:  # a file, which does not say what it holds
        choice = _one_token(plain, choice.tag)
        source = find_needed(choice, weights=str(source.path))
        notes.append(f"these weights have one token: {choice.timm_name} is measured, not {model}")
        found = _loaded(choice, source)
    classifier, report = found
    missing = [name for name in report.started if name in classifier.head_names]
    if missing or not _of_imagenet(source.classes):
        raise DataError(
            f"{source.path or choice.timm_name} brings no classifier of ImageNet's 1,000 classes",
            "a run of yours is measured by `deitft evaluate RUN DATA`",
            id="WEIGHTS",
        )
    return Published(
        choice=choice,
        classifier=classifier.eval(),
        report=report,
        preprocessing=cropped(preprocessing_of(source, choice), choice, crop),
        crop=crop,
        notes=tuple(notes),
    )


def cropped(pre: Preprocessing, choice: ModelChoice, crop: Crop) -> Preprocessing:
    """A weights' preprocessing with the crop that was asked for.

    Raises:
        UsageError: the authors' crop is not known here (id USAGE).
    """
    if crop == "timm":
        return pre
    share = AUTHORS_CROP.get(choice.architecture.partition("_")[0])
    if share is None:
        known = " and ".join(f"{family}_…" for family in AUTHORS_CROP)
        raise UsageError(
            f"how the authors of {choice.architecture} crop photos is not known here (known: {known})",
            "leave out --crop: timm's crop for these weights is used",
            id="USAGE",
        )
    return replace(pre, crop_share=share, aspect="crop")


def _one_token(plain: str, tag: str) -> ModelChoice:
    from deitft.models import registry

    return resolve(f"{plain}.{tag}" if tag in registry.tags(plain) else plain)


def _loaded(choice: ModelChoice, source: WeightSource) -> tuple[Classifier, LoadReport]:
    size = preprocessing_of(source, choice).size
    classifier = build(choice.timm_name, num_classes=len(imagenet.synsets()), image_size=size)
    named = source.classes if _of_imagenet(source.classes) and source.classes != imagenet.descriptions() else None
    return classifier, load(classifier, source, classes=None if named is None else imagenet.synsets())


def _of_imagenet(classes: tuple[str, ...] | None) -> bool:
    """Whether a weights' own list of classes is ImageNet's; one that is not given may be."""
    if classes is None or classes == imagenet.descriptions():
        return True
    return sorted(classes) == sorted(imagenet.synsets())
