"""Runs of a comparison that the clock, or other starting weights, make other runs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_kit import ONE_THREAD, Zygote, fails, finetune
from small_net import SMALL

import deitft
from deitft.core.files import read_json, sha256_file, write_json
from deitft.core.progress import Silent, StopFlag
from deitft.data.source import Source
from deitft.errors import MissingInputError
from deitft.runs.children import Ended, run_child
from deitft.runs.compare_training import Missing, sort_out, train_missing
from deitft.runs.contest import Entry
from deitft.runs.finished import Finished, contenders_of, open_finished
from deitft.runs.request import TrainRequest

SHORT = ("model.image_size=32", "train.length=20 steps", "train.batch=16", "train.micro_batch=16")
MACHINE = {name: value for name, value in ONE_THREAD.items() if name != "precision"}
CHILD = "deitft.runs.compare_training.run_child"


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds under a limit that left each of them other steps, as the machine was fast."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, steps in enumerate((12, 11, 16)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deitft.runs.time_limit.measure.steps_within", lambda *_, steps=steps, **__: steps)
            sides = {"splits": folder / "small-0" / "splits.csv"} if seed else {}
            finetune(photos, folder, f"small-{seed}", *SHORT, seed=seed, time_limit="10m", **sides)
    return folder


def changed(run: Path, copy: Path, **fields: Any) -> Finished:
    """A copy of a run whose plan says something else."""
    shutil.copytree(run, copy)
    plan = read_json(copy / "plan.json")
    assert isinstance(plan, dict)
    write_json(copy / "plan.json", {**plan, **fields})
    return open_finished(copy)


def test_seeds_that_got_the_same_time_are_one_row(runs: Path, tmp_path: Path) -> None:
    found = deitft.compare([runs / f"small-{seed}" for seed in range(3)], costs=False, out=tmp_path / "out")
    (table,) = found.tables
    (row,) = table.rows
    assert row.seeds == (0, 1, 2)
    assert row.status == "shortened"
    assert row.seed_sd is not None
    assert [open_finished(runs / name).plan.total_steps for name in row.runs] == [12, 11, 16]


def test_seeds_that_got_other_times_are_not(runs: Path, tmp_path: Path) -> None:
    """Twice the steps and more, a seed that is there already, another length, or no clock that had a say."""
    first = open_finished(runs / "small-0")
    asked = dict(first.plan.asked)
    longer = changed(runs / "small-1", tmp_path / "longer", total_steps=25)
    again = changed(runs / "small-0", tmp_path / "again", total_steps=13)
    other = changed(runs / "small-1", tmp_path / "other", asked={**asked, "train.length": "30 steps"})
    for stranger in (longer, again, other):
        (table,) = contenders_of([first, stranger])
        assert [one.runs for one in table] == [(first,), (stranger,)]
    whole = {name: value for name, value in asked.items() if name not in ("max_steps", "time_limit")}
    unlimited = [
        changed(runs / f"small-{seed}", tmp_path / f"whole-{seed}", asked=whole, total_steps=20 + seed)
        for seed in (0, 1)
    ]
    assert not any(run.by_the_clock for run in unlimited)
    assert len(contenders_of(unlimited)[0]) == 2
    assert len(contenders_of([unlimited[1], first])[0]) == 1, "the limit left the others fewer"


def test_a_length_that_is_the_limit_is_not_shortened_by_it(runs: Path, tmp_path: Path) -> None:
    asked = dict(open_finished(runs / "small-0").plan.asked)
    for length, shortened in (("10m", False), ("9m", False), ("11m", True), ("20 steps", True)):
        name = length.replace(" ", "-")
        run = changed(runs / "small-0", tmp_path / name, asked={**asked, "train.length": length})
        assert (run.shortened, run.whole) == (shortened, False)


def wanted(run: Finished, runs_dir: Path, photos: Path, **limits: float | None) -> Entry:
    """What a comparison asks for where this run is what it wants."""
    request = TrainRequest(
        verb="finetune", data=Source.read(None, str(photos)), model=SMALL, set=SHORT, pretrained=False,
        runs_dir=runs_dir, seed=run.plan.seed,
    )  # fmt: skip
    return Entry(request, run.signature, "none", **limits)


def test_a_run_under_a_limit_answers_where_the_limit_is_no_larger(
    runs: Path, photos: Path, tmp_path: Path
) -> None:
    run = open_finished(runs / "small-0")
    made = wanted(run, tmp_path, photos, time_limit=300)
    shutil.copytree(runs / "small-0", made.folder.path)
    known = [open_finished(made.folder.path)]
    for limit, found in ((300, True), (299.5, True), (20, True), (301, False), (36000, False), (None, False)):
        entry = replace(made, time_limit=limit)
        assert ([one.folder for one in sort_out([entry], known)[0]] == [made.folder]) is found, limit
        assert found or entry.folder.path != made.folder.path, "nor is a half-made one gone on with"
    assert not sort_out([replace(made, time_limit=20, equal_time=10)], known)[0]
    assert not sort_out([replace(made, time_limit=20, start="other")], known)[0]


def test_a_whole_run_answers_under_any_limit(runs: Path, photos: Path, tmp_path: Path) -> None:
    asked = dict(open_finished(runs / "small-0").plan.asked)
    whole = {name: value for name, value in asked.items() if name not in ("max_steps", "time_limit")}
    run = changed(runs / "small-0", tmp_path / "whole", asked=whole)
    for limit in (None, 20, 36000):
        assert sort_out([wanted(run, tmp_path, photos, time_limit=limit)], [run])[0] == [run]
    assert not sort_out([wanted(run, tmp_path, photos, equal_time=20)], [run])[0]


def test_where_no_time_is_left_the_others_are_still_judged(runs: Path, photos: Path, tmp_path: Path) -> None:
    item = Missing(entry=wanted(open_finished(runs / "small-0"), tmp_path, photos, time_limit=5), seconds=10)
    done, failed = train_missing([item, item], Silent(), StopFlag(), ends=time.monotonic() - 1)
    assert done == []
    assert failed == [(item.entry, "no time was left for it; it takes about 10 s")] * 2


def test_a_half_made_run_gets_the_time_that_is_left(
    runs: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = wanted(open_finished(runs / "small-0"), tmp_path, photos, time_limit=600)
    shutil.copytree(runs / "small-0", entry.folder.path)
    record = json.loads((entry.folder.path / "run.json").read_text())
    write_json(entry.folder.path / "run.json", {**record, "status": "stopped"})
    until: list[float] = []

    def noted(words: Sequence[str], *, ends: float, **_: Any) -> Ended:
        assert words == ["resume", str(entry.folder.path)]
        until.append(ends)
        time.sleep(max(0.0, ends - time.monotonic()))
        return Ended(code=143, output="", why="stopped by SIGTERM")

    monkeypatch.setattr(CHILD, noted)
    began = time.monotonic()
    item = Missing(entry=entry, seconds=1)
    _, failed = train_missing([item], Silent(), StopFlag(), ends=began + 1.5)
    assert until == [began + 1.5]
    assert [why for _, why in failed] == ["its time was over: it is saved, and the same command goes on with it"]


def test_a_child_is_stopped_when_its_time_is_over() -> None:
    ended = run_child(["runs"], stop=StopFlag(), heard=print, tick=lambda: None, ends=time.monotonic())
    assert ended.code != 0


def test_with_equal_time_the_time_decides_and_not_the_epochs(
    photos: Path, tmp_path: Path, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps are soon done: the run goes on to the end of its time, once."""
    short = (SHORT[0], "train.length=4 steps", *SHORT[2:], "optim.warmup=2 steps")
    asked: dict[str, Any] = {"models": SMALL, "set": short, "pretrained": False, "costs": False}
    asked |= {"runs_dir": tmp_path / "runs", "equal_time": "30s", **MACHINE}
    children: list[Sequence[str]] = []

    def forked(words: Sequence[str], **_: Any) -> Ended:
        children.append(words)
        command = zygote.start(*words, patch={"deitft.runs.measure.REPORT_SECONDS": 3.0})
        code = command.wait(120)
        return Ended(code=code, output=command.out, why=command.err if code else "")

    monkeypatch.setattr(CHILD, forked)
    (table,) = deitft.compare(photos, **asked).tables
    (row,) = table.rows
    (name,) = row.runs
    run = open_finished(tmp_path / "runs" / name)
    plan = run.plan
    assert (row.status == "shortened") is (run.record.result["ended"] == "time limit"), "a machine that got busy"
    assert plan.asked["train.length"] == "30s"
    assert plan.total_steps > 10
    assert row.training is not None
    assert row.training > 15
    assert ["--dry-run" in words for words in children] == [True, False]
    again = deitft.compare(photos, **asked, dry_run=True)
    assert dict(again.plan)["There already"] == name
    assert len(children) == 2


def test_runs_from_other_weights_are_other_runs(
    runs: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By content: a run that started from a file of the user's is not the model of that name."""
    start = runs / "small-0" / "best"
    finetune(photos, tmp_path / "runs", "own", *SHORT, pretrained=True, weights=str(start), splits=sides(runs))
    run = open_finished(tmp_path / "runs" / "own")
    assert run.plan.weights["sha256"] == sha256_file(start / "model.safetensors")
    architecture = SMALL.partition(".")[0]
    for name, source in (("same", start), ("other", runs / "small-1" / "best")):
        shutil.copytree(source, tmp_path / name / architecture)
    monkeypatch.setattr(CHILD, lambda *_, **__: Ended(code=1, output="", why="not here"))

    def planned(weights_dir: Path) -> dict[str, str]:
        asked: dict[str, Any] = {"models": SMALL, "set": SHORT, "runs_dir": tmp_path / "runs", "dry_run": True}
        asked |= {"splits": sides(runs), "weights_dir": weights_dir, **MACHINE}
        return dict(deitft.compare(photos, **asked).plan)

    assert planned(tmp_path / "same")["There already"] == "own"
    with fails(MissingInputError, "RUN") as caught:
        planned(tmp_path / "other")
    assert "not here" in caught.value.line
    gone = replace(wanted(run, tmp_path, photos), start=None)
    gone = replace(gone, request=replace(gone.request, pretrained=True))
    assert not gone.is_answered_by(run)
    published = changed(run.folder.path, tmp_path / "published", weights={**run.plan.weights, "kind": "hub"})
    assert gone.is_answered_by(published), "the weights of that name, which nobody has here any more"


def sides(runs: Path) -> Path:
    """On which side the photos are."""
    return runs / "small-0" / "splits.csv"
