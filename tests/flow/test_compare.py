"""Finished runs in one table, missing ones made, and what stands in the way of either."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from compare_shop import CLASSES, SHORT, write_shop
from run_kit import ONE_THREAD, fails, finetune, record_of, write_photos

import deitft
from deitft.cli.app import main
from deitft.core.files import read_json
from deitft.core.records import parse_csv_text
from deitft.errors import DataError, MissingInputError, UsageError
from deitft.runs.contest import Entry
from deitft.runs.folder import RunFolder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def runs(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one model and one of another on the same splits, and a run on other splits."""
    folder = tmp_path_factory.mktemp("runs")
    finetune(shop, folder, "deit-0", *SHORT, seed=0, model="deit_ti")
    pinned = {"splits": folder / "deit-0" / "splits.csv"}
    finetune(shop, folder, "deit-1", *SHORT, seed=1, model="deit_ti", **pinned)
    finetune(shop, folder, "net-0", *SHORT, seed=0, model="resnet10t", **pinned)
    return folder


def right(run: Path) -> dict[str, bool]:
    """Which test photos a run got right, from its file alone."""
    return {
        row["path"]: row["label"] == row["predicted"]
        for row in parse_csv_text((run / "predictions.csv").read_text())
    }


def test_a_table_says_what_the_runs_say(runs: Path, tmp_path: Path) -> None:
    found = deitft.compare([runs / "deit-0", runs / "deit-1", runs / "net-0"], costs=False, out=tmp_path / "out")
    (table,) = found.tables
    rows = {row.label: row for row in table.rows}
    assert set(rows) == {"deit_ti", "resnet10t.c3_in1k"}
    deit = rows["deit_ti"]
    assert (deit.seeds, deit.status, deit.seen) == ((0, 1), "ok", "nothing")
    tops = [record_of(runs / name)["result"]["top1"] for name in ("deit-0", "deit-1")]
    assert deit.top1.value == pytest.approx(np.mean(tops))
    assert deit.seed_sd == pytest.approx(np.std(tops, ddof=1))
    first, other = right(runs / "deit-0"), right(runs / "net-0")
    assert first.keys() == other.keys()
    (pair,) = table.pairs
    sign = 1 if pair.first == "deit_ti" else -1
    assert pair.difference.value == pytest.approx(sign * (deit.top1.value - rows["resnet10t.c3_in1k"].top1.value))
    assert table.n == len(first)
    assert sum(line.n for line in table.class_lines) == table.n
    said = [parse_csv_text((runs / name / "predictions.csv").read_text()) for name in ("deit-0", "net-0")]
    named = [{row["path"]: row["predicted"] for row in rows_} for rows_ in said]
    agree = np.mean([named[0][path] == named[1][path] for path in first])
    assert table.agreement[0, 1] == pytest.approx(agree)
    assert table.disagreeing == sum(named[0][path] != named[1][path] for path in first)
    assert all(one.image is not None for one in table.disagreements)


def test_what_is_left_and_what_is_printed_hold_the_same_figures(
    runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(runs / "deit-0"), str(runs / "net-0"), "--no-costs", "--out", str(tmp_path / "out")]
    assert main([*words, "--json", "--quiet"]) == 0
    printed = json.loads(capfd.readouterr().out)
    kept = read_json(tmp_path / "out" / "compare.json")
    assert isinstance(kept, dict)
    table = printed["tables"][0]
    assert {name: table[name] for name in kept if name not in ("made", "command")} == {
        name: value for name, value in kept.items() if name not in ("made", "command")
    }
    lines = parse_csv_text((tmp_path / "out" / "compare.csv").read_text())
    for line, row in zip(lines, kept["rows"], strict=True):
        assert float(line["top1"]) == pytest.approx(row["top1"]["value"])
    for name in ("md", "csv", "latex", "html", "text"):
        assert main([*words, "--format", name, "--quiet"]) == 0
        assert "deit_ti" in capfd.readouterr().out.replace("\\_", "_")


def test_the_same_photos_under_other_names_are_the_same_photos(runs: Path, shop: Path, tmp_path: Path) -> None:
    """Runs that were made in another place meet in one table."""
    moved = tmp_path / "moved"
    shutil.copytree(shop, moved)
    for path in list(moved.rglob("*.jpg")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    table = parse_csv_text((runs / "deit-0" / "splits.csv").read_text())
    sides = tmp_path / "splits.csv"
    lines = [f"{Path(row['path']).parent.name}/renamed-{Path(row['path']).name},{row['split']}" for row in table]
    sides.write_text("\n".join(["path,split", *lines]) + "\n")
    finetune(moved, tmp_path / "runs", "moved", *SHORT, seed=0, model="resnet10t", splits=sides)
    found = deitft.compare([runs / "deit-0", tmp_path / "runs" / "moved"], costs=False, out=tmp_path / "out")
    assert len(found.tables) == 1


def test_other_splits_are_another_table(runs: Path, shop: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "deit-0", tmp_path / "runs" / "deit-0")
    finetune(shop, tmp_path / "runs", "deit-7", *SHORT, seed=7)
    found = deitft.compare(runs_dir=tmp_path / "runs", costs=False)
    assert len(found.tables) == 2
    assert all(len(table.rows) == 1 for table in found.tables)
    assert len({table.sides for table in found.tables}) == len(set(found.folders)) == 2
    found = deitft.compare(runs_dir=tmp_path / "runs", costs=False, out=tmp_path / "out")
    assert sorted(found.folders) == sorted(page.parent for page in (tmp_path / "out").rglob("compare.html"))
    assert len(set(found.folders)) == 2


def test_a_run_that_is_not_finished_is_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "net-0", tmp_path / "runs" / "net-0")
    record = json.loads((tmp_path / "runs" / "net-0" / "run.json").read_text())
    (tmp_path / "runs" / "net-0" / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
    with fails(DataError, "RUN") as caught:
        deitft.compare(tmp_path / "runs" / "net-0", costs=False)
    assert "deitft resume" in caught.value.line
    with fails(MissingInputError, "RUN"):
        deitft.compare(runs_dir=tmp_path / "runs", costs=False)


def test_gates_limits_and_their_exit_codes(runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(runs / "deit-0"), str(runs / "net-0"), "--no-costs", "--out", str(tmp_path / "out")]
    assert main([*words, "--require", "top1>=0"]) == 0
    assert main([*words, "--require", "top1>=100%", "--require", "size_mb<=0.001"]) == 3
    assert "deitft: error [GATE]" in capfd.readouterr().err
    assert main([*words, "--require", "top2>=0.9"]) == 2
    assert "did you mean" in capfd.readouterr().err
    assert main([*words, "--max-size", "21MB"]) == 0
    out = capfd.readouterr().out
    assert "deit_ti is outside the limits" in out
    assert "resnet10t.c3_in1k is chosen: no other model is in the verdict" in out
    assert main([*words, "--max-size", "0.1MB"]) == 3
    assert "size_mb <= 0.1" in capfd.readouterr().err
    assert main([*words, "--max-size", "-10MB"]) == 2
    assert "no number from 0 on" in capfd.readouterr().err


def test_bundles_on_other_photos(runs: Path, shop: Path, tmp_path: Path) -> None:
    fresh = write_photos(tmp_path / "fresh", 4, classes=CLASSES, first=500)
    found = deitft.compare([runs / "deit-0", runs / "net-0"], test=fresh, costs=False, out=tmp_path / "out")
    (table,) = found.tables
    assert table.n == 24
    for name, row in zip(("deit-0", "net-0"), sorted(table.rows, key=lambda row: row.label), strict=True):
        own = deitft.evaluate(runs / name, fresh, **ONE_THREAD).metrics
        assert row.top1.value == pytest.approx(own.top1)
    seen = next(
        row for row in parse_csv_text((runs / "deit-0" / "splits.csv").read_text()) if row["split"] == "val"
    )
    shutil.copy(shop / seen["path"], fresh / seen["label"] / "new-name.jpg")
    with fails(DataError, "D11") as caught:
        deitft.compare([runs / "deit-0", runs / "net-0"], test=fresh, costs=False, out=tmp_path / "out")
    assert "new-name.jpg" in caught.value.line


def test_runs_that_are_there_are_not_made_again(runs: Path, shop: Path, tmp_path: Path) -> None:
    found = deitft.compare(
        shop,
        models="deit_ti,resnet10t",
        set=SHORT,
        pretrained=False,
        runs_dir=runs,
        dry_run=True,
        **{name: value for name, value in ONE_THREAD.items() if name != "precision"},
    )
    plan = dict(found.plan)
    assert plan["There already"] == "deit-0, net-0"
    assert plan["To be trained"].startswith("0 runs")


def test_a_run_that_was_begun_does_not_stand_in_its_own_way(shop: Path, tmp_path: Path) -> None:
    """The plan of a comparison that was stopped or killed foretells the half-made run like any other."""
    asked = {
        "models": "deit_ti",
        "set": SHORT,
        "pretrained": False,
        "runs_dir": tmp_path / "runs",
        "dry_run": True,
    }
    asked |= {name: value for name, value in ONE_THREAD.items() if name != "precision"}
    names: list[str] = []
    words = Entry.words

    def noted(entry: Entry, **more: Any) -> list[str]:
        names.append(entry.name)
        entry.folder.path.mkdir(parents=True, exist_ok=True)
        return words(entry, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Entry, "words", noted)
        found = deitft.compare(shop, **asked)
    plan, (foreseen,) = dict(found.plan), found.record()["to_train"]
    assert foreseen["run"] == "deit_ti, seed 0"
    assert min(foreseen[name] for name in ("seconds", "memory_bytes", "disk_bytes")) > 0
    assert foreseen["why_not"] == ""
    assert len(names) == 1
    assert (tmp_path / "runs" / names[0]).is_dir()
    assert "already there" not in plan["deit_ti, seed 0"]
    assert not plan["To be trained"].endswith(" 0.0 s in all")


def test_what_cannot_be_chosen_by_is_said_before_training(shop: Path, tmp_path: Path) -> None:
    for wrong in ({"margin": -1}, {"margin": float("nan")}, {"cheapest": "nonsense"}, {"cheapest": "top1"}):
        with fails(UsageError, "USAGE"):
            deitft.compare(shop, models="deit_ti", runs_dir=tmp_path / "runs", **wrong)
    for unmeasured in ({"max_latency": "5ms"}, {"require": ["memory_mb<=100"]}, {"margin": 1}):
        with fails(UsageError, "USAGE") as caught:
            deitft.compare(shop, models="deit_ti", runs_dir=tmp_path / "runs", costs=False, **unmeasured)
        assert "--no-costs" in caught.value.line
    for unpriced in ({"require": ["cost<=5"]}, {"cheapest": "cost", "margin": 1}, {"cheapest": "cost"}):
        with fails(UsageError, "USAGE") as caught:
            deitft.compare(shop, models="deit_ti", runs_dir=tmp_path / "runs", **unpriced)
        assert "--price-per-hour" in caught.value.line
    assert not (tmp_path / "runs").exists()


def test_a_plan_leaves_nothing_behind(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(shop), "--models", "deit_ti", "--dry-run", "--runs-dir", str(tmp_path / "runs")]
    assert main([*words, "--no-pretrained"]) == 0
    assert "deit_ti, seed 0" in capfd.readouterr().out
    assert not list((tmp_path / "runs").glob("*"))


def test_a_plan_of_nothing_is_an_error(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(shop), "--models", "deit_ti", "--dry-run", "--runs-dir", str(tmp_path / "runs")]
    assert main([*words, "--weights-dir", str(tmp_path)]) == 66
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "no run can be made; deit_ti, seed 0: no weights" in shown.err
    assert not list((tmp_path / "runs").glob("*"))


def test_runs_that_fail_are_in_the_table_and_in_the_exit_code(
    runs: Path, shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one that is there is judged, the one that cannot be made is named: 40 pixels are not whole patches."""
    short = ("model.image_size=40", *SHORT[1:])
    sides = runs / "deit-0" / "splits.csv"
    finetune(shop, tmp_path / "runs", "net-0", *short, seed=0, model="resnet10t", splits=sides)
    words = ["compare", str(shop), "--models", "resnet10t,deit_ti", "--no-costs", "--no-pretrained", "--json"]
    words += ["--runs-dir", str(tmp_path / "runs"), "--splits", str(sides), "--threads", "1", "--workers", "1"]
    for field in short:
        words += ["--set", field]
    assert main(words) == 66
    printed = capfd.readouterr()
    (table,) = json.loads(printed.out)["tables"]
    assert [(row["label"], row["status"]) for row in table["rows"]] == [
        ("resnet10t.c3_in1k", "ok"),
        ("deit_ti, seed 0", "failed"),
    ]
    assert "error [RUN]: deit_ti, seed 0 was not finished: " in printed.err


def test_a_start_that_was_killed_does_not_hold_its_name(shop: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "compare-x")
    run.path.mkdir()
    for name in ("recipe.yaml", "plan.json", "splits.csv"):
        (run.path / name).write_text("{}")
    with (
        run.locked(),
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from deitft.runs.folder import *; RunFolder(Path({str(run.path)!r})).clear_unbegun()",
            ],
            stderr=subprocess.PIPE,
            text=True,
        ) as other,
    ):
        assert "is in use by" in other.communicate()[1]
    assert run.plan.exists()
    run.clear_unbegun()
    assert not run.path.exists()
    run.path.mkdir()
    for name in ("plan.json", "run.json"):
        (run.path / name).write_text("{}")
    run.clear_unbegun()
    assert run.begun


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_leaves_nobody_behind(shop: Path, tmp_path: Path) -> None:
    """Parent killed twice, a child once: no orphan after ten seconds, nothing made twice, the same figures."""
    words = ["compare", str(shop), "--models", "deit_ti,resnet10t", "--no-pretrained", "--no-costs"]
    words += ["--threads", "1", "--workers", "1", "--json", "--quiet"]
    for field in (*SHORT[:1], "train.length=60 steps", *SHORT[2:]):
        words += ["--set", field]

    def start(place: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "deitft", *words, "--runs-dir", str(place)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def until(what: Callable[[], object], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end
            time.sleep(0.1)

    def training(process: subprocess.Popen[str], place: Path) -> list[psutil.Process]:
        """The child that trains, once it does: a dry run writes nothing."""
        found = []
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                line = child.cmdline()
                if {"finetune", "resume"} & set(line) and "--dry-run" not in line and list(place.glob("*/lock")):
                    found.append(child)
        return found

    place = tmp_path / "killed"
    made: dict[str, str] = {}
    for number, whom in enumerate(("parent", "child", "parent")):
        process = start(place)
        until(lambda process=process: training(process, place))
        tree = psutil.Process(process.pid).children(recursive=True)
        if whom == "child":
            training(process, place)[0].kill()
            output, _ = process.communicate(timeout=400)
            failed = [row for row in json.loads(output)["tables"][0]["rows"] if row["status"] == "failed"]
            assert [row["label"] for row in failed] == ["deit_ti, seed 0"]
        else:
            process.kill()
            process.communicate()
            _, alive = psutil.wait_procs(tree, timeout=10)
            assert not alive
        for run in place.glob("compare-*/run.json"):
            record = json.loads(run.read_text())
            if record["status"] == "done":
                assert made.setdefault(run.parent.name, record["ended"]) == record["ended"], number
    process = start(place)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    for name, ended in made.items():
        assert json.loads((place / name / "run.json").read_text())["ended"] == ended
    whole = start(tmp_path / "whole")
    expected, _ = whole.communicate(timeout=240)
    figures = [
        {row["label"]: (row["top1"], row["macro_f1"], row["val"]) for row in json.loads(text)["tables"][0]["rows"]}
        for text in (output, expected)
    ]
    assert figures[0] == figures[1]
