"""Every short name: built at full size (shapes only), and trained a step and restored when shrunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models_kit import VIT, images
from safetensors.torch import save_file
from timm.layers import DropPath

from deitft.models.build import Heads, build, logit_mean
from deitft.models.drop_path import draw_masks
from deitft.models.read_state import read_state
from deitft.models.registry import pretrained_config
from deitft.models.zoo import ZOO

_WINDOWS = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2), "window_size": 2}
SHRUNK: dict[str, dict[str, Any]] = {
    "resnet50": {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8)},
    "regnety_160": {"depth": 5, "w0": 16, "wa": 20.0, "wm": 2.0, "group_size": 8},
    "swin_b": _WINDOWS,
    "swinv2_b": _WINDOWS,
    "convnext_b": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)},
    "mixer_b": {"mlp_ratio": (0.1, 0.1)},
    # timm does not let these be made smaller: a small photo has to do
    "efficientnet_b5": {},
    "mvitv2_s": {},
    "mobilenetv2": {},
}


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.short)
def test_full_size_has_the_parameters_of_the_table(entry) -> None:
    classifier = build(entry.tag, num_classes=7, drop_path=0.1, device="meta")
    published = pretrained_config(entry.tag)["num_classes"]  # 0: without a classifier
    count = sum(parameter.numel() for parameter in classifier.parameters())
    for name in classifier.head_names:
        width = classifier.net.get_submodule(name).in_features
        count += (width + 1) * (published - 7)
    assert count == entry.parameters
    assert (classifier.family, classifier.patch, classifier.image_size) == (entry.family, entry.patch, entry.size)
    assert classifier.two_heads == (entry.tokens == 2)
    assert entry.tokens == (getattr(classifier.net, "num_prefix_tokens", 0) if entry.patch else 0)
    assert classifier.drop_path_layers > 0
    assert 0.05 < max(classifier.drop_path_rates) <= 0.1001
    assert not [module for module in classifier.modules() if isinstance(module, DropPath)]
    assert classifier.depth >= 4
    assert classifier.fixed_size == (entry.short in ("mixer_b", "mvitv2_s"))


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.short)
def test_a_step_and_a_restore(entry, tmp_path: Path) -> None:
    overrides = SHRUNK.get(entry.short, VIT)
    size = 28 if entry.patch == 14 else 32 if entry.patch == 16 or entry.short == "mvitv2_s" else 64

    def make(seed: int):
        return build(entry.tag, num_classes=3, image_size=size, drop_path=0.2, overrides=overrides, seed=seed)

    classifier = make(seed=1)
    classifier.train()
    classifier.set_drop_path(draw_masks(classifier.drop_path_rates, 4, key=8))
    photos, labels = images(4, size), torch.tensor([0, 1, 2, 0])
    heads = classifier(photos)
    assert isinstance(heads, Heads)
    loss = torch.nn.functional.cross_entropy(logit_mean(heads), labels)
    loss.backward()
    learned = [name for name, p in classifier.net.named_parameters() if p.grad is not None]
    assert set(classifier.head_names) <= {name.rpartition(".")[0] for name in learned}
    assert all(torch.isfinite(p.grad).all() for p in classifier.parameters() if p.grad is not None)
    torch.optim.SGD(classifier.parameters(), lr=1e-3).step()
    classifier.eval()
    with torch.no_grad():
        want = classifier(photos)
    assert torch.isfinite(want.class_logits).all()

    state = {name: value.clone() for name, value in classifier.net.state_dict().items()}
    if sum(value.numel() for value in state.values()) < 5_000_000:
        save_file(state, tmp_path / "model.safetensors")
        state = read_state(tmp_path / "model.safetensors")
        restored = make(seed=2).eval()
    else:  # these would only test the disk: the same net with its values wiped
        restored = classifier
        with torch.no_grad():
            for parameter in restored.parameters():
                parameter.fill_(0.5)
        assert not torch.equal(restored(photos).class_logits, want.class_logits)
    restored.net.load_state_dict(state, strict=True)
    with torch.no_grad():
        got = restored(photos)
    assert torch.equal(got.class_logits, want.class_logits)
    if entry.tokens == 2:
        assert torch.equal(got.distill_logits, want.distill_logits)
    else:
        assert got.distill_logits is None
