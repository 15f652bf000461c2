"""A DeiT in small, known to timm under a name of its own: two tokens, two heads and drop-path, as deit_ti has.

Most of a small run of deit_ti's is its 5.7 million parameters: copied, hashed, written, synced. Where a test asks
what happens to a run, and not which model it is, these 0.1 million tell the same in a third of the time.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, get_pretrained_cfg, register_model
from timm.models.deit import VisionTransformerDistilled, _create_deit

SMALL = "deit_small_for_tests.none"
"""Its name: timm's way, with a tag."""

_LIKE = "deit_tiny_distilled_patch16_224.fb_in1k"


def _config() -> dict[str, Any]:
    """deit_ti's, without a place to get weights from."""
    like = get_pretrained_cfg(_LIKE)
    assert like is not None
    names = ("num_classes", "input_size", "pool_size", "crop_pct", "interpolation", "fixed_input_size")
    names += ("mean", "std", "first_conv", "classifier", "license")
    return {name: getattr(like, name) for name in names}


default_cfgs = generate_default_cfgs({SMALL: _config()})


@register_model
def deit_small_for_tests(pretrained: bool = False, **kwargs: Any) -> VisionTransformerDistilled:
    """Depth 4, width 48."""
    shape = {"patch_size": 16, "embed_dim": 48, "depth": 4, "num_heads": 3}
    net: VisionTransformerDistilled = _create_deit(
        "deit_small_for_tests", pretrained=pretrained, distilled=True, **{**shape, **kwargs}
    )
    return net
