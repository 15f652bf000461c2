"""ImageNet weights as they are, ready to be measured on ImageNet's photos or on some of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deitft.compute.device import choose
from deitft.core.progress import Progress
from deitft.models import imagenet
from deitft.models.as_published import Crop, Published, as_published
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.classifier import LoadedClassifier


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """What a bundle says of itself, of weights that are none: ImageNet's classes, and no temperature."""

    published: Published

    @property
    def model_name(self) -> str:
        """timm's name with its tag."""
        return self.published.choice.timm_name

    @property
    def classes(self) -> tuple[str, ...]:
        """The 1,000 classes, by synset and word."""
        return imagenet.names()

    @property
    def preprocessing(self) -> Preprocessing:
        """What a photo goes through before the model sees it."""
        return self.published.preprocessing

    @property
    def temperature(self) -> float:
        """1: these weights were never calibrated."""
        return 1.0


def load_published(
    model: str,
    *,
    weights: str | None = None,
    weights_dir: Path | None = None,
    crop: Crop = "timm",
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    precision: str | None = None,
    progress: Progress | None = None,
) -> tuple[LoadedClassifier, Published]:
    """Weights as published, on their device. They compute in fp32 where nothing else is asked for: so were they
    judged.

    Raises:
        UsageError, UnavailableError, MissingInputError, DataError: see ``models.as_published``.

    """
    machine = choose(device, threads=threads, workers=workers, precision=precision or "fp32")
    found = as_published(model, weights=weights, weights_dir=weights_dir, crop=crop, progress=progress)
    classifier = found.classifier.to(machine.device).eval()
    path = found.report.source.path
    folder = path.parent if path is not None else Path()
    return LoadedClassifier(PublishedWeights(found), classifier, machine, folder), found
