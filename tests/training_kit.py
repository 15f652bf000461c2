"""A run in miniature: a real module with BatchNorm, drop-path and two heads, and a stream made of keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deitft.core.keys import generator, key
from deitft.core.progress import Silent, SilentTask, StopFlag
from deitft.data.mixing import mix
from deitft.data.stream import Batch
from deitft.models.build import Heads
from deitft.models.drop_path import DropPathMasks, KeyedDropPath
from deitft.objectives.supervised import Supervised
from deitft.recipe.plan_types import AugmentPlan, LossPlan, MixingPlan, OptimPlan, Plan
from deitft.recipe.preprocessing import Preprocessing
from deitft.training.checkpoint import Keeper, newest_good, restore
from deitft.training.log import RunLog
from deitft.training.loop import Outcome, fit
from deitft.training.snapshot import optimizer_tensors
from deitft.training.state import TrainState, new_state

CLASSES = ("boot", "coat", "hat")
SIZE = 8

OPTIM = OptimPlan(
    name="adamw",
    lr=2e-2,
    weight_decay=0.05,
    betas=(0.9, 0.999),
    eps=1e-8,
    momentum=0.9,
    layer_decay=1.0,
    clip_norm=None,
    warmup_steps=4,
    schedule="cosine",
    final_lr_share=0.1,
)


def tiny_plan(**changes: Any) -> Plan:
    """A plan of 20 steps of 8 photos; any field may be changed, those of ``optim`` and ``loss`` by a prefix."""
    optim = {name[6:]: changes.pop(name) for name in list(changes) if name.startswith("optim_")}
    loss = {name[5:]: changes.pop(name) for name in list(changes) if name.startswith("loss_")}
    plan = Plan(
        recipe="test",
        seed=0,
        model="tiny",
        short_name=None,
        trainable="all",
        head_start="random",
        drop_path=0.3,
        weights={"kind": "none"},
        preprocessing=Preprocessing(size=SIZE),
        data="photos",
        data_fingerprint="0",
        classes=CLASSES,
        train_counts=(10, 20, 10),
        photos={"train": 40, "val": 9, "test": 9},
        balance="none",
        total_steps=20,
        steps_per_epoch=5,
        batch=8,
        micro_batch=8,
        train_size=SIZE,
        full_size_from_step=0,
        validate_every=5,
        patience=None,
        select_by="top1",
        log_every=3,
        save_every_seconds=1e9,
        keep_checkpoints=2,
        device="cpu",
        precision="fp32",
        channels_last=False,
        compile=False,
        threads=1,
        workers=0,
        optim=replace(OPTIM, **optim),
        augment=AugmentPlan(
            policy="none",
            magnitude=0,
            magnitude_std=0,
            operations=1,
            crop="none",
            scale=(1, 1),
            ratio=(1, 1),
            flip=0,
            vertical_flip=0,
            color_jitter=0,
            erasing=0,
            repeats=1,
            albumentations=(),
        ),
        mixing=MixingPlan(mixup=0.8, cutmix=1.0, chance=1.0, switch=0.5),
        loss=LossPlan(
            **{
                "name": "cross_entropy",
                "label_smoothing": 0.1,
                "class_weights": None,
                "logit_adjustment": 0.0,
                **loss,
            }
        ),
        ema_decay=0.9,
        ema_warmup=True,
    )
    return replace(plan, **changes)


class TinyNet(nn.Module):
    """[B, 3, 8, 8] to Heads, with everything that a state may hold: norms' buffers, drop-path, two heads."""

    def __init__(self, *, width: int = 6, drop_path: float = 0.3, norm: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.stem = nn.Conv2d(3, width, 4, stride=4)
            self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
            self.mid = nn.Linear(width, width)
            self.drop = KeyedDropPath(drop_path)
            self.head = nn.Linear(width, len(CLASSES))
            self.head_dist = nn.Linear(width, len(CLASSES))

    def forward(self, images: Tensor) -> Heads:
        x = self.norm(self.stem(images)).relu().mean((2, 3))
        x = x + self.drop(self.mid(x).tanh())
        return Heads(self.head(x), self.head_dist(x))

    @property
    def drop_path_layers(self) -> int:
        return 1 if self.drop.rate else 0

    @property
    def drop_path_rates(self) -> tuple[float, ...]:
        return (self.drop.rate,)

    def set_drop_path(self, masks: DropPathMasks | None) -> None:
        self.drop.set_masks(None if masks is None else masks.values)


class KeyedStream:
    """Batches of made-up photos: a function of (seed, step). ``poison`` maps a step to what spoils it."""

    def __init__(self, plan: Plan, *, poison: dict[int, Any] | None = None) -> None:
        self.plan = plan
        self.poison = poison or {}
        self.photos = SimpleNamespace(paths=[f"{CLASSES[n % 3]}/{n:03d}.jpg" for n in range(40)])

    def batch(self, step: int) -> Batch:
        plan = self.plan
        draw = generator(key("batch", plan.seed, step))
        ids = torch.from_numpy(draw.integers(0, 40, plan.batch))
        labels = ids % 3
        noise = torch.from_numpy(draw.standard_normal((plan.batch, 3, SIZE, SIZE)).astype(np.float32))
        images = noise + labels.view(-1, 1, 1, 1) - 1
        targets = torch.nn.functional.one_hot(labels, 3).float()
        images, targets = mix(images, targets, step_key=key("mix", plan.seed, step), mixing=plan.mixing)
        return Batch(step, images, targets, ids, tuple(range(plan.batch)))

    def from_step(self, step: int, total_steps: int) -> Iterator[Batch]:
        for number in range(step, total_steps):
            batch = self.batch(number)
            spoil = self.poison.get(number)
            yield spoil(batch) if spoil else batch


def nan_pixel(batch: Batch) -> Batch:
    """A photo with one pixel that is no number."""
    images = batch.images.clone()
    images[2, 1, 3, 3] = float("nan")
    return replace(batch, images=images)


def nan_target(batch: Batch) -> Batch:
    """A loss that is no number although all pixels are."""
    return replace(batch, targets=batch.targets * float("nan"))


def scores(model: TinyNet, stop: StopFlag) -> dict[str, float]:
    """Metrics of a model on 30 made-up photos that training never sees."""
    draw = generator(key("val", 7))
    labels = torch.arange(30) % 3
    noise = torch.from_numpy(draw.standard_normal((30, 3, SIZE, SIZE)).astype(np.float32))
    model.eval()
    with torch.no_grad():
        logits = model(noise * 2 + labels.view(-1, 1, 1, 1) - 1).class_logits
    top1 = float((logits.argmax(1) == labels).float().mean())
    loss = float(torch.nn.functional.cross_entropy(logits, labels))
    return {"top1": top1, "balanced_accuracy": top1, "loss": loss}


class Run:
    """Everything around ``fit`` for one folder."""

    def __init__(self, folder: Path, plan: Plan, *, model: Any = None, clock: Any = None, **stream: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.plan, self.folder = plan, folder
        self.progress = Silent()
        self.state = new_state(plan, model or TinyNet())
        self.stream: Any = KeyedStream(plan, **stream)
        self.keeper = Keeper(
            folder / "checkpoints",
            every_seconds=plan.save_every_seconds,
            keep=plan.keep_checkpoints,
            progress=self.progress,
            facts={"plan": plan.recipe},
            **({"clock": clock} if clock else {}),
        )
        self.log = RunLog(folder, progress=self.progress)
        self.stop = StopFlag()
        self.validate: Any = scores
        self.task: Any = SilentTask()
        self.objective: Any = None

    def fit(self) -> Outcome:
        objective = self.objective or Supervised(self.plan.loss, self.plan.train_counts, "cpu")
        return fit(
            self.plan,
            self.state,
            self.stream,
            objective,
            self.validate,
            self.keeper,
            self.log,
            self.stop,
            self.task,
        )


class Bar:
    """A bar that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[dict[str, Any]] = []
        self.judged: list[dict[str, Any]] = []

    def advance(self, count: int = 1, **shown: float | str) -> None:
        """A step, or what a validation shows without one."""
        assert count in (0, 1)
        (self.shown if count else self.judged).append(shown)

    def line(self, text: str) -> None:
        self.lines.append(text)


def before_step(run: Run, act: Any) -> None:
    """Have ``act(step)`` called while the batch of step number ``step`` (1 is the first) is made."""
    stream = run.stream

    class Acting:
        photos = stream.photos

        def from_step(self, step: int, total_steps: int) -> Iterator[Batch]:
            for batch in stream.from_step(step, total_steps):
                act(batch.step + 1)
                yield batch

    run.stream = Acting()


def stop_at(run: Run, step: int, reason: str = "SIGTERM") -> None:
    """Ask for a stop while step number ``step`` is taken, as a signal at that moment would."""

    def act(number: int) -> None:
        if number == step:
            run.stop.reason = reason

    before_step(run, act)


def resumed(run: Run, **plan: Any) -> Run:
    """A new process that goes on with a run's newest good checkpoint."""
    again = Run(run.folder, replace(run.plan, **plan))
    restore(again.state, newest_good(again.keeper.folder, again.progress))
    again.log = RunLog(again.folder, progress=again.progress, after_step=again.state.step)
    return again


def fingerprint(state: TrainState) -> str:
    """One hash of weights, average, moments, and every scalar that decides what comes next."""
    digest = hashlib.sha256()
    groups = [state.model.state_dict(), optimizer_tensors(state.optimizer), state.ema.tensors if state.ema else {}]
    for tensors in groups:
        for name in sorted(tensors):
            digest.update(name.encode() + tensors[name].detach().contiguous().numpy().tobytes())
    scaler = state.scaler.state_dict() if state.scaler else None
    best = None if state.best is None else {n: getattr(state.best, n) for n in state.best.__slots__}
    meter = state.since_validation.record()
    facts = [state.step, state.stale, state.validated_step, state.images_seen, best, state.guard.record()]
    digest.update(repr([*facts, scaler, meter]).encode())
    return digest.hexdigest()
