"""The public names of the package, used as a notebook uses them."""

from __future__ import annotations

import inspect
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from run_kit import CLASSES, ONE_THREAD, fails, finetune, fingerprints
from small_net import SMALL

import deitft
from deitft import errors
from deitft.errors import DataError, MissingInputError, UsageError
from deitft.recipe.load import shipped_recipes

HERE = {"device": "cpu", "threads": 1, "workers": 0}


def test_names_are_there_and_typed() -> None:
    assert set(deitft.__all__) <= set(dir(deitft))
    for name in deitft.__all__:
        value = getattr(deitft, name)
        if name == "__version__":
            continue
        assert inspect.getdoc(value)
        signature = inspect.signature(value)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values())
    with pytest.raises(AttributeError, match="no attribute 'finetun'"):
        deitft.finetun  # noqa: B018


def test_importing_it_loads_nothing_heavy_and_prints_nothing() -> None:
    script = (
        "import sys, deitft; dir(deitft); deitft.finetune, deitft.evaluate, deitft.resume\n"
        "heavy = {'torch', 'timm', 'albumentations', 'sklearn', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_train_load_predict_evaluate(whole: Path, photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = deitft.resume(whole)
    assert run.folder == whole
    assert json.loads(json.dumps(run.record()))["status"] == "done"
    assert ("Model", str(whole / "best")) in list(run.summary())
    shoes = deitft.load(run.folder, **HERE)
    paths = sorted((photos / "shoe").iterdir())[:4]
    answers = shoes.predict(paths)
    assert [answer.path for answer in answers] == [str(path) for path in paths]
    assert {answer.label for answer in answers} <= set(CLASSES) == set(shoes.classes)
    table = deitft.predict(whole, paths, **HERE)
    assert [(row["label"], row["probability"]) for row in table.rows] == [
        (answer.label, pytest.approx(answer.probability, abs=1e-6)) for answer in answers
    ]
    found = deitft.evaluate(whole, photos, **HERE)
    assert found.metrics.n == 96
    assert capfd.readouterr() == ("", "")  # a library does not talk


def test_a_notebook_hears_what_is_done(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same lines as the command line's off a terminal: one an epoch, and how far a long task is."""
    lines = io.StringIO()
    finetune(photos, tmp_path, "a", progress=deitft.PrintProgress(lines, every=0))
    assert capfd.readouterr() == ("", "")
    said = lines.getvalue().splitlines()
    assert any(line.startswith("epoch 1") for line in said)
    assert any(re.match(r"training a: \d+ of [\d,]+ steps .*loss", line) for line in said)


def test_text_and_paths_are_both_taken(whole: Path, photos: Path) -> None:
    photo = sorted(photos.rglob("*.jpg"))[0]
    one = deitft.predict(str(whole), [str(photo)], **HERE).rows
    assert one == deitft.predict(whole, [photo], **HERE).rows


def test_a_thread_that_is_not_the_main_one_can_train(whole: Path, photos: Path, tmp_path: Path) -> None:
    """As in a web server or a notebook's kernel: no signal handler can be set there, with a data worker too."""
    results = []
    thread = threading.Thread(target=lambda: results.append(finetune(photos, tmp_path, "a", workers=1)))
    thread.start()
    thread.join(120)
    assert len(results) == 1
    assert fingerprints(results[0].folder) == fingerprints(whole)


def test_mistakes_are_errors_with_an_id_and_one_line(whole: Path, photos: Path, tmp_path: Path) -> None:
    with fails(MissingInputError, "D1"):
        deitft.finetune(tmp_path / "nothing")
    with fails(UsageError, "MODEL") as caught:
        deitft.finetune(photos, model="deit_tiny", runs_dir=tmp_path / "runs", **ONE_THREAD)
    assert "deit_ti" in caught.value.line
    with fails(UsageError, "RUN"):
        finetune(photos, tmp_path / "runs", "../x")
    with fails(errors.OutputError, "C5"):
        finetune(photos, photos / "runs", "a")
    with fails(MissingInputError, "RUN"):
        deitft.resume(tmp_path / "nothing")
    with fails(DataError, "S6"):
        bundle = tmp_path / "bundle"
        bundle.mkdir()
        for file in (whole / "best").iterdir():
            (bundle / file.name).write_bytes(file.read_bytes())
        (bundle / "model.safetensors").write_bytes((bundle / "model.safetensors").read_bytes()[:-4] + b"abcd")
        deitft.load(bundle, **HERE)
    assert not (tmp_path / "runs").exists()
    assert not (photos / "runs").exists()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("set", [5]),
        ("set", {"optim.lr": 1}),
        ("seed", "x"),
        ("seed", 1.5),
        ("seed", -1),
        ("threads", "2"),
        ("workers", True),
        ("time_limit", 30),
        ("log_to", ["excel"]),
        ("model", 5),
        ("name", 5),
        ("runs_dir", ""),
        ("recipe", 5),
    ],
)
def test_a_keyword_of_another_kind_is_told_by_name(photos: Path, keyword: str, value: object) -> None:
    for wrong in ({keyword: value}, {keyword: value, "dry_run": True}):
        with fails(UsageError, "USAGE") as caught:
            deitft.finetune(photos, **wrong)  # type: ignore[arg-type]
        assert keyword in caught.value.what


def test_one_text_where_several_are_taken_is_one(whole: Path, photos: Path) -> None:
    planned = deitft.finetune(
        photos,
        model=SMALL,
        pretrained=False,
        probe=False,
        set="train.length=1 steps",
        recipe=Path(next(info.path for info in shipped_recipes() if info.name == "products")),
        dry_run=True,
        **ONE_THREAD,
    )
    assert dict(planned.summary())["Steps"].startswith("1 of ")
    photo = next(photos.rglob("*.jpg"))
    (answer,) = deitft.load(whole, **HERE).predict(str(photo))
    (row,) = deitft.predict(whole, photo, **HERE).rows
    assert (answer.path, answer.label) == (row["path"], row["label"])
    for path in ("", None, 5):
        with fails(UsageError, "USAGE"):
            deitft.finetune(path)  # type: ignore[arg-type]
        with fails(UsageError, "USAGE"):
            deitft.predict(whole, [path], **HERE)  # type: ignore[list-item]
    for wrong in ({"top": 0}, {"top": -1}, {"batch": 0}):
        with fails(UsageError, "USAGE"):
            deitft.predict(whole, photo, **HERE, **wrong)
    with fails(UsageError, "USAGE"):
        deitft.evaluate(whole, photos, split="tests", **HERE)
