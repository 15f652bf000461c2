"""The bundle of a real run, opened by timm alone: the same answers as deitft gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from run_kit import CLASSES, finetune

import deitft
from deitft.core.records import parse_csv_text
from deitft.evaluation.predictions import load_predictions, softmax

QUICK = ("model.image_size=64", "train.length=2 steps", "train.batch=16", "train.micro_batch=16", "ema.decay=null")


@pytest.fixture(scope="module", params=["deit_ti", "vit_ti", "mobilenetv2"])
def run(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = finetune(photos, tmp_path_factory.mktemp("runs"), "a", *QUICK, model=request.param).folder
    assert folder is not None
    return folder


def by_timm(bundle: Path, photos: list[Path]) -> tuple[np.ndarray, list[str]]:
    """Logits and class names, with timm's own code from file to answer."""
    model = timm.create_model(f"local-dir:{bundle}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        views = torch.stack([transform(Image.open(path).convert("RGB")) for path in photos])
        logits = model(views)
    return logits.numpy(), list(model.pretrained_cfg["label_names"])


def test_timm_gives_the_logits_that_the_run_wrote_down(run: Path, photos: Path) -> None:
    written, classes = load_predictions(run / "predictions.csv")
    logits, label_names = by_timm(run / "best", [photos / path for path in written.paths])
    assert tuple(label_names) == classes == CLASSES
    # The views differ by a rounding of the resizing, at most one of 255 levels in some pixels.
    np.testing.assert_allclose(logits, written.logits(), atol=5e-3)
    # A control: the last step's weights are others or the same, but never those of a class order turned round.
    assert np.abs(logits[:, ::-1] - written.logits()).max() > 5e-3


def test_deitft_load_gives_them_too(run: Path, photos: Path) -> None:
    written, classes = load_predictions(run / "predictions.csv")
    loaded = deitft.load(run, device="cpu", threads=1, workers=0)
    answers = loaded.predict([photos / path for path in written.paths])
    assert loaded.classes == classes
    expected = softmax(written.logits(), loaded.bundle.temperature)
    np.testing.assert_allclose([answer.probabilities for answer in answers], expected, atol=1e-4)
    rows = parse_csv_text((run / "predictions.csv").read_text())
    assert [answer.label for answer in answers] == [row["predicted"] for row in rows]
    assert [round(answer.probability, 3) for answer in answers] == pytest.approx(
        [float(row["confidence"]) for row in rows], abs=2e-3
    )


def test_the_last_step_is_a_bundle_of_its_own(run: Path, photos: Path) -> None:
    photo = sorted(photos.rglob("*.jpg"))[0]
    assert deitft.load(run / "last", device="cpu").predict([photo])[0].label in CLASSES
    assert deitft.load(run / "best", device="cpu").folder == deitft.load(run, device="cpu").folder
