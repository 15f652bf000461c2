"""Stochastic depth by key: which photo skips which layer is a function of (key, layer, place in the batch).

timm's layer draws from torch's global generator while it runs, so that micro-batches and processes change who
is dropped. Here the masks of a step are drawn once for the whole global batch, and each micro-batch is given
its part. Rule and scale are timm's: a branch is kept with chance ``1 - rate`` and then divided by that.

Legend: L calls of a drop-path layer in one forward, B photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from deitft.core.keys import generator


@dataclass(frozen=True, slots=True)
class DropPathMasks:
    """``values`` [L, B], float32: 0 where the branch is dropped, ``1 / keep`` where it is kept."""

    values: Tensor

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def part(self, start: int, stop: int) -> DropPathMasks:
        """The masks of photos ``start`` to ``stop`` of the global batch: what one micro-batch needs."""
        return DropPathMasks(self.values[:, start:stop])

    def to(self, device: torch.device | str) -> DropPathMasks:
        """The same on a device."""
        return DropPathMasks(self.values.to(device))


def draw_masks(rates: Sequence[float], batch: int, key: int) -> DropPathMasks:
    """The masks of one step, for the whole global batch of ``batch`` photos.

    ``rates`` are the chances to be dropped, one a call (``Classifier.drop_path_rates``); ``key`` is the step's
    (``core.keys.key``). Same arguments, same masks, on every machine.
    """
    keep = torch.tensor([1.0 - rate for rate in rates], dtype=torch.float64).reshape(-1, 1)
    chance = torch.from_numpy(generator(key).random((len(rates), batch)))
    kept = (chance < keep).double()
    scale = torch.where(keep > 0, keep, torch.ones_like(keep))
    return DropPathMasks((kept / scale).float())


class KeyedDropPath(nn.Module):
    """A drop-path layer that is told who is dropped. Identity in eval mode, as timm's.

    ``calls`` is how often one forward of the net calls it: twice in a mixer's block, never in a block without a
    skip connection.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.calls = 1
        self.masks: Tensor | None = None
        self._turn = 0

    def set_masks(self, masks: Tensor | None) -> None:
        """Masks [calls, b] for the next forward, or None."""
        self.masks = masks
        self._turn = 0

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [b, ...] times its mask. Raises RuntimeError in training without masks of the right length."""
        if not self.training or self.rate == 0:
            return x
        if self.masks is None:
            raise RuntimeError("a drop-path layer is in training without masks: call set_drop_path before forward")
        mask = self.masks[self._turn]
        if self.calls > 1:
            self._turn = (self._turn + 1) % self.calls
        if mask.shape[0] != x.shape[0]:
            raise RuntimeError(f"drop-path masks for {mask.shape[0]} photos, the micro-batch has {x.shape[0]}")
        return x * mask.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))

    def extra_repr(self) -> str:
        """What printing the model shows."""
        return f"rate={self.rate:.3f}, calls={self.calls}"


def install(net: nn.Module, size: int) -> tuple[KeyedDropPath, ...]:
    """Put our layers in the place of timm's ``DropPath`` in ``net``, and count their calls at ``size`` pixels.

    Returns the layers that a forward calls, in the order of their names in the net.
    """
    made: dict[int, KeyedDropPath] = {}
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):  # named_children() shows a shared layer only once
            if isinstance(child, DropPath):
                ours = made.setdefault(id(child), KeyedDropPath(float(child.drop_prob)))
                setattr(parent, name, ours)
    layers = tuple(made.values())
    if layers:
        _count_calls(net, layers, size)
    return tuple(layer for layer in layers if layer.calls)


def _count_calls(net: nn.Module, layers: Sequence[KeyedDropPath], size: int) -> None:
    """One forward on the meta device (shapes only, no arithmetic) tells how often each layer is called."""
    for layer in layers:
        layer.calls = 0

    def count(layer: nn.Module, *_: object) -> None:
        if isinstance(layer, KeyedDropPath):
            layer.calls += 1

    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = net.training
    net.eval()
    try:
        tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        on_meta = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
        with torch.no_grad(), torch.device("meta"):
            torch.func.functional_call(net, on_meta, (torch.empty(1, 3, size, size),))
    finally:
        for hook in hooks:
            hook.remove()
        net.train(was_training)
