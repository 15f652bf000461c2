"""Views of a photo: geometry, policies, normalising, and what a wrong albumentations list is told."""

from __future__ import annotations

import math
import pickle
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageOps
from stream_sample import augment_plan, picture
from torchvision.transforms import InterpolationMode, Normalize, RandomResizedCrop, ToTensor

from deitft.core import keys
from deitft.data import albumentations_adapter, crops, transforms
from deitft.data.transforms import (
    Albumentations,
    ColorJitter,
    EvalTransform,
    RandAugment,
    ThreeAugment,
    TrainTransform,
    adjust,
    check_albumentations,
    denormalise,
    needed_side,
    normalise,
)
from deitft.errors import RecipeError
from deitft.recipe.preprocessing import Preprocessing

PRE = Preprocessing(size=32)
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def square(seed: int = 0, size: int = 32) -> torch.Tensor:
    return crops.planes_of(picture(seed, size, size))


def difference(first: Any, second: Any) -> int:
    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())


# Geometry


def test_random_boxes_are_distributed_like_torchvisions() -> None:
    from scipy.stats import ks_2samp

    torch.manual_seed(0)
    photo = torch.zeros(3, 60, 80)
    theirs = np.array([RandomResizedCrop.get_params(photo, list(SCALE), list(RATIO)) for _ in range(1500)])
    boxes = [crops.random_part(80, 60, "crop", SCALE, RATIO, keys.generator(key)) for key in range(1500)]
    ours = np.array([(box.top, box.left, box.height, box.width) for box in boxes])
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3


def test_golden_boxes() -> None:
    boxes = [tuple(crops.random_part(400, 533, "crop", SCALE, RATIO, keys.generator(key))) for key in (1, 2, 3)]
    assert boxes == GOLDEN_BOXES


GOLDEN_BOXES = [(2, 44, 306, 250), (46, 155, 319, 354), (3, 11, 397, 505)]


@pytest.mark.parametrize("aspect", ["crop", "pad", "squash"])
@pytest.mark.parametrize(("width", "height"), [(80, 60), (9, 180), (200, 10), (33, 33), (8, 8)])
def test_boxes_stay_where_they_belong(aspect: Any, width: int, height: int) -> None:
    for key in range(200):
        box = crops.random_part(width, height, aspect, SCALE, RATIO, keys.generator(key))
        assert box.width >= 1
        assert box.height >= 1
        if aspect == "pad":  # the middle is in the photo, and the box in the padded square
            side = max(width, height)
            x, y = box.left + (side - width) // 2, box.top + (side - height) // 2
            assert min(x, y) >= 0
            assert max(x + box.width, y + box.height) <= side
            assert -0.5 <= box.left + box.width / 2 <= width + 0.5
            assert -0.5 <= box.top + box.height / 2 <= height + 0.5
        else:
            assert min(box.left, box.top) >= 0
            assert box.left + box.width <= width
            assert box.top + box.height <= height


def test_where_no_random_box_fits_the_middle_is_taken_as_torchvision() -> None:
    narrow = (1.0, 1.0), (1.0, 1.0)
    for width, height in ((90, 30), (30, 90)):
        box = crops.random_part(width, height, "crop", *narrow, keys.generator(0))
        theirs = RandomResizedCrop.get_params(torch.zeros(3, height, width), [1.0, 1.0], [1.0, 1.0])
        assert (box.top, box.left, box.height, box.width) == theirs
    assert crops.random_part(90, 30, "squash", (1.0, 1.0), (2.0, 3.0), keys.generator(0)) == (0, 0, 90, 30)
    # the padded square of 90: the box stands out of the photo above and below by as much
    assert crops.random_part(90, 30, "pad", (1.0, 1.0), (2.0, 2.0), keys.generator(0)) == (0, -8, 90, 45)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("width", "height"), [(61, 47), (20, 90), (150, 140)])
def test_the_fast_resize_is_pillows_within_two_levels(interpolation: Any, width: int, height: int) -> None:
    rgb = picture(5, 120, 100)[3:90, 2:99]
    fast = crops.resize(rgb, width, height, interpolation)
    exact = crops.planes_of(crops.resize_as_pillow(rgb, width, height, interpolation))
    assert fast.shape == exact.shape == (3, height, width)
    assert difference(fast, exact) <= 2
    assert (fast != exact).float().mean().item() < 0.03


def test_filters_that_torch_lacks_are_pillows() -> None:
    rgb = picture(1, 50, 40)
    for interpolation in ("lanczos", "nearest"):
        fast = crops.resize(rgb, 20, 30, interpolation)
        assert torch.equal(fast, crops.planes_of(crops.resize_as_pillow(rgb, 20, 30, interpolation)))


def test_a_read_only_photo_is_fine() -> None:
    rgb = picture(1, 50, 40)
    locked = rgb.copy()
    locked.setflags(write=False)
    make = TrainTransform(augment_plan(), PRE, 32)
    assert torch.equal(make(rgb, 1), make(locked, 1))


# The evaluation view


def test_pad_shows_the_whole_photo_on_the_background() -> None:
    pre = Preprocessing(size=32, aspect="pad", background=(10, 200, 30))
    for width, height in ((64, 16), (16, 64), (32, 32), (320, 16)):
        rgb = np.full((height, width, 3), 99, dtype=np.uint8)
        view = EvalTransform(pre)(rgb)
        inside = (view == 99).all(0)
        rows, columns = int(inside.any(1).sum()), int(inside.any(0).sum())
        scale = 32 / max(width, height)
        assert (columns, rows) == (max(1, round(width * scale)), max(1, round(height * scale)))
        outside = view[:, ~inside]
        assert outside.shape[1] == 32 * 32 - rows * columns
        assert bool((outside == torch.tensor([[10], [200], [30]])).all())
        top = int(inside.any(1).nonzero()[0])
        assert abs(top - (32 - rows - top)) <= 1  # in the middle


def test_squash_stretches_the_whole_photo() -> None:
    rgb = picture(2, 60, 20)
    view = EvalTransform(Preprocessing(size=32, aspect="squash"))(rgb)
    expected = np.asarray(Image.fromarray(rgb).resize((32, 32), Image.Resampling.BICUBIC))
    assert torch.equal(view, crops.planes_of(expected))
    assert torch.equal(EvalTransform(Preprocessing(size=32, aspect="squash"))(picture(2, 32, 32)), square(2))


# Training views


@pytest.mark.parametrize("aspect", ["crop", "pad", "squash"])
@pytest.mark.parametrize("crop", ["random_resized", "simple", "none"])
@pytest.mark.parametrize("policy", ["none", "light", "three_augment"])
def test_a_view_is_a_function_of_photo_and_key(aspect: Any, crop: str, policy: str) -> None:
    pre = Preprocessing(size=32, aspect=aspect)
    make = TrainTransform(augment_plan(crop=crop, policy=policy, flip=0.5), pre, 24)
    rgb = picture(0, 50, 30)
    before = rgb.copy()
    views = [make(rgb, key) for key in range(12)]
    random.seed(9)
    again = [make(rgb, key) for key in reversed(range(12))][::-1]
    assert all(torch.equal(first, second) for first, second in zip(views, again, strict=True))
    assert np.array_equal(rgb, before)
    for view in views:
        assert view.shape == (3, 24, 24)
        assert view.dtype == torch.uint8
        assert view.is_contiguous()
    distinct = len({view.numpy().tobytes() for view in views})
    assert distinct == 2 if (crop, policy) == ("none", "none") else distinct > 6


def test_flips() -> None:
    rgb = picture(0, 50, 30)

    def views(**changes: Any) -> list[torch.Tensor]:
        make = TrainTransform(augment_plan(policy="none", **changes), PRE, 24)
        return [make(rgb, key) for key in range(200)]

    plain = views(flip=0.0)
    assert all(torch.equal(one, other.flip(2)) for one, other in zip(plain, views(flip=1.0), strict=True))
    down = views(flip=0.0, vertical_flip=1.0)
    assert all(torch.equal(one, other.flip(1)) for one, other in zip(plain, down, strict=True))
    same = sum(torch.equal(one, other) for one, other in zip(plain, views(flip=0.3), strict=True))
    assert 0.6 < same / 200 < 0.8


def test_the_simple_crop_is_a_window_of_the_mirrored_photo() -> None:
    """DeiT III's Resize, RandomCrop(padding=4, padding_mode="reflect")."""
    rgb = picture(3, 60, 40)
    resized = Image.fromarray(rgb).resize((36, 24), Image.Resampling.BILINEAR)
    padded = TF.pil_to_tensor(TF.pad(resized, [4, 4, 4, 4], padding_mode="reflect")).to(torch.int16)
    make = TrainTransform(
        augment_plan(policy="none", crop="simple", flip=0.0), Preprocessing(size=24, interpolation="bilinear"), 24
    )
    places = set()
    for key in range(60):
        view = make(rgb, key).to(torch.int16)
        windows = padded.unfold(1, 24, 1).unfold(2, 24, 1)  # [3, down, across, 24, 24]
        worst = (windows - view[:, None, None]).abs().amax(dim=(0, 3, 4))
        assert worst.min() <= 1
        places.add(int(worst.argmin()))
    assert len(places) > 30


def test_without_a_crop_the_view_is_that_of_evaluation_at_the_size_asked_for() -> None:
    rgb = picture(3, 60, 40)
    make = TrainTransform(augment_plan(policy="none", crop="none", flip=0.0), PRE, 24)
    assert torch.equal(make(rgb, 5), EvalTransform(PRE.at(24))(rgb))


def test_a_padded_view_has_background_where_the_photo_ends() -> None:
    pre = Preprocessing(size=24, aspect="pad", background=(1, 2, 3))
    make = TrainTransform(augment_plan(policy="none", scale=(0.9, 1.0), flip=0.0), pre, 24)
    rgb = np.full((20, 60, 3), 150, dtype=np.uint8)
    for key in range(20):
        view = make(rgb, key)
        photo = (view == 150).all(0)
        assert bool((view[:, ~photo] == torch.tensor([[1], [2], [3]])).all())
        assert 0.25 < photo.float().mean() < 0.45  # a third of the square


# Policies


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation"])
def test_colour_adjustments_equal_torchvisions(what: str, factor: float) -> None:
    values = square(4).to(torch.float32)
    adjust(values, what, factor)
    theirs = getattr(TF, f"adjust_{what}")(square(4), factor)
    assert difference(values.round(), theirs) <= 1


def test_jitter_of_no_strength_changes_nothing_and_of_more_strength_more() -> None:
    before = square(4)
    assert torch.equal(ColorJitter(0.0)(before, 3), before)
    changes = [
        np.mean([(ColorJitter(strength)(before, key).float() - before).abs().mean() for key in range(30)])
        for strength in (0.1, 0.3, 0.9)
    ]
    assert changes == sorted(changes)
    assert changes[0] > 1


def test_three_augment_does_one_of_three_evenly() -> None:
    before = square(4)
    grey = crops.planes_of(
        np.asarray(Image.fromarray(before.permute(1, 2, 0).numpy()).convert("L").convert("RGB"))
    )
    solarised = TF.pil_to_tensor(ImageOps.solarize(TF.to_pil_image(before)))
    seen: Counter[str] = Counter()
    for key in range(300):
        view = ThreeAugment(0.0)(before, key)
        if difference(view, grey) <= 1:
            seen["grey"] += 1
        elif torch.equal(view, solarised):
            seen["solarised"] += 1
        else:
            assert view.float().std() <= before.float().std()
            assert difference(view.float().mean(), before.float().mean()) <= 2
            seen["blurred"] += 1
    assert set(seen) == {"grey", "solarised", "blurred"}
    assert min(seen.values()) > 70
    assert not torch.equal(ThreeAugment(0.3)(before, 1), ThreeAugment(0.0)(before, 1))


def test_randaugment_is_timms_with_its_chance_from_the_key() -> None:
    from timm.data.auto_augment import rand_augment_transform

    pre = Preprocessing(size=32, mean=(0.5, 0.5, 0.5))
    ours = RandAugment(augment_plan(policy="randaugment"), pre, 32)
    settings = {"translate_const": 14, "img_mean": (128, 128, 128), "interpolation": Image.Resampling.BICUBIC}
    theirs = rand_augment_transform("rand-m9-n2-mstd0.5-inc1", settings)
    image = TF.to_pil_image(square(4))
    views, refused = [], 0
    for key in range(80):
        views.append(ours(square(4), key))
        try:
            with keys.seeded_globals(key):
                expected = TF.pil_to_tensor(theirs(image))
        except ValueError:  # no bits left: what test_posterising_keeps_at_least_one_bit is about
            refused += 1
            continue
        assert torch.equal(views[-1], expected)
    assert refused < 4
    assert len({view.numpy().tobytes() for view in views}) > 40


def test_posterising_keeps_at_least_one_bit() -> None:
    """timm's operation asks for no bits where the magnitude reaches 10; Pillow 13 refuses that."""
    from timm.data.auto_augment import posterize

    image = TF.to_pil_image(square(4))
    with pytest.raises(ValueError, match="bits"):
        posterize(image, 0)
    strongest = RandAugment(augment_plan(magnitude=10.0, magnitude_std=0.0, operations=15), PRE, 32)
    for key in range(30):
        strongest(square(4), key)
    kept = transforms._posterize(image, 0)
    assert set(np.unique(np.asarray(kept)).tolist()) <= {0, 128}
    assert transforms._posterize(image, 8) is image
    assert transforms._posterize(image, 3).tobytes() == ImageOps.posterize(image, 3).tobytes()


def test_randaugment_with_lanczos_and_without_bound_on_its_spread() -> None:
    plan = augment_plan(policy="randaugment", magnitude_std=101.0)
    ours = RandAugment(plan, Preprocessing(size=32, interpolation="lanczos"), 32)
    views = {ours(square(4), key).numpy().tobytes() for key in range(40)}
    assert len(views) > 20


SPECS: tuple[dict[str, Any], ...] = (
    {"RandomBrightnessContrast": {"p": 0.8}},
    {"OneOf": [{"GaussNoise": {"std_range": [0.1, 0.2], "p": 1}}, {"HueSaturationValue": None}]},
    {"SomeOf": {"transforms": [{"HorizontalFlip": {}}, {"Sequential": [{"CLAHE": {"p": 1}}]}], "n": 1, "p": 0.9}},
)


def test_albumentations_depends_on_the_key_alone() -> None:
    apply = Albumentations(SPECS)
    views = [apply(square(4), key) for key in range(20)]
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    again = [Albumentations(SPECS)(square(4), key) for key in (2**64 - 1, 7)]
    assert torch.equal(again[1], views[7])
    assert torch.equal(again[0], apply(square(4), 2**64 - 1))
    assert len({view.numpy().tobytes() for view in views}) > 15


@pytest.mark.parametrize("policy", ["light", "randaugment", "three_augment", "albumentations"])
def test_a_transform_goes_to_another_process_whole(policy: str) -> None:
    plan = augment_plan(policy=policy, albumentations=SPECS if policy == "albumentations" else ())
    make = TrainTransform(plan, PRE, 24)
    rgb = picture(0, 50, 30)
    assert torch.equal(pickle.loads(pickle.dumps(make))(rgb, 3), make(rgb, 3))


# What a wrong list is told


def test_a_right_list_has_no_mistakes() -> None:
    assert check_albumentations(SPECS) == []
    assert check_albumentations(({"ShiftScaleRotate": {"rotate_limit": 10}},)) == []


def test_all_mistakes_come_at_once_each_in_one_line_with_its_place() -> None:
    specs: tuple[Any, ...] = (
        {"HorizontalFip": {}},
        {"GaussNoise": {"std_rang": [0.1, 0.2]}},
        {"GaussNoise": {"std_range": [2, 3]}},
        {"OneOf": [{"Blur": {"p": 7}}, {"Nothing like it": {}}]},
        {"OneOf": []},
        {"Blur": 3},
        "Blur",
        {"RandomCrop": {"height": 10, "width": 12}},
        {"Normalize": {}},
        {"CropNonEmptyMaskIfExists": {"height": 96, "width": 96}},
        {"Lambda": {"image": "os.system"}},
        {"SomeOf": {"transforms": [{"HorizontalFlip": {}}], "m": 1}},
        {"Sequential": {"p": "x", "transforms": [{"HorizontalFlip": {}}]}},
        {"RandomScale": {}},
    )
    found = check_albumentations(specs)
    assert all("\n" not in line for line in found)
    expected = [
        "augment.albumentations[0]: unknown transform HorizontalFip (did you mean HorizontalFlip?)",
        "augment.albumentations[1].GaussNoise: unknown argument std_rang (did you mean std_range?)",
        "augment.albumentations[2].GaussNoise.std_range: All values in (2.0, 3.0) must be >= 0 and <= 1",
        "augment.albumentations[3].OneOf[0].Blur: p is 7, want a number from 0 to 1",
        "augment.albumentations[3].OneOf[1]: unknown transform Nothing like it",
        "augment.albumentations[4].OneOf: want a list of transforms, got []",
        "augment.albumentations[5].Blur: want {argument: value}, got 3",
        "augment.albumentations[6]: want one {Name: {argument: value}}, got 'Blur'",
        "augment.albumentations[7].RandomCrop: changes the size to 10 x 12 x 3",
        "augment.albumentations[8].Normalize: gives float32 values, want uint8",
        "augment.albumentations[9].CropNonEmptyMaskIfExists: cannot be used on photos",
        "augment.albumentations[10]: unknown transform Lambda",
        "augment.albumentations[11].SomeOf: unknown argument m (known: n, p, replace)",
        "augment.albumentations[12].Sequential: p is 'x', want a number from 0 to 1",
        "augment.albumentations[13].RandomScale: changes the size",
    ]
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)
    with pytest.raises(RecipeError, match="HorizontalFip") as caught:
        TrainTransform(augment_plan(policy="albumentations", albumentations=specs), PRE, 24)
    assert caught.value.id == "ALBUMENTATIONS"
    assert all(line in caught.value.what for line in found)


def test_a_constructor_that_fails_in_its_own_way_is_still_one_line() -> None:
    import albumentations

    found = albumentations_adapter.mistakes(albumentations, ({"RandomGridShuffle": {"grid": object()}},))
    assert len(found) == 1
    assert "RandomGridShuffle" in found[0]
    assert "\n" not in found[0]
    found = albumentations_adapter.mistakes(
        albumentations, ({"SomeOf": {"transforms": [{"Blur": {}}], "n": "x"}},)
    )
    assert len(found) == 1


# Values


def test_normalising_equals_torchvision_bit_for_bit_and_comes_back() -> None:
    images = torch.stack([square(1), square(2)])
    theirs = torch.stack(
        [Normalize(PRE.mean, PRE.std)(ToTensor()(image.permute(1, 2, 0).numpy())) for image in images]
    )
    before = images.clone()
    ours = normalise(images, PRE)
    assert torch.equal(ours, theirs)
    assert torch.equal(images, before)
    assert torch.equal(denormalise(ours, PRE), images)
    assert normalise(images, PRE, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert normalise(torch.tensor([[[[255]], [[0]], [[128]]]], dtype=torch.uint8), PRE).flatten().tolist() == (
        pytest.approx([2.2489083, -2.0357141, 0.4264926], abs=1e-6)
    )
    with pytest.raises(TypeError, match="float32"):
        normalise(ours, PRE)


def test_the_side_the_decoder_must_keep() -> None:
    pre = Preprocessing(size=224, crop_share=0.9)
    assert needed_side(pre) == 3 * math.floor(224 / 0.9)
    assert needed_side(pre, augment_plan(crop="none"), 112) == 3 * math.floor(112 / 0.9)
    assert needed_side(pre, augment_plan(crop="simple"), 112) == 336
    assert needed_side(pre, augment_plan(scale=(0.25, 1.0))) == 448
    assert needed_side(pre, augment_plan(scale=(0.0, 1.0)), 100) == 1000


def test_reduced_decoding_changes_the_evaluation_view_hardly() -> None:
    """A JPEG seven times as large as needed is decoded at half scale: the view stays within a few levels."""
    import io

    from deitft.data.decode import decode

    pre = Preprocessing(size=64, crop_share=1.0)
    buffer = io.BytesIO()
    Image.fromarray(picture(3, 640, 480)).save(buffer, "JPEG", quality=95)
    full, small = decode(buffer.getvalue()), decode(buffer.getvalue(), at_least=needed_side(pre))
    assert small.shape[0] == 240
    views = [EvalTransform(pre)(rgb).float() for rgb in (full, small)]
    assert (views[0] - views[1]).abs().mean() < 1
    assert (views[0] - views[1]).abs().max() <= 6


def test_every_interpolation_of_a_preprocessing_is_known() -> None:
    assert {crops.RESAMPLING[name].name.lower() for name in ("bicubic", "bilinear", "lanczos", "nearest")} == {
        mode.value for mode in (InterpolationMode.BICUBIC, InterpolationMode.BILINEAR, InterpolationMode.LANCZOS)
    } | {"nearest"}
