"""Device, precision, threads: what there is, what is chosen, and how to wait for it."""

from __future__ import annotations

import contextlib
import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import psutil
import torch

from deitft.compute.limits import available_cores, cpu_flags, memory_limit, resident_peak
from deitft.core.records import environment
from deitft.errors import UnavailableError, UsageError
from deitft.recipe.plan_types import Precision

MOST_WORKERS = 8
_PRECISIONS: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a run computes on. ``precision`` is what it computes in, ``memory_bytes`` what the device has."""

    device: str
    precision: Precision
    threads: int
    workers: int
    memory_bytes: int
    name: str


def choose(
    device: str = "auto",
    *,
    threads: int | None = None,
    workers: int | None = None,
    precision: str = "auto",
    among: int = 1,
) -> Machine:
    """The machine to compute on: as asked, else the first there is of cuda, mps, cpu.

    ``device``: "auto", "cpu", "cuda", "cuda:N" or "mps". ``threads``: default one a physical core that this
    process may use. ``workers``: processes that read photos, 0 for none; default from cores and device.
    ``precision``: "auto" takes what the hardware does well. ``among`` processes on this machine share its cores,
    and where they compute on them its memory, too.

    Raises:
        UsageError: no such device name or precision, or a count out of range (id DEVICE, exit 2).
        UnavailableError: the device, or the precision on it, is not here (id DEVICE, exit 69).
    """
    here = available_devices()
    chosen = here[0] if device == "auto" else _asked_device(device, here)
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}", "write at least 1", id="DEVICE")
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}", "write 0 or more", id="DEVICE")
    cores = max(1, available_cores() // among)
    return Machine(
        device=chosen,
        precision=_asked_precision(precision, chosen),
        threads=cores if threads is None else threads,
        workers=auto_workers(chosen, cores) if workers is None else workers,
        memory_bytes=device_memory(chosen) // (among if chosen == "cpu" else 1),
        name=device_name(chosen),
    )


def available_devices() -> tuple[str, ...]:
    """Devices of this machine, the one to prefer first; cpu is always there."""
    found = []
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def _asked_device(device: str, here: tuple[str, ...]) -> str:
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in device and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f'no such device: "{device}"', "write auto, cpu, cuda, cuda:0 or mps", id="DEVICE")
    if device not in here:
        raise UnavailableError(
            f"{device} is not on this machine (there is: {', '.join(here)})",
            "use --device auto, or install the torch that fits the GPU's driver",
            id="DEVICE",
        )
    return device


def _asked_precision(precision: str, device: str) -> Precision:
    if precision == "auto":
        return good_precision(device)
    if precision not in _PRECISIONS:
        raise UsageError(f'no such precision: "{precision}"', "write auto, fp32, bf16 or fp16", id="DEVICE")
    if precision == "fp16" and device == "cpu":
        raise UnavailableError("fp16 needs a GPU", "use bf16 or fp32 on cpu", id="DEVICE")
    return _PRECISIONS[precision]


def good_precision(device: str) -> Precision:
    """bf16 where the hardware computes in it; else fp16 on GPUs with fp16 units; else fp32."""
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device)[0] >= 7 else "fp32"
    # mps: autocast there is young, and not faster for models of this size.
    return "bf16" if device == "cpu" and cpu_computes_bf16() else "fp32"


def cpu_computes_bf16() -> bool:
    """True where the processor has bf16 instructions: elsewhere it is emulated, and slower than fp32."""
    # The names are private, so each may be gone in another torch; then the system's own list is asked.
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        probe = getattr(torch.cpu, name, None)
        if probe is not None and probe():
            return True
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def auto_workers(device: str, cores: int) -> int:
    """Processes that read photos. On a GPU all cores but one, at most 8. On a processor half of the cores, at
    most 4: the model needs the cores more than the decoder does."""
    if device.startswith("cuda"):
        return max(0, min(cores - 1, MOST_WORKERS))
    return min(cores // 2, MOST_WORKERS // 2)


def device_memory(device: str) -> int:
    """Bytes that the device has in all (not what is free now: the same machine shall give the same plan)."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    return min(psutil.virtual_memory().total, memory_limit())


def device_name(device: str) -> str:
    """What the vendor calls it."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return platform.machine() if device == "mps" else str(environment()["processor"])


def autocast(device: str, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products are in ``precision``; none at all for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=_DTYPES[precision])


def synchronise(device: str) -> None:
    """Wait until the device has done all it was given; before a clock is read."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def peak_memory(device: str, *, children: bool = False) -> int:
    """The most bytes in use so far: on a GPU by tensors since ``reset_peak_memory``, on a processor by the
    process since it began. ``children`` adds what its child processes (data workers) hold now."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    if device == "mps":
        return int(torch.mps.driver_allocated_memory())
    peak = resident_peak()
    if children:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                peak += child.memory_info().rss
    return peak


def reset_peak_memory(device: str) -> None:
    """Count the peak of a GPU from here; a process's peak cannot be reset."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def free_cache(device: str) -> None:
    """Give back what the device's allocator holds but nobody uses."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def deterministic(threads: int) -> None:
    """Same input, same bits: ``threads`` for the arithmetic, and no kernel chosen by a race of speeds.

    Where a device has no deterministic kernel for an operation, torch warns and names it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuda starts
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Only hides reads of memory that nobody wrote, at the price of writing all of it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
