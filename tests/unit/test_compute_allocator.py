"""What is freed is kept inside the block, and given back after it; the numbers are the same."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from deitft.compute import allocator
from deitft.compute.allocator import freed_memory_kept

glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="needs glibc"
)
SCRIPT = """
import json, os, resource
import psutil, torch
from deitft.compute.allocator import freed_memory_kept

def faults(times, size=2**24):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

held = lambda: psutil.Process().memory_info().rss
usual = faults(20)
with freed_memory_kept():
    with freed_memory_kept():
        faults(1)
    kept, inside = faults(20), held()
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, str(faults(10, 2**25)).encode())  # more than is free in what the child was born with
        os._exit(0)
    os.wait()
print(json.dumps({
    "usual": usual, "kept": kept, "inside": inside, "after": held(), "forked": int(os.read(read, 20)),
}))
"""
"""Twenty times 64 MiB are taken, filled and freed, in a process whose heap nobody has used before."""


@glibc
def test_a_block_is_taken_from_the_system_a_few_times_and_goes_back_at_the_end() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    seen = json.loads(ended.stdout)
    assert seen["usual"] >= 20 * 2**26 // resource.getpagesize()
    assert seen["kept"] < 0.4 * seen["usual"]
    assert seen["after"] < seen["inside"] - 2**25
    assert seen["forked"] >= 0.9 * seen["usual"]  # a data worker is as it would be without it


def test_an_error_inside_ends_it() -> None:
    with pytest.raises(ValueError, match="inside"), freed_memory_kept():
        raise ValueError("inside")
    assert allocator._depth.open == 0


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Callable[..., int] | None:
        return None

    monkeypatch.setattr(allocator, "_of_glibc", absent)
    with freed_memory_kept():
        assert torch.ones(2**24).sum() == 2**24


def test_no_bit_of_a_convolution_changes() -> None:
    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.ReLU6())
        optimizer = torch.optim.AdamW(net.parameters())
        for _ in range(3):
            net(torch.randn(16, 3, 96, 96)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return torch.cat([parameter.detach().ravel() for parameter in net.parameters()])

    usual = trained()
    with freed_memory_kept():
        assert torch.equal(trained(), usual)
