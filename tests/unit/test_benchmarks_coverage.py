"""The simulations of the intervals: the page shows what was recorded, and a row can be made again."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = ("coverage_of_intervals", "crossed_sample", "ledger")


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script as it imports itself; gone after these tests."""
    kept = {name: sys.modules.pop(name, None) for name in MODULES}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module(MODULES[0])
    for name in MODULES:
        sys.modules.pop(name, None)
        if kept[name] is not None:
            sys.modules[name] = kept[name]


def test_the_page_shows_the_records(script: ModuleType) -> None:
    ledger = script.Ledger("coverage")
    assert script.table(ledger) in (ROOT / "docs" / "concepts" / "which-model.md").read_text()


def test_what_is_claimed_of_three_seeds_is_recorded(script: ModuleType) -> None:
    rows = {name: row["result"] for name, row in script.Ledger("coverage").rows.items()}
    for name in ("three seeds", "groups of 6", "groups of 1, 2 and 7", "models much alike", "five seeds"):
        result = rows[f"coverage: {name}"]
        assert 0.93 <= result["difference"]["share"] <= 0.98
        assert 0.93 <= result["one model"]["share"] <= 0.98
        assert result["difference, seeds pooled"]["high"] < 0.9
    for name, result in rows.items():
        if name.startswith("power: "):
            assert 0.77 <= result["power"]["share"] <= 0.83
    lucky = rows["selection: equal weights"]
    assert abs(lucky["test, of its kind"]["points"]) < 0.3 < lucky["val, of its kind"]["points"]


def test_a_row_can_be_made_again(script: ModuleType) -> None:
    scene = dataclasses.replace(script.SCENES["groups of 6"], trials=60)
    result = script.coverage(scene)
    assert result["difference"]["simulations"] == 60
    assert result["difference"]["share"] > result["difference, seeds pooled"]["share"]
    assert script.coverage(scene) == result
    assert script.power(script.POWER_SCENES["three seeds, 4 points"], trials=20)["photos"] > 372
    assert script.selection(0.01, 2, trials=20)["val, of its kind"]["points"] > 0
