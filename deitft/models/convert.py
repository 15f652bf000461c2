"""Weights made to fit: other names, a second token, another number of patches, another number of classes.

Every change is named, so that the load report can say it. What is not one of these is not bent to fit.
"""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from deitft.errors import DataError
from deitft.models.build import Classifier

State = dict[str, Tensor]


@dataclass
class Changes:
    """What was done to fit the weights, in words."""

    converted: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)


def fit_state(
    classifier: Classifier, state: State, *, refusal: str | None = None, order: Sequence[int] = ()
) -> Changes:
    """Change ``state`` in place until it fits ``classifier``. The order is important:

    1. the second token, since timm's own renaming cannot read a plain state into a two-token net;
    2. timm's renaming, which knows foreign names and window tables;
    3. the position embedding, whose grid is known only now;
    4. the heads: ``refusal`` is a reason not to take them, ``order`` puts their rows into our class order; a
       second head that is not given is copied from the first.

    Raises:
        DataError: a conversion met values it cannot work with (id WEIGHTS).
    """
    changes = Changes()
    _second_token(classifier, state, changes)
    _rename(classifier, state, changes)
    _position_embedding(classifier, state, changes)
    _heads(classifier, state, changes, refusal, order)
    return changes


def _second_token(classifier: Classifier, state: State, changes: Changes) -> None:
    """Plain DeiT or ViT weights in a two-token model.

    The token and its position keep the values they were built with (truncated normal, 0.02, keyed by the seed):
    a copied class token would get the same gradients as the class token and never part from it.
    """
    position = state.get("pos_embed")
    if not classifier.two_heads or "dist_token" in state or position is None or position.ndim != 3:
        return
    net: Any = classifier.net
    own = net.state_dict()
    if position.shape[-1] != own["pos_embed"].shape[-1]:
        return  # another width: the check at the end says so
    row = own["pos_embed"][:, 1:2].to(position)
    state["pos_embed"] = torch.cat([position[:, :1], row, position[:, 1:]], dim=1)
    state["dist_token"] = own["dist_token"].clone()
    changes.started += ["dist_token", "pos_embed row of dist_token"]


def _rename(classifier: Classifier, state: State, changes: Changes) -> None:
    """timm's own conversion for this family, where names or shapes outside the heads do not fit."""
    own = classifier.net.state_dict()
    heads = tuple(f"{name}." for name in classifier.head_names)
    strange = [name for name in state if name not in own and not name.startswith(heads)]
    reshaped = [
        name
        for name, tensor in state.items()
        if name in own and name != "pos_embed" and not name.startswith(heads) and tensor.shape != own[name].shape
    ]
    convert = _timm_conversion(classifier.net)
    if convert is None or not (strange or reshaped):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's and torch's remarks on speed
            converted = convert(dict(state), classifier.net)
    except (RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise DataError(
            f"the weights do not fit {classifier.timm_name}: {' '.join(str(error).split())[:200]}",
            "are they of another model?",
            id="WEIGHTS",
        ) from error
    mended = [name for name in reshaped if name in converted and converted[name].shape == own[name].shape]
    renamed = [name for name in converted if name not in state]
    if renamed:
        changes.converted.append(f"{len(renamed)} foreign names to timm's")
    if mended:
        changes.converted.append(f"{len(mended)} tables resampled, {mended[0]} first")
    state.clear()
    state.update(converted)


def _timm_conversion(net: nn.Module) -> Any:
    module = sys.modules[type(net).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return None
    if "adapt_layer_scale" in inspect.signature(convert).parameters:
        return lambda state, model: convert(state, model, adapt_layer_scale=True)
    return convert


def _position_embedding(classifier: Classifier, state: State, changes: Changes) -> None:
    """Another number of patches: bicubic with antialiasing, as timm does; rows before the patches are kept."""
    net: Any = classifier.net
    position, own = state.get("pos_embed"), classifier.net.state_dict().get("pos_embed")
    if position is None or own is None or position.ndim != 3 or own.ndim != 3 or position.shape == own.shape:
        return
    prefix = 0 if getattr(net, "no_embed_class", False) else int(getattr(net, "num_prefix_tokens", 0))
    patches = position.shape[1] - prefix
    side = math.isqrt(max(patches, 0))
    if position.shape[-1] != own.shape[-1] or side < 1 or side * side != patches:
        return
    grid = list(net.patch_embed.grid_size)
    state["pos_embed"] = resample_abs_pos_embed(position, grid, num_prefix_tokens=prefix)
    changes.converted.append(f"pos_embed resampled from {side} x {side} to {grid[0]} x {grid[1]} patches")


def _heads(
    classifier: Classifier, state: State, changes: Changes, refusal: str | None, order: Sequence[int]
) -> None:
    own = classifier.net.state_dict()
    copied = classifier.two_heads and "head.weight" in state and "head_dist.weight" not in state
    for head in classifier.head_names:
        if copied and head == "head_dist" and "head.weight" in state:
            state.update({f"head_dist.{part}": state[f"head.{part}"].clone() for part in ("weight", "bias")})
            changes.converted.append("head_dist copied from head")
            continue
        given = [name for name in state if name.startswith(f"{head}.")]
        wanted = [name for name in own if name.startswith(f"{head}.")]
        classes = _classes(state, given)
        if not refusal and classes == classifier.num_classes and set(given) == set(wanted):
            if order:
                state.update({name: state[name][list(order)].clone() for name in given})
            continue
        for name in given:
            del state[name]
        if given:
            changes.dropped.append(f"{head} ({refusal or f'{classes} classes, here {classifier.num_classes}'})")
        changes.started.append(head)


def _classes(state: Mapping[str, Tensor], names: Sequence[str]) -> int:
    """Classes of a head: the rows of its weight."""
    return next((int(state[name].shape[0]) for name in names if name.endswith("weight") and state[name].ndim), 0)
