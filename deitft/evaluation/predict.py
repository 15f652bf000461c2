"""What does the model say of these photos? One pass, each photo once, every answer kept.

Legend: N photos, B images in a batch, C classes, D features, S pixels a side.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deitft.compute.allocator import freed_memory_kept
from deitft.compute.device import autocast
from deitft.core.progress import SilentTask, StopFlag, Task
from deitft.data.stream import EvalStream
from deitft.data.transforms import normalise
from deitft.evaluation.predictions import Predictions
from deitft.models.build import Classifier, Heads
from deitft.recipe.plan_types import Precision
from deitft.recipe.preprocessing import Preprocessing

Rows = npt.NDArray[np.float32]


def predict(
    classifier: Classifier,
    stream: EvalStream,
    *,
    pre: Preprocessing,
    device: str,
    precision: Precision = "fp32",
    channels_last: bool = False,
    task: Task | None = None,
    stop: StopFlag | None = None,
) -> Predictions:
    """Logits of every photo of a stream, in the stream's order; a photo that the stream skipped has no row.

    The classifier is on ``device`` already; it comes back in the mode (training or not) it was in. ``task`` moves
    by photos and shows photos a second.

    Raises:
        StoppedError: ``stop`` was set by a signal (a time limit does not end a pass); nothing is returned.
    """

    def both(images_BCSS: Tensor) -> tuple[Tensor, ...]:
        heads: Heads = classifier(images_BCSS)
        return (
            (heads.class_logits,) if heads.distill_logits is None else (heads.class_logits, heads.distill_logits)
        )

    kept, columns = look(
        classifier,
        stream,
        both,
        pre=pre,
        device=device,
        precision=precision,
        channels_last=channels_last,
        task=task,
        stop=stop,
    )
    photos = stream.photos
    return Predictions(
        paths=tuple(photos.paths[row] for row in kept),
        labels=np.asarray(photos.labels, dtype=np.int64)[kept],
        class_logits=columns[0] if columns else np.zeros((0, classifier.num_classes), dtype=np.float32),
        distill_logits=columns[1] if len(columns) > 1 else None,
    )


@freed_memory_kept()
def look(
    classifier: Classifier,
    stream: EvalStream,
    what: Callable[[Tensor], tuple[Tensor, ...]],
    *,
    pre: Preprocessing,
    device: str,
    precision: Precision,
    channels_last: bool,
    task: Task | None,
    stop: StopFlag | None,
) -> tuple[npt.NDArray[np.int64], tuple[Rows, ...]]:
    """Run ``what`` on every normalised batch [B, 3, S, S] in evaluation mode, without gradients.

    Returns:
        The indices of the photos that were seen, ascending, and for each tensor [B, …] of ``what`` all its rows in
        that order, float32.
    """
    bar = task or SilentTask()
    total = len(stream.photos)
    seen = np.zeros(total, dtype=np.bool_)
    columns: list[Rows] = []
    modes = [(module, module.training) for module in classifier.modules()]
    classifier.eval()
    began = time.perf_counter()
    try:
        with torch.inference_mode(), autocast(device, precision):
            for images, indices in stream:
                if stop is not None and stop.by_signal:
                    raise stop.error(
                        f"{int(seen.sum())} of {total} photos were looked at", "run the command again"
                    )
                rows = indices.numpy()
                for place, values in enumerate(what(_ready(images, pre, device, channels_last))):
                    if place == len(columns):
                        columns.append(np.zeros((total, *values.shape[1:]), dtype=np.float32))
                    columns[place][rows] = values.float().cpu().numpy()
                seen[rows] = True
                rate = int(seen.sum()) / max(time.perf_counter() - began, 1e-9)
                bar.advance(len(rows), **{"photos/s": round(rate, 1)})
    finally:
        for module, training in modes:  # one by one: frozen parts may be in another mode than the rest
            module.training = training
    kept = np.flatnonzero(seen)
    return kept, tuple(column if len(kept) == total else column[kept] for column in columns)


def _ready(images: Tensor, pre: Preprocessing, device: str, channels_last: bool) -> Tensor:
    """Bytes go to the device, numbers are made there: a quarter of the traffic."""
    ready: Tensor = normalise(images.to(device, non_blocking=True), pre)
    return ready.contiguous(memory_format=torch.channels_last) if channels_last else ready
