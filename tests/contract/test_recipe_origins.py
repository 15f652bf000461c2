"""The page on the origins of DeiT's recipes is true of them: every difference has its reason, nothing else has."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deitft.recipe.load import load_recipe
from deitft.recipe.mistakes import leaves
from deitft.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "recipe-origins.md"
NAMES = ("pretrain-deit", "pretrain-deit-384")


@pytest.fixture(scope="module")
def origins() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        import recipe_origins

    module: ModuleType = sys.modules[recipe_origins.__name__]
    return module


@pytest.mark.parametrize("name", NAMES)
def test_a_difference_has_a_reason_and_nothing_else_has(origins: ModuleType, name: str) -> None:
    for row in origins.TABLES[name]:
        value, differs = row.values(name)
        assert bool(row.reason) == differs, f"{row.item}: ours is {value!r}"
        assert row.field or row.ours, f"{row.item} says nothing of ours"


@pytest.mark.parametrize("name", NAMES)
def test_every_field_that_the_recipe_sets_has_its_row(origins: ModuleType, name: str) -> None:
    def at(recipe: Recipe, path: tuple[str, ...]) -> Any:
        value: Any = recipe.model_dump(mode="json")
        for part in path:
            value = value[part]
        return value

    recipe, usual = load_recipe(name), Recipe()
    changed = {".".join(path) for path in leaves() if at(recipe, path) != at(usual, path)} - {"name"}
    fields = [row.field for row in origins.TABLES[name] if row.field]
    assert changed <= set(fields), changed - set(fields)
    assert len(fields) == len(set(fields))


def test_a_recipe_that_drifts_is_noticed(origins: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen red: an epoch less than the paper's, and the page lacks a reason."""
    monkeypatch.setattr(
        origins, "load_recipe", lambda name: load_recipe(name, overrides=("train.length=299 epochs",))
    )
    (row,) = (row for row in origins.DEIT if row.field == "train.length")
    assert row.values("pretrain-deit") == ("299 epochs", True)
    assert not row.reason


def test_the_paper_is_quoted_right(origins: ModuleType) -> None:
    """Table 9, column DeiT-B, once more and by hand."""
    said = {row.item: row.paper for row in origins.DEIT}
    wanted = {
        "length": "300",
        "batch": "1024",
        "optimizer": "AdamW",
        "peak learning rate": "5e-4 × batch / 512",
        "schedule": "cosine",
        "weight decay": "0.05",
        "warm-up": "5 epochs",
        "label smoothing": "0.1",
        "dropout": "–",
        "stochastic depth": "0.1",
        "clipping": "no",
        "erasing": "0.25",
        "mixup": "probability 0.8",
        "cutmix": "probability 1.0",
    }
    assert {item: said[item] for item in wanted} == wanted
