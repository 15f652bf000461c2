"""What weights have seen, read from their tag: timm's tags name the data in the order in which they were seen.

Only what a tag says is repeated. A tag that names no data gives nothing, and one that says "fine-tuned" without
saying from what gives that, too. Importing this loads neither torch nor timm.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DATA: Mapping[str, str] = MappingProxyType(
    {
        "in1k": "ImageNet-1k",
        "in12k": "ImageNet-12k",
        "in21k": "ImageNet-21k",
        "in22k": "ImageNet-21k",  # the same data set by its other name
        "openai": "400 M photo-text pairs",
        "laion400m": "LAION, 400 M photo-text pairs",
        "laion2b": "LAION, 2 billion photo-text pairs",
        "laiona": "LAION, 900 M photo-text pairs chosen for looks",
        "datacomp1b": "DataComp, 1 billion photo-text pairs",
        "datacompxl": "DataComp, 1 billion photo-text pairs",
        "dfn2b": "2 billion photo-text pairs",
        "dfndr2b": "2 billion photo-text pairs",
        "dfn5b": "5 billion photo-text pairs",
        "merged2b": "2 billion photo-text pairs",
        "webli": "WebLI, photo-text pairs",
        "cc12m": "12 M photo-text pairs",
        "yfcc15m": "Flickr, 15 M photo-text pairs",
        "yfcc100m": "Flickr, 100 M photos",
        "ig1b": "1 billion Instagram photos",
        "swag": "3.6 billion Instagram photos",
        "seer": "Instagram photos, no labels",
        "jft": "JFT, 300 M private photos",
        "lvd142m": "142 M photos, no labels",
        "lvd1689m": "1,689 M photos, no labels",
        "sat493m": "493 M satellite photos, no labels",
        "m30m": "30 M photos",
        "m38m": "38 M photos",
        "sa1b": "SA-1B, 11 M photos",
    }
)
"""Words of timm's tags that name data, as the table of models speaks of the same."""

_TUNED = "ft"
_UNSAID = "data that its tag does not name"


def data_of(tag: str) -> str:
    """ "ImageNet-21k, then 1k" of "augreg_in21k_ft_in1k"; "" where the tag names no data."""
    seen: list[str] = []
    for word in tag.lower().split("_"):
        name = DATA.get(word, "")
        if word == _TUNED and not seen:
            name = _UNSAID
        if name and name not in seen:
            seen.append(name)
    if not any(name != _UNSAID for name in seen):
        return ""
    return ", then ".join(_after(name, seen[:at]) for at, name in enumerate(seen))


def _after(name: str, before: list[str]) -> str:
    """ "1k" behind another ImageNet."""
    family = "ImageNet-"
    again = bool(before) and before[-1].startswith(family)
    return name.removeprefix(family) if again else name
