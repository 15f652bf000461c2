"""Device, precision, threads. What needs a GPU runs on a stand-in for torch's answers, or is skipped by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
import torch

from deitft.compute import device as module
from deitft.compute.device import (
    Machine,
    auto_workers,
    autocast,
    available_devices,
    choose,
    cpu_computes_bf16,
    deterministic,
    free_cache,
    peak_memory,
    reset_peak_memory,
    synchronise,
)
from deitft.compute.limits import available_cores
from deitft.errors import UnavailableError, UsageError

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """torch's answers on a machine with two GPUs; ``bf16`` and ``capability`` may be changed."""
    answers: dict[str, object] = {"bf16": True, "capability": (8, 0)}
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "is_bf16_supported", lambda including_emulation=True: answers["bf16"])
    monkeypatch.setattr(cuda, "get_device_capability", lambda device: answers["capability"])
    monkeypatch.setattr(cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=24 * 10**9))
    monkeypatch.setattr(cuda, "get_device_name", lambda device: f"GPU of {device}")
    return answers


@NO_GPU
def test_the_machine_of_this_test() -> None:
    machine = choose()
    assert machine.device == "cpu"
    assert machine.precision == ("bf16" if cpu_computes_bf16() else "fp32")
    assert machine.threads == available_cores()
    assert 0 <= machine.workers <= 8
    assert 10**8 < machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.name
    assert choose() == machine


def test_what_is_asked_is_taken() -> None:
    machine = choose("cpu", threads=3, workers=0, precision="fp32")
    assert (machine.device, machine.threads, machine.workers, machine.precision) == ("cpu", 3, 0, "fp32")


@NO_GPU
def test_a_device_that_is_not_here_names_what_is() -> None:
    with pytest.raises(UnavailableError) as caught:
        choose("cuda")
    assert caught.value.line.startswith("cuda is not on this machine (there is: cpu")
    assert (caught.value.exit_code, caught.value.id) == (69, "DEVICE")


@pytest.mark.parametrize("name", ["tpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:0", "CUDA"])
def test_a_device_of_no_such_name(name: str) -> None:
    with pytest.raises(UsageError, match="no such device"):
        choose(name)


def test_impossible_counts_and_precisions() -> None:
    with pytest.raises(UsageError, match="threads is 0"):
        choose("cpu", threads=0)
    with pytest.raises(UsageError, match="workers is -1"):
        choose("cpu", workers=-1)
    with pytest.raises(UsageError, match='no such precision: "int8"'):
        choose("cpu", precision="int8")
    with pytest.raises(UnavailableError, match="fp16 needs a GPU"):
        choose("cpu", precision="fp16")


def test_gpus_come_first(two_gpus: dict[str, object]) -> None:
    assert available_devices()[:3] == ("cuda", "cuda:0", "cuda:1")
    machine = choose()
    assert machine.device == "cuda"
    assert (machine.precision, machine.memory_bytes, machine.name) == ("bf16", 24 * 10**9, "GPU of cuda")
    assert choose("cuda:1").name == "GPU of cuda:1"
    with pytest.raises(UnavailableError, match="there is: cuda, cuda:0, cuda:1, cpu"):
        choose("cuda:2")
    assert choose("cuda", precision="fp16").precision == "fp16"
    assert choose("cpu").device == "cpu"


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((6, 1), "fp32")])
def test_older_gpus(two_gpus: dict[str, object], capability: tuple[int, int], precision: str) -> None:
    two_gpus.update(bf16=False, capability=capability)
    assert choose().precision == precision


def test_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4)
    waited = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(1))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: waited.append(2))
    machine = choose()
    assert (machine.device, machine.precision, machine.memory_bytes) == ("mps", "fp32", 5)
    synchronise("mps")
    free_cache("mps")
    reset_peak_memory("mps")
    assert waited == [1, 2]
    assert peak_memory("mps") == 4


def test_bf16_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert cpu_computes_bf16()
    # A torch that no longer has those names: the system's own list is asked.
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.setattr(module, "cpu_flags", lambda: frozenset({"avx2"}))
    assert not cpu_computes_bf16()
    assert choose("cpu").precision == "fp32"
    monkeypatch.setattr(module, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    assert cpu_computes_bf16()


@pytest.mark.parametrize(
    ("device", "cores", "workers"),
    [
        ("cpu", 1, 0),
        ("cpu", 2, 1),
        ("cpu", 8, 4),
        ("cpu", 64, 4),
        ("mps", 8, 4),
        ("cuda", 1, 0),
        ("cuda:1", 4, 3),
        ("cuda", 64, 8),
    ],
)
def test_workers(device: str, cores: int, workers: int) -> None:
    assert auto_workers(device, cores) == workers


def test_autocast_on_a_processor() -> None:
    layer, images = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with autocast("cpu", "fp32"):
        assert layer(images).dtype == torch.float32
    with autocast("cpu", "bf16"):
        assert layer(images).dtype == torch.bfloat16
    assert layer(images).dtype == torch.float32


def test_peak_memory_of_a_process_never_falls() -> None:
    """In a process of its own: this one may have held gigabytes before."""
    code = (
        "from deitft.compute.device import free_cache, peak_memory, reset_peak_memory, synchronise\n"
        "before = peak_memory('cpu')\n"
        "block = bytearray(b'x') * (3 * 10**8)\n"
        "after = peak_memory('cpu')\n"
        "del block\n"
        "reset_peak_memory('cpu'); free_cache('cpu'); synchronise('cpu')\n"
        "print(before, after, peak_memory('cpu'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    before, after, later = map(int, done.stdout.split())
    assert before > 10**7
    assert after >= before + 10**8
    assert later >= 0.99 * after  # the kernel counts in batches


def test_peak_memory_with_children() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(50_000_000); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert peak_memory("cpu", children=True) > peak_memory("cpu") + 4 * 10**7
    finally:
        child.communicate(b"\n")


def test_peak_memory_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7_000))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory("cpu") == 7_000
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert peak_memory("cpu") == 7_000 * 1024
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory("cpu") == 0  # psutil has the peak on Windows only


def test_gpu_helpers_ask_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: asked.append(("wait", device)))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append(("free", None)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 123)
    synchronise("cuda:1")
    reset_peak_memory("cuda:1")
    free_cache("cuda:1")
    assert asked == [("wait", "cuda:1"), ("reset", "cuda:1"), ("free", None)]
    assert peak_memory("cuda:1") == 123


@pytest.fixture
def _settings_restored() -> Iterator[None]:
    threads, algorithms = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill, cudnn = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn
    benchmark, exact, workspace = cudnn.benchmark, cudnn.deterministic, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(algorithms)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    cudnn.benchmark, cudnn.deterministic = benchmark, exact
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.usefixtures("_settings_restored")
def test_deterministic_settings() -> None:
    deterministic(1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.utils.deterministic.fill_uninitialized_memory


@GPU
def test_a_real_gpu() -> None:  # pragma: no cover - runs where there is one
    machine: Machine = choose("cuda")
    reset_peak_memory("cuda")
    with autocast("cuda", machine.precision):
        product = torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")
    synchronise("cuda")
    assert float(product[0, 0]) == 64
    assert peak_memory("cuda") > 0
    assert machine.memory_bytes > 10**9
