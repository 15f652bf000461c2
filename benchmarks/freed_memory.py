"""What does it bring to keep freed memory for the next tensor, and does it change a bit?

Training steps of 64 random images with random weights (their speed does not depend on either), as usual and with
memory kept, in turn in one process; then each alone in a process of its own, for the peak of its memory and a
digest of its weights. Records: ``records/freed-memory.jsonl``; ten minutes on one core.

    python benchmarks/freed_memory.py
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from command import ledger_of, options

CASES = (("mobilenetv2", 160), ("mobilenetv2", 224), ("deit_ti", 160), ("deit_ti", 224), ("resnet50", 160))
BATCH = 64


def main() -> None:
    """A record a model and size."""
    parser = options(__doc__, "runs/freed-memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="training steps of each way in a round")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone is not None:
        model, side, way = asked.alone
        print(json.dumps(alone(model, int(side), way, asked.steps, asked.threads or 1)))
        return
    ledger = ledger_of(asked, "freed-memory")
    for model, side in CASES:
        id = f"{model}-{side}"
        if id in ledger:
            continue
        load = os.getloadavg()[0]
        rounds = in_turn(model, side, asked.rounds, asked.steps, asked.threads or 1)
        ratio = [kept / usual for usual, kept in rounds]
        ways = {way: in_process(asked, model, side, way) for way in ("usual", "kept")}
        ledger.add(
            id,
            {
                "subject": {"model": model, "side": side, "batch": BATCH, "threads": asked.threads or 1},
                "images_per_second": {"usual": [one for one, _ in rounds], "kept": [one for _, one in rounds]},
                "ratio": ratio,
                "peak_bytes": {way: seen["peak"] for way, seen in ways.items()},
                "same_bits": len({seen["sha256"] for seen in ways.values()}) == 1,
                "load_before": load,
            },
        )
        print(id, f"{statistics.median(ratio):.2f}", {way: seen["peak"] >> 20 for way, seen in ways.items()})


def in_turn(model: str, side: int, rounds: int, steps: int, threads: int) -> list[tuple[float, float]]:
    """(as usual, kept) images a second of each round."""
    from deitft.compute.allocator import freed_memory_kept

    step = trainer(model, side, threads)[0]
    step()
    found = []
    for _ in range(rounds):
        usual = speed(step, steps)
        with freed_memory_kept():
            step()
            found.append((usual, speed(step, steps)))
    return found


def alone(model: str, side: int, way: str, steps: int, threads: int) -> dict[str, Any]:
    """Peak of memory and digest of the weights after some steps."""
    import numpy as np

    from deitft.compute.allocator import freed_memory_kept
    from deitft.compute.limits import resident_peak

    step, net = trainer(model, side, threads)
    with freed_memory_kept() if way == "kept" else contextlib.nullcontext():
        for _ in range(2 * steps):
            step()
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(p.detach().numpy()).tobytes() for p in net.parameters()))
    return {"peak": resident_peak(), "sha256": digest.hexdigest()}


def in_process(asked: argparse.Namespace, model: str, side: int, way: str) -> dict[str, Any]:
    """``alone`` in a process of its own."""
    words = [sys.executable, __file__, "--alone", model, str(side), way, "--steps", str(asked.steps)]
    words += ["--threads", str(asked.threads or 1)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(ended.stdout)
    return seen


def trainer(model: str, side: int, threads: int) -> tuple[Any, Any]:
    """A function that takes one step, and the net."""
    import torch

    from deitft.models.build import build
    from deitft.models.zoo import resolve

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    choice = resolve(model)
    convnet = model not in ("deit_ti", "vit_ti")
    net = build(choice.timm_name, num_classes=10, image_size=side).train()
    images = torch.randn(BATCH, 3, side, side)
    if convnet:  # as the recipes do
        net = net.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        net(images).class_logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, net


def speed(step: Any, steps: int) -> float:
    """Images a second."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
