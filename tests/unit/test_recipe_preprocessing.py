"""The stored preprocessing: read back equal, or refused with its field named (fault S6)."""

from __future__ import annotations

from typing import Any

import pytest

from deitft.errors import DataError
from deitft.recipe.preprocessing import Preprocessing, preprocessing_from


def test_it_comes_back_equal_from_plain_data() -> None:
    pre = Preprocessing(size=384, crop_share=1, aspect="pad", background=(0, 1, 2), mean=(0.5, 0.5, 0.5))
    record: dict[str, Any] = {**pre.record(), "mean": [0.5, 0.5, 0.5], "background": [0, 1, 2]}
    assert preprocessing_from(record, where="bundle") == pre


@pytest.mark.parametrize(("size", "share", "resized"), [(224, 0.875, 256), (224, 0.9, 248), (384, 1.0, 384)])
def test_resize_floors_as_timm(size: int, share: float, resized: int) -> None:
    assert Preprocessing(size=size, crop_share=share).resize_to == resized
    assert Preprocessing(crop_share=share).at(size).resize_to == resized


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 15}, "size is 15 (allowed 16 to 2048)"),
        ({"size": 10**6}, "size is 1000000"),
        ({"size": True}, "size is True"),
        ({"size": 224.0}, "size is 224.0"),
        ({"crop_share": 0}, "crop_share is 0"),
        ({"crop_share": float("nan")}, "crop_share is nan"),
        ({"mean": [0.5, 0.5]}, "mean is [0.5, 0.5]"),
        ({"mean": "abc"}, "mean is 'abc'"),
        ({"std": [1, 1, 0]}, "std is [1, 1, 0]"),
        ({"background": [0, 0, 256]}, "background is [0, 0, 256]"),
        ({"background": [0, 0, 0.5]}, "background is [0, 0, 0.5]"),
        ({"interpolation": "magic"}, "interpolation is 'magic'"),
        ({"aspect": None}, "aspect is None"),
        ({"extra": 1}, 'unknown field "extra"'),
    ],
)
def test_hostile_values_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        preprocessing_from({**Preprocessing().record(), **change}, where="bundle/deitft.json")
    assert caught.value.what.startswith(f"bundle/deitft.json: preprocessing: {said}")
    assert (caught.value.id, caught.value.exit_code) == ("S6", 65)


def test_a_missing_field_is_named() -> None:
    record = Preprocessing().record()
    del record["std"]
    with pytest.raises(DataError, match='"std" is missing'):
        preprocessing_from(record, where="x")
