"""The running average of the weights."""

from __future__ import annotations

import pytest
import torch
from training_kit import TinyNet

from deitft.training.ema import Ema, averaged_tensors

NO, YES = torch.tensor(False), torch.tensor(True)


def moved(net: TinyNet, number: int) -> TinyNet:
    draw = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for tensor in averaged_tensors(net).values():
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.1)
    return net


def test_golden_decays_of_the_warm_up() -> None:
    ema = Ema(TinyNet(), decay=0.9, warmup=True)
    wanted = [2 / 11, 3 / 12, 4 / 13, 0.9]
    found = [float(ema.decay_at(torch.tensor(t))) for t in (1, 2, 3, 10**6)]
    assert found == pytest.approx(wanted, rel=1e-6)
    assert float(Ema(TinyNet(), decay=0.9, warmup=False).decay_at(torch.tensor(1))) == pytest.approx(0.9)


@pytest.mark.parametrize("warmup", [True, False])
def test_it_is_the_formula_in_float64(warmup: bool) -> None:
    net = TinyNet()
    ema = Ema(net, decay=0.8, warmup=warmup)
    slow = {name: tensor.detach().double() for name, tensor in averaged_tensors(net).items()}
    for t in range(1, 30):
        moved(net, t)
        ema.update(net, torch.tensor(t), NO)
        decay = min(0.8, (1 + t) / (10 + t)) if warmup else 0.8
        for name, tensor in averaged_tensors(net).items():
            slow[name] = decay * slow[name] + (1 - decay) * tensor.detach().double()
    assert any("running_mean" in name for name in slow)
    for name, tensor in ema.tensors.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor.double(), slow[name], rtol=1e-5, atol=1e-6)


def test_constant_weights_are_their_own_average() -> None:
    net = TinyNet()
    ema = Ema(net, decay=0.99, warmup=True)
    for t in range(1, 10):
        ema.update(net, torch.tensor(t), NO)
    for name, tensor in averaged_tensors(net).items():
        assert torch.equal(ema.tensors[name], tensor)


def test_a_skipped_update_changes_no_bit() -> None:
    net = moved(TinyNet(), 1)
    ema = Ema(net, decay=0.8, warmup=True)
    ema.update(moved(net, 2), torch.tensor(1), NO)
    before = {name: tensor.clone() for name, tensor in ema.tensors.items()}
    ema.update(moved(net, 3), torch.tensor(2), YES)
    assert all(torch.equal(before[name], tensor) for name, tensor in ema.tensors.items())


def test_swapping_gives_the_average_inside_and_the_weights_after_even_when_it_breaks() -> None:
    net = TinyNet()
    ema = Ema(net, decay=0.8, warmup=True)
    moved(net, 5)
    images = torch.randn(2, 3, 8, 8)
    net.eval()
    own = net(images).class_logits
    before = {name: tensor.clone() for name, tensor in ema.tensors.items()}

    def broken_off() -> None:
        with ema.swapped_into(net):
            for name, tensor in averaged_tensors(net).items():
                assert torch.equal(tensor, before[name])
            assert not torch.equal(net(images).class_logits, own)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert torch.equal(net(images).class_logits, own)
    assert all(torch.equal(before[name], tensor) for name, tensor in ema.tensors.items())


def test_what_is_frozen_is_not_averaged() -> None:
    net = TinyNet()
    net.stem.requires_grad_(False)
    ema = Ema(net, decay=0.8, warmup=True)
    assert not any(name.startswith("stem.") for name in ema.tensors)
    assert "head.weight" in ema.tensors
