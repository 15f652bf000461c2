"""--dry-run: what a run would cost, from real steps, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from photo_kit import untouched
from run_kit import ONE_THREAD, fails

import deitft
from deitft.cli.app import main
from deitft.core.units import format_bytes
from deitft.errors import RecipeError

ASKED = ("model.image_size=64", "train.length=30 steps", "train.batch=8")


def test_the_costs_are_told_and_nothing_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["finetune", str(photos), "--model", "deit_ti", "--no-pretrained", "--dry-run", "--threads", "1"]
    for setting in ASKED:
        line += ["--set", setting]
    with untouched(photos):
        assert main([*line, "--workers", "0", "--json"]) == 0
        planned = json.loads(capsys.readouterr().out)
        assert main([*line, "--workers", "0"]) == 0
        shown = dict(text.split("  ", 1) for text in capsys.readouterr().out.splitlines())
    assert list(tmp_path.iterdir()) == []
    assert (planned["status"], planned["folder"]) == ("planned", None)
    assert planned["plan"]["total_steps"] == 30
    seconds = planned["seconds"]
    assert seconds["total"] == pytest.approx(sum(value for name, value in seconds.items() if name != "total"))
    measured = planned["measured"]["step_seconds"]
    assert list(measured) == ["32", "64"]
    assert seconds["training"] == pytest.approx(26 * measured["32"] + 4 * measured["64"])  # 85 % of 30 are small
    assert planned["measured"]["steps"] >= 2
    assert planned["memory_bytes"] > 1e8  # this process holds torch
    assert planned["disk_bytes"] > 4 * 5e6 * 5  # weights, moments and bundles of 5 million parameters
    for name in ("Steps", "Measured", "Time", "Memory", "Disk", "Machine"):
        assert name in shown
    assert format_bytes(planned["disk_bytes"]) in shown["Disk"]
    assert shown["Weights"].strip() == "none: it starts from random values"
    assert shown["Machine"].endswith(" 1 thread, 0 workers")


def test_the_forecast_is_of_this_run(photos: Path, tmp_path: Path) -> None:
    """What was forecast for the disk is what the run takes."""
    asked = {"model": "mobilenetv2", "pretrained": False, "runs_dir": tmp_path / "runs", **ONE_THREAD}
    settings = ("model.image_size=32", "train.length=6 steps", "train.batch=16", "train.keep_checkpoints=1")
    planned = deitft.finetune(photos, set=settings, dry_run=True, **asked).record()
    run = deitft.finetune(photos, set=settings, **asked).folder
    assert run is not None
    taken = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert planned["disk_bytes"] == pytest.approx(taken, rel=0.1)


def test_mistakes_are_found_without_a_step(photos: Path, tmp_path: Path) -> None:
    with fails(RecipeError, "RECIPE") as caught:
        deitft.finetune(
            photos, set=("optim.lrr=1", "train.batch=-3"), dry_run=True, runs_dir=tmp_path / "runs", **ONE_THREAD
        )
    assert "lrr" in caught.value.what
    assert "train.batch" in caught.value.what
    assert list(tmp_path.iterdir()) == []
