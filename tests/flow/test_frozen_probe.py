"""The untouched model looks at the photos once: later runs come to the same bits without a second look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_kit import ONE_THREAD, finetune, fingerprints, write_photos

import deitft
from deitft.core.files import read_json
from deitft.evaluation.statistics import wilson_interval
from deitft.runs import frozen_probe

SMALL = ("model.image_size=64", "train.length=2 steps", "train.batch=8", "train.validate_every=1 epochs")


@pytest.fixture
def asked(shared: Path) -> dict[str, Any]:
    return {"model": "vit_ti", "pretrained": True, "weights_dir": shared / "weights"}


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos each look at frozen features was at."""
    looks: list[int] = []
    really = frozen_probe.frozen_features

    def count(classifier: Any, stream: Any, **more: Any) -> Any:
        looks.append(len(stream.photos))
        return really(classifier, stream, **more)

    monkeypatch.setattr(frozen_probe, "frozen_features", count)
    return looks


def test_a_second_run_does_not_look_again_and_is_the_same(
    tmp_path: Path, asked: dict[str, Any], looked_at: list[int]
) -> None:
    photos = write_photos(tmp_path / "photos", 14)
    foretold = deitft.finetune(photos, set=SMALL, dry_run=True, **ONE_THREAD, **asked).record()
    assert foretold["seconds"]["frozen probe"] > 0
    assert looked_at == []
    first = finetune(photos, tmp_path, "first", *SMALL, **asked).folder
    assert sum(looked_at) == 3 * 14
    second = finetune(photos, tmp_path, "second", *SMALL, **asked).folder
    assert sum(looked_at) == 3 * 14, "nothing was looked at again"
    assert first is not None
    assert second is not None
    assert fingerprints(first) == fingerprints(second)
    assert (first / "probe.json").read_bytes() == (second / "probe.json").read_bytes()
    foretold = deitft.finetune(photos, set=SMALL, dry_run=True, **ONE_THREAD, **asked).record()
    assert foretold["seconds"]["frozen probe"] == 0


def test_what_may_change_a_bit_is_looked_at_again(tmp_path: Path, asked: dict[str, Any]) -> None:
    photos = write_photos(tmp_path / "photos", 14)

    def to_look_at(*settings: str, **options: Any) -> bool:
        """Whether the plan has time for a look."""
        given = {**ONE_THREAD, **asked, **options}
        return deitft.finetune(photos, set=settings, dry_run=True, **given).record()["seconds"]["frozen probe"] > 0

    finetune(photos, tmp_path, "first", *SMALL, **asked)
    assert not to_look_at(*SMALL, "optim.lr=1e-5")
    assert to_look_at(*SMALL, "train.micro_batch=4")
    assert to_look_at(*SMALL, threads=2)
    assert to_look_at(*SMALL, seed=1), "other splits"


def test_the_probe_of_grouped_photos_has_an_interval_of_groups(tmp_path: Path) -> None:
    """Five photos of one article are no more witnesses for the baseline than for the model beside it."""
    photos = write_photos(tmp_path / "photos", 60)
    short = ("model.image_size=32", "train.length=2 steps", "train.batch=16", "model.head_start=probe")
    intervals = []
    for name, group_by in (("single", None), ("grouped", r"(\d{3})\d\.jpg")):
        finetune(photos, tmp_path / "runs", name, *short, group_by=group_by)
        probe = read_json(tmp_path / "runs" / name / "probe.json")
        metrics = read_json(tmp_path / "runs" / name / "metrics.json")
        assert isinstance(probe, dict)
        assert isinstance(metrics, dict)
        n = metrics["test"]["n"]
        plain = wilson_interval(round(probe["top1"] * n), n)
        intervals.append(tuple(probe["interval"]) == pytest.approx(plain))
    assert intervals == [True, False]
