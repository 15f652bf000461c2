"""The model: a timm net whose forward returns ``Heads``, always, in training and in evaluation.

timm's distilled DeiT returns a tuple in training and a mean otherwise; here both heads are called by hand and
fusing them is a named function. The state dict keeps timm's names, so that weights go in and out unchanged.

Legend: B images, C classes, T tokens, D width, H x W pixels.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import timm
import torch
from timm.layers import PatchEmbed
from timm.models import group_parameters
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from deitft.core.keys import key
from deitft.errors import RecipeError, UsageError
from deitft.models import registry
from deitft.models.drop_path import DropPathMasks, install
from deitft.models.zoo import Family

Trainable = Literal["all", "attention", "head"]


@dataclass(frozen=True, slots=True)
class Heads:
    """What the model says: ``class_logits`` [B, C]; ``distill_logits`` [B, C], or None with one head."""

    class_logits: Tensor
    distill_logits: Tensor | None = None


def logit_mean(heads: Heads) -> Tensor:
    """The mean of both heads' logits [B, C]: what is served (as timm and DeiT's authors do)."""
    if heads.distill_logits is None:
        return heads.class_logits
    return (heads.class_logits + heads.distill_logits) / 2


def softmax_sum(heads: Heads) -> Tensor:
    """Probabilities [B, C]: both heads' softmax added (arXiv 2012.12877, section 4), halved to sum to 1."""
    label = heads.class_logits.softmax(dim=-1)
    if heads.distill_logits is None:
        return label
    return (label + heads.distill_logits.softmax(dim=-1)) / 2


class Classifier(nn.Module):
    """A timm net with one return type, keyed drop-path, and a choice of what learns.

    ``net`` is timm's model and ``net.state_dict()`` keeps its names; ``image_size`` is the evaluation size in
    pixels a side; ``fixed_size`` is True where it accepts no other; ``patch`` is the side that a size must be a
    multiple of; ``head_names`` are the prefixes of the classifiers' parameters.
    """

    def __init__(self, net: nn.Module, *, timm_name: str, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.net = net
        self.timm_name = timm_name
        self.num_classes = num_classes
        self.image_size = image_size
        self.two_heads = isinstance(net, VisionTransformerDistilled)
        self.family: Family = family_of(net)
        self.patch = _patch_of(net)
        config = registry.pretrained_config(timm_name)
        self.fixed_size = bool(config.get("fixed_input_size")) and not getattr(net, "dynamic_img_size", False)
        self.head_names = _head_names(net, config)
        self._drops = install(net, image_size)
        self._learnable = frozenset(name for name, p in net.named_parameters() if p.requires_grad)
        self.trainable: Trainable = "all"

    @property
    def architecture(self) -> str:
        """timm's name without the tag."""
        return self.timm_name.partition(".")[0]

    @property
    def depth(self) -> int:
        """Layers between the stem and the classifier, as timm groups them for layer-wise rates; at least 1."""
        grouping: Any = getattr(self.net, "group_matcher", None)
        return max(1, len(group_parameters(self.net, grouping(coarse=False))) - 2) if grouping else 1

    def forward(self, images: Tensor) -> Heads:
        """Images [B, 3, H, W], normalised, to ``Heads``. The type never depends on the mode."""
        if not self.two_heads:
            return Heads(self.net(images))
        net: Any = self.net
        tokens_BTD = net.forward_features(images)
        return Heads(
            net.head(net.head_drop(tokens_BTD[:, 0])),
            net.head_dist(net.head_drop(tokens_BTD[:, 1])),
        )

    def features(self, images: Tensor) -> Tensor:
        """What the classifier sees, [B, D]: timm's pre-logits (for two tokens the mean of both)."""
        net: Any = self.net
        features: Tensor = net.forward_head(net.forward_features(images), pre_logits=True)
        return features

    def head_inputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """What each head sees, [B, D] a head: class token and distillation token, or the pooled features."""
        if not self.two_heads:
            return (self.features(images),)
        net: Any = self.net
        tokens_BTD = net.forward_features(images)
        return tokens_BTD[:, 0], tokens_BTD[:, 1]

    def body_sha256(self) -> str:
        """SHA-256 of every weight and running statistic but those of the heads."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.net.state_dict().items()):
            if name.rpartition(".")[0] not in self.head_names:
                values = tensor.detach().cpu().contiguous()
                found.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
                found.update(values.reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()

    def set_heads(
        self, weights: Sequence[npt.NDArray[np.floating]], biases: Sequence[npt.NDArray[np.floating]]
    ) -> None:
        """Put linear classifiers, [C, D] and [C] a head, in the place of the heads' starting values.

        Raises:
            RecipeError: the model's head is not one linear layer (id MODEL).
        """
        for name, weight, bias in zip(self.head_names, weights, biases, strict=True):
            head = self.net.get_submodule(name)
            if not isinstance(head, nn.Linear) or head.bias is None or head.weight.shape != weight.shape:
                raise RecipeError(
                    f"the head of {self.timm_name} is not one linear layer on its features",
                    "set model.head_start to random",
                    id="MODEL",
                )
            with torch.no_grad():
                head.weight.copy_(torch.from_numpy(weight))
                head.bias.copy_(torch.from_numpy(bias))

    @property
    def linear_heads(self) -> bool:
        """Whether every head is one linear layer with a bias: what ``set_heads`` can fill."""
        heads = [self.net.get_submodule(name) for name in self.head_names]
        return all(isinstance(head, nn.Linear) and head.bias is not None for head in heads)

    def set_fused_attention(self, on: bool) -> None:
        """Choose torch's fused attention or plain matrix products: the same function, rounded differently."""
        for module in self.net.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = on  # type: ignore[assignment]

    @property
    def drop_path_rates(self) -> tuple[float, ...]:
        """The chance to be dropped, for each call of a drop-path layer in one forward; for ``draw_masks``."""
        return tuple(layer.rate for layer in self._drops for _ in range(layer.calls))

    @property
    def drop_path_layers(self) -> int:
        """Rows that the masks of a step need; 0 where nothing is ever dropped."""
        return sum(layer.calls for layer in self._drops)

    def set_drop_path(self, masks: DropPathMasks | None) -> None:
        """Say who is dropped in the next forward: masks [layers, b] of this micro-batch's photos, or None.

        Training without them raises RuntimeError where ``drop_path_layers`` is above 0; evaluation ignores them.
        """
        if masks is not None and masks.values.shape[0] != self.drop_path_layers:
            raise RuntimeError(f"masks for {masks.values.shape[0]} layers, the net has {self.drop_path_layers}")
        row = 0
        for layer in self._drops:
            layer.set_masks(None if masks is None else masks.values[row : row + layer.calls])
            row += layer.calls

    def freeze(self, mode: Trainable) -> None:
        """Choose what learns, and put the net into training mode accordingly.

        "attention": attention blocks, position embedding and heads (arXiv 2203.09795, section 4); "head": the
        heads alone, on a trunk that stays in evaluation mode; "all": everything again.

        Raises:
            RecipeError: "attention" for a model that has none (id MODEL).
        """
        if mode == "attention" and not self._attention_names():
            raise RecipeError(
                f"{self.timm_name} has no attention blocks: model.trainable: attention needs them",
                "set model.trainable to all or head",
                id="MODEL",
            )
        chosen = self._learnable
        if mode != "all":
            chosen = self._head_parameters()
        if mode == "attention":
            chosen |= self._attention_names()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name in chosen)
        self.trainable = mode
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but what is frozen keeps its statistics: BatchNorm of a frozen part does not move."""
        super().train(mode)
        if not mode:
            return self
        if self.trainable == "head":
            self.net.eval()
            for name in self.head_names:
                self.net.get_submodule(name).train()
        for module in self.net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                own = list(module.parameters(recurse=False))
                if own and not any(parameter.requires_grad for parameter in own):
                    module.eval()
        return self

    def train_mode(self) -> None:
        """The same as ``train()``, by the name of what it means."""
        self.train()

    def _head_parameters(self) -> frozenset[str]:
        prefixes = tuple(f"{name}." for name in self.head_names)
        return frozenset(name for name in self._learnable if name.startswith(prefixes))

    def _attention_names(self) -> frozenset[str]:
        names = frozenset(name for name in self._learnable if re.search(r"(^|\.)attn\.", name))
        if self.family != "transformer" or not names:
            return frozenset()
        return names | {name for name in self._learnable if name.rpartition(".")[2] == "pos_embed"}


def family_of(net: nn.Module) -> Family:
    """Which settings suit a net: "transformer" with attention over tokens or mixing of them, else "convnet"."""
    if hasattr(net, "cls_token") or type(net).__name__ == "MlpMixer":
        return "transformer"
    kinds = {type(module).__name__ for module in net.modules()}
    return "transformer" if any("Attention" in kind and "Pool" not in kind for kind in kinds) else "convnet"


def _patch_of(net: nn.Module) -> int | None:
    embedding = getattr(net, "patch_embed", None) or getattr(net, "stem", None)
    return int(embedding.patch_size[0]) if isinstance(embedding, PatchEmbed) else None


def _head_names(net: nn.Module, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that give the logits, as timm's configuration names them."""
    names = config.get("classifier") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        net.get_submodule(name)
    if not names:
        raise ValueError("timm names no classifier of it")
    return names


def build(
    timm_name: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    drop_path: float = 0.0,
    device: str = "cpu",
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Classifier:
    """A model with random starting values: the same bits for the same seed, whatever torch drew before.

    ``timm_name`` as ``zoo.resolve`` gives it; ``image_size`` in pixels a side at evaluation (None: the weights'
    own); ``drop_path`` the rate of the last layer, rising from 0; ``overrides`` further arguments of timm's
    model (its depth and width, for tests). ``device`` "meta" gives shapes without memory.

    Raises:
        UsageError: not a name of timm's (id MODEL).
        RecipeError: the model cannot be built like this, at this size say (id MODEL).
    """
    architecture = timm_name.partition(".")[0]
    if not registry.is_architecture(architecture):
        raise UsageError(f'there is no model "{timm_name}"', "`deitft models` lists the names", id="MODEL")
    config = registry.pretrained_config(timm_name)
    size = image_size or int(config.get("input_size", (3, 224, 224))[-1])
    arguments: dict[str, Any] = {"num_classes": num_classes, **(overrides or {})}
    if drop_path > 0:
        arguments["drop_path_rate"] = drop_path
    if config.get("fixed_input_size"):
        arguments["img_size"] = size
    on_meta = device == "meta"
    with torch.random.fork_rng(devices=[]), torch.device("meta" if on_meta else "cpu"), _NoClamping():
        torch.default_generator.manual_seed(key("model", seed))
        try:
            net = _create(timm_name, arguments)
            classifier = Classifier(net, timm_name=timm_name, num_classes=num_classes, image_size=size)
        except TypeError as error:
            if "drop_path_rate" not in str(error):
                raise _cannot(timm_name, size, error) from error
            raise RecipeError(f"{timm_name} has no drop path", "set model.drop_path to 0", id="MODEL") from error
        except (AssertionError, AttributeError, ValueError, RuntimeError) as error:
            raise _cannot(timm_name, size, error) from error
    if classifier.patch and size % classifier.patch:
        raise RecipeError(
            f"model.image_size is {size}, not a multiple of {timm_name}'s patch of {classifier.patch} px",
            f"set it to {size // classifier.patch * classifier.patch}",
            id="MODEL",
        )
    return classifier if on_meta else classifier.to(device)


class _NoClamping(TorchFunctionMode):
    """On the meta device torch clamps in Python, though there is nothing to clamp: half the time of a model."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.clamp_ and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _create(timm_name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """timm's model. One that can take other sizes than its own is made to: training may begin at a smaller one."""
    net: nn.Module
    if "img_size" in arguments:
        try:
            net = timm.create_model(timm_name, pretrained=False, dynamic_img_size=True, **arguments)
            return net
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
    net = timm.create_model(timm_name, pretrained=False, **arguments)
    return net


def _cannot(timm_name: str, size: int, error: Exception) -> RecipeError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return RecipeError(
        f"{timm_name} cannot be built at {size} px ({reason})", "leave model.image_size on auto", id="MODEL"
    )
