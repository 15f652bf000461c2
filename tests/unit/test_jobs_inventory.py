from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deitft.core.records import RunRecord
from deitft.errors import MissingInputError, OutputError, UsageError
from deitft.jobs import inventory
from deitft.models.zoo import ZOO
from deitft.recipe.load import load_recipe, shipped_recipes


def make_run(folder: Path, **more: object) -> Path:
    folder.mkdir(parents=True)
    RunRecord(
        name=folder.name, verb="finetune", command=[], status="done", started="2025-01-01T00:00:00+00:00", **more
    ).write(folder)
    return folder


def test_every_model_is_a_row_and_a_record() -> None:
    table = inventory.models()
    assert [row[0] for row in table.rows] == [item["short"] for item in table.record()] == [e.short for e in ZOO]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    for row, entry in zip(table.rows, ZOO, strict=True):
        assert f"{entry.parameters / 1e6:.1f} M" in row
        assert entry.tag in row


def test_a_published_score_says_how_and_where_it_was_measured() -> None:
    entry = replace(ZOO[0], top1=81.24, top1_size=224, top1_how="own classifier")
    assert inventory.published(entry) == "81.2 @ 224"
    assert inventory.published(replace(entry, top1=None)) == "–"
    assert inventory.published(replace(entry, top1_size=None, top1_how="linear probe")) == "81.2, linear probe"


def test_a_recipe_is_copied_as_it_stands_and_reads_the_same(tmp_path: Path) -> None:
    for info in shipped_recipes():
        path = inventory.copy_recipe(info.name, tmp_path / f"{info.name}.yaml")
        assert path.read_text() == info.path.read_text()
        assert load_recipe(str(path)) == load_recipe(info.name)
        assert inventory.recipe_record(info.name)["name"] == load_recipe(info.name).name


def test_a_copy_never_overwrites_by_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    with pytest.raises(OutputError) as met:
        inventory.copy_recipe("finetune", tmp_path / "mine.yaml")
    assert met.value.id == "EXISTS"
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    with pytest.raises(OutputError) as unwritable:
        inventory.copy_recipe("finetune", tmp_path / "no" / "folder.yaml")
    assert unwritable.value.id == "C5"


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({}, ""),
        ({"split": "test", "top1": 0.5}, "50.0"),
        ({"split": "val", "top1": 0.5}, ""),
        ({"split": "test", "top1": "x"}, ""),
    ],
)
def test_the_score_of_a_run_is_its_test_top1(result: dict[str, object], shown: str, tmp_path: Path) -> None:
    make_run(tmp_path / "a", result=result)
    (row,) = inventory.runs(tmp_path).rows
    assert row[2] == shown


def test_runs_come_oldest_first(tmp_path: Path) -> None:
    for name, day in (("b", 1), ("a", 3), ("c", 2)):
        folder = make_run(tmp_path / name)
        text = (folder / "run.json").read_text()
        (folder / "run.json").write_text(text.replace("2025-01-01", f"2025-01-0{day}"))
    assert [row[0] for row in inventory.runs(tmp_path).rows] == ["b", "c", "a"]


def test_a_run_is_found_by_name_or_path(tmp_path: Path, monkeypatch) -> None:
    make_run(tmp_path / "runs" / "finetune-1")
    assert inventory.find_run("finetune-1", tmp_path / "runs").name == "finetune-1"
    assert inventory.find_run(str(tmp_path / "runs" / "finetune-1"), tmp_path / "runs").name == "finetune-1"
    monkeypatch.chdir(tmp_path)
    assert inventory.find_run("runs/finetune-1/").path == Path("runs/finetune-1")
    with pytest.raises(MissingInputError):
        inventory.find_run("finetune-2")


@pytest.mark.parametrize("name", ["..", ".", "", "/", "../other", "finetune-1/best", "link"])
def test_a_path_elsewhere_is_refused(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "runs" / "finetune-1")
    make_run(run / "best")
    make_run(tmp_path / "other")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError):
        inventory.find_run(name)


def test_removal_takes_all_and_follows_no_link(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "finetune-1")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x" * 10_000)
    (run / "photos").symlink_to(tmp_path / "photos")
    (run / "best").mkdir()
    (run / "best" / "model.safetensors").write_bytes(b"x" * 500)
    folder = inventory.find_run("finetune-1", tmp_path / "runs")
    assert 500 < inventory.size_of(folder) < 10_000
    inventory.remove_run(folder)
    assert list((tmp_path / "runs").iterdir()) == []
    assert (tmp_path / "photos" / "a.jpg").stat().st_size == 10_000


def test_what_a_kill_leaves_of_a_removal_is_no_run(tmp_path: Path, monkeypatch) -> None:
    make_run(tmp_path / "finetune-1")

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        inventory.remove_run(inventory.find_run("finetune-1", tmp_path))
    assert inventory.runs(tmp_path).rows == []
