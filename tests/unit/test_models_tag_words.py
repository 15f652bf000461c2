"""What a tag says of the data that weights have seen, in the words of the table of models."""

from __future__ import annotations

import pytest

from deitft.models.tag_words import data_of
from deitft.models.zoo import ZOO


@pytest.mark.parametrize(
    ("tag", "seen"),
    [
        ("tv_in1k_int8deq", "ImageNet-1k"),
        ("fb_in1k", "ImageNet-1k"),
        ("augreg_in21k_ft_in1k", "ImageNet-21k, then 1k"),
        ("fb_in22k_ft_in1k_384", "ImageNet-21k, then 1k"),
        ("in22k_ft_in22k_in1k", "ImageNet-21k, then 1k"),
        ("sw_in12k", "ImageNet-12k"),
        ("laion2b_ft_in12k_in1k", "LAION, 2 billion photo-text pairs, then ImageNet-12k, then 1k"),
        ("openai_ft_in1k", "400 M photo-text pairs, then ImageNet-1k"),
        ("swag_ft_in1k", "3.6 billion Instagram photos, then ImageNet-1k"),
        ("exotic_ft_in1k", "data that its tag does not name, then ImageNet-1k"),
        ("exotic_ft_things", ""),
        ("mae", ""),
        ("", ""),
    ],
)
def test_data_are_said_in_the_order_in_which_they_were_seen(tag: str, seen: str) -> None:
    assert data_of(tag) == seen


def test_tags_and_the_table_of_models_say_the_same() -> None:
    said = {entry.short: (data_of(entry.tag.partition(".")[2]), entry.seen) for entry in ZOO}
    unlike = {short: words for short, (words, seen) in said.items() if words != seen}
    assert unlike == {"dino_s": "", "dino_b": ""}, "a tag that names no data"
