"""``deitft evaluate``: a run, or ImageNet weights as they are, on labelled photos -> metrics with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deitft.core.progress import Progress, Silent
from deitft.data.bad_photo import pixel_limit
from deitft.errors import UsageError
from deitft.runs import asked

if TYPE_CHECKING:
    from deitft.models.as_published import Crop
    from deitft.runs.evaluating import Evaluation

SPLITS = ("train", "val", "test", "all")
CROPS: tuple[Crop, ...] = ("timm", "authors")


def evaluate(
    run: str | Path | None,
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    model: str | None = None,
    weights: str | Path | None = None,
    weights_dir: str | Path | None = None,
    crop: str | None = None,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    split: str | None = None,
    batch: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    precision: str | None = None,
    out: str | Path | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    max_pixels: str | int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a run (or bundle) on labelled photos; or, with ``model`` and None for ``run``, ImageNet weights.

    ``data`` is what ``finetune`` takes. Where it has splits, ``split`` says which ("test" where there is one).
    Classes are matched by name. With ``out`` a folder gets ``metrics.json`` and ``predictions.csv``.

    ImageNet weights are found as ``finetune`` finds them and used as they are, in fp32 unless ``precision`` says
    otherwise: 1,000 classes, called by synset ("n01440764") or in words ("tench"); photos of some are enough.
    ``crop`` is "timm" (what timm publishes with them, if left out) or "authors" (DeiT's and DeiT III's own).

    Raises:
        DataError: a class that the model does not know (id D9); no ImageNet weights (id WEIGHTS).
        MissingInputError: no such run, no photos.
        UsageError: a run and a model at once, or neither (id USAGE).
    """
    from deitft.runs.evaluating import HowToEvaluate, evaluate_published, evaluate_run

    cropped = asked.one_of(crop, "crop", CROPS)
    _one_thing(run, model, weights, cropped)
    if data is None:
        raise UsageError("no photos to measure on", "name their folder after the run", id="USAGE")
    with pixel_limit(asked.pixels(max_pixels)):
        source = asked.source(data, root, nested)
        how = HowToEvaluate(
            split=None if split is None else asked.texts(split, "split", SPLITS)[0],
            batch=asked.whole(batch, "batch", 1),
            out=None if out is None else asked.folder(out, "out"),
            **asked.bad_photos(strict=strict, skip_bad=skip_bad),
        )
        machine: dict[str, Any] = {
            "device": device,
            "threads": asked.whole(threads, "threads", 1),
            "workers": asked.whole(workers, "workers", 0),
            "precision": precision,
            "progress": progress or Silent(),
        }
        if run is not None:
            return evaluate_run(asked.folder(run, "run"), source, how, **machine)
        return evaluate_published(
            asked.texts(model or "", "model")[0],
            source,
            how,
            weights=None if weights is None else str(asked.folder(weights, "weights")),
            weights_dir=None if weights_dir is None else asked.folder(weights_dir, "weights_dir"),
            crop="authors" if cropped == "authors" else "timm",
            **machine,
        )


def _one_thing(run: object, model: str | None, weights: object, crop: str | None) -> None:
    """Either a run or a model, and what belongs to it. A folder of weights may come from the environment."""
    if run is not None and model is not None:
        raise UsageError("a run and --model are two things to measure", "name one", id="USAGE")
    if run is None and model is None:
        raise UsageError("nothing to measure", "name a run, or a model with --model", id="USAGE")
    for option, value in (("--weights", weights), ("--crop", crop)):
        if model is None and value is not None:
            raise UsageError(f"{option} is for ImageNet weights", "name their model with --model", id="USAGE")
