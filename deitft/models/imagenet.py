"""ImageNet-1k's classes, in the order of every model trained on it: synset numbers, sorted, as its folders are."""

from __future__ import annotations

from functools import cache

from timm.data import ImageNetInfo


@cache
def synsets() -> tuple[str, ...]:
    """The 1,000 synset numbers ("n01440764", …), in the order of the logits."""
    return tuple(ImageNetInfo("imagenet-1k").label_names())


@cache
def descriptions() -> tuple[str, ...]:
    """The same as words ("tench"), where two classes may have the same one."""
    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(number) for number in range(info.num_classes()))


def are_imagenet(classes: tuple[str, ...]) -> bool:
    """Whether these are ImageNet-1k's classes by synset number, all of them or some."""
    return bool(classes) and set(classes) <= set(synsets())
