"""Costs of real bundles, measured by real processes: all figures, failures that stay one, no orphan, the cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from run_kit import fails, finetune

from deitft.core.progress import Silent, SilentTask, StopFlag
from deitft.data.photos import PhotoSet
from deitft.errors import MissingInputError, TerminatedError
from deitft.evaluation.cost import CostSettings
from deitft.runs import costing
from deitft.runs.classifier import loose_photos
from deitft.runs.costing import SAMPLE, measure_costs

SETTINGS = CostSettings(device="cpu", threads=1, precision="fp32", rounds=4, slice_seconds=0.02, batch_limit=2)


@pytest.fixture(scope="module")
def known(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that timm itself knows: what measures it is another process."""
    folder = tmp_path_factory.mktemp("known")
    settings = ("model.image_size=32", "train.length=2 steps", "train.batch=16", "train.micro_batch=16")
    finetune(photos, folder, "run", *settings, model="resnet10t")
    return folder / "run"


@pytest.fixture
def sample(photos: Path) -> PhotoSet:
    return loose_photos(sorted(photos.rglob("*.jpg")))


def test_a_bundle_is_measured_and_a_damaged_one_is_told(
    known: Path, sample: PhotoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = shutil.copytree(known / "best", tmp_path / "damaged")
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    kept = tmp_path / "kept"
    report = measure_costs([known, damaged, tmp_path], sample, settings=SETTINGS)
    good, bad, nothing = report.models
    assert bad.error is not None
    assert (bad.error["id"], bad.latency, bad.memory) == ("S6", None, None)
    assert nothing.error is not None
    assert nothing.error["id"] == "RUN"
    assert good.error is None
    assert good.bundle == str(known)
    assert good.weights_bytes == (known / "best" / "model.safetensors").stat().st_size
    assert good.latency is not None
    assert good.photo is not None
    assert good.memory is not None
    assert good.throughput is not None
    assert 0 < good.latency.p50 <= good.latency.p95
    assert good.latency.p50 < good.photo.p50
    assert good.throughput.batch in (1, 2)
    assert good.memory.how == "resident"
    assert 0 < good.memory.base_bytes <= good.memory.loading_bytes
    assert good.memory.one_bytes > 0
    assert report.photos == SAMPLE
    assert report.machine["threads"] == 1
    assert json.loads(json.dumps(report.record()))["noise"]["load"] is not None

    # a quiet report is kept for the very same bundles, photos, machine and settings
    monkeypatch.setattr(costing._Asker, "report", lambda self, models, about: quiet)
    quiet = costing.replace(
        report, models=(good,), noise=costing.noise_of([], load=None, others=None), settings=SETTINGS
    )
    assert measure_costs([known], sample, settings=SETTINGS, cache_dir=kept) == quiet
    monkeypatch.setattr(costing._Asker, "report", lambda self, models, about: pytest.fail("measured again"))
    again = measure_costs([known / "best"], sample, settings=SETTINGS, cache_dir=kept)
    assert again.models[0].latency == good.latency
    assert again.models[0].bundle == str(known / "best")
    for file in (kept / "costs").iterdir():
        file.write_text("{}")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        measure_costs([known], sample, settings=SETTINGS, cache_dir=kept)


def test_a_model_its_process_dies_of_is_told(
    known: Path, sample: PhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_of_the_second = (
        "import json, os, sys; n = len(json.loads(sys.stdin.readline())['bundles']);"
        "print(json.dumps({'at': n - 1, 'round': 0}), flush=True); os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(costing, "_START", dies_of_the_second)
    report = measure_costs([known, known / "last"], sample, settings=SETTINGS)
    for model in report.models:
        assert model.error is not None
        assert model.error["id"] == "COST"
        assert "killed, signal 9: often out of memory" in str(model.error["what"])
    monkeypatch.setattr(costing, "_START", "raise SystemExit('no room')")
    (model,) = measure_costs([known], sample, settings=SETTINGS).models
    assert "died (exit status 1: no room)" in str((model.error or {})["what"])


def test_the_process_ends_with_the_one_that_asked() -> None:
    root = str(Path(costing.__file__).parents[2])
    child = subprocess.Popen([sys.executable, "-P", "-c", costing._START, root], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(b'{"kind": "time", "threads": 1}\n')
    child.stdin.close()  # as it is when the parent is killed
    assert child.wait(10) == 1


def test_a_signal_ends_it(known: Path, sample: PhotoSet) -> None:
    stop = StopFlag()

    class Told(Silent):
        @contextmanager
        def task(self, title: str, total: int | None = None, *, unit: str = "") -> Iterator[SilentTask]:
            stop.reason = "SIGTERM"
            yield SilentTask()

    with fails(TerminatedError, "N3"):
        measure_costs([known], sample, settings=SETTINGS, progress=Told(), stop=stop)


def test_no_photo_no_costs(known: Path, sample: PhotoSet) -> None:
    gone = PhotoSet(Path(), ["/nothing/here.jpg"], sample.labels[:1])
    with fails(MissingInputError, "D1"):
        measure_costs([known], gone, settings=SETTINGS)
