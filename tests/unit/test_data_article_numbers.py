"""Schemes as documented: city7, Specialty Toys Network, WooCommerce bulk assign by SKU, Oracle Commerce,
Modern Retail, OrderWerks, Unbxd PIM (options 1 and 3), CLEARomni, Amazon Seller Central, GS1 Product Image
Specification, DeepFashion In-shop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from deitft.data.article_numbers import offered
from deitft.data.groups import by_expression

draw = np.random.default_rng(0)
NUMBERS = sorted({int(number) for number in draw.integers(10_000, 999_999, 40)})


def names(article: Callable[[int], str], views: Iterable[str], kind: str = "jpg") -> dict[str, str]:
    """File name -> article, two to all of the views each."""
    found = {}
    for place, number in enumerate(NUMBERS):
        for view in list(views)[: 2 + place % 4]:
            found[f"{article(number)}{view}.{kind}"] = article(number)
    return found


SCHEMES = {
    "city7": names(lambda n: f"tb{n}dw", ["_0", "_1", "_2_ambiance", "_3_pack", "_4"]),
    "toys": names(str, ["_1", "_2", "_3", "_4"]),
    "toys, main photo alone": names(str, ["", "_1", "_2", "_3"]),
    "woocommerce": names(lambda n: f"ab-{n}", ["_main", "_1", "_2", "_3"]),
    "oracle": names(lambda n: f"xprod{n}", [".bootsideview", ".ridingfrontview", ".top"], "png"),
    "modern retail": names(lambda n: f"ABC{n:08d}", ["", "A", "B", "Detail", "C"]),
    "orderwerks": names(lambda n: f"SKU{n}", ["-1", "-2", "-3", "-4"]),
    "unbxd property": names(str, ["-image_0", "-image_1", "-image_2"]),
    "unbxd alphabet": names(str, ["", "a", "b", "c"]),
    "clearomni": names(lambda n: f"FA-{n}", ["01", "02", "03", "04"], "JPG"),
    "amazon": names(lambda n: f"B000{n:06d}", [".MAIN", ".PT01", ".PT02", ".BACK"]),
    "gs1": names(lambda n: f"{n:014d}", ["_A1N1", "_A7N1", "_C1L1", "_C1R0"]),
    "deepfashion": names(lambda n: f"id_{n:08d}-02", ["_front", "_side", "_back", "_full"]),
}


def grouped_right(scheme: dict[str, str], expression: str) -> bool:
    paths = [f"shoes/{name}" for name in scheme]
    groups = by_expression(paths, expression)
    return all(groups) and len(set(zip(groups, scheme.values(), strict=True))) == len(set(groups)) == len(
        set(scheme.values())
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_documented_schemes_are_found(scheme):
    expression = offered([f"shoes/{name}" for name in SCHEMES[scheme]])
    assert expression is not None
    assert grouped_right(SCHEMES[scheme], expression), expression


def uuids(count: int) -> list[str]:
    return ["-".join(draw.bytes(size).hex() for size in (4, 2, 2, 2, 6)) for _ in range(count)]


NONE = {
    "camera": [f"IMG_{number}" for number in range(1000, 1200)],
    "camera with copies": [f"IMG_{number}{end}" for number in range(1000, 1060) for end in ("", "_1", "_2")],
    "dsc": [f"DSC{number:05d}" for number in range(200)],
    "phone": [f"PXL_20240{month}{day:02d}_1015{day:02d}" for month in range(1, 7) for day in range(1, 28)],
    "whatsapp": [f"IMG-202403{day:02d}-WA{number:04d}" for day in range(1, 28) for number in range(4)],
    "uuids": uuids(200),
    "uuids with views": [f"{name}_{view}" for name in uuids(60) for view in (1, 2, 3)],
    "hashes": [draw.bytes(20).hex() for _ in range(200)],
    "dates": [f"2024-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 28)],
    "dates with numbers": [f"2024{month:02d}11_{number}" for month in range(1, 13) for number in range(6)],
    "german dates": [f"{day:02d}.03.2024_{number}" for day in range(1, 28) for number in range(4)],
    "counter": [f"{number:05d}" for number in range(300)],
    "class counter": [f"{name}_{number}" for name in ("cat", "dog") for number in range(90)],
    "class and dot": [f"{name}.{number}" for name in ("cat", "dog") for number in range(200)],
    "imagenet": [f"n0144{wnid}_{number}" for wnid in range(8) for number in draw.integers(100, 20000, 40)],
    "lone articles": [f"{number}_1" for number in NUMBERS],
    "words": ["red-tshirt", "winter-jacket-blue", "image1", "boots", "newproduct"],
    "nothing": [],
}


@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_article_number(kind):
    assert offered([f"a/{name}.jpg" for name in NONE[kind]]) is None


def test_clothing_small_has_none(shared):
    root = shared / "data" / "clothing-small"
    assert offered(sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))) is None


def test_a_few_strangers_do_not_hide_a_scheme():
    paths = [*SCHEMES["amazon"], "cover.jpg", "team.jpg"]
    expression = offered(paths)
    assert expression is not None
    assert re.match(expression, "B000123456.PT07.jpg")[1] == "B000123456"


def test_a_million_names_are_sampled():
    paths = [f"c/{article:07d}_{view}.jpg" for article in range(250_000) for view in range(4)]
    assert offered(paths) is not None
