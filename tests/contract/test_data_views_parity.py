"""The evaluation view is timm's, bit for bit, on real photos and on odd shapes; heavy imports wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stream_sample import augment_plan, picture

from deitft.data.decode import decode_file
from deitft.data.transforms import EvalTransform, TrainTransform, needed_side, normalise
from deitft.recipe.preprocessing import Preprocessing

SETTINGS = [(224, 0.9, "bicubic"), (224, 0.875, "bilinear"), (192, 0.95, "bicubic"), (96, 1.0, "bicubic")]


def timms(pre: Preprocessing, *, normalised: bool = True) -> Any:
    from timm.data import create_transform

    return create_transform(
        (3, pre.size, pre.size),
        is_training=False,
        interpolation=pre.interpolation,
        mean=pre.mean,
        std=pre.std,
        crop_pct=pre.crop_share,
        normalize=normalised,
    )


def real_photos(shared: Path, count: int) -> list[Path]:
    files = sorted((shared / "data" / "clothing-small" / "test").glob("*/*.jpg"))
    return files[:: max(1, len(files) // count)][:count]


@pytest.mark.parametrize(("size", "share", "interpolation"), SETTINGS)
def test_the_evaluation_view_of_real_photos_is_timms_bit_for_bit(
    shared: Path, size: int, share: float, interpolation: Any
) -> None:
    pre = Preprocessing(size=size, crop_share=share, interpolation=interpolation)
    ours, before, after = EvalTransform(pre), timms(pre, normalised=False), timms(pre)
    for path in real_photos(shared, 12):
        rgb = decode_file(path, at_least=needed_side(pre))
        with Image.open(path) as image:
            image = image.convert("RGB")
        view = ours(rgb)
        assert torch.equal(view, before(image))
        assert torch.equal(normalise(view[None], pre)[0], after(image))


def test_a_photo_decoded_at_a_reduced_scale_gives_nearly_the_same_view(shared: Path) -> None:
    pre = Preprocessing(size=64, crop_share=1.0)
    apart = []
    for path in real_photos(shared, 12):
        whole, reduced = decode_file(path), decode_file(path, at_least=needed_side(pre))
        assert reduced.shape[0] < whole.shape[0]
        difference = (EvalTransform(pre)(whole).int() - EvalTransform(pre)(reduced).int()).abs()
        apart.append(difference.float().mean().item())
    assert np.median(apart) < 0.5
    assert max(apart) < 6  # half a pixel aside, where a side is odd


@pytest.mark.parametrize("share", [0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize(("width", "height"), [(40, 40), (41, 57), (200, 33), (8, 90), (31, 640), (64, 63)])
def test_the_evaluation_view_of_odd_shapes_is_timms_bit_for_bit(width: int, height: int, share: float) -> None:
    pre = Preprocessing(size=48, crop_share=share)
    rgb = picture(width, width, height)
    assert torch.equal(EvalTransform(pre)(rgb), timms(pre, normalised=False)(Image.fromarray(rgb)))


def test_training_views_look_like_the_photo(shared: Path) -> None:
    """Colours of the views of a real photo stay near its own, whatever the crop and the policy."""
    path = real_photos(shared, 1)[0]
    pre = Preprocessing(size=64)
    for policy in ("none", "light", "three_augment"):
        plan = augment_plan(policy=policy)
        make = TrainTransform(plan, pre, 64)
        rgb = decode_file(path, at_least=needed_side(pre, plan))
        views = torch.stack([make(rgb, key) for key in range(24)]).float()
        assert abs(views.mean().item() - rgb.mean()) < 25
        assert views.std(dim=0).mean() > 5  # and they differ
    assert np.asarray(rgb).dtype == np.uint8


def test_timm_and_albumentations_are_imported_when_they_are_asked_for() -> None:
    """They take five seconds each; and albumentations must not ask the network for news of itself."""
    code = (
        "import os, sys\n"
        "os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None)\n"
        "import deitft.data.stream as stream\n"
        "from deitft.data.transforms import check_albumentations\n"
        "heavy = {'timm', 'albumentations', 'pandas', 'sklearn', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(check_albumentations([{'HorizontalFlip': {}}]), os.environ['NO_ALBUMENTATIONS_UPDATE'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["[]", "[] 1"]
