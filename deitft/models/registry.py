"""What timm knows of its own models, asked in one place: names, tags, pretrained configurations."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg


def is_architecture(name: str) -> bool:
    """True for a name in timm's registry. Paths and ``hf-hub:`` addresses are not: nothing is fetched by name."""
    return bool(timm.is_model(name)) and ":" not in name and "/" not in name


def architectures() -> list[str]:
    """All names without tags."""
    return list(timm.list_models())


def tags(architecture: str) -> list[str]:
    """The tags of an architecture, timm's default first."""
    names = [name.partition(".")[2] for name in get_arch_pretrained_cfgs(architecture)]
    first = default_tag(architecture)
    return [first, *sorted(tag for tag in names if tag and tag != first)] if first else []


def default_tag(architecture: str) -> str:
    """The tag that timm means by the bare name; empty where it publishes no weights."""
    config = get_pretrained_cfg(architecture, allow_unregistered=True)
    return str(config.tag or "") if config is not None else ""


def pretrained_config(timm_name: str) -> dict[str, Any]:
    """timm's configuration of a name with its tag: input, mean, std, interpolation, crop, classifier, licence."""
    config = get_pretrained_cfg(timm_name, allow_unregistered=True)
    return dict(config.to_dict()) if config is not None else {}
