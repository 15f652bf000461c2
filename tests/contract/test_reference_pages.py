"""docs/reference/ is what the code says, and every error id is described."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("reference_pages", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))  # what stands beside it
        yield module


NAMES = ("cli.md", "recipe.md", "recipe-origins.md", "errors.md", "files.md", "published.md")


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    made: dict[str, str] = generate.pages()
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_up_to_date(name: str, pages: dict[str, str]) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == pages[name], "run `make reference`"


def test_the_tables_inside_the_guides_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tables = importlib.import_module("guide_tables")
    guides = tables.guides()
    assert guides, "no guide has a table"
    for name, text in guides.items():
        assert (ROOT / "docs" / name).read_text("utf-8") == text, f"{name}: run `make reference`"


def test_every_id_is_described_and_no_description_is_left_over(generate: ModuleType) -> None:
    found, said = set(generate.ids_in_code()), set(generate.meanings())
    assert found <= said, "add a line to docs/error_ids.yaml"
    assert {id for id in said - found if not generate.FAULT_ID.fullmatch(id)} == set()
    assert "(undescribed)" not in generate.errors_page()


def test_every_exit_code_is_listed(generate: ModuleType) -> None:
    page = generate.errors_page()
    for code in (0, 2, 3, 65, 66, 69, 70, 73, 74, 75, 78, 130, 141, 143):
        assert f"\n| {code} | " in page


def test_types_are_said_in_words(generate: ModuleType) -> None:
    page = generate.recipe_page()
    assert "| `optim.lr` | number above 0 or `auto` | `auto` |" in page
    assert "| `train.batch` | whole number from 1 or `auto` | `auto` |" in page
    assert "| `image.background` | 3 × whole number from 0 to 255 | `[255, 255, 255]` |" in page
