"""A bundle is a model of timm's: opened by timm alone it gives the same logits, and deitft loses nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from deitft.bundle.format import BUNDLE_VERSION, Bundle, load_bundle, save_bundle
from deitft.core.files import sha256_file
from deitft.data.transforms import EvalTransform, normalise
from deitft.errors import DataError, MissingInputError
from deitft.models.build import Classifier, build, logit_mean
from deitft.recipe.preprocessing import Preprocessing
from deitft.reporting.card import CardFacts, model_card

NAMES = ("=1+1", "café 👟", "<b>hat</b>", 'a "shoe"', "\x1b[31mred")
MODELS = {
    "two tokens, two classes, another size": ("deit_tiny_distilled_patch16_224.fb_in1k", 2, 48),
    "one token": ("test_vit.r160_in1k", 5, 64),
    "convnet": ("test_efficientnet.r160_in1k", 3, 64),
    "BatchNorm with counters": ("test_resnet.r160_in1k", 4, 40),
    "a thousand classes": ("test_vit2.r160_in1k", 1000, 64),
}


def made(folder: Path, classifier: Classifier, *, pre: Preprocessing | None = None, **changed: Any) -> Bundle:
    count = classifier.num_classes
    given: dict[str, Any] = {
        "classifier": classifier,
        "state": classifier.net.state_dict(),
        "short_name": None,
        "classes": [*NAMES, *(f"class {index}" for index in range(count))][:count],
        "preprocessing": pre or Preprocessing(size=classifier.image_size),
        "temperature": 1.25,
        "starting_weights": {"kind": "hub", "tag": "fb_in1k", "license": "apache-2.0", "path": "/home/somebody/x"},
        "data": {"fingerprint": "f" * 64, "photos": {"train": 10, "val": 2, "test": 2}},
        "metrics": {"top1": 0.875, "nothing": float("nan")},
        "training": {"recipe": "finetune", "which": "ema"},
        "card": "# card\n",
    }
    return save_bundle(folder, **(given | changed))


def trained(name: str, classes: int, size: int) -> Classifier:
    """A model whose BatchNorm has seen something and whose heads differ."""
    classifier = build(name, num_classes=classes, image_size=size, seed=7).train()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        classifier(torch.randn(6, 3, size, size, generator=draw) * 2 + 1)
        for parameter in classifier.net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return classifier.eval()


@pytest.mark.parametrize("case", MODELS)
def test_timm_gives_the_same_logits(case: str, tmp_path: Path) -> None:
    name, classes, size = MODELS[case]
    classifier = trained(name, classes, size)
    bundle = made(tmp_path / "best", classifier)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True).eval()
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(theirs(images), logit_mean(classifier(images)))
    assert theirs.num_classes == classes
    assert tuple(theirs.pretrained_cfg["label_names"]) == bundle.classes
    assert theirs.pretrained_cfg["license"] == "apache-2.0"


@pytest.mark.parametrize("case", MODELS)
def test_deitft_gets_every_weight_back(case: str, tmp_path: Path) -> None:
    name, classes, size = MODELS[case]
    classifier = trained(name, classes, size)
    made(tmp_path / "best", classifier)
    bundle = load_bundle(tmp_path / "best")
    again = build(bundle.model_name, num_classes=len(bundle.classes), image_size=bundle.preprocessing.size, seed=1)
    again.net.load_state_dict(bundle.state(), strict=True)
    for (name, ours), theirs in zip(
        classifier.net.state_dict().items(), again.net.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
        assert ours.dtype == theirs.dtype


PREPROCESSINGS = {
    "crop": Preprocessing(size=48, crop_share=0.875, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3),
    "squash": Preprocessing(size=48, aspect="squash", crop_share=0.875, interpolation="lanczos"),
}


@pytest.mark.parametrize("aspect", PREPROCESSINGS)
def test_timms_own_transform_gives_the_same_pixels(aspect: str, tmp_path: Path) -> None:
    pre = PREPROCESSINGS[aspect]
    made(tmp_path / "best", build("test_vit.r160_in1k", num_classes=3, image_size=48), pre=pre)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True)
    transform = create_transform(**resolve_model_data_config(theirs), is_training=False)
    pixels = np.random.default_rng(3).integers(0, 256, (70, 97, 3), dtype=np.uint8)
    ours = normalise(EvalTransform(pre)(pixels)[None], pre)[0]
    assert ours.numpy() == pytest.approx(transform(Image.fromarray(pixels)).numpy(), abs=1e-6)


def test_pad_tells_timm_to_keep_the_whole_photo(tmp_path: Path) -> None:
    pre = Preprocessing(size=48, aspect="pad", mean=(1.0, 1.0, 1.0))  # so that timm's fill is white, as ours
    made(tmp_path / "best", build("test_vit.r160_in1k", num_classes=3, image_size=48), pre=pre)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True)
    transform = create_transform(**resolve_model_data_config(theirs), is_training=False)
    pixels = np.full((48, 96, 3), 7, dtype=np.uint8)
    ours = normalise(EvalTransform(pre)(pixels)[None], pre)[0]
    assert ours.numpy() == pytest.approx(transform(Image.fromarray(pixels)).numpy(), abs=1e-6)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build("test_vit.r160_in1k", num_classes=5, image_size=48, seed=2)


def test_what_was_said_is_what_is_read(classifier: Classifier, tmp_path: Path) -> None:
    pre = Preprocessing(size=48, aspect="pad", background=(0, 10, 255), crop_share=1.0)
    made(tmp_path / "best", classifier, pre=pre)
    bundle = load_bundle(tmp_path / "best")
    assert bundle.classes == NAMES
    assert bundle.preprocessing == pre
    assert bundle.temperature == 1.25
    assert bundle.model_name == "test_vit.r160_in1k"
    assert bundle.manifest.starting_weights["license"] == "apache-2.0"
    assert "somebody" not in "".join(path.read_text() for path in (tmp_path / "best").glob("*.json"))
    assert bundle.manifest.metrics == {"top1": 0.875, "nothing": None}
    assert bundle.manifest.data["fingerprint"] == "f" * 64
    assert bundle.manifest.versions["timm"] == timm.__version__
    assert (bundle.manifest.heads, bundle.manifest.served) == (1, "class")
    two = build("deit_tiny_distilled_patch16_224.fb_in1k", num_classes=2, image_size=32)
    assert made(tmp_path / "two", two).manifest.served == "logit_mean"


def test_the_files_can_be_read_by_others_and_nothing_else_is_there(classifier: Classifier, tmp_path: Path) -> None:
    made(tmp_path / "best", classifier)
    names = ["README.md", "config.json", "deitft.json", "model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == names
    for path in (tmp_path / "best").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert (tmp_path / "best" / "README.md").read_text() == "# card\n"


def test_a_half_precision_average_is_handed_over_as_float32(classifier: Classifier, tmp_path: Path) -> None:
    half = {name: value.to(torch.bfloat16) for name, value in classifier.net.state_dict().items()}
    state = made(tmp_path / "best", classifier, state=half).state()
    assert all(value.dtype == torch.float32 for value in state.values())
    assert torch.equal(state["head.weight"], half["head.weight"].float())


def test_the_same_weights_are_the_same_file(classifier: Classifier, tmp_path: Path) -> None:
    made(tmp_path / "one", classifier)
    made(tmp_path / "two", classifier)
    assert sha256_file(tmp_path / "one" / "model.safetensors") == sha256_file(
        tmp_path / "two" / "model.safetensors"
    )


def test_a_failed_save_leaves_the_old_bundle(classifier: Classifier, tmp_path: Path) -> None:
    made(tmp_path / "best", classifier)
    before = {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()}
    state = dict(classifier.net.state_dict())
    state["head.bias"] = torch.full_like(state["head.bias"], float("inf"))
    with pytest.raises(DataError, match="nothing is handed over") as caught:
        made(tmp_path / "best", classifier, state=state)
    assert caught.value.id == "N1"
    with pytest.raises(DataError, match="temperature"):
        made(tmp_path / "best", classifier, temperature=0.0)
    with pytest.raises(DataError, match="twice"):
        made(tmp_path / "best", classifier, classes=["a", "b", "c", "d", "a"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()} == before
    made(tmp_path / "best", classifier, temperature=2.0)
    assert load_bundle(tmp_path / "best").temperature == 2.0


@pytest.mark.parametrize("name", ["deitft.json", "config.json", "model.safetensors"])
def test_a_part_that_is_missing_is_named(name: str, classifier: Classifier, tmp_path: Path) -> None:
    made(tmp_path / "best", classifier)
    (tmp_path / "best" / name).unlink()
    with pytest.raises(MissingInputError, match=f"there is no {name}") as caught:
        load_bundle(tmp_path / "best")
    assert caught.value.exit_code == 66


def test_a_newer_version_says_to_upgrade(classifier: Classifier, tmp_path: Path) -> None:
    made(tmp_path / "best", classifier)
    path = tmp_path / "best" / "deitft.json"
    value = json.loads(path.read_text())
    assert value["version"] == BUNDLE_VERSION == 1
    path.write_text(json.dumps(value | {"version": 2, "field of the future": 1}))
    with pytest.raises(DataError, match="written by a newer deitft") as caught:
        load_bundle(tmp_path / "best")
    assert caught.value.hint == "upgrade deitft"


def test_the_fields_of_version_1_do_not_change(classifier: Classifier, tmp_path: Path) -> None:
    """A changed field needs a new version, and a reader for this one."""
    made(tmp_path / "best", classifier)
    value = json.loads((tmp_path / "best" / "deitft.json").read_text())
    assert list(value) == [
        *("format", "version", "model", "short_name", "heads", "served", "classes", "preprocessing"),
        *("temperature", "sha256", "starting_weights", "data", "metrics", "training", "created", "versions"),
    ]
    assert set(value["preprocessing"]) == {
        *("size", "mean", "std", "interpolation", "crop_share", "aspect", "background")
    }
    config = json.loads((tmp_path / "best" / "config.json").read_text())
    assert set(config) == {
        *("architecture", "num_classes", "num_features", "global_pool", "label_names", "pretrained_cfg")
    }


def test_the_cards_own_code_runs(classifier: Classifier, tmp_path: Path) -> None:
    facts = CardFacts(
        title="x",
        model=classifier.timm_name,
        classes=NAMES,
        photos={},
        preprocessing=Preprocessing(size=48).record(),
    )
    made(tmp_path / "best", classifier, card=model_card(facts))
    card = (tmp_path / "best" / "README.md").read_text()
    block = next(part for part in card.split("```python\n") if part.startswith("import timm")).split("```")[0]
    names: dict[str, Any] = {}
    exec(block.replace("this-folder", str(tmp_path / "best")), names)  # noqa: S102
    assert names["model"].num_classes == len(NAMES)
    assert names["transform"](Image.new("RGB", (90, 60))).shape == (3, 48, 48)


def test_the_shared_weights_survive_the_journey(shared: Path, tmp_path: Path) -> None:
    from deitft.models.read_state import read_state

    state = read_state(shared / "weights" / "mobilenetv2_100" / "model.safetensors")
    classifier = build("mobilenetv2_100.ra_in1k", num_classes=1000, image_size=224)
    classifier.net.load_state_dict(state)
    made(tmp_path / "best", classifier.eval())
    theirs = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True).eval()
    original = timm.create_model(f"local-dir:{shared / 'weights' / 'mobilenetv2_100'}", pretrained=True).eval()
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(theirs(images), original(images))
