"""What "auto" decides: named values, and references computed in another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deitft.recipe import auto_rules


@pytest.mark.parametrize(
    ("photos", "epochs"),
    [(2, 80), (20, 80), (200, 56), (1_000, 28), (3_000, 14), (10_000, 11), (100_000, 8), (500_000, 7), (10**7, 7)],
)
def test_epochs_at_the_named_counts(photos: int, epochs: float) -> None:
    assert auto_rules.epochs(photos, pretrained=True) == pytest.approx(epochs)


def test_epochs_between_are_on_a_line_in_the_logarithm() -> None:
    xs, ys = zip(*auto_rules.EPOCHS, strict=True)
    for photos in np.geomspace(20, 500_000, 57).round().astype(int):
        reference = np.interp(math.log(photos), np.log(xs), ys)
        assert auto_rules.epochs(int(photos), pretrained=True) == pytest.approx(reference)


def test_from_scratch_is_longer_and_bounded() -> None:
    assert auto_rules.epochs(1_000, pretrained=False) == 196
    assert auto_rules.epochs(200, pretrained=False) == 300
    assert auto_rules.epochs(500_000, pretrained=False) == 49


@pytest.mark.parametrize(
    ("photos", "repeats", "batch"),
    [
        (2, 1, 2),
        (3, 1, 2),
        (31, 1, 30),
        (200, 1, 32),
        (999, 1, 32),
        (1_000, 1, 64),
        (20_000, 1, 64),
        (20_001, 1, 128),
        (100_000, 1, 128),
        (100_001, 1, 256),
        (5_000, 3, 60),
        (5_000, 4, 64),
        (3, 5, 10),
    ],
)
def test_batch(photos: int, repeats: int, batch: int) -> None:
    assert auto_rules.batch(photos, repeats=repeats) == batch


@pytest.mark.parametrize(
    ("changes", "lr"),
    [
        ({}, 5e-4),
        ({"batch": 256}, 1e-3),
        ({"batch": 32}, 3.54e-4),
        ({"family": "convnet", "parameters": 3_500_000}, 1e-3),
        ({"size": 96}, 1.17e-3),
        ({"size": 32}, 1.5e-3),  # three times, no more
        ({"size": 384}, 5e-4),  # larger views are no reason
        ({"size": 96, "pretrained": False}, 2.5e-4),
        ({"size": 96, "trainable": "head"}, 1e-2),
        ({"trainable": "head"}, 1e-2),
        ({"trainable": "head", "pretrained": False}, 1e-2),
        ({"trainable": "attention"}, 1e-3),
        ({"parameters": 86_000_000}, 2.95e-4),
        ({"pretrained": False}, 2.5e-4),
        ({"pretrained": False, "batch": 1024}, 1e-3),  # DeiT's 5e-4 x 1024 / 512
        ({"pretrained": False, "family": "convnet"}, 1e-3),
        ({"optimizer": "lamb"}, 1.5e-3),
        ({"optimizer": "sgd"}, 5e-3),
        ({"optimizer": "sgd", "batch": 128}, 1e-2),
    ],
)
def test_peak_lr(changes: dict[str, object], lr: float) -> None:
    usual: dict[str, object] = {
        "optimizer": "adamw",
        "family": "transformer",
        "trainable": "all",
        "pretrained": True,
        "batch": 64,
        "parameters": 22_000_000,
        "size": 224,
        "weights_size": 224,
    }
    assert auto_rules.peak_lr(**{**usual, **changes}) == pytest.approx(lr, rel=1e-3)  # type: ignore[arg-type]


def test_layer_decay_gives_the_lowest_layer_the_same_share_at_any_depth() -> None:
    def rule(depth: int, family: auto_rules.Family = "transformer") -> float:
        return auto_rules.layer_decay(family=family, trainable="all", pretrained=True, depth=depth)

    assert rule(12) == 0.75
    assert rule(24) == 0.8611
    for depth in (4, 12, 24, 40):
        assert rule(depth) ** (depth + 1) == pytest.approx(0.75**13, rel=0.01)
        assert rule(depth, "convnet") ** (depth + 1) == pytest.approx(0.1, rel=0.01)
    assert rule(0) < 1
    assert auto_rules.layer_decay(family="transformer", trainable="head", pretrained=True, depth=12) == 1
    assert auto_rules.layer_decay(family="transformer", trainable="all", pretrained=False, depth=12) == 1


def test_drop_path() -> None:
    def rule(family: auto_rules.Family, trainable: auto_rules.Trainable, photos: int, parameters: int) -> float:
        return auto_rules.drop_path(family=family, trainable=trainable, photos=photos, parameters=parameters)

    assert rule("transformer", "all", 500, 22_000_000) == 0.1
    assert rule("transformer", "all", 500, 5_700_000) == 0.05
    assert rule("transformer", "attention", 1_000, 5_700_000) == 0.1
    assert rule("transformer", "head", 500, 22_000_000) == 0
    assert rule("convnet", "all", 500, 22_000_000) == 0


@pytest.mark.parametrize(
    ("total", "epoch", "warmup"), [(1, 1, 0), (2, 1, 0), (3, 1, 0), (10, 5, 1), (470, 47, 47), (1_000, 10, 50)]
)
def test_warmup(total: int, epoch: int, warmup: int) -> None:
    assert auto_rules.warmup_steps(total, epoch) == warmup


def test_crop_scale() -> None:
    assert [auto_rules.crop_scale(count) for count in (2, 999, 1_000, 10**6)] == [
        (0.35, 1.0),
        (0.35, 1.0),
        (0.08, 1.0),
        (0.08, 1.0),
    ]


def test_ema_decay_remembers_a_tenth_of_the_run() -> None:
    assert [auto_rules.ema_decay(steps) for steps in (1, 10_000, 50_000, 100_000, 10**6)] == [
        0.999,
        0.999,
        0.9998,
        0.9999,
        0.9999,
    ]


@pytest.mark.parametrize(
    ("size", "model", "small"),
    [
        (224, "deit_small_patch16_224.fb_in1k", 160),
        (384, "deit_base_patch16_384.fb_in1k", 288),
        (256, "resnet50.a1_in1k", 192),
        (518, "vit_small_patch14_dinov2.lvd142m", 364),
        (224, "vit_small_patch14_dinov2.lvd142m", 154),
        (48, "vit_tiny_patch16_224", 32),
        (32, "resnet18", 32),
        (24, "vit_x_patch8_24", 16),
    ],
)
def test_train_size_is_whole_patches(size: int, model: str, small: int) -> None:
    assert auto_rules.train_size(size, full_size_from=0.85, fixed_size=False, model=model) == small
    assert auto_rules.train_size(size, full_size_from=0.85, fixed_size=True, model=model) == size
    assert auto_rules.train_size(size, full_size_from=0.0, fixed_size=False, model=model) == size


def test_image_memory_of_known_models() -> None:
    """Against what these models are known to take, before the safety margin of half as much again."""

    def megabytes(family: auto_rules.Family, parameters: float, depth: int, size: int = 224) -> float:
        estimate = auto_rules.bytes_per_image(
            family=family, parameters=int(parameters), depth=depth, size=size, half=False
        )
        return estimate / 1.5 / 1e6

    assert megabytes("transformer", 22e6, 12) == pytest.approx(65, rel=0.05)
    assert megabytes("transformer", 86e6, 12) == pytest.approx(2 * megabytes("transformer", 21.5e6, 12), rel=0.01)
    assert megabytes("convnet", 25.6e6, 16) == pytest.approx(146, rel=0.02)
    assert megabytes("convnet", 25.6e6, 16, 448) == pytest.approx(4 * 146, rel=0.02)
    half = auto_rules.bytes_per_image(family="convnet", parameters=25_600_000, depth=16, size=224, half=True)
    assert half / 1.5e6 == pytest.approx(0.6 * 146, rel=0.02)


@pytest.mark.parametrize(
    ("batch", "memory", "device", "micro"),
    [
        (64, 80e9, "cuda", 64),
        (64, 5e9, "cuda", 32),
        (64, 1e9, "cuda", 4),
        (64, 1e8, "cuda", 2),
        (60, 3e9, "cuda", 20),
        (64, 5e9, "cpu", 16),
        (35, 1e9, "cuda", 7),
        (1, 1e8, "cpu", 1),
    ],
)
def test_micro_batch(batch: int, memory: float, device: str, micro: int) -> None:
    found = auto_rules.micro_batch(
        batch, memory_bytes=int(memory), device=device, parameters=5_000_000, image_bytes=100e6
    )
    assert found == micro


@pytest.mark.parametrize("name", ["inverse", "inverse_sqrt", "effective"])
def test_class_weights_have_mean_one_over_the_photos(name: str) -> None:
    counts = (900, 90, 10)
    weights = auto_rules.class_weights(name, counts)  # type: ignore[arg-type]
    assert weights is not None
    assert np.average(weights, weights=counts) == pytest.approx(1)
    assert weights[0] < weights[1] < weights[2]
    # Renaming classes renames weights, nothing else.
    assert auto_rules.class_weights(name, counts[::-1]) == pytest.approx(weights[::-1])  # type: ignore[arg-type]


def test_class_weights_against_the_formulas() -> None:
    assert auto_rules.class_weights("none", (1, 2)) is None
    inverse = auto_rules.class_weights("inverse", (30, 10))
    assert inverse == pytest.approx((40 / (2 * 30), 40 / (2 * 10)))  # scikit-learn's "balanced"
    root = auto_rules.class_weights("inverse_sqrt", (400, 100))
    assert root is not None
    assert root[1] / root[0] == pytest.approx(2)
    effective = auto_rules.class_weights("effective", (5000, 20))
    assert effective is not None
    # Effective number of 5,000 and 20 samples at beta 0.999, as a sum: 1 + b + b^2 + ...
    ratio = sum(0.999**k for k in range(5000)) / sum(0.999**k for k in range(20))
    assert effective[1] / effective[0] == pytest.approx(ratio)
    assert auto_rules.class_weights("inverse", (5, 0)) == pytest.approx((6 / 10, 6 / 2))


def test_log_window_and_layout() -> None:
    assert auto_rules.log_every(1_000, 50) == 10
    assert auto_rules.log_every(1_000, 4) == 4
    assert auto_rules.log_every(3, 50) == 3
    assert auto_rules.channels_last(family="convnet", device="cuda:1")
    assert not auto_rules.channels_last(family="convnet", device="mps")
    assert not auto_rules.channels_last(family="transformer", device="cuda")
