"""What the studies of distillation share: a teacher that knows the photos, what each head of a student says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from command import Cost, deitft, timed
from photos import verdicts
from trial import Trial, carry_out, table

from deitft.evaluation.predictions import Head, load_predictions

HEADS: tuple[Head, ...] = ("class", "distill", "both")


def teacher(asked: argparse.Namespace, data: Path, model: str, *settings: str) -> Path:
    """A model fine-tuned on these photos by ``finetune``, seed 0: made once, gone on with if it was stopped."""
    trial = Trial(
        data=data, model=model, recipe="finetune", seed=0, name=f"teacher-{model}", asked=asked, settings=settings
    )
    record = trial.folder / "run.json"
    if not record.exists() or json.loads(record.read_text())["status"] != "done":
        carry_out(trial)
    return trial.folder


def heads(run: Path) -> dict[str, Any]:
    """Top-1 on test of each way to read a run's heads, with intervals, and what its token learned."""
    metrics = json.loads((run / "metrics.json").read_text())
    return {"heads": metrics["test"].get("heads"), "token": metrics.get("token")}


def of_last_step(trial: Trial, data: Path) -> dict[str, Any]:
    """The weights of the last step, which nothing has chosen, on test, and on val and test: who was right, head by
    head.

    Val may be pooled with test where it has chosen nothing: neither epochs nor weights, nor how the heads begin,
    nor anything of the teacher.
    """
    right: dict[str, dict[str, dict[str, bool]]] = {}
    digests, seconds = _digests(trial.folder), 0.0
    for split in ("test", "val"):
        out = trial.folder.parent.parent / "last-step" / trial.name / split
        words = ["evaluate", trial.folder / "last", data, "--split", split, "--out", out, "--quiet"]
        cost: Cost = timed(deitft(*words, *(["--threads", trial.asked.threads] if trial.asked.threads else [])))
        seconds += cost.cpu
        found, _ = load_predictions(out / "predictions.csv")
        ids = [digests[_as_in_run(path, digests)] for path in found.paths]
        right[split] = {
            head: dict(zip(ids, (found.logits(head).argmax(axis=1) == found.labels).tolist(), strict=True))
            for head in HEADS
        }
    values: dict[str, Any] = {"last_step_cpu_seconds": seconds}
    for name, splits in (("last_step_test", ("test",)), ("last_step", ("val", "test"))):
        seen = {head: {id: ok for split in splits for id, ok in right[split][head].items()} for head in HEADS}
        values[name] = {head: {"n": len(one), "top1": sum(one.values()) / len(one)} for head, one in seen.items()}
        values[f"{name}_verdicts"] = {head: verdicts(one) for head, one in seen.items()}
    return values


def _digests(run: Path) -> Mapping[str, str]:
    return {row["path"]: row["sha256"] for row in table(run / "splits.csv")}


def _as_in_run(path: str, digests: Mapping[str, str]) -> str:
    if path not in digests:
        raise KeyError(f"{path} is not a photo of the run")
    return path
