"""--time-limit bounds the whole command: bundle and report are there in time, or one line says why not."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_kit import ONE_THREAD, fails, finetune, record_of, signal_at
from small_net import SMALL
from training_kit import tiny_plan

import deitft
from deitft.core.progress import Silent
from deitft.errors import TerminatedError, UsageError
from deitft.recipe.plan import read_plan
from deitft.runs import measure, time_limit
from deitft.runs.finished import open_finished

LONG = ("model.image_size=32", "train.length=20000 steps", "train.batch=16", "train.validate_every=20 steps")


def limited(photos: Path, runs_dir: Path, limit: str, *, progress: Silent | None = None, **more: object) -> Path:
    result = deitft.finetune(
        photos,
        model=SMALL,
        pretrained=False,
        runs_dir=runs_dir,
        name="a",
        set=LONG,
        time_limit=limit,
        progress=progress,
        **{**ONE_THREAD, **more},
    )
    assert result.folder is not None
    return result.folder


def test_a_short_limit_ends_with_bundle_and_report_in_time(photos: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    run = limited(photos, tmp_path, "20s")
    took = time.monotonic() - began
    assert took < 20
    record, plan = record_of(run), read_plan(run / "plan.json")
    assert record["status"] == "done"
    assert (run / "report.html").is_file()
    assert (run / "best" / "model.safetensors").is_file()
    assert 10 <= plan.total_steps < 20000
    assert plan.asked["max_steps"] == plan.total_steps
    assert plan.optim.warmup_steps < plan.total_steps  # the schedule is made for these steps
    assert record["result"]["ended"] in ("finished", "time limit")
    assert record["result"]["steps"] <= plan.total_steps
    assert record["result"]["steps"] > plan.total_steps / 3


def test_a_limit_that_nothing_fits_in_is_one_line(photos: Path, tmp_path: Path) -> None:
    with fails(UsageError, "TIME") as caught:
        limited(photos, tmp_path / "runs", "1s")
    wanted = re.search(r"raise --time-limit \(10 steps want (\d+)m\)", caught.value.hint)
    assert wanted is not None
    assert 1 <= int(wanted[1]) < 10
    assert not (tmp_path / "runs").exists()


def test_a_limit_with_room_for_everything_takes_nothing(photos: Path, tmp_path: Path) -> None:
    """The run is the one without a limit; so is one without a step, which no limit can shorten."""
    short = ("model.image_size=32", "train.length=4 steps", "train.batch=16")
    made = [
        finetune(photos, tmp_path, name, *short, time_limit=limit)
        for name, limit in (("limited", "30m"), ("not", None))
    ]
    limited_run, other = (open_finished(result.folder) for result in made if result.folder)
    assert limited_run.plan == other.plan
    assert limited_run.whole
    assert not limited_run.shortened
    finetune(photos, tmp_path, "probe", short[0], recipe="linear-probe", time_limit="30m")
    assert open_finished(tmp_path / "probe").whole


def test_a_length_in_time_has_room_for_a_warm_up_in_epochs(photos: Path, tmp_path: Path) -> None:
    """Also before the speed is measured."""
    asked = ("model.image_size=32", "train.length=1m", "train.batch=16", "optim.warmup=1 epochs")
    plan = finetune(photos, tmp_path, "a", *asked, dry_run=True).values["plan"]
    assert plan["total_steps"] > plan["optim"]["warmup_steps"] == plan["steps_per_epoch"]


@pytest.mark.parametrize("text", ["soon", "0s", "-5m", "30"])
def test_a_limit_that_is_none(photos: Path, tmp_path: Path, text: str) -> None:
    with fails(UsageError, "TIME") as caught:
        limited(photos, tmp_path / "runs", text)
    assert "--time-limit" in caught.value.what
    assert not (tmp_path / "runs").exists()


def test_a_limited_run_is_resumed_with_its_steps(photos: Path, tmp_path: Path) -> None:
    """The flag --resume plans anew: with the number of steps that the limit gave, not those of today."""
    with fails(TerminatedError, "N3"):
        limited(photos, tmp_path, "2m", progress=signal_at("training", 2, 15))
    planned = read_plan(tmp_path / "a" / "plan.json").total_steps
    with fails(TerminatedError, "N3"):
        limited(photos, tmp_path, "1m", progress=signal_at("training", 4, 15), resume=True)
    assert read_plan(tmp_path / "a" / "plan.json").total_steps == planned


def test_a_dear_probe_sees_fewer_photos_and_the_run_goes_on_with_as_many(
    shared: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deitft.runs.measure.LEAST_PROBED", 4)
    monkeypatch.setattr("deitft.runs.measure.USED_SHARE", 1e-9)
    monkeypatch.setattr("deitft.runs.time_limit.measure.steps_within", lambda plan, *_, **__: 5)
    weights = {"model": "vit_ti", "pretrained": True, "weights_dir": shared / "weights", "runs_dir": tmp_path}
    asked = {"set": ("model.image_size=64", *LONG[1:]), "time_limit": "2m", "name": "a", **ONE_THREAD, **weights}
    with fails(TerminatedError, "N3"):
        deitft.finetune(photos, progress=signal_at("training", 2, 15), **asked)
    plan = read_plan(tmp_path / "a" / "plan.json")
    assert plan.probe_photos == 4 * len(plan.classes) < plan.photos["train"]
    probe = json.loads((tmp_path / "a" / "probe.json").read_text())
    assert probe["train_photos"] == plan.probe_photos
    assert probe["note"] == f"on {plan.probe_photos} of {plan.photos['train']} train photos"
    with fails(TerminatedError, "N3"):  # begun again without a limit to compare with: the photos as they were
        deitft.finetune(photos, progress=signal_at("training", 4, 15), resume=True, **asked)
    assert read_plan(tmp_path / "a" / "plan.json") == plan


@pytest.mark.parametrize("limit", [30.0, 300.0, 400.0, 7200.0])
@pytest.mark.parametrize("classes", [10, 100])
def test_the_probe_gets_the_time_that_is_left(limit: float, classes: int) -> None:
    names = tuple(str(number) for number in range(classes))
    photos = {"train": 3068, "val": 341, "test": 372}
    plan = tiny_plan(classes=names, photos=photos, total_steps=600, head_start="probe", validate_every=50)
    costs = measure.Costs(step_seconds={plan.train_size: 8.0}, photo_seconds=0.05, peak_bytes=0, measured_steps=6)
    probed = measure.probed_within(plan, costs, 0, limit=limit, elapsed=60, held_out=713)
    least = measure.LEAST_PROBED * classes
    assert least <= probed <= plan.probe_photos
    seen = probed + photos["val"] + photos["test"]
    steps = measure.steps_within(plan, costs, 0, limit=limit, elapsed=60, probe_photos=seen)
    assert steps >= 1 or probed == least
    if least < probed < plan.probe_photos:  # not a photo more, but for one that rounding has cut off
        assert not measure.steps_within(plan, costs, 0, limit=limit, elapsed=60, probe_photos=seen + 2)
    beside = replace(plan, head_start="random")
    assert measure.probed_within(beside, costs, 0, limit=limit, elapsed=60, held_out=713) == least, (
        "a baseline alone"
    )


@pytest.mark.parametrize("limit", [15.0, 60.0, 600.0, 7200.0])
def test_the_hard_stop_leaves_training_its_planned_time_and_the_rest_too(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine as fast as measured the schedule ends by itself; what comes after still fits the limit."""
    plan = SimpleNamespace(ema_decay=0.99, photos={"train": 800, "val": 100, "test": 100})
    request = SimpleNamespace(time_limit=limit, started=1000.0)
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr("deitft.runs.time_limit.time", clock)
    monkeypatch.setattr("deitft.runs.session.time", clock)
    stop = time_limit.hard_stop(request, plan, 0.001)  # type: ignore[arg-type]
    assert stop is not None
    after = 200 * 0.001 + measure.REPORT_SECONDS
    training_ends = measure.USED_SHARE * limit - after
    assert stop - 1000 >= max(1.0, training_ends) - 1e-9
    assert stop - 1000 + after <= max(limit, 1.0 + after)
    if limit >= 600:  # time enough to be careful
        assert stop - 1000 + 2 * after <= limit
