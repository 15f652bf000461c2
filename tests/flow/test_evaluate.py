"""A run on labelled photos: the same figures as its own, classes by name, files, JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from photo_kit import untouched
from run_kit import CLASSES, fails, record_of

import deitft
from deitft.cli.app import main
from deitft.core.files import read_json
from deitft.core.progress import Silent
from deitft.core.records import parse_csv_text
from deitft.errors import DataError, MissingInputError, OutputError
from deitft.evaluation.predictions import load_predictions

HERE = {"device": "cpu", "threads": 1, "workers": 0}


@pytest.fixture(scope="module")
def split_photos(whole: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's photos as train/, val/ and test/ folders."""
    root = tmp_path_factory.mktemp("split")
    for row in parse_csv_text((whole / "splits.csv").read_text()):
        target = root / row["split"] / row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / row["path"], target)
    return root


def of(whole: Path, split: str) -> dict[str, object]:
    metrics = read_json(whole / "metrics.json")
    assert isinstance(metrics, dict)
    return dict(metrics[split])


def alike(found: dict[str, object], expected: dict[str, object]) -> None:
    """The same figures: counts exactly, what is computed from logits to rounding."""
    for name in ("n", "classes", "top1", "macro_f1", "balanced_accuracy", "confusion", "present"):
        assert found[name] == expected[name], name
    for name in ("nll", "calibration_error", "temperature"):
        assert found[name] == pytest.approx(expected[name], abs=2e-3), name


@pytest.mark.parametrize(("split", "means"), [(None, "test"), ("test", "test"), ("val", "val")])
def test_the_figures_of_the_run_for_the_same_photos(
    whole: Path, split_photos: Path, split: str | None, means: str
) -> None:
    with untouched(split_photos):
        found = deitft.evaluate(whole, split_photos, split=split, **HERE)
    assert found.split == means
    alike(json.loads(json.dumps(found.record(), default=lambda value: value.tolist())), of(whole, means))
    theirs, _ = load_predictions(whole / ("predictions.csv" if means == "test" else "predictions-val.csv"))
    np.testing.assert_allclose(found.predictions.logits(), theirs.logits(), atol=2e-4)


def test_a_folder_of_classes_is_taken_as_it_is(whole: Path, split_photos: Path) -> None:
    found = deitft.evaluate(whole, split_photos / "test", **HERE)
    alike(json.loads(json.dumps(found.record(), default=lambda value: value.tolist())), of(whole, "test"))
    everything = deitft.evaluate(whole, split_photos, split="all", **HERE)
    assert everything.metrics.n == 96


def test_other_names_of_the_same_photos_change_no_interval(
    whole: Path, split_photos: Path, tmp_path: Path
) -> None:
    photos = sorted((split_photos / "test").rglob("*.*"))
    for number, photo in enumerate(photos):
        target = tmp_path / photo.parent.name / f"{len(photos) - number:02d}{photo.suffix}"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(photo, target)
    found = deitft.evaluate(whole, tmp_path, **HERE).metrics
    own = of(whole, "test")["intervals"]
    assert isinstance(own, dict)
    for name in ("top1", "macro_f1", "balanced_accuracy"):
        assert found.intervals[name] == tuple(own[name]), name


def test_workers_and_batch_change_nothing(whole: Path, photos: Path) -> None:
    one = deitft.evaluate(whole, photos, batch=7, **HERE).predictions
    two = deitft.evaluate(whole, photos, batch=32, **(HERE | {"workers": 1})).predictions
    assert one.paths == two.paths
    np.testing.assert_allclose(one.logits(), two.logits(), atol=1e-5)


def test_it_computes_as_the_run_did(whole: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in fp32 is judged in fp32, also where the processor would do bf16."""
    monkeypatch.setattr("deitft.compute.device.cpu_computes_bf16", lambda: True)
    assert deitft.load(whole, **HERE).machine.precision == "fp32"
    assert deitft.load(whole, precision="bf16", **HERE).machine.precision == "bf16"
    plan = json.loads((whole / "plan.json").read_text()) | {"precision": "fp16"}  # of a GPU: not possible here
    elsewhere = whole.parent / "elsewhere"
    shutil.copytree(whole / "best", elsewhere / "best")
    (elsewhere / "plan.json").write_text(json.dumps(plan))
    assert deitft.load(elsewhere, **HERE).machine.precision == "bf16"
    (elsewhere / "plan.json").unlink()
    assert deitft.load(elsewhere / "best", **HERE).machine.precision == "bf16"
    shutil.rmtree(elsewhere)


def test_D9_a_class_without_photos_is_said_and_left_out(whole: Path, split_photos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(split_photos / "test", tmp_path / "some")
    shutil.rmtree(root / CLASSES[0])
    progress = Silent()
    found = deitft.evaluate(whole, root, progress=progress, **HERE)
    (notice,) = [notice for notice in progress.notices if notice.id == "D9"]
    assert notice.severity == "warning"
    assert CLASSES[0] in notice.line
    assert found.metrics.classes == CLASSES
    assert found.metrics.present == 2
    theirs, _ = load_predictions(whole / "predictions.csv")
    kept = theirs.labels > 0
    assert found.metrics.top1 == pytest.approx((theirs.logits()[kept].argmax(1) == theirs.labels[kept]).mean())
    with_all = Silent()
    deitft.evaluate(whole, split_photos, progress=with_all, **HERE)
    assert [notice for notice in with_all.notices if notice.id == "D9"] == []


def test_a_finished_model_is_not_told_how_few_photos_there_are_to_train_on(
    whole: Path, split_photos: Path, tmp_path: Path
) -> None:
    for name in CLASSES:
        (tmp_path / "few" / name).mkdir(parents=True)
        first = sorted((split_photos / "test" / name).iterdir())[0]
        shutil.copy(first, tmp_path / "few" / name)
    progress = Silent()
    assert deitft.evaluate(whole, tmp_path / "few", progress=progress, **HERE).metrics.n == 3
    assert [notice.line for notice in progress.notices if "train" in notice.line] == []


def test_one_class_alone_can_be_measured(whole: Path, split_photos: Path, tmp_path: Path) -> None:
    shutil.copytree(split_photos / "test" / CLASSES[1], tmp_path / "one" / CLASSES[1])
    found = deitft.evaluate(whole, tmp_path / "one", **HERE)
    theirs, _ = load_predictions(whole / "predictions.csv")
    kept = theirs.labels == 1
    assert found.metrics.n == kept.sum()
    assert found.metrics.top1 == pytest.approx((theirs.logits()[kept].argmax(1) == 1).mean())


def test_D9_a_class_that_the_model_does_not_know_is_refused(
    whole: Path, split_photos: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(split_photos / "test", tmp_path / "some")
    (root / CLASSES[2]).rename(root / "trousers")
    with fails(DataError, "D9") as caught:
        deitft.evaluate(whole, root, **HERE)
    assert caught.value.exit_code == 65
    assert "trousers" in caught.value.what


def test_a_split_that_is_not_there(whole: Path, split_photos: Path) -> None:
    with fails(MissingInputError, "D1"):
        deitft.evaluate(whole, split_photos / "test", split="val", **HERE)


def test_a_run_without_a_model_is_no_bug(whole: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "run.json", tmp_path)
    with fails(MissingInputError, "RUN") as caught:
        deitft.evaluate(tmp_path, photos, **HERE)
    assert caught.value.hint == f"deitft resume {tmp_path}"
    with fails(MissingInputError, "RUN"):
        deitft.evaluate(tmp_path / "nothing", photos, **HERE)


def test_the_command_line_gives_json_and_files(
    whole: Path, split_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["evaluate", str(whole), str(split_photos), "--split", "val", "--threads", "1", "--workers", "0"]
    before = record_of(whole)
    assert main([*line, "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    alike(printed, of(whole, "val"))
    assert (printed["run"], printed["split"]) == (str(whole), "val")
    written = read_json(tmp_path / "out" / "metrics.json")
    assert written == printed
    found, classes = load_predictions(tmp_path / "out" / "predictions.csv")
    assert classes == CLASSES
    assert len(found) == printed["n"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "predictions.csv"}
    assert record_of(whole) == before  # the run itself is as it was


def test_C5_a_place_for_the_results_that_cannot_be_had(
    whole: Path, split_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code = main(["evaluate", str(whole), str(split_photos), "--out", str(tmp_path / "file")])
    err = capsys.readouterr().err
    assert code == 73
    assert err.startswith("deitft: error [C5]: ")
    assert err.count("\n") == 1
    assert "--out" in err


def test_results_take_the_place_of_nothing_else(whole: Path, split_photos: Path, tmp_path: Path) -> None:
    """A run's own figures have the same file names. The photos are not written into either."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.csv").write_text("dear diary\n")
    with untouched(run), untouched(split_photos), untouched(tmp_path / "mine"):
        for out, id in ((run, "OUT"), (tmp_path / "mine", "OUT"), (split_photos / "x" / "y", "C5")):
            with fails(OutputError, id):
                deitft.evaluate(run, split_photos, out=out, **HERE)
    for split in ("val", "test"):  # an earlier evaluation is written again
        deitft.evaluate(run, split_photos, split=split, out=run / "mine", **HERE)
    written = read_json(run / "mine" / "metrics.json")
    assert isinstance(written, dict)
    assert written["split"] == "test"
