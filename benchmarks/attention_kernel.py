"""Fused or plain attention: images a second of a training step, the two in turn, in one process.

python benchmarks/attention_kernel.py
"""

from __future__ import annotations

import statistics
import time

import torch
from ledger import Ledger

from deitft.compute.device import autocast, choose, deterministic
from deitft.models.build import Classifier, build

ROUNDS, BATCH = 8, 32


def main() -> None:
    """Measure both, A B A B …, and keep the medians and every sample."""
    machine = choose()
    deterministic(machine.threads)
    model = build("deit_tiny_distilled_patch16_224", num_classes=10).to(machine.device)
    samples: dict[str, list[float]] = {"fused": [], "plain": []}
    for number in range(ROUNDS + 1):
        for name, values in samples.items():
            model.set_fused_attention(name == "fused")
            speed = BATCH / step_seconds(model, machine.device, machine.precision)
            if number:  # the first round pays for the kernels
                values.append(speed)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    ratios = [plain / fused for plain, fused in zip(samples["plain"], samples["fused"], strict=True)]
    print(medians, f"plain / fused: {min(ratios):.2f} to {max(ratios):.2f}")
    ledger = Ledger("attention-kernel")
    ledger.add(
        f"attention-kernel-{len(ledger.rows) + 1}",
        {
            "subject": {
                "model": "deit_ti",
                "batch": BATCH,
                "precision": machine.precision,
                "device": machine.device,
            },
            "metric": {"name": "images a second, forward and backward", "direction": "higher"},
            "samples": samples,
            "medians": medians,
            "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        },
    )


def step_seconds(model: Classifier, device: str, precision: str) -> float:
    """One forward and backward pass."""
    images = torch.randn(BATCH, 3, 224, 224, device=device)
    model.train()
    began = time.perf_counter()
    with autocast(device, precision):  # type: ignore[arg-type]
        heads = model(images)
        assert heads.distill_logits is not None
        loss = heads.class_logits.float().square().mean() + heads.distill_logits.float().square().mean()
    loss.backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
