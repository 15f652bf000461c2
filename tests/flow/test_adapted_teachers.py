"""Teachers that learn the classes first: once, gone on with, foretold, in time; and weights that know them."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from models_kit import hub_folder
from PIL import Image
from run_kit import CLASSES, ONE_THREAD, fails, finetune, record_of, signal_at
from sklearn.datasets import load_digits
from small_net import SMALL as SMALL_NET

import deitft
from deitft.bundle.format import load_bundle
from deitft.compute.device import choose
from deitft.core.progress import Silent, StopFlag
from deitft.core.records import read_run_record
from deitft.data.source import Source
from deitft.errors import DataError, RecipeError, TerminatedError, UsageError
from deitft.models import imagenet
from deitft.models.build import build
from deitft.recipe.plan import read_plan
from deitft.runs import adapting, measure
from deitft.runs.digits import digits_instead
from deitft.runs.prepare import Prepared, prepare
from deitft.runs.request import TrainRequest
from deitft.runs.teacher import _of_weights, open_teacher, teachers_for
from deitft.runs.teacher_named import candidates

SMALL = ("model.image_size=32", "train.length=2 steps", "train.batch=8", "distill.teacher_size=32")
TEACHER = "resnet10t"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos of each of three classes, told apart by their colour."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for photo in range(12):
            pixels = np.random.default_rng((number, photo)).integers(0, 60, (32, 32, 3))
            pixels[..., number] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{photo:04d}.png")
    return root


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with a small convnet of ImageNet's classes in it."""
    folder = tmp_path_factory.mktemp("zoo")
    net = build(TEACHER, num_classes=1000, image_size=32, seed=1).net
    hub_folder(folder / TEACHER, net.state_dict(), TEACHER, "c3_in1k", num_classes=1000)
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Teachers learn in a few steps, and little is measured."""
    for way, recipe, length in (("finetune", "finetune", "8"), ("from nothing", "pretrain-small", "24")):
        file = tmp_path / "recipes" / f"{recipe}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"train:\n  length: {length} steps\n  batch: 16\n  validate_every: 4 steps\nmodel:\n  image_size: 32\n"
        )
        monkeypatch.setitem(adapting.RECIPES, way, str(file))
    monkeypatch.setattr(measure, "ALL_SECONDS", 1.0)
    monkeypatch.setattr(measure, "STEP_SECONDS", 1.0)


def teachers_in(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.glob("teacher-*"))


def test_a_teacher_learns_once(photos: Path, zoo: Path, tmp_path: Path) -> None:
    """It is foretold, refused within a time limit, stopped, gone on with, and used again by the next run."""
    runs = tmp_path / "runs"
    asked = {"teacher": TEACHER, "weights_dir": zoo}

    planned = finetune(photos, runs, "a", *SMALL, dry_run=True, **asked)
    assert not runs.exists()
    (first,) = planned.record()["teachers_first"]
    assert (first["plan"]["total_steps"], first["begun"]) == (8, False)
    seconds = planned.record()["seconds"]
    assert seconds["the teacher's own run"] == pytest.approx(first["seconds"])
    assert seconds["total"] == pytest.approx(sum(value for name, value in seconds.items() if name != "total"))
    shown = dict(planned.summary())
    assert "8 steps of 16" in shown["First"]
    assert first["folder"] in shown["First"]
    assert "it learns first" in shown["Teacher"]

    with fails(UsageError, "TIME") as caught:
        finetune(photos, runs, "a", *SMALL, time_limit="10m", **asked)
    assert f"--name {Path(first['folder']).name}" in caught.value.hint
    assert f"deitft finetune {photos} --model {TEACHER}" in caught.value.hint
    assert not runs.exists()

    with fails(TerminatedError, "N3"):
        finetune(photos, runs, "a", *SMALL, progress=signal_at("training", 3, signal.SIGTERM), **asked)
    (name,) = teachers_in(runs)
    assert name == Path(first["folder"]).name
    assert [path.name for path in runs.iterdir()] == [name]
    with fails(UsageError, "TIME") as caught:
        finetune(photos, runs, "a", *SMALL, time_limit="10m", **asked)
    assert f"deitft resume {runs / name}" in caught.value.hint

    talk = Silent()
    assert finetune(photos, runs, "a", *SMALL, progress=talk, **asked).folder == runs / "a"
    assert any("was not finished" in text for text in talk.said)
    assert any(f"the teacher {TEACHER} (" in text and "helps one" in text for text in talk.said)  # it has no probe
    assert read_run_record(runs / name).status == "done"
    ended = record_of(runs / name)["ended"]
    plan = read_plan(runs / "a" / "plan.json")
    assert plan.distill is not None
    assert plan.distill.teachers[0].path == str((runs / name / "best").absolute())

    again = finetune(photos, runs, "b", *SMALL, dry_run=True, time_limit="10m", **asked)  # it is there: no refusal
    assert "teachers_first" not in again.record()
    assert "of val right" in dict(again.summary())["Teacher"]
    assert (teachers_in(runs), record_of(runs / name)["ended"]) == ([name], ended)


def test_other_weights_are_another_teacher(photos: Path, zoo: Path, tmp_path: Path) -> None:
    """Its name holds the weights it begins with, whether there are any, and the way it learns."""
    other = build(TEACHER, num_classes=1000, image_size=32, seed=2).net
    hub_folder(tmp_path / "zoo" / TEACHER, other.state_dict(), TEACHER, "c3_in1k", num_classes=1000)
    base = TrainRequest(verb="finetune", data=Source.of(photos), teacher=(TEACHER,), weights_dir=zoo)
    requests = [
        base,
        replace(base, weights_dir=tmp_path / "zoo"),
        replace(base, teacher_pretrained=False),
        replace(base, adapt_teacher="probe"),
    ]
    found = prepared_of(photos)
    machine = choose("cpu", threads=1, workers=0)
    names = [adapting._adapting(one, candidates(one)[0], found, machine, "auto").name for one in requests]
    assert len(set(names)) == 4
    assert adapting._adapting(base, candidates(base)[0], found, machine, "auto").name == names[0]


def prepared_of(photos: Path) -> Prepared:
    return prepare(Source.of(photos), seed=0, workers=1, progress=Silent(), stop=StopFlag())


def test_weights_of_ones_own_that_name_the_classes_teach_at_once(photos: Path, tmp_path: Path) -> None:
    """A folder in timm's layout, or its file; the rows are found by name. Without names they learn first."""
    run = finetune(
        photos, tmp_path / "runs", "t", "model.image_size=32", "model.head_start=probe", recipe="linear-probe"
    ).folder
    assert run is not None
    bundle = load_bundle(run / "best")
    state = bundle.state()
    turned = [state | {name: state[name][[2, 0, 1]] for name in state if name.startswith("head")}][0]
    names = [CLASSES[number] for number in (2, 0, 1)]
    settings = {"pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "crop_pct": 0.9}}
    folder = hub_folder(tmp_path / "own", turned, SMALL_NET.partition(".")[0], label_names=names, **settings)
    found, machine = prepared_of(photos), choose("cpu", threads=1, workers=0)

    def ask(*teachers: object, **more: object):
        request = TrainRequest(
            verb="finetune",
            data=Source.of(photos),
            teacher=tuple(map(str, teachers)),
            runs_dir=tmp_path / "runs",
            **more,  # type: ignore[arg-type]
        )
        return teachers_for(request, candidates(request), found, machine, StopFlag())

    of_run, of_folder, of_file = ask(run, folder, folder / "model.safetensors")
    assert of_folder.columns == of_file.columns == (1, 2, 0)
    assert of_folder.val_top1 == of_file.val_top1 == of_run.val_top1 == 1.0
    assert torch.equal(open_teacher(of_file).classifier.net.head.weight[[1, 2, 0]], state["head.weight"])
    assert ask(run / "best" / "model.safetensors")[0].columns == (0, 1, 2)  # a bundle by its file

    loose = tmp_path / "loose.safetensors"
    loose.write_bytes((folder / "model.safetensors").read_bytes())
    (unnamed,) = ask(f"{SMALL_NET}={loose}", dry_run=True)
    assert (unnamed.path, unnamed.val_top1) == ("", None)
    assert not list((tmp_path / "runs").glob("teacher-*"))


def test_a_teacher_of_imagenet_brings_its_own_classifier(zoo: Path, tmp_path: Path) -> None:
    """Never a random one: weights without it are refused."""
    request = TrainRequest(verb="finetune", data=Source.of(tmp_path), teacher=(TEACHER,), weights_dir=zoo)
    turned = tuple(reversed(imagenet.synsets()))
    plan = _of_weights(candidates(request)[0], request, turned)
    assert plan.columns == tuple(reversed(range(1000)))
    own = build(TEACHER, num_classes=1000, image_size=32, seed=1).net
    assert torch.equal(open_teacher(plan).classifier.net.fc.weight, own.fc.weight)
    headless = {name: value for name, value in own.state_dict().items() if not name.startswith("fc.")}
    request = replace(request, teacher=(str(hub_folder(tmp_path / "bare", headless, TEACHER)),))
    plan = _of_weights(candidates(request)[0], request, turned)
    with fails(DataError, "TEACHER") as caught:
        open_teacher(plan)
    assert "would be random" in caught.value.what


def test_a_run_goes_on_with_its_own_teachers(photos: Path, zoo: Path, tmp_path: Path) -> None:
    """Another one, and one where there was none, is refused by name."""
    runs = tmp_path / "runs"
    long = (*SMALL[:1], "train.length=6 steps", *SMALL[2:])
    asked = {"adapt_teacher": "probe", "weights_dir": zoo, "teacher": TEACHER}
    for name, more in (("a", asked), ("b", {})):
        with fails(TerminatedError, "N3"):
            finetune(photos, runs, name, *long, progress=signal_at("training", 3, signal.SIGTERM), **more)
    for name, before in (("a", TEACHER), ("b", "none")):
        with fails(RecipeError, "C12") as caught:
            finetune(photos, runs, name, *long, resume=True, **{**asked, "teacher": "mobilenetv2"})
        assert f"distill.teachers: {before} -> mobilenetv2" in caught.value.what
    for teacher in (TEACHER, "resnet10t.c3_in1k", *runs.glob("teacher-*")):  # by name or content the same one
        with fails(TerminatedError, "N3"):
            stop = signal_at("training", 1, signal.SIGTERM)
            finetune(photos, runs, "a", *long, resume=True, progress=stop, **{**asked, "teacher": teacher})


def test_the_digits_bring_their_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing, as nobody publishes one; a teacher that is named begins with its weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sklearn.datasets.load_digits", partial(load_digits, n_class=2))  # 360 are enough
    runs = tmp_path / "runs"
    settings = (*SMALL[:2], "train.batch=32")
    asked = {"distill": "hard", "runs_dir": runs, "set": settings, **ONE_THREAD}
    planned = deitft.pretrain(model=SMALL_NET, dry_run=True, **asked)
    assert not runs.exists()
    assert planned.record()["teachers_first"][0]["plan"]["weights"] == {"kind": "none"}
    result = deitft.pretrain(model=SMALL_NET, **asked)
    assert result.folder is not None
    (name,) = teachers_in(runs)
    teacher = read_plan(runs / name / "plan.json")
    assert (teacher.model, teacher.weights["kind"]) == ("resnet10t.c3_in1k", "none")
    assert teacher.photos == read_plan(result.folder / "plan.json").photos
    token = json.loads((result.folder / "metrics.json").read_text())["token"]
    assert (token["teachers"], token["alone"]) == ([TEACHER], True)
    given = {"runs_dir": runs, "progress": None, "dry_run": True, "model": None, "recipe": None}
    assert digits_instead({**given, "distill": "hard", "teacher": ()})["teacher"] == (TEACHER,)
    assert "teacher" not in digits_instead({**given, "distill": "hard", "teacher": (TEACHER,)})
