"""The same numbers as timm: logits, views, and the bundle that a run hands over. Takes a minute or two.

Three models with their shared weights, 32 real photos, float32:

1. logits of our model and timm's, of the same view;
2. the view itself: ours from the file, against timm's eval transform (levels of 0 to 255, and logits after it), at
   224 px and where a photo may be decoded at a reduced scale;
3. a run's bundle, opened by timm alone, against the logits that the run wrote down.

And distillation (``--only distillation``, in ``parity_steps.py``): DeiT-Ti with two heads and a MobileNetV2 that
teaches, the same weights and batch in timm's ``TokenDistillationTask`` and in ours: loss, gradient and first step.

Records: ``records/parity.jsonl``, one for each model and time it is measured.

    python benchmarks/parity.py --shared ../shared
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from command import ledger_of, options
from parity_steps import CASES, step_parity
from photos import clothing, few, forget
from PIL import Image
from torch import Tensor
from trial import Trial, carry_out

from deitft.data.decode import decode_file
from deitft.data.transforms import EvalTransform, needed_side, normalise
from deitft.evaluation.predictions import load_predictions
from deitft.models.build import Classifier, build, logit_mean
from deitft.models.weights import find, load, preprocessing_of
from deitft.models.zoo import resolve
from deitft.recipe.preprocessing import Preprocessing

MODELS = {"deit_ti": "deit_tiny_patch16_224.fb_in1k", "vit_ti": "vit_ti", "mobilenetv2": "mobilenetv2"}
"""Short name -> the model that the shared weights are of: for deit_ti the one with a single token."""
PHOTOS = 32
FEWER = 4
"""A step takes every fourth of them."""
SIZES = (224, 64, 32)


def main() -> None:
    """Model after model."""
    parser = options(__doc__, "runs/parity")
    parser.add_argument("--only", choices=("models", "distillation"), help="one of the two parts")
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.manual_seed(0)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    ledger = ledger_of(asked, "parity")
    files = sorted((clothing(asked.shared) / "test").glob("*/*.jpg"))
    files = files[:: len(files) // PHOTOS][:PHOTOS]
    for short, name in MODELS.items() if asked.only != "distillation" else ():
        values = model_parity(asked, name, files) | {"bundle": bundle_parity(asked, short)}
        print(short, values["logits"], values["views"]["224"], values["bundle"], sep="\n  ", flush=True)
        number = sum(id.startswith(f"parity-{short}-") for id in ledger.rows)
        subject = {"model": short, "weights_of": name, "photos": len(files), "precision": "fp32"}
        ledger.add(f"parity-{short}-{number}", {"subject": subject, **values})
    for kind, dtype in CASES if asked.only != "models" else ():
        values = step_parity(asked.shared / "weights", our_views, files[::FEWER], kind, dtype)
        print(kind, dtype, values["loss"], values["gradient"], values["step"], sep="\n  ", flush=True)
        label = f"parity-distillation-{kind}-{values['subject']['precision']}"
        number = sum(id.startswith(f"{label}-") for id in ledger.rows)
        ledger.add(f"{label}-{number}", values)


def model_parity(asked: argparse.Namespace, name: str, files: list[Path]) -> dict[str, Any]:
    """Logits of the same views, and views of the same files."""
    choice = resolve(name)
    source = find(choice, weights_dir=asked.shared / "weights")
    assert source.path is not None
    classifier = build(choice.timm_name, num_classes=1000)
    load(classifier, source)
    classifier.eval()
    reference = timm.create_model(f"local-dir:{source.path.parent}", pretrained=True).eval()
    pre = preprocessing_of(source, choice)
    theirs = timm_views(files, pre, normalised=True)
    ours = normalise(our_views(files, pre, reduced=True), pre)
    with torch.inference_mode():
        expected = reference(theirs)
        logits = {
            "same_view": distance(our_logits(classifier, theirs), expected),
            "from_the_file": distance(our_logits(classifier, ours), expected),
            "largest": expected.abs().max().item(),
        }
    return {"logits": logits, "views": {str(size): view_parity(files, pre, size) for size in SIZES}}


def our_logits(classifier: Classifier, views: Tensor) -> Tensor:
    """What is served: the mean over heads."""
    return logit_mean(classifier(views))


def view_parity(files: list[Path], pre: Preprocessing, size: int) -> dict[str, Any]:
    """Levels of 0 to 255 apart, with and without decoding at a reduced scale."""
    at_size = replace(pre, size=size)
    theirs = timm_views(files, at_size, normalised=False).float()
    found = {
        word: distance(our_views(files, at_size, reduced=reduced).float(), theirs)
        for word, reduced in (("reduced_scale_allowed", True), ("full_scale", False))
    }
    needed = needed_side(at_size)
    smaller = sum(decode_file(path, at_least=needed).shape != decode_file(path).shape for path in files)
    return {**found, "photos_decoded_smaller": smaller}


def our_views(files: list[Path], pre: Preprocessing, *, reduced: bool) -> Tensor:
    """uint8 [B, 3, S, S] through our decoder and transform."""
    transform = EvalTransform(pre)
    at_least = needed_side(pre) if reduced else None
    return torch.stack([transform(decode_file(path, at_least=at_least)) for path in files])


def timm_views(files: list[Path], pre: Preprocessing, *, normalised: bool) -> Tensor:
    """[B, 3, S, S] through PIL and timm's eval transform: float32, or uint8 before normalisation."""
    transform = timm.data.create_transform(
        (3, pre.size, pre.size),
        is_training=False,
        interpolation=pre.interpolation,
        mean=pre.mean,
        std=pre.std,
        crop_pct=pre.crop_share,
        normalize=normalised,
    )
    views = []
    for path in files:
        with Image.open(path) as image:
            views.append(transform(image.convert("RGB")))
    return torch.stack(views)


def distance(first: Tensor, second: Tensor) -> dict[str, float]:
    """The largest and the mean difference of two tensors."""
    apart = (first - second).abs()
    return {"max": apart.max().item(), "mean": apart.mean().item()}


def bundle_parity(asked: argparse.Namespace, model: str) -> dict[str, Any]:
    """A run's heads on frozen features; its bundle through timm, against its own predictions.csv."""
    data = few(clothing(asked.shared), asked.place / "few")
    trial = Trial(
        data=data,
        model=model,
        recipe="linear-probe",
        seed=0,
        name=f"bundle-{model}",
        asked=asked,
        more=("--precision", "fp32", "--quiet"),
    )
    forget(trial.folder)
    carry_out(trial)
    written, classes = load_predictions(trial.folder / "predictions.csv")
    bundle = timm.create_model(f"local-dir:{trial.folder / 'best'}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(bundle)
    transform = timm.data.create_transform(**config, is_training=False)
    views = []
    for path in written.paths:
        with Image.open(data / path) as image:
            views.append(transform(image.convert("RGB")))
    with torch.inference_mode():
        logits = bundle(torch.stack(views)).numpy()
    same = logits.argmax(axis=1) == written.logits().argmax(axis=1)
    return {
        "photos": len(written),
        "max": float(np.abs(logits - written.logits()).max()),
        "mean": float(np.abs(logits - written.logits()).mean()),
        "largest": float(np.abs(logits).max()),
        "same_answers": int(same.sum()),
        "same_class_names": list(bundle.pretrained_cfg["label_names"]) == list(classes),
    }


if __name__ == "__main__":
    main()
