"""What one photo may cost the process that reads it; who ended it is known."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from photo_kit import put, read, write_classes

from deitft.data import photo_reader
from deitft.data.catalog import BadPhoto
from deitft.data.decode import examine
from deitft.data.reading_limits import HUGE_PIXELS, Reader, Watch, bound_memory

FORK = get_context("fork")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_photo_that_crashes_the_decoder_is_named_and_all_others_are_read(tmp_path, monkeypatch, name):
    """No photo is known that does; this one asks for it."""
    root = write_classes(tmp_path / "p", {"hats": 40, "shoes": 40}, size=(9, 8))
    put(root, "hats/020-evil.jpg", b"evil")
    real = examine

    def crashing(data: bytes, **more: object) -> object:
        if data == b"evil":
            faulthandler.disable()  # it would tell of every crash
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), getattr(signal, name))
        return real(data, **more)

    monkeypatch.setattr(photo_reader, "examine", crashing)
    catalog = read(root)
    row = catalog.paths.index("hats/020-evil.jpg")
    assert catalog.bad == {row: BadPhoto("D2", f"crashes the decoder ({name})")}
    assert sum(map(bool, catalog.digests)) == 80


def test_several_evil_photos_in_several_processes(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"hats": 70, "shoes": 70}, size=(9, 8))
    evil = [
        put(root, f"{name}-evil.jpg", b"evil%d" % number) for number, name in enumerate(("hats/003", "shoes/066"))
    ]
    real = examine

    def crashing(data: bytes, **more: object) -> object:
        if data.startswith(b"evil"):
            faulthandler.disable()  # it would tell of every crash
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(data, **more)

    monkeypatch.setattr(photo_reader, "examine", crashing)
    catalog = read(root)
    assert sorted(catalog.paths[row] for row in catalog.bad) == [str(path.relative_to(root)) for path in evil]


def test_memory_is_bounded_in_the_reading_process_alone():
    def child(connection: object) -> None:
        bound_memory(1_000_000)
        try:
            bytearray(1_000_000_000)
        except MemoryError:
            connection.send("refused")
        else:
            connection.send("had")

    ours, theirs = FORK.Pipe()
    before = resource.getrlimit(resource.RLIMIT_AS)
    process = FORK.Process(target=child, args=(theirs,))
    process.start()
    assert ours.recv() == "refused"
    process.join()
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    bytearray(1_000_000_000)  # control: here there is room


def _hold(watch: Watch, pixels: int, log: object, together: object | None) -> None:
    reader = Reader(watch)
    for _ in range(4):
        with reader.alone(pixels):
            log.put((time.monotonic(), 1))
            if together is None:
                time.sleep(0.03)
            else:
                together.wait(60)  # each waits inside until the other is inside, too
            log.put((time.monotonic(), -1))
        time.sleep(0.005)


@pytest.mark.parametrize(("pixels", "most"), [(HUGE_PIXELS, 1), (HUGE_PIXELS - 1, 2)])
def test_huge_photos_are_held_one_at_a_time(pixels, most):
    watch, log = Watch(FORK, 2), FORK.Queue()
    together = FORK.Barrier(2) if most == 2 else None
    processes = [FORK.Process(target=_hold, args=(watch, pixels, log, together)) for _ in range(2)]
    for process in processes:
        process.start()
    events = sorted(log.get() for _ in range(16))
    for process in processes:
        process.join()
    watch.close()
    held = [sum(step for _, step in events[: at + 1]) for at in range(16)]
    assert max(held) == most
    assert not Path(watch.gate).exists()


def test_one_that_dies_holding_the_gate_does_not_block_the_others():
    watch = Watch(FORK, 2)

    def dies() -> None:
        with Reader(watch).alone(HUGE_PIXELS):
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=dies)
    process.start()
    process.join()
    began = time.monotonic()
    with Reader(watch).alone(HUGE_PIXELS):
        pass
    watch.close()
    assert time.monotonic() - began < 1
    assert watch.culprits([process]) == {}  # it was at no photo
