"""Short names are exact, and what a name means is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deitft.errors import UsageError
from deitft.models import registry
from deitft.models.zoo import ZOO, resolve, shortest_name

DESIGN = {
    "deit_ti": "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit_s": "deit_small_distilled_patch16_224.fb_in1k",
    "deit_b": "deit_base_distilled_patch16_224.fb_in1k",
    "deit_b_384": "deit_base_distilled_patch16_384.fb_in1k",
    "deit3_s": "deit3_small_patch16_224.fb_in1k",
    "deit3_b": "deit3_base_patch16_224.fb_in1k",
    "deit3_l": "deit3_large_patch16_224.fb_in1k",
    "vit_ti": "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_s": "vit_small_patch16_224.augreg_in1k",
    "vit_b": "vit_base_patch16_224.augreg_in1k",
    "vit_b_21k": "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "resnet50": "resnet50.a1_in1k",
    "regnety_160": "regnety_160.deit_in1k",
    "efficientnet_b5": "tf_efficientnet_b5.ra_in1k",
    "swin_b": "swin_base_patch4_window7_224.ms_in1k",
    "swinv2_b": "swinv2_base_window8_256.ms_in1k",
    "convnext_b": "convnext_base.fb_in1k",
    "mixer_b": "mixer_b16_224.goog_in21k_ft_in1k",
    "dino_s": "vit_small_patch16_224.dino",
    "dino_b": "vit_base_patch16_224.dino",
    "dinov2_s": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_b": "vit_base_patch14_dinov2.lvd142m",
    "mvitv2_s": "mvitv2_small.fb_in1k",
    "clip_b": "vit_base_patch16_clip_224.openai",
    "mobilenetv2": "mobilenetv2_100.ra_in1k",
}


def test_the_table_of_short_names_is_frozen() -> None:
    assert {entry.short: entry.tag for entry in ZOO} == DESIGN
    assert all(resolve(short).timm_name == tag for short, tag in DESIGN.items())


def test_short_names_are_known_without_timm() -> None:
    code = (
        "import sys; from deitft.models.zoo import resolve; "
        "assert resolve('deit_s').tag == 'fb_in1k' and resolve('resnet50.a1_in1k').short_name == 'resnet50'; "
        "sys.exit(any(name in sys.modules for name in ('timm', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.short)
def test_entry_agrees_with_timm(entry) -> None:
    config = registry.pretrained_config(entry.tag)
    assert config["tag"] == entry.tag.partition(".")[2]
    assert config["input_size"] == (3, entry.size, entry.size)
    assert config["license"] == entry.license
    if entry.top1_how == "own classifier" and entry.top1_size == entry.size:
        assert config["crop_pct"] == entry.top1_crop
        assert config["num_classes"] == 1000
    else:
        assert config["num_classes"] != 1000, "a probe's or zero-shot figure belongs to weights without classifier"


def test_weights_megabytes_are_four_bytes_a_parameter() -> None:
    assert resolve("deit_ti").entry.weights_mb == pytest.approx(23.6, abs=0.05)  # measured, decimal
    assert resolve("deit_b_384").entry.weights_mb == pytest.approx(350.5, abs=0.05)


def test_a_bare_timm_name_is_timms_default_and_that_is_said() -> None:
    choice = resolve("convnext_base")
    assert choice.timm_name == "convnext_base.fb_in22k_ft_in1k"
    assert choice.short_name is None
    assert "convnext_base means convnext_base.fb_in22k_ft_in1k" in choice.note
    assert "convnext_b is convnext_base.fb_in1k" in choice.note


def test_a_short_name_wins_over_timms_default() -> None:
    choice = resolve("regnety_160")
    assert choice.timm_name == "regnety_160.deit_in1k"
    assert registry.default_tag("regnety_160") == "sw_in12k_ft_in1k"
    assert "sw_in12k_ft_in1k" in choice.note


def test_a_full_name_of_the_table_is_its_short_name() -> None:
    assert resolve("vit_tiny_patch16_224.augreg_in21k_ft_in1k").short_name == "vit_ti"
    bare = resolve("vit_tiny_patch16_224")
    assert (bare.short_name, bare.entry) == ("vit_ti", resolve("vit_ti").entry)


def test_the_shortest_name_of_a_model_is_its_short_name_or_its_own() -> None:
    assert shortest_name("vit_tiny_patch16_224.augreg_in21k_ft_in1k") == "vit_ti"
    assert shortest_name("vit_tiny_patch16_224.augreg_in21k") == "vit_tiny_patch16_224.augreg_in21k"


def test_another_tag_has_no_figures_of_ours() -> None:
    choice = resolve("resnet50.a2_in1k")
    assert (choice.architecture, choice.tag, choice.entry, choice.note) == ("resnet50", "a2_in1k", None, "")


def test_an_architecture_without_weights_says_so() -> None:
    choice = resolve("davit_giant")
    assert (choice.timm_name, choice.tag) == ("davit_giant", "")
    assert "no weights" in choice.note
    assert registry.tags("davit_giant") == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("deit_m", "deit_s"),
        ("convnext_bse", "convnext_base"),
        ("resnet50.a1", "a1_in1k"),
        ("resnet50.zzz", "a1_in1k"),
        ("hf-hub:timm/resnet50", "deitft models"),
        ("local-dir:/tmp", "deitft models"),
        ("", "deitft models"),
    ],
)
def test_an_unknown_name_is_a_usage_error_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name)
    assert (caught.value.id, caught.value.exit_code) == ("MODEL", 2)
    assert meant in caught.value.line
    assert "\n" not in caught.value.line
