"""Teachers of whole runs: matched by name or refused, photos without labels, a cache in advance, what it costs."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models_kit import hub_folder
from PIL import Image
from run_kit import CLASSES, ONE_THREAD, Zygote, fails, finetune, fingerprints, record_of, signal_at

import deitft
from deitft.bundle.format import load_bundle, save_bundle
from deitft.compute.device import choose
from deitft.core.progress import Silent, StopFlag
from deitft.core.records import parse_csv_text
from deitft.data.source import Source
from deitft.errors import DataError, GateError, Notice, RecipeError, TerminatedError, UsageError
from deitft.models.build import build
from deitft.recipe.plan import read_plan
from deitft.runs.learning import cache_header
from deitft.runs.prepare import Prepared, prepare
from deitft.runs.request import TrainRequest
from deitft.runs.teacher import class_difference, teachers_for, warn_if_weak
from deitft.runs.teacher_named import candidates

SMALL = ("model.image_size=32", "train.length=4 steps", "train.batch=8", "train.validate_every=2 steps")


class Talk(Silent):
    """A progress that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[Notice] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, notice: Notice) -> None:
        self.warned.append(notice)


def retold(run: Path, folder: Path, classes: list[str], rows: list[int], *, mute: int | None = None) -> Path:
    """The bundle of a run with other class names, its heads' rows in another order; ``mute`` is never named."""
    bundle = load_bundle(run / "best")
    net = build(bundle.model_name, num_classes=len(rows), image_size=bundle.preprocessing.size)
    state = bundle.state()
    for name in ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias"):
        state[name] = state[name][rows].contiguous()
        if mute is not None and name.endswith("bias"):
            state[name][mute] = -1e4
    save_bundle(
        folder,
        classifier=net,
        state=state,
        short_name=None,
        classes=classes,
        preprocessing=bundle.preprocessing,
        temperature=1.0,
        starting_weights={"kind": "none"},
        data={},
        metrics={},
        training={},
        card="",
    )
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 photos of each of three classes, told apart by their colour."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for photo in range(16):
            pixels = np.random.default_rng((number, photo)).integers(0, 60, (36, 40, 3))
            pixels[..., number] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{photo:04d}.png")
    return root


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the classes: heads solved on random features, which see colours."""
    place = tmp_path_factory.mktemp("teacher")
    settings = ("model.image_size=32", "model.head_start=probe")
    run = finetune(photos, place, "teacher", *settings, recipe="linear-probe").folder
    assert run is not None
    assert record_of(run)["result"]["val_top1"] == 1.0
    return run


@pytest.fixture(scope="module")
def prepared(photos: Path) -> Prepared:
    return prepare(Source.of(photos), seed=0, workers=1, progress=Silent(), stop=StopFlag())


def ask(photos: Path, prepared: Prepared, *teachers: Path, talk: Talk | None = None, **more: object):
    request = TrainRequest(
        verb="finetune",
        data=Source.of(photos),
        teacher=tuple(map(str, teachers)),
        progress=talk or Talk(),
        **more,  # type: ignore[arg-type]
    )
    return teachers_for(request, candidates(request), prepared, choose("cpu", threads=1, workers=0), StopFlag())


def test_permuted_classes_are_put_in_order_by_name(
    photos: Path, teacher: Path, prepared: Prepared, tmp_path: Path
) -> None:
    turned = retold(teacher, tmp_path / "turned", ["shoe", "dress", "hat"], [2, 0, 1])
    plain, other = ask(photos, prepared, teacher, turned)
    assert (plain.columns, other.columns) == ((0, 1, 2), (1, 2, 0))
    assert other.val_top1 == plain.val_top1
    assert plain.val_top1 is not None


def test_other_classes_are_refused_with_the_difference(
    photos: Path, teacher: Path, prepared: Prepared, tmp_path: Path
) -> None:
    strange = retold(teacher, tmp_path / "strange", ["dress", "hat", "sock"], [0, 1, 2])
    with fails(RecipeError, "TEACHER") as caught:
        ask(photos, prepared, strange)
    assert 'it lacks "shoe"; it has besides "sock"' in caught.value.what
    assert "--adapt-teacher" in caught.value.hint
    assert class_difference(list("abcde"), ["e"]) == 'it lacks "a", "b", "c" and 1 more'


def test_a_teacher_that_guesses_is_refused(
    photos: Path, teacher: Path, prepared: Prepared, tmp_path: Path
) -> None:
    muddled = retold(teacher, tmp_path / "muddled", [*CLASSES], [1, 2, 0])
    with fails(RecipeError, "TEACHER") as caught:
        ask(photos, prepared, muddled)
    assert "nothing to teach" in caught.value.hint


def test_names_that_mean_no_teacher(teacher: Path, tmp_path: Path) -> None:
    def named(text: str) -> TrainRequest:
        return TrainRequest(verb="finetune", data=Source.of(tmp_path), teacher=(text,))

    loose = tmp_path / "loose.safetensors"
    shutil.copy(teacher / "best" / "model.safetensors", loose)
    for text, word in (
        (str(loose), "does not say of which model"),
        (str(tmp_path / "nowhere"), "no run, bundle or weights"),
        (f"resnet10t={tmp_path}/nowhere.pth", "no weights at"),
    ):
        with fails(UsageError, "TEACHER") as caught:
            candidates(named(text))
        assert word in caught.value.what
    (found,) = candidates(named("regnety_160"))
    assert found.choice is not None
    assert found.choice.timm_name == "regnety_160.deit_in1k"


def test_a_teacher_below_the_students_own_features_is_worth_a_warning(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    """Through a whole run: the student begins with the weights that the teacher is a poor copy of."""
    poor = retold(teacher, tmp_path / "poor", [*CLASSES], [0, 1, 2], mute=1)
    talk = Talk()
    run = finetune(
        photos,
        tmp_path,
        "student",
        *SMALL,
        pretrained=True,
        weights=teacher / "best",
        teacher=poor,
        progress=talk,
    ).folder
    assert run is not None
    probe = json.loads((run / "probe.json").read_text())
    plan = read_plan(run / "plan.json")
    assert plan.distill is not None
    (one,) = plan.distill.teachers
    assert one.val_top1 is not None
    assert one.val_top1 < probe["val_top1"]
    weak = [notice.text for notice in talk.warned if notice.id == "TEACHER"]
    assert len(weak) == 1
    assert f"right for {one.val_top1:.1%} of the val photos" in weak[0]
    assert f"frozen features for {probe['val_top1']:.1%}" in weak[0]
    equal = Talk()
    warn_if_weak(plan, {"val_top1": one.val_top1}, TrainRequest(verb="x", data=Source.of(photos), progress=equal))
    assert not equal.warned


@pytest.fixture(scope="module")
def backlog(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 photos in one heap, one of them deeper."""
    folder = tmp_path_factory.mktemp("backlog") / "heap"
    (folder / "2024" / "may").mkdir(parents=True)
    for number, path in enumerate(sorted(photos.glob("*/000?.png")) + sorted(photos.glob("*/0010.png"))):
        shutil.copy(path, folder / ("2024/may" if number == 5 else ".") / f"{number:03d}.png")
    return folder


def learn(photos: Path, tmp_path: Path, name: str, **more: object):
    return deitft.pretrain(
        photos,
        unlabelled=True,
        model="deit_ti",
        recipe="pretrain-small",
        set=SMALL,
        runs_dir=tmp_path / "runs",
        name=name,
        **{**ONE_THREAD, **more},  # type: ignore[arg-type]
    )


def test_photos_without_labels(backlog: Path, teacher: Path, tmp_path: Path) -> None:
    """Stopped and gone on with; every figure is agreement and called so; the cache is filled and verified."""
    cache = tmp_path / "cache"
    with fails(TerminatedError, "N3"):
        learn(
            backlog,
            tmp_path,
            "a",
            teacher=teacher,
            teacher_cache=cache,
            progress=signal_at("training", 3, signal.SIGTERM),
        )
    result = deitft.resume(tmp_path / "runs" / "a")
    run = tmp_path / "runs" / "a"
    plan = read_plan(run / "plan.json")
    assert plan.classes == CLASSES
    assert plan.unlabelled == ("train", "val", "test")
    assert sum(plan.photos.values()) == 33
    assert plan.distill is not None
    assert (plan.distill.alpha, plan.distill.token) == (1.0, False)
    figures = record_of(run)["result"]
    assert "top1" not in figures
    assert "val_top1" not in figures
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["val"], metrics["test"]) == (None, None)
    assert metrics["agreement"]["test"]["top1"] == figures["agreement"]["top1"]
    names = [name for name, _ in result.facts]
    assert "Agreement with the teacher" in names
    assert not {"Top-1", "Top-5", "Balanced accuracy"} & set(names)
    rows = parse_csv_text((run / "predictions.csv").read_text())
    assert {row["label"] for row in rows} == {""}
    agreed = np.mean([row["teacher"] == row["predicted"] for row in rows])
    assert agreed == pytest.approx(figures["agreement"]["top1"])
    columns = parse_csv_text((run / "metrics.csv").read_text())[0].keys()
    assert "raw_agreement_top1" in columns
    assert not {"raw_top1", "train_label"} & columns
    page = (run / "report.html").read_text()
    assert "Agreement with the teacher on test" in page
    assert "Nobody has labelled the test photos" in page
    assert "Top-1 accuracy" not in page
    assert "not how often it is right" in (run / "best" / "README.md").read_text()
    # what the teacher says of a photo is what the bundle of the teacher says
    answers = deitft.load(teacher, **ONE_THREAD).predict([backlog / row["path"] for row in rows])
    assert [answer.label for answer in answers] == [row["teacher"] for row in rows]
    filled = deitft.teacher_cache(run)
    assert (filled.known, filled.asked, filled.views) == (32, 0, 32)
    elsewhere = deitft.teacher_cache(run, teacher_cache=tmp_path / "other")
    assert elsewhere.asked == 32
    assert (tmp_path / "other" / "000000.fill-0.chunk").stat().st_size == elsewhere.bytes
    assert deitft.teacher_cache(run, teacher_cache=tmp_path / "other", verify=0.5).checked["same_bits"] == 1.0
    _lie(run, tmp_path / "other")
    with fails(GateError, "CACHE") as caught:
        deitft.teacher_cache(run, teacher_cache=tmp_path / "other", verify=1.0)
    assert "96.88% of 32 views" in caught.value.what
    assert "step 2, view 3" in caught.value.what
    (chunk,) = (tmp_path / "other").glob("*.chunk")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with fails(DataError, "CACHE"):
        deitft.teacher_cache(run, teacher_cache=tmp_path / "other", verify=0.1)


def _lie(run: Path, cache: Path) -> None:
    """Another answer for one view, with a digest that fits."""
    from deitft.core.records import read_run_record
    from deitft.data.catalog import TRAIN
    from deitft.objectives.teacher_cache import TeacherCache
    from deitft.runs.folder import open_run
    from deitft.runs.resume import photos_of, request_of

    folder, plan = open_run(run), read_plan(run / "plan.json")
    request = request_of(folder, read_run_record(run), plan)
    found, _ = photos_of(folder, plan, request, choose("cpu", threads=1, workers=0), StopFlag())
    opened = TeacherCache(cache, cache_header(plan, found.photos(TRAIN)), part="fill-0")
    words = opened.read(2)[3:4].copy()
    words["classes"] = (words["classes"] + 1) % 3
    opened.write(2, 3, words)
    opened.flush()


def test_a_cache_inside_the_run_is_filled_by_two_processes_and_resume_uses_it(
    photos: Path, teacher: Path, tmp_path: Path, zygote: Zygote
) -> None:
    """Without it, with it, the same weights; one of other views is said and not used."""
    more = {"model": "deit_ti", "teacher": teacher}
    whole = finetune(photos, tmp_path, "whole", *SMALL, **more).folder
    with fails(TerminatedError, "N3"):
        finetune(photos, tmp_path, "a", *SMALL, **more, progress=signal_at("training", 2, signal.SIGTERM))
    run = tmp_path / "a"
    commands = zygote.several(2, "teacher-cache", run, "--json")
    assert [command.wait() for command in commands] == [0, 0], "\n".join(command.err for command in commands)
    told = json.loads(commands[0].out)
    assert (told["views"], told["known"], told["asked"]) == (32, 32, 32)
    assert commands[1].out == ""
    cache = run / "teacher-cache"
    names = ["000000.fill-0.chunk", "000000.fill-1.chunk"]
    assert sorted(path.name for path in cache.glob("*.chunk")) == names
    assert told["bytes"] == sum((cache / name).stat().st_size for name in names) < 2 * 32 + 200
    assert deitft.teacher_cache(run, verify=1.0).checked["same_bits"] == 1.0
    talk = Talk()
    shutil.copytree(run, tmp_path / "b")
    assert deitft.resume(run, progress=talk).folder == run
    assert any(text.startswith(f"the cache {cache} takes ") for text in talk.said)
    assert sorted(path.name for path in cache.glob("*.chunk")) == names, "nothing was asked again"
    assert whole is not None
    assert fingerprints(run) == fingerprints(whole)

    header = tmp_path / "b" / "teacher-cache" / "header.json"
    stored = json.loads(header.read_text())
    header.write_text(json.dumps({**stored, "batch": 3}))
    deitft.resume(tmp_path / "b", progress=talk)
    assert any("batch: 3 -> 8: it is not used" in text for text in talk.said)
    assert fingerprints(tmp_path / "b") == fingerprints(whole)


def test_who_asks_otherwise_may_not_fill_a_cache_up(photos: Path, teacher: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with fails(TerminatedError, "N3"):
        finetune(
            photos,
            tmp_path,
            "a",
            *SMALL,
            model="deit_ti",
            teacher=teacher,
            teacher_cache=cache,
            progress=signal_at("training", 2, signal.SIGTERM),
        )
    before = {path: path.read_bytes() for path in cache.iterdir()}
    with fails(RecipeError, "CACHE") as caught:
        deitft.teacher_cache(tmp_path / "a", threads=2)
    assert "threads: 1 -> 2" in caught.value.what
    assert {path: path.read_bytes() for path in cache.iterdir()} == before
    assert deitft.teacher_cache(tmp_path / "a").known == 32
    assert deitft.teacher_cache(tmp_path / "a", threads=2).asked == 0


def test_labels_of_held_out_photos_give_real_accuracy(
    photos: Path, backlog: Path, teacher: Path, tmp_path: Path
) -> None:
    place = tmp_path / "photos"
    shutil.copytree(backlog, place / "train")
    for name in CLASSES:
        (place / "test" / name).mkdir(parents=True)
        for number in (14, 15):
            shutil.copy(photos / name / f"{number:04d}.png", place / "test" / name)
    run = learn(place, tmp_path, "a", teacher=teacher, distill="soft").folder
    assert run is not None
    assert read_plan(run / "plan.json").unlabelled == ("train", "val")
    figures = record_of(run)["result"]
    rows = parse_csv_text((run / "predictions.csv").read_text())
    assert sorted({row["label"] for row in rows}) == [*CLASSES]
    assert "teacher" not in rows[0]
    assert figures["top1"] == pytest.approx(np.mean([row["label"] == row["predicted"] for row in rows]))
    assert (figures["n"], "val_agreement" in figures) == (6, True)
    page = (run / "report.html").read_text()
    assert "Top-1 accuracy on test" in page
    assert "all that the model knows comes from its teacher" in page
    token = json.loads((run / "metrics.json").read_text())["token"]
    assert (token["n"], token["alone"], token["labelled"]) == (6, False, False)
    assert set(token["disagreement"]) == {"label", "teacher", "class", "distill", "both"}
    assert "Both heads learned from 1 teacher" in page


def test_what_photos_without_labels_cannot_have(backlog: Path, teacher: Path, tmp_path: Path) -> None:
    for error, id, more in (
        (UsageError, "TEACHER", {"teacher": ()}),
        (RecipeError, "TEACHER", {"teacher": "mobilenetv2"}),
        (UsageError, "TEACHER", {"adapt_teacher": "probe"}),
    ):
        with fails(error, id):  # type: ignore[arg-type]
            learn(backlog, tmp_path, "a", **{"teacher": teacher, **more})  # type: ignore[arg-type]
    with fails(RecipeError, "RECIPE") as caught:
        deitft.pretrain(
            backlog,
            unlabelled=True,
            teacher=teacher,
            model="deit_ti",
            recipe="pretrain-small",
            set=(*SMALL, "sampling.balance=class", "distill.token=true", "distill.alpha=0.3"),
            runs_dir=tmp_path / "runs",
            **ONE_THREAD,
        )
    for word in ("sampling.balance is class", "distill.token is true", "distill.alpha is 0.3"):
        assert word in caught.value.what
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_tells_what_the_teacher_costs(photos: Path, teacher: Path, tmp_path: Path) -> None:
    planned = deitft.pretrain(
        photos,
        teacher=teacher,
        model="deit_ti",
        recipe="pretrain-small",
        set=("model.image_size=32", "train.length=40 steps", "train.batch=8"),
        runs_dir=tmp_path / "runs",
        dry_run=True,
        price_per_hour=3.6,
        cache_views=2,
        **ONE_THREAD,
    )
    values = planned.record()
    assert list(values["images_per_second"]) == ["undistilled", "live", "cold", "warm"]
    assert all(speed > 0 for speed in values["images_per_second"].values())
    assert values["cost"] == pytest.approx(values["seconds"]["total"] / 1000)
    assert values["hours"] == pytest.approx(values["seconds"]["total"] / 3600)
    views = 2 * 4 * 8  # of two epochs
    assert values["teacher_cache"]["bytes"] == pytest.approx(2 * views, abs=100)
    shown = dict(planned.summary())
    assert "an hour" in shown["Cost"]
    assert "approximation" in shown["Views"]
    assert "undistilled" in shown["Images/s"]
    assert list(tmp_path.iterdir()) == []


def test_other_weights_are_not_taken_for_the_teacher(
    teacher: Path, photos: Path, prepared: Prepared, tmp_path: Path
) -> None:
    """A bundle with other weights than the plan speaks of is not taken for the teacher."""
    from deitft.runs.teacher import open_teacher

    (plan,) = ask(photos, prepared, teacher)
    assert torch.equal(
        open_teacher(plan).classifier.net.head.weight, load_bundle(teacher / "best").state()["head.weight"]
    )
    with fails(DataError, "TEACHER"):
        open_teacher(replace(plan, sha256="0" * 64))


def test_a_cache_that_cannot_be_used_is_said_before_anything_is_trained(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    """Neither a run nor the run of a teacher is begun for a cache of other answers."""
    cache = tmp_path / "cache"
    cache.mkdir()
    header = cache / "header.json"
    header.write_text(json.dumps({"version": 2, "views": {}, "batch": 3}))
    net = build("resnet10t", num_classes=1000, image_size=32)
    weights = hub_folder(tmp_path / "weights", net.net.state_dict(), "resnet10t")
    for who, why in ((teacher, "batch: 3 -> 8"), (weights, "has yet to learn your classes")):
        with fails(RecipeError, "CACHE") as caught:
            finetune(photos, tmp_path / "runs", "a", *SMALL, model="deit_ti", teacher=who, teacher_cache=cache)
        assert why in caught.value.line
    assert not list(tmp_path.glob("runs/*"))
    assert list(cache.iterdir()) == [header]
