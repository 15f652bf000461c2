"""ImageNet-1k's classes, in the order of every model trained on it: synset numbers, sorted, as its folders are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from timm.data import ImageNetInfo

from deitft.errors import DataError


@cache
def synsets() -> tuple[str, ...]:
    """The 1,000 synset numbers ("n01440764", …), in the order of the logits."""
    return tuple(ImageNetInfo("imagenet-1k").label_names())


@cache
def descriptions() -> tuple[str, ...]:
    """The same as words ("tench, Tinca tinca"), where two classes may have the same ones."""
    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(number) for number in range(info.num_classes()))


@cache
def names() -> tuple[str, ...]:
    """The same for people, each different: "n01440764 tench"."""
    words = (text.partition(",")[0] for text in descriptions())
    return tuple(f"{synset} {word}" for synset, word in zip(synsets(), words, strict=True))


def are_imagenet(classes: tuple[str, ...]) -> bool:
    """Whether these are ImageNet-1k's classes by synset number, all of them or some."""
    return bool(classes) and set(classes) <= set(synsets())


@cache
def _numbers() -> dict[str, frozenset[int]]:
    """What a class may be called, in small letters -> the classes that are called so."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, (synset, text, name) in enumerate(zip(synsets(), descriptions(), names(), strict=True)):
        for alias in (synset, text, name, *text.split(",")):
            found[_plain(alias)].add(number)
    return {alias: frozenset(numbers) for alias, numbers in found.items()}


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def order_of(folders: Sequence[str]) -> tuple[str, ...]:
    """1,000 names in the order of the logits: of a class that has a folder its folder's, of the others the synset.

    A folder is called by its synset ("n01440764") or in words ("tench", "great_white_shark"), capitals aside.

    Raises:
        DataError: a name is no class of ImageNet-1k's or that of two, or two names are one class (id D9).
    """
    hint = 'call the folders by their synsets ("n01440764") or words ("tench")'
    strange = [name for name in folders if _plain(name) not in _numbers()]
    if strange:
        more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        what = f"the photos have a class that is not one of ImageNet's 1,000: {strange[0]!a}{more}"
        raise DataError(what, f"{hint}; a model of your own classes: `deitft finetune`", id="D9", files=strange)
    order = list(synsets())
    taken: dict[int, str] = {}
    for name in folders:
        numbers = _numbers()[_plain(name)]
        if len(numbers) > 1:
            which = " and ".join(synsets()[number] for number in sorted(numbers))
            what = f"{name!a} is the name of {len(numbers)} classes of ImageNet ({which})"
            raise DataError(what, "call the folder by its synset", id="D9", files=[name])
        (number,) = numbers
        other = taken.setdefault(number, name)
        if other != name:
            what = f"{other!a} and {name!a} are one class of ImageNet"
            raise DataError(what, "put their photos into one folder", id="D9", files=[other, name])
        order[number] = name
    return tuple(order)
