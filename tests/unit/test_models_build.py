"""One return type, keyed starts, and a choice of what learns."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from models_kit import DEIT, PLAIN, images, tiny
from torch import nn

from deitft.errors import RecipeError, UsageError
from deitft.models.build import Heads, build, logit_mean, softmax_sum

MOBILE = "mobilenetv2_100.ra_in1k"


@pytest.fixture(scope="module")
def mobile():
    return build(MOBILE, num_classes=3, image_size=64)


def test_fusions_against_slow_references() -> None:
    a, b = [1.0, 2.0, -1.0], [0.0, 3.0, 5.0]
    heads = Heads(torch.tensor([a]), torch.tensor([b]))
    assert logit_mean(heads).tolist() == [[0.5, 2.5, 2.0]]

    def softmax(row: list[float]) -> list[float]:
        total = math.fsum(math.exp(value) for value in row)
        return [math.exp(value) / total for value in row]

    want = [(x + y) / 2 for x, y in zip(softmax(a), softmax(b), strict=True)]
    torch.testing.assert_close(softmax_sum(heads), torch.tensor([want]))
    assert softmax_sum(heads).sum().item() == pytest.approx(1)


def test_fusions_of_one_head() -> None:
    heads = Heads(torch.tensor([[1.0, 2.0]]))
    assert logit_mean(heads) is heads.class_logits
    torch.testing.assert_close(softmax_sum(heads), heads.class_logits.softmax(-1))


@pytest.mark.parametrize("training", [True, False])
def test_the_return_type_never_depends_on_the_mode(training: bool) -> None:
    two, one = tiny().train(training), tiny(PLAIN).train(training)
    for classifier, distill in ((two, True), (one, False)):
        heads = classifier(images())
        assert isinstance(heads, Heads)
        assert heads.class_logits.shape == (4, 5)
        assert (heads.distill_logits is not None) == distill
        assert classifier.two_heads == distill
    two.net.set_distilled_training(True)
    assert isinstance(two(images()), Heads)


def test_the_same_seed_gives_the_same_bits_whatever_torch_drew_before() -> None:
    torch.manual_seed(1)
    first = tiny(seed=3).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = tiny(seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state()), "building must not move torch's generator"
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = tiny(seed=4).state_dict()
    assert not torch.equal(first["net.head.weight"], other["net.head.weight"])
    assert not torch.equal(first["net.head.weight"], first["net.head_dist.weight"]), "two heads start apart"


def test_the_state_dict_keeps_timms_names() -> None:
    reference = timm.create_model(
        "deit_tiny_distilled_patch16_224", num_classes=5, img_size=32, depth=2, embed_dim=24, num_heads=3
    )
    ours = tiny(drop_path=0.2).net.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in reference.state_dict().items()
    }


def test_features_are_what_the_heads_see(mobile) -> None:
    two, one = tiny().eval(), tiny(PLAIN).eval()
    tokens = two.net.forward_features(images())
    torch.testing.assert_close(two.features(images()), (tokens[:, 0] + tokens[:, 1]) / 2)
    torch.testing.assert_close(one.net.head(one.features(images())), one(images()).class_logits)
    mobile.eval()
    photos = images(size=64)
    torch.testing.assert_close(mobile.net.classifier(mobile.features(photos)), mobile(photos).class_logits)


def test_attention_alone_learns() -> None:
    classifier = tiny(drop_path=0.1)
    classifier.freeze("attention")
    learning = {name for name, parameter in classifier.net.named_parameters() if parameter.requires_grad}
    blocks = {
        f"blocks.{i}.attn.{part}.{kind}" for i in (0, 1) for part in ("qkv", "proj") for kind in ("weight", "bias")
    }
    heads = {f"{head}.{kind}" for head in ("head", "head_dist") for kind in ("weight", "bias")}
    assert learning == blocks | heads | {"pos_embed"}
    classifier.train()
    assert classifier.net.blocks[1].drop_path1.training, "drop-path stays on"
    classifier.freeze("all")
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_attention_of_a_windowed_model_and_of_none(mobile) -> None:
    small = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2), "window_size": 2}
    swin = tiny("swin_base_patch4_window7_224.ms_in1k", size=64, overrides=small)
    swin.freeze("attention")
    learning = {name for name, parameter in swin.net.named_parameters() if parameter.requires_grad}
    assert "layers.0.blocks.0.attn.relative_position_bias_table" in learning
    assert {name for name in learning if ".attn." not in name} == {"head.fc.weight", "head.fc.bias"}
    mixer = tiny("mixer_b16_224.goog_in21k_ft_in1k", overrides={"mlp_ratio": (0.1, 0.1)})
    for classifier in (mobile, mixer):
        with pytest.raises(RecipeError, match=r"no attention blocks.*attention needs them") as caught:
            classifier.freeze("attention")
        assert classifier.timm_name in caught.value.line
        assert all(parameter.requires_grad for parameter in classifier.parameters()), "nothing changed"


def test_a_linear_probe_moves_nothing_but_the_head(mobile) -> None:
    mobile.freeze("head")
    mobile.train_mode()
    before = {name: value.clone() for name, value in mobile.net.state_dict().items()}
    heads = mobile(images(size=64) * 3 + 1)
    heads.class_logits.square().mean().backward()
    torch.optim.SGD([p for p in mobile.parameters() if p.requires_grad], lr=0.1).step()
    moved = {name for name, value in mobile.net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"classifier.weight", "classifier.bias"}, "statistics of BatchNorm must not move"
    assert mobile.net.classifier.training
    assert not mobile.net.conv_stem.training
    mobile.freeze("all")
    mobile.eval()
    assert not any(module.training for module in mobile.modules())
    mobile.train()
    mobile(images(size=64))
    assert not torch.equal(mobile.net.state_dict()["bn1.running_mean"], before["bn1.running_mean"])


@pytest.mark.parametrize("name", [DEIT, MOBILE])
def test_the_hash_of_the_body_is_that_of_all_but_the_heads(name: str) -> None:
    classifier = tiny(name) if name == DEIT else build(name, num_classes=3, image_size=64)
    before = classifier.body_sha256()
    assert classifier.to(memory_format=torch.channels_last).body_sha256() == before, "the layout is no value"
    state = classifier.net.state_dict()
    heads = {f"{head}.{part}" for head in classifier.head_names for part in ("weight", "bias")}
    for field in state:
        kept = state[field].clone()
        state[field].add_(1)
        assert (classifier.body_sha256() == before) == (field in heads), field
        state[field].copy_(kept)
    assert classifier.body_sha256() == before


def test_frozen_batchnorm_in_a_learning_net_keeps_its_statistics(mobile) -> None:
    mobile.freeze("all")
    for parameter in mobile.net.bn1.parameters():
        parameter.requires_grad_(False)
    mobile.train()
    assert not mobile.net.bn1.training
    assert mobile.net.bn2.training
    mobile.freeze("all")
    mobile.train()
    assert mobile.net.bn1.training


def test_a_probe_drops_no_path() -> None:
    classifier = tiny(drop_path=0.5)
    classifier.freeze("head")
    classifier.train()
    classifier(images())  # would raise without masks were drop-path in training


def test_a_smaller_training_size_and_a_fixed_one() -> None:
    for name in (DEIT, PLAIN, "deit3_small_patch16_224.fb_in1k"):
        classifier = tiny(name, size=64).eval()
        rows = classifier.net.pos_embed.shape[1]
        assert not classifier.fixed_size
        assert classifier(images(size=32)).class_logits.shape == (4, 5)
        assert classifier.net.pos_embed.shape[1] == rows, "the stored embedding stays that of image_size"
    mixer = tiny("mixer_b16_224.goog_in21k_ft_in1k", overrides={"mlp_ratio": (0.1, 0.1)})
    assert mixer.fixed_size


def test_the_position_embedding_is_resampled_around_its_prefix_rows() -> None:
    """At another size: prefix rows as they are, the grid interpolated. Reference: a net built at that size."""
    from timm.layers import resample_abs_pos_embed

    large = tiny(size=64).eval()
    small = tiny(size=48).eval()
    state = large.net.state_dict()
    grid = state["pos_embed"][:, 2:].reshape(1, 4, 4, 24).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (3, 3), mode="bicubic", antialias=True)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :2], grid.permute(0, 2, 3, 1).reshape(1, 9, 24)], 1)
    torch.testing.assert_close(
        state["pos_embed"], resample_abs_pos_embed(large.net.pos_embed, [3, 3], num_prefix_tokens=2)
    )
    small.net.load_state_dict(state)
    photos = images(size=48)
    for head in ("class_logits", "distill_logits"):
        torch.testing.assert_close(getattr(large(photos), head), getattr(small(photos), head))


def test_image_size_none_is_the_weights_own() -> None:
    assert build(DEIT, num_classes=2, device="meta").image_size == 224
    dinov2 = build("vit_small_patch14_dinov2.lvd142m", num_classes=2, image_size=224, device="meta")
    assert (dinov2.net.patch_embed.grid_size, dinov2.patch) == ((16, 16), 14)
    assert (dinov2.architecture, dinov2.depth) == ("vit_small_patch14_dinov2", 12)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (DEIT, {"image_size": 100}, "not a multiple"),
        ("densenet121.ra_in1k", {"drop_path": 0.1}, "has no drop path"),
        ("regnety_160.deit_in1k", {"overrides": {"depth": 4}}, "cannot be built at 224 px"),
        (DEIT, {"overrides": {"wings": 2}}, "cannot be built"),
    ],
)
def test_what_cannot_be_built_is_a_recipe_error(name: str, arguments: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        build(name, num_classes=3, device="meta", **arguments)
    assert caught.value.id == "MODEL"
    assert caught.value.hint
    assert "\n" not in caught.value.line


@pytest.mark.parametrize("name", ["nothing_like_it", "hf-hub:timm/resnet50", "local-dir:/tmp/x", "../x"])
def test_only_names_of_the_registry_are_built(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(name, num_classes=3)
    assert caught.value.id == "MODEL"


def test_fused_attention_is_the_same_function() -> None:
    classifier = tiny(size=64).eval()
    answers = []
    for on in (True, False):
        classifier.set_fused_attention(on)
        assert all(block.attn.fused_attn == on for block in classifier.net.blocks)
        answers.append(classifier(images(size=64)).class_logits)
    torch.testing.assert_close(*answers)


def test_a_net_without_layer_groups_or_named_classifier() -> None:
    assert build("pit_b_224.in1k", num_classes=2, device="meta").depth == 1
    net = nn.Linear(1, 1)
    from deitft.models.build import _head_names

    with pytest.raises(ValueError, match="no classifier"):
        _head_names(net, {"classifier": None})
