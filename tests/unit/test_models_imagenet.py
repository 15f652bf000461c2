"""What ImageNet's classes may be called."""

from __future__ import annotations

import pytest

from deitft.errors import DataError
from deitft.models import imagenet


def test_there_are_a_thousand_each_with_a_name_of_its_own() -> None:
    assert len(imagenet.synsets()) == len(set(imagenet.synsets())) == len(set(imagenet.names())) == 1000
    assert list(imagenet.synsets()) == sorted(imagenet.synsets())
    assert imagenet.names()[0] == "n01440764 tench"
    assert imagenet.names()[999] == "n15075141 toilet tissue"


def test_any_of_its_names_means_a_class() -> None:
    folders = ("n01440764", "Great_White_Shark", "man-eater", "n02012849 crane")
    order = imagenet.order_of((folders[0], folders[1], folders[3]))
    assert (order[0], order[2], order[134]) == ("n01440764", "Great_White_Shark", "n02012849 crane")
    assert len(order) == 1000
    assert [name for name, synset in zip(order, imagenet.synsets(), strict=True) if name != synset] == [
        "Great_White_Shark",
        "n02012849 crane",
    ]
    assert imagenet.order_of(imagenet.synsets()) == imagenet.order_of(imagenet.names()[:0]) == imagenet.synsets()
    assert imagenet.order_of(imagenet.names()) == imagenet.names()


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("shoes", "hats"), "not one of ImageNet's 1,000: 'shoes' (and 1 more)"),
        (("crane",), "'crane' is the name of 2 classes of ImageNet (n02012849 and n03126707)"),
        (("tench", "n01440764"), "'tench' and 'n01440764' are one class"),
        (("\x1b[31m",), r"'\x1b[31m'"),
    ],
)
def test_a_name_that_does_not_fit_is_told(folders: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError) as caught:
        imagenet.order_of(folders)
    assert caught.value.id == "D9"
    assert said in caught.value.line
