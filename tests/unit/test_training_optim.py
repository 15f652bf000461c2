"""Parameter groups by name, and updates that can be skipped without a trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from training_kit import OPTIM, TinyNet

from deitft.errors import RecipeError
from deitft.training.optim import build_optimizer, parameter_groups, parameters_of, set_lr, update


class Wrapped(nn.Module):
    """As the product's classifier wraps a timm net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


@pytest.fixture(scope="module")
def deit() -> Wrapped:
    return Wrapped(
        timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3, depth=4, embed_dim=24, num_heads=2)
    )


def by_name(groups: list[dict]) -> dict[str, dict]:
    return {name: group for group in groups for name in group["names"]}


@pytest.mark.parametrize("decay", [1.0, 0.65])
def test_every_trainable_parameter_is_in_one_group_under_its_own_name(deit: Wrapped, decay: float) -> None:
    groups = parameter_groups(deit, replace(OPTIM, layer_decay=decay))
    named = dict(deit.named_parameters())
    listed = [name for group in groups for name in group["names"]]
    assert sorted(listed) == sorted(named)
    assert all(
        named[name] is parameter
        for group in groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    )


@pytest.mark.parametrize("decay", [1.0, 0.65])
def test_what_does_not_shrink(deit: Wrapped, decay: float) -> None:
    found = by_name(parameter_groups(deit, replace(OPTIM, layer_decay=decay)))
    for name, parameter in deit.named_parameters():
        exempt = parameter.ndim <= 1 or name.split(".")[1] in ("cls_token", "dist_token", "pos_embed")
        assert found[name]["weight_decay"] == (0.0 if exempt else 0.05), name


def test_layer_decay_counts_layers_from_the_top(deit: Wrapped) -> None:
    found = by_name(parameter_groups(deit, replace(OPTIM, layer_decay=0.5)))
    scale = {name: group["lr_scale"] for name, group in found.items()}
    assert scale["net.head.weight"] == scale["net.head_dist.weight"] == 1
    blocks = [scale[f"net.blocks.{number}.attn.qkv.weight"] for number in range(4)]
    assert blocks == [2.0 ** (number - 4) for number in range(4)]
    for name in ("net.patch_embed.proj.weight", "net.pos_embed", "net.cls_token", "net.dist_token"):
        assert scale[name] == 2.0**-5


def test_only_what_learns_is_in_the_optimizer(deit: Wrapped) -> None:
    try:
        for name, parameter in deit.named_parameters():
            parameter.requires_grad_("head" in name)
        found = by_name(parameter_groups(deit, OPTIM))
        assert set(found) == {"net.head.weight", "net.head.bias", "net.head_dist.weight", "net.head_dist.bias"}
        for parameter in deit.parameters():
            parameter.requires_grad_(False)
        with pytest.raises(RecipeError, match="nothing is left to train"):
            build_optimizer(deit, OPTIM)
    finally:
        for parameter in deit.parameters():
            parameter.requires_grad_(True)


def test_set_lr_gives_every_group_its_share(deit: Wrapped) -> None:
    optimizer = build_optimizer(deit, replace(OPTIM, layer_decay=0.5))
    set_lr(optimizer, 0.3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.3 * 2.0**-k for k in range(6)}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("lamb", timm.optim.Lamb)]
)
def test_the_plans_algorithm_with_the_plans_settings(name: str, kind: type) -> None:
    optimizer = build_optimizer(TinyNet(), replace(OPTIM, name=name, betas=(0.8, 0.95), eps=1e-6, momentum=0.7))
    assert type(optimizer) is kind
    if name == "sgd":
        assert optimizer.defaults["momentum"] == 0.7
        assert optimizer.defaults["nesterov"]
    else:
        assert optimizer.defaults["betas"] == (0.8, 0.95)
        assert optimizer.defaults["eps"] == 1e-6
    assert optimizer.defaults.get("max_grad_norm") is None


def gradients(net: nn.Module, number: int) -> None:
    draw = torch.Generator().manual_seed(number)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_updates_equal_the_plain_algorithm(name: str) -> None:
    plan = replace(OPTIM, name=name)
    one, other = TinyNet(), TinyNet()
    ours = build_optimizer(one, plan)
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "lamb": timm.optim.Lamb}
    own = {"sgd": {"momentum": 0.9, "nesterov": True}, "lamb": {"max_grad_norm": None, "eps": 1e-8}}
    plain = kinds[name](parameter_groups(other, plan), lr=plan.lr, **own.get(name, {}))
    for number in range(4):
        gradients(one, number)
        gradients(other, number)
        update(ours, torch.tensor(False))
        plain.step()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
@pytest.mark.parametrize("bad", [[0], [2], [0, 1, 4]])
def test_a_skipped_update_leaves_no_trace(name: str, bad: list[int]) -> None:
    """Weights and moments are those of a run that never had the bad gradients, from the first update on."""
    plan = replace(OPTIM, name=name)
    with_bad, without = TinyNet(), TinyNet()
    first, second = build_optimizer(with_bad, plan), build_optimizer(without, plan)
    good = 0
    for number in range(5):
        if number in bad:
            for parameter in with_bad.parameters():
                parameter.grad = torch.full_like(parameter, float("nan"))
            update(first, torch.tensor(True))
            continue
        gradients(with_bad, good)
        gradients(without, good)
        good += 1
        update(first, torch.tensor(False))
        update(second, torch.tensor(False))
    for a, b in zip(parameters_of(first), parameters_of(second), strict=True):
        assert torch.equal(a, b)
        for moment, value in second.state[b].items():
            assert torch.equal(first.state[a][moment], value), moment
    assert not hasattr(first, "found_inf")
