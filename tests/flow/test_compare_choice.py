"""Who may be chosen, by which photos, and what has to be said where val cannot choose or test cannot report."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_kit import CLASSES, finetune, write_photos

import deitft
from deitft.core.files import read_json
from deitft.evaluation.model_pairs import all_pairs
from deitft.reporting.compare_data import Comparison
from deitft.runs.compare_verdict import _better_on_test

SHORT = ("model.image_size=32", "train.length=4 steps", "train.batch=16", "train.micro_batch=16")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("shop") / "photos", 20)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("fresh") / "fresh", 4, first=500)


def sides(folder: Path, val: range, test: range) -> Path:
    """A file of splits: these photos of each class are val and test, the others train."""
    lines = [
        f"{name}/{photo:04d}.jpg,{'val' if photo in val else 'test' if photo in test else 'train'}"
        for name in CLASSES
        for photo in range(20)
    ]
    file = folder / f"sides-{val.start}-{len(val)}-{len(test)}.csv"
    file.write_text("\n".join(["path,split", *lines]) + "\n")
    return file


@pytest.fixture(scope="module")
def runs(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, val, test in (
        ("first", range(3), range(3, 6)),
        ("as-many", range(6, 9), range(3, 6)),
        ("more", range(5), range(5, 8)),
        ("no-test", range(3), range(0)),
    ):
        finetune(shop, folder, name, *SHORT, seed=0, splits=sides(folder, val, test))
    return folder


def compared(runs: Path, *names: str, out: Path, **more: Any) -> Comparison:
    (table,) = deitft.compare([runs / name for name in names], costs=False, out=out / "out", **more).tables
    return table


@pytest.mark.parametrize("other", ["more", "as-many"])
def test_runs_with_other_val_photos_are_judged_together_but_not_chosen_from(
    runs: Path, fresh: Path, tmp_path: Path, other: str
) -> None:
    table = compared(runs, "first", other, out=tmp_path, test=fresh, require=["top1>=0"])
    assert len(table.rows) == 2, "the same model and seed, trained on other photos, is another contender"
    assert len(table.pairs) == 1
    assert (table.verdict.label, table.n) == ("", 12)
    assert "other sides" in table.verdict.sentence
    assert table.limits[1] == table.verdict.sentence
    assert any("trained on other photos, or other sides" in note for note in table.notes)
    assert [row.label for row in table.rows] == sorted(row.label for row in table.rows)
    assert not any(met for _, met, _ in table.gates)


def test_the_table_of_other_photos_is_called_by_them(runs: Path, shop: Path, fresh: Path, tmp_path: Path) -> None:
    own, other = compared(runs, "first", out=tmp_path), compared(runs, "first", out=tmp_path, test=fresh)
    assert (own.title, other.title) == ("photos", "fresh")
    assert own.fingerprint != other.fingerprint
    assert other.verdict.label
    shop_now = shop.with_name("elsewhere")
    shop.rename(shop_now)
    try:
        gone = compared(runs, "first", out=tmp_path, test=fresh)
    finally:
        shop_now.rename(shop)
    assert "Of the photos of first only exact copies were looked for: they are gone." in gone.notes
    assert not any("exact copies" in note for note in other.notes)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_straw_men_are_none_on_other_photos_either(
    runs: Path, fresh: Path, tmp_path: Path, elsewhere: bool
) -> None:
    shutil.copytree(runs / "first", tmp_path / "first")
    file = tmp_path / "first" / "metrics.json"
    metrics = read_json(file)
    assert isinstance(metrics, dict)
    metrics["probe"] = {"top1": 1.0, "interval": [0.7, 1.0], "val_top1": 1.0, "val_right": "1" * 9}
    file.write_text(json.dumps(metrics))
    table = compared(tmp_path, "first", out=tmp_path, **({"test": fresh} if elsewhere else {}))
    assert table.rows[0].status == "undertrained"
    assert table.verdict.label == ""
    assert (table.rows[0].probe is None) == elsewhere


def test_where_val_judges_too_it_is_said_aloud(runs: Path, fresh: Path, tmp_path: Path) -> None:
    table = compared(runs, "no-test", out=tmp_path)
    assert table.claim_split == "val"
    assert "figures flatter" in table.verdict.reasons[0]
    assert not any("test only reports" in text for text in table.limits)
    assert "on the same val photos that judge them" in table.limits[1]
    table = compared(runs, "no-test", out=tmp_path, test=fresh)
    assert table.claim_split == "test"
    assert "test only reports" in table.limits[1]
    assert not table.verdict.reasons


def test_who_is_better_on_test_by_chance_alone_is_not_said_to_be_better() -> None:
    right = np.ones((1, 100), bool)
    wrong = right.copy()
    wrong[0, :20] = False
    (pair,) = all_pairs({"a": right, "b": wrong})
    assert pair.told_apart
    assert "a did better than b" in _better_on_test("b", [pair])[0]
    assert _better_on_test("a", [pair]) == []
    assert _better_on_test("b", [dataclasses.replace(pair, told_apart=False)]) == []


def test_what_is_not_the_same_for_all_is_named(runs: Path, shop: Path, tmp_path: Path) -> None:
    pinned = sides(tmp_path, range(3), range(3, 6))
    longer = ("model.image_size=48", "train.length=8 steps", *SHORT[2:], "image.aspect=pad")
    finetune(shop, tmp_path / "runs", "longer", *longer, seed=0, splits=pinned)
    shutil.copytree(runs / "first", tmp_path / "runs" / "first")
    table = compared(tmp_path / "runs", "first", "longer", out=tmp_path)
    (note,) = [note for note in table.notes if note.startswith("Not the same for all")]
    assert "epochs (" in note
    assert "aspect (" in note
    assert "precision" not in note
    assert {row.pixels for row in table.rows} == {32, 48}
    assert any("top-5 is left out: with 3 classes" in text for text in table.notes)
    alone = compared(runs, "first", out=tmp_path)
    assert not any("Not the same" in note for note in alone.notes)
    assert alone.rows[0].epochs == pytest.approx(alone.rows[0].planned_epochs)
