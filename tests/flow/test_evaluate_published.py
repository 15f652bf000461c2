"""ImageNet weights as they are: timm's own answers on real photos, classes by synset or words, crops by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from models_kit import hub_folder
from PIL import Image
from run_kit import fails
from timm.data import create_transform, resolve_model_data_config

import deitft
from deitft.cli.app import main
from deitft.core.files import read_json
from deitft.core.progress import Silent
from deitft.errors import DataError, UsageError
from deitft.evaluation.predictions import load_predictions
from deitft.models import imagenet

HERE = {"device": "cpu", "threads": 1, "workers": 0}
SOME = ("n01440764", "n02009912", "n03594734")  # tench, American egret, jean
PHOTOS = ("dress", "pants", "t-shirt")


@pytest.fixture(scope="module")
def val(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real photos in folders of synsets: what is on them is none of it, but for the jeans perhaps."""
    root = tmp_path_factory.mktemp("val")
    for synset, name in zip(SOME, PHOTOS, strict=True):
        (root / synset).mkdir()
        for photo in sorted((shared / "data" / "clothing-small" / "test" / name).iterdir())[:2]:
            shutil.copy(photo, root / synset)
    return root


def timms(weights: Path, paths: list[Path], **config: object) -> np.ndarray:
    """Logits of timm's own model on timm's own evaluation view."""
    net = timm.create_model(f"local-dir:{weights}", pretrained=True).eval()
    view = create_transform(**(resolve_model_data_config(net) | config))
    with torch.inference_mode():
        return net(torch.stack([view(Image.open(path).convert("RGB")) for path in paths])).numpy()


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_tiny_patch16_224"])
def test_the_answers_are_timms(name: str, shared: Path, val: Path) -> None:
    weights = shared / "weights" / name
    found = deitft.evaluate(None, val, model=name, weights=weights, precision="fp32", **HERE)
    expected = timms(weights, [val / path for path in found.predictions.paths])
    np.testing.assert_allclose(found.predictions.logits(), expected, atol=1e-4)
    labels = np.array([imagenet.synsets().index(path.split("/")[0]) for path in found.predictions.paths])
    assert found.predictions.labels.tolist() == labels.tolist()
    assert found.metrics.top1 == (expected.argmax(axis=1) == labels).mean()
    assert found.metrics.top5 == np.mean(
        [label in row for label, row in zip(labels, expected.argsort()[:, -5:], strict=True)]
    )
    assert len(found.metrics.classes) == 1000
    assert found.metrics.present == 3
    published = {"deit_tiny_patch16_224": 0.7219, "vit_tiny_patch16_224": 0.75452}[name]
    assert found.weights is not None
    assert found.weights["published"]["top1"] == pytest.approx(published)


def test_the_two_token_name_with_one_token_weights_and_the_authors_crop(
    shared: Path, val: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a folder, and as a bare file, which does not say what it holds: nothing random is measured."""
    weights = shared / "weights" / "deit_tiny_patch16_224"
    bare = shutil.copy(weights / "model.safetensors", tmp_path / "deit.safetensors")
    line = ["evaluate", "--model", "deit_ti", "--crop", "authors", "--threads", "1", "--workers", "0"]
    answers = []
    for number, place in enumerate((weights, bare)):
        out = tmp_path / f"out-{number}"
        assert main([*line, "--weights", str(place), "--out", str(out), "--json", str(val)]) == 0
        said = capsys.readouterr()
        printed = json.loads(said.out)
        assert printed == read_json(out / "metrics.json")
        assert (printed["run"], printed["weights"]["crop"]) == (None, "authors")
        assert printed["weights"]["model"] == "deit_tiny_patch16_224.fb_in1k"
        assert "these weights have one token: deit_tiny_patch16_224.fb_in1k is measured, not deit_ti" in said.err
        assert "photos: shorter side to 256 px, the middle 224 px, bicubic (the authors' crop)" in said.err
        assert "macro averages" not in said.err
        found, classes = load_predictions(out / "predictions.csv")
        assert classes[0] == "n01440764 tench"
        answers.append(found)
    expected = timms(weights, [val / path for path in answers[0].paths], crop_pct=0.875)
    np.testing.assert_allclose(answers[0].logits(), expected, atol=1e-4)
    np.testing.assert_array_equal(answers[0].logits(), answers[1].logits())
    assert main([*line, "--weights", str(weights), str(val)]) == 0
    told = capsys.readouterr().out
    assert "deit_tiny_patch16_224.fb_in1k, the authors' crop" in told
    assert "Published" not in told  # that was with timm's crop
    assert "3 of ImageNet's 1,000 are here; all 1,000 may be answered" in told


def test_classes_in_words_are_the_same_classes(shared: Path, val: Path, tmp_path: Path) -> None:
    for synset, word in zip(SOME, ("Tench", "american_egret", "blue jean"), strict=True):
        shutil.copytree(val / synset, tmp_path / word)
    asked = {"model": "deit_ti", "weights_dir": shared / "weights", **HERE}
    in_words, in_numbers = deitft.evaluate(None, tmp_path, **asked), deitft.evaluate(None, val, **asked)
    assert in_words.metrics.top1 == in_numbers.metrics.top1
    assert sorted(in_words.predictions.labels) == sorted(in_numbers.predictions.labels)


def test_D9_classes_that_are_not_imagenets(shared: Path, val: Path, tmp_path: Path) -> None:
    shutil.copytree(val / SOME[0], tmp_path / "sneakers")
    shutil.copytree(val / SOME[1], tmp_path / SOME[1])
    with fails(DataError, "D9") as caught:
        deitft.evaluate(None, tmp_path, model="deit_ti", weights_dir=shared / "weights", **HERE)
    assert "not one of ImageNet's 1,000: 'sneakers'" in caught.value.what


def test_weights_without_imagenets_classifier_are_refused(shared: Path, val: Path, tmp_path: Path) -> None:
    net = timm.create_model("test_vit.r160_in1k", num_classes=5)
    ours = hub_folder(tmp_path / "ours", net.state_dict(), "test_vit", label_names=list("abcde"))
    for options in (
        {"weights": ours, "model": "test_vit"},
        {"weights": ours / "model.safetensors", "model": "test_vit"},
    ):
        with fails(DataError, "WEIGHTS") as caught:
            deitft.evaluate(None, val, **options, **HERE)
        assert "brings no classifier of ImageNet's 1,000 classes" in caught.value.what


def test_what_does_not_go_together_is_said(val: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({"model": "deit_ti"}, {"weights": "x"}, {"crop": "authors"}):
        with fails(UsageError, "USAGE"):
            deitft.evaluate("runs/a", val, **options)
    with fails(UsageError, "USAGE"):
        deitft.evaluate(None, val)
    assert main(["evaluate", str(val)]) == 2
    assert "no photos are named" in capsys.readouterr().err
    with fails(UsageError, "USAGE"):
        deitft.evaluate(None, val, model="deit_ti", crop="mine")


def test_the_authors_crop_is_known_of_the_authors_models_alone(shared: Path, val: Path) -> None:
    with fails(UsageError, "USAGE") as caught:
        deitft.evaluate(
            None, val, model="vit_ti", weights_dir=shared / "weights", crop="authors", progress=Silent(), **HERE
        )
    assert "deit_… and deit3_…" in caught.value.what
