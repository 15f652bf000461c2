"""A cache of the teacher changes nothing: live, cold, warm, with workers or not, killed or not, the same bits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_kit import CLASSES, write_photos
from training_kit import Run, before_step, fingerprint, tiny_plan

from deitft.bundle.format import save_bundle
from deitft.core.progress import Silent
from deitft.data.photos import PhotoSet, photo_set
from deitft.data.scan import scan
from deitft.data.stream import TrainStream
from deitft.errors import RecipeError
from deitft.models.build import Classifier, build, logit_mean
from deitft.objectives.teacher_cache import TeacherCache
from deitft.recipe.plan_types import DistillKind, DistillPlan, Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.filling import ENOUGH
from deitft.runs.learning import cache_header, check_cache, learning_of
from deitft.training.checkpoint import newest_good, restore

SIZE, STEPS, KILLED = 32, 8, 5
PRE = Preprocessing(size=SIZE)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A forked child must not wait for threads that it does not have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    catalog = scan(write_photos(tmp_path_factory.mktemp("photos") / "photos", 5), progress=Silent())
    return photo_set(catalog, range(len(catalog)))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, photos: PhotoSet) -> TeacherPlan:
    """A bundle of random weights whose answers differ from view to view."""
    net = build("resnet10t", num_classes=len(CLASSES), image_size=SIZE, seed=3).eval()
    stream = TrainStream(plan_with(None, "hard"), photos)
    with torch.no_grad():
        logits = torch.cat([logit_mean(net(batch.images)) for batch in stream.from_step(0, STEPS)])
        head = net.net.get_classifier()
        head.weight /= logits.std(0)[:, None]
        head.bias.copy_((head.bias - logits.mean(0)) / logits.std(0))
    bundle = save_bundle(
        tmp_path_factory.mktemp("teacher") / "best",
        classifier=net,
        state=net.net.state_dict(),
        short_name=None,
        classes=CLASSES,
        preprocessing=PRE,
        temperature=1.0,
        starting_weights={"kind": "none"},
        data={},
        metrics={},
        training={},
        card="",
    )
    return TeacherPlan(
        name="t",
        model=bundle.model_name,
        path=str(bundle.folder),
        sha256=bundle.manifest.sha256,
        preprocessing=PRE,
        columns=(0, 1, 2),
    )


def plan_with(teacher: TeacherPlan | None, kind: DistillKind, **changes: object) -> Plan:
    """Mixup, cutmix, erasing, drop-path, three repeats, an average, accumulation of two."""
    plain = tiny_plan(total_steps=STEPS, validate_every=4, optim_lr=2e-3)
    distill = teacher and DistillPlan(
        kind=kind, token=True, alpha=0.5, tau=3.0, reduction="batchmean", teachers=(teacher,)
    )
    return replace(
        plain,
        preprocessing=PRE,
        train_size=SIZE,
        batch=12,
        micro_batch=6,
        steps_per_epoch=4,
        classes=CLASSES,
        augment=replace(
            plain.augment, policy="light", crop="random_resized", scale=(0.4, 1), erasing=0.5, repeats=3
        ),
        distill=distill,
        **changes,  # type: ignore[arg-type]
    )


def student() -> Classifier:
    small = {"depth": 2, "embed_dim": 24, "num_heads": 2}
    return build(
        "deit_tiny_distilled_patch16_224", num_classes=3, image_size=SIZE, drop_path=0.4, overrides=small, seed=1
    )


def train(
    folder: Path, plan: Plan, photos: PhotoSet, cache: Path | None, *, killed_at: int = 0
) -> tuple[str, int]:
    """A run, begun or gone on with: its fingerprint, and how many views the teacher was asked about."""
    run = Run(folder, plan, model=student())
    if list(run.keeper.folder.glob("step-*")):
        restore(run.state, newest_good(run.keeper.folder, Silent()))
    run.stream = TrainStream(plan, photos)
    run.validate = lambda model, stop: {"top1": 0.5, "balanced_accuracy": 0.5, "loss": 1.0}
    learning = learning_of(plan, photos, Silent(), cache=cache)
    run.objective = learning.objective

    def act(step: int) -> None:
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    before_step(run, act)
    run.fit()
    learning.close()
    return fingerprint(run.state), learning.memory.asked if learning.memory else -1


def killed(folder: Path, plan: Plan, photos: PhotoSet, cache: Path) -> int:
    """The signal that ended a run in a process of its own."""
    child = os.fork()
    if not child:
        train(folder, replace(plan, save_every_seconds=0.0), photos, cache, killed_at=KILLED)
        os._exit(0)
    for _ in range(600):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.WTERMSIG(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the run does not come to its end")


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_live_cold_and_warm_are_the_same_bits(
    tmp_path: Path, photos: PhotoSet, teacher: TeacherPlan, kind: DistillKind
) -> None:
    plan, cache = plan_with(teacher, kind), tmp_path / "cache"
    live, _ = train(tmp_path / "live", plan, photos, None)
    assert killed(tmp_path / "cold", plan, photos, cache) == signal.SIGKILL
    # what was in memory is lost with it; the rest of the run asks on
    cold, asked = train(tmp_path / "cold", plan, photos, cache)
    assert 0 < asked < STEPS * plan.batch
    patched, missing = train(tmp_path / "patched", replace(plan, workers=2), photos, cache)
    assert asked + missing == STEPS * plan.batch
    warm, none = train(tmp_path / "warm", plan, photos, cache)
    assert none == 0
    assert live == cold == patched == warm
    words = TeacherCache(cache, cache_header(plan, photos)).read(STEPS - 1)
    assert len({int(one) for one in words["classes"][:, 0]}) > 1

    # and one altered answer is seen in the weights
    opened = TeacherCache(cache, cache_header(plan, photos))
    other = opened.read(3)[4:5].copy()
    other["classes"][:] = (other["classes"] + 1) % 3
    opened.write(3, 4, other)
    opened.flush()
    altered, _ = train(tmp_path / "altered", plan, photos, cache)
    assert altered != live


def test_elsewhere_hardly_any_label_differs(tmp_path: Path, photos: PhotoSet, teacher: TeacherPlan) -> None:
    """Kept with one thread and six views at once, asked again with two threads and four at once."""
    here = plan_with(teacher, "hard")
    there = replace(here, threads=2, micro_batch=4)
    steps = 90
    for plan, threads in ((here, 1), (there, 2)):
        torch.set_num_threads(threads)
        learning = learning_of(plan, photos, Silent(), cache=tmp_path / f"by-{threads}")
        assert learning.memory is not None
        for batch in TrainStream(plan, photos).from_step(0, steps):
            for part in batch.split(plan.micro_batch):
                learning.memory(part)
        learning.close()
    torch.set_num_threads(1)
    kept = TeacherCache(tmp_path / "by-1", cache_header(there, photos))
    assert kept.inexact == "teacher_batch.images: 6 -> 4; teacher_batch.of: 6 -> 4; threads: 1 -> 2"
    again = TeacherCache(tmp_path / "by-2", cache_header(there, photos))
    one, two = (
        np.concatenate([cache.read(step)["classes"][:, 0] for step in range(steps)]) for cache in (kept, again)
    )
    assert len(one) == 1080
    assert set(one.tolist()) == {0, 1, 2}
    assert (one == two).mean() >= ENOUGH


def test_other_labels_draw_other_photos(tmp_path: Path, photos: PhotoSet, teacher: TeacherPlan) -> None:
    """Where classes are drawn equally often; else the labels do not change which views are shown."""
    relabelled = replace(photos, labels=np.roll(photos.labels, 1))
    for balance, differ in (("none", False), ("class", True), ("sqrt", True)):
        plan = plan_with(teacher, "hard", balance=balance)
        order = [TrainStream(plan, one).sample_order(0)[0].tolist() for one in (photos, relabelled)]
        assert (order[0] != order[1]) == differ
        TeacherCache(tmp_path / balance, cache_header(plan, photos))
        if differ:
            with pytest.raises(RecipeError, match="other views: labels: "):
                check_cache(plan, relabelled, tmp_path / balance)
        else:
            check_cache(plan, relabelled, tmp_path / balance)
