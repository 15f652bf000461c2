"""Which parameters move, how fast, how much they shrink, and which algorithm moves them."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import Lamb, param_groups_layer_decay, param_groups_weight_decay
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from deitft.errors import RecipeError
from deitft.recipe.plan_types import OptimPlan

_FUSED_DEVICES = ("cpu", "cuda", "mps")


def parameter_groups(classifier: nn.Module, plan: OptimPlan) -> list[dict[str, Any]]:
    """Groups of ``params``, ``names``, ``lr_scale`` and ``weight_decay``, over what requires a gradient.

    Not decayed: anything of one dimension (norms, biases, layer scales) and what the model exempts itself
    (``no_weight_decay()``: position embedding and tokens). ``plan.decay_distill_token`` decays ``dist_token`` all
    the same: DeiT's own run did, because timm 0.3.2 (vision_transformer.py:255) exempts position embedding and
    class token only.
    ``lr_scale`` is ``layer_decay ** (layers above)`` with the layers of timm's ``group_matcher`` (BEiT, Bao et
    al. 2022). Names are those of ``classifier.named_parameters()``: optimizer state is saved under them.

    Raises:
        RecipeError: nothing is left to train (id OPTIM).
    """
    net: Any = getattr(classifier, "net", classifier)
    exempt = set(net.no_weight_decay()) if hasattr(net, "no_weight_decay") else set()
    if plan.decay_distill_token:
        exempt.discard("dist_token")
    if plan.layer_decay < 1:
        groups = param_groups_layer_decay(
            net, plan.weight_decay, no_weight_decay_list=exempt, layer_decay=plan.layer_decay
        )
    else:
        groups = param_groups_weight_decay(net, plan.weight_decay, no_weight_decay_list=exempt)
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    if not groups:
        raise RecipeError("nothing is left to train", "choose another model.trainable", id="OPTIM")
    return [
        {
            "params": group["params"],
            "names": [names[id(parameter)] for parameter in group["params"]],
            "lr_scale": group.get("lr_scale", 1.0),
            "weight_decay": group["weight_decay"],
        }
        for group in groups
    ]


def build_optimizer(classifier: nn.Module, plan: OptimPlan) -> Optimizer:
    """AdamW or SGD with Nesterov momentum (torch, fused where the device can), or LAMB (timm).

    LAMB's built-in clipping at norm 1 is off: ``plan.clip_norm`` says what is clipped, for every algorithm.

    Raises:
        RecipeError: nothing is left to train (id OPTIM).
    """
    groups = parameter_groups(classifier, plan)
    fused = groups[0]["params"][0].device.type in _FUSED_DEVICES
    optimizer: Optimizer
    if plan.name == "adamw":
        optimizer = AdamW(groups, lr=plan.lr, betas=plan.betas, eps=plan.eps, fused=fused)
    elif plan.name == "lamb":
        optimizer = Lamb(groups, lr=plan.lr, betas=plan.betas, eps=plan.eps, max_grad_norm=None)
    else:
        optimizer = SGD(groups, lr=plan.lr, momentum=plan.momentum, nesterov=plan.momentum > 0, fused=fused)
        _start_momentum(optimizer)
    set_lr(optimizer, plan.lr)
    return optimizer


def _start_momentum(optimizer: SGD) -> None:
    """Begin with zeros, which gives the same first update.

    Left to itself, torch's fused SGD allocates the buffers without filling them, and keeps that garbage where
    its first update is skipped (seen with torch 2.15).
    """
    for group in optimizer.param_groups:
        if group["momentum"] > 0:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every group its share of ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """All parameters the optimizer moves, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def update(optimizer: Optimizer, skip: Tensor) -> None:
    """Apply the gradients, or nothing at all where ``skip`` (0-d bool, on the device) is true.

    Fused kernels read the flag on the device, as ``torch.amp.GradScaler`` makes them. LAMB has no such kernel:
    there the flag is read here, one device-to-host synchronisation a step, as in torch's own scaler.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        if not bool(skip):
            optimizer.step()
        return
    fused: Any = optimizer
    fused.grad_scale, fused.found_inf = None, skip.to(torch.float32)
    try:
        optimizer.step()
    finally:
        del fused.grad_scale, fused.found_inf
