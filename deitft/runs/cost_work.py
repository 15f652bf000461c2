"""What the measuring process does: load bundles, take samples of them, or the peaks of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from deitft.compute.allocator import freed_memory_kept
from deitft.compute.device import peak_memory
from deitft.compute.limits import resident_peak
from deitft.errors import DeitftError
from deitft.evaluation.cost import CostSettings
from deitft.evaluation.timing import Subject, peaks_of, take
from deitft.runs.classifier import LoadedClassifier, load, loose_photos

Say = Callable[[Mapping[str, Any]], None]


@freed_memory_kept()
def answer(request: Mapping[str, Any], say: Say) -> None:
    """Answer a request of ``runs.costing``: "kind" is "time" (all bundles) or "memory" (one)."""
    torch.set_num_threads(request["threads"])
    (_time if request["kind"] == "time" else _memory)(request, say)


def _loaded(path: str, request: Mapping[str, Any]) -> LoadedClassifier:
    machine = request["machine"]
    return load(
        path, device=machine["device"], threads=request["threads"], workers=0, precision=machine["precision"]
    )


def _subject(model: LoadedClassifier) -> Subject:
    return Subject(model.classifier, model.bundle.preprocessing, model.bundle.temperature)


def _time(request: Mapping[str, Any], say: Say) -> None:
    """Samples of all bundles. Says what it is at, so that a death is that model's."""
    models: list[LoadedClassifier | None] = []
    errors: dict[int, dict[str, object]] = {}
    for number, path in enumerate(request["bundles"]):
        say({"at": number, "round": 0})
        try:
            models.append(_loaded(path, request))
        except DeitftError as error:
            models.append(None)
            errors[number] = error.record()
    there = [number for number, model in enumerate(models) if model is not None]
    subjects = [_subject(model) for model in models if model is not None]
    if not subjects:
        say({"result": {"samples": [None] * len(models), "errors": errors, "load": None, "others": None}})
        return
    taken = take(
        subjects,
        loose_photos([Path(path) for path in request["photos"]]),
        models[there[0]].machine,  # type: ignore[union-attr]
        CostSettings(**request["settings"]),
        at=lambda subject, round: say({"at": there[subject], "round": round}),
    )
    samples: list[dict[str, Any] | None] = [None] * len(models)
    for number, found in zip(there, taken.samples, strict=True):
        samples[number] = asdict(found)
    say({"result": {"samples": samples, "errors": errors, "load": taken.load, "others": taken.others}})


def _memory(request: Mapping[str, Any], say: Say) -> None:
    """Peaks of one bundle: this process has never held another."""
    on_cpu = request["machine"]["device"] == "cpu"
    base = resident_peak() if on_cpu else 0
    model = _loaded(request["bundles"][0], request)
    loading = resident_peak() if on_cpu else peak_memory(model.machine.device)
    photos = loose_photos([Path(path) for path in request["photos"]])
    peaks = peaks_of(_subject(model), photos, model.machine, request["batch"])
    say(
        {
            "result": {
                "how": "resident" if on_cpu else "allocator",
                "base_bytes": base,
                "loading_bytes": loading,
                "one_bytes": peaks.one,
                "best_bytes": peaks.best,
                "includes_loading": peaks.includes_loading,
            }
        }
    )
