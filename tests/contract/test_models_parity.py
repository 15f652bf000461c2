"""The same weights give timm's own logits, bit for bit on the CPU, in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from models_kit import DEIT, VIT, hub_folder, images, tiny
from PIL import Image

from deitft.models.build import build, logit_mean
from deitft.models.weights import find, load, preprocessing_of
from deitft.models.zoo import resolve


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224.fb_in1k", "vit_ti", "mobilenetv2"])
def test_real_weights_give_timms_logits(shared: Path, name: str) -> None:
    choice = resolve(name)
    source = find(choice, weights_dir=shared / "weights")
    classifier = build(choice.timm_name, num_classes=1000, drop_path=0.1, seed=5)
    report = load(classifier, source)
    assert (report.converted, report.dropped, report.started) == ((), (), ())
    assert report.taken == len(classifier.net.state_dict())
    reference = timm.create_model(f"local-dir:{source.path.parent}", pretrained=True).eval()
    classifier.eval()
    photos = images(2, 224)
    with torch.no_grad():
        assert torch.equal(classifier(photos).class_logits, reference(photos))


def test_the_real_shared_weights_have_seen_photos(shared: Path) -> None:
    """A shoe is a shoe: the function, its weights and its preprocessing belong together."""
    from timm.data import create_transform

    choice = resolve("deit_tiny_patch16_224.fb_in1k")
    source = find(choice, weights_dir=shared / "weights")
    classifier = build(choice.timm_name, num_classes=1000)
    load(classifier, source)
    classifier.eval()
    pre = preprocessing_of(source, choice)
    view = create_transform(
        (3, pre.size, pre.size),
        mean=pre.mean,
        std=pre.std,
        interpolation=pre.interpolation,
        crop_pct=pre.crop_share,
    )
    paths = sorted((shared / "data" / "clothing-small" / "test" / "shoes").glob("*.jpg"))[:8]
    with torch.no_grad():
        best = classifier(torch.stack([view(Image.open(path)) for path in paths])).class_logits.argmax(1)
    shoes = {514, 630, 770, 774, 788, 502}  # cowboy boot, Loafer, running shoe, sandal, shoe shop, clog
    assert sum(int(label) in shoes for label in best) >= 6


def test_two_tokens_in_evaluation_are_timms_mean() -> None:
    classifier = tiny(drop_path=0.1).eval()
    reference = timm.create_model(DEIT.partition(".")[0], num_classes=5, img_size=32, **VIT).eval()
    reference.load_state_dict(classifier.net.state_dict())
    assert torch.equal(logit_mean(classifier(images())), reference(images()))


def test_two_tokens_in_training_are_timms_two_heads() -> None:
    classifier = tiny().train()
    reference = timm.create_model(DEIT.partition(".")[0], num_classes=5, img_size=32, **VIT).train()
    reference.load_state_dict(classifier.net.state_dict())
    reference.set_distilled_training(True)
    label, distill = reference(images())
    heads = classifier(images())
    assert torch.equal(heads.class_logits, label)
    assert torch.equal(heads.distill_logits, distill)


@pytest.mark.parametrize("name", [DEIT, "deit3_small_patch16_224.fb_in1k", "vit_small_patch16_224.dino"])
def test_plain_timm_reads_our_state_at_our_size(name: str, tmp_path: Path) -> None:
    """Trained at any smaller size, handed over at image_size, without dynamic_img_size."""
    classifier = tiny(name, size=48).eval()
    classifier(images(size=32))
    architecture = name.partition(".")[0]
    hub_folder(tmp_path, classifier.net.state_dict(), architecture, "ours", pretrained_cfg={"num_classes": 5})
    plain = timm.create_model(
        architecture, num_classes=5, img_size=48, checkpoint_path=str(tmp_path / "model.safetensors"), **VIT
    ).eval()
    assert not plain.dynamic_img_size
    photos = images(size=48)
    assert torch.equal(logit_mean(classifier(photos)), plain(photos))


@pytest.mark.parametrize("name", ["swin_base_patch4_window7_224.ms_in1k", "swinv2_base_window8_256.ms_in1k"])
def test_a_windowed_model_at_its_own_size_is_timms(name: str) -> None:
    small = {"depths": (1, 1, 2, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2), "window_size": 3}
    classifier = tiny(name, size=96, overrides=small).eval()
    reference = timm.create_model(name.partition(".")[0], num_classes=5, img_size=96, **small).eval()
    reference.load_state_dict(classifier.net.state_dict())
    assert not reference.dynamic_img_size
    assert torch.equal(classifier(images(size=96)).class_logits, reference(images(size=96)))
    assert classifier(images(size=64)).class_logits.shape == (4, 5)
