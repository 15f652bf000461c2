"""Two real photos under wrong labels: a run and a check name them, with what they look like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_kit import ONE_THREAD, record_of

import deitft

CLASSES = ("hat", "pants", "shoes")
COUNT = 18


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "p"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        photos = sorted((shared / "data/clothing-small/train" / name).glob("*.jpg"))[:COUNT]
        for number, photo in enumerate(photos):
            shutil.copy2(photo, root / name / f"{number:02d}.jpg")
    (root / "hat/05.jpg").rename(root / "shoes/was-hat.jpg")
    (root / "pants/07.jpg").rename(root / "hat/was-pants.jpg")
    return root


PLANTED = {("shoes/was-hat.jpg", "shoes", "hat"), ("hat/was-pants.jpg", "hat", "pants")}


def suspects(findings: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    (found,) = [finding for finding in findings if finding["id"] == "SUSPECTS"]
    assert found["severity"] == "warning"
    return [tuple(row[:3]) for row in found["details"]["suspects"]]


def test_a_run_says_so_and_shows_them(folder: Path, shared: Path, tmp_path: Path) -> None:
    weights = {"model": "deit_ti", "weights_dir": shared / "weights"}
    deitft.finetune(folder, recipe="linear-probe", runs_dir=tmp_path, name="a", **weights, **ONE_THREAD)
    run = tmp_path / "a"
    named = suspects(record_of(run)["findings"])
    assert set(named) >= PLANTED
    assert len(named) <= 6
    assert suspects(json.loads((run / "check.json").read_text())["findings"]) == named
    page = (run / "report.html").read_text()
    assert "labels that look wrong" in page
    assert "was-hat.jpg" in page


def test_check_says_the_same_and_control_without_a_model(
    folder: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"workers": 1, "out": tmp_path / "check"}
    weights = {"weights_dir": shared / "weights", "threads": 1}
    found = deitft.check(folder, model="deit_ti", **weights, **asked)
    assert set(suspects([finding.record() for finding in found.findings])) >= PLANTED
    seen: list[int] = []
    monkeypatch.setattr("deitft.runs.suspects.features_of", lambda *_, **__: seen.append(1))
    again = deitft.check(folder, model="deit_ti", **weights, **asked)
    assert (again.findings, seen) == (found.findings, []), "the second look remembers"
    without = deitft.check(folder, model="none", **asked)
    assert "SUSPECTS" not in [finding.id for finding in without.findings]
