"""A running average of the weights: kept in float32, swapped in to be validated and saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


def averaged_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What an average is kept of: trainable parameters and floating buffers (BatchNorm's statistics), by name.

    Frozen parameters are their own average.
    """
    parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
    buffers = {name: item for name, item in model.named_buffers() if item.is_floating_point()}
    return parameters | buffers


class Ema:
    """``ema <- d * ema + (1 - d) * weights`` after every applied update (Polyak and Juditsky 1992).

    With warm-up ``d = min(decay, (1 + t) / (10 + t))``, where ``t`` counts applied updates, this one included:
    a short run would otherwise end with an average that is mostly its start.
    """

    def __init__(self, model: nn.Module, *, decay: float, warmup: bool) -> None:
        self.decay = decay
        self.warmup = warmup
        self.tensors = {
            name: tensor.detach().to(torch.float32, copy=True) for name, tensor in averaged_tensors(model).items()
        }

    def decay_at(self, applied: Tensor) -> Tensor:
        """The decay of update number ``applied`` (0-d, on the device), as float32."""
        if not self.warmup:
            return torch.full((), self.decay, dtype=torch.float32, device=applied.device)
        t = applied.to(torch.float32)
        return ((1 + t) / (10 + t)).clamp(max=self.decay)

    @torch.no_grad()
    def update(self, model: nn.Module, applied: Tensor, skip: Tensor) -> None:
        """Take the weights in, or nothing where ``skip`` is true; both flags stay on the device."""
        # A weight of 0 leaves the average bit for bit: start + 0 * (end - start), and all of it is finite.
        weight = torch.where(skip, 0.0, 1 - self.decay_at(applied))
        for name, tensor in averaged_tensors(model).items():
            self.tensors[name].lerp_(tensor.detach().to(torch.float32), weight)

    @contextlib.contextmanager
    def swapped_into(self, model: nn.Module) -> Iterator[None]:
        """The model has the average inside the block and its own weights after it, however it is left."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def _swap(self, model: nn.Module) -> None:
        for name, tensor in averaged_tensors(model).items():
            tensor.data, self.tensors[name] = self.tensors[name], tensor.data

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put saved averages in; names and shapes have been checked."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
