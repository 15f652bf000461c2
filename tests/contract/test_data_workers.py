"""Streams over worker processes: the same batches, faults that come back whole, and nobody left behind."""

from __future__ import annotations

import builtins
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_sample import train_plan, write_photos

from deitft.data import loading
from deitft.data.photos import PhotoSet
from deitft.data.stream import Batch, EvalStream, TrainStream
from deitft.errors import DataError, DeitftError, StoppedError, StorageError
from deitft.recipe.preprocessing import Preprocessing

STEPS = 7


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    return write_photos(tmp_path_factory.mktemp("photos"), 10)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """No worker outlives its test, whatever happened in it."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    gc.collect()
    assert not workers_but(before)


def workers_but(known: set[int]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.pid not in known]


def same(first: Batch, second: Batch) -> bool:
    return (
        (first.step, first.keys) == (second.step, second.keys)
        and torch.equal(first.images, second.images)
        and torch.equal(first.targets, second.targets)
        and torch.equal(first.sample_ids, second.sample_ids)
    )


@pytest.fixture(scope="module")
def expected(photos: PhotoSet) -> list[Batch]:
    """All batches, made in this process from the first step."""
    return list(TrainStream(train_plan(), photos).from_step(0, STEPS))


@settings(max_examples=12, deadline=None)
@given(step=st.integers(0, STEPS))
def test_any_step_can_be_the_first(step: int, photos: PhotoSet, expected: list[Batch]) -> None:
    tail = list(TrainStream(train_plan(), photos).from_step(step, STEPS))
    assert len(tail) == STEPS - step
    assert all(same(one, other) for one, other in zip(tail, expected[step:], strict=True))


@pytest.mark.parametrize(("workers", "step"), [(1, 0), (2, 0), (2, 3), (3, 5)])
def test_workers_change_nothing(workers: int, step: int, photos: PhotoSet, expected: list[Batch]) -> None:
    stream = TrainStream(train_plan(workers=workers), photos)
    tail = list(stream.from_step(step, STEPS))
    assert len(tail) == STEPS - step
    assert all(same(one, other) for one, other in zip(tail, expected[step:], strict=True))


def test_repeats_and_balance_over_workers(photos: PhotoSet) -> None:
    changes: dict[str, Any] = {"batch": 6, "balance": "class", "augment": {"repeats": 3, "policy": "none"}}
    here = list(TrainStream(train_plan(**changes), photos).from_step(0, 3))
    there = list(TrainStream(train_plan(workers=2, **changes), photos).from_step(0, 3))
    assert all(same(one, other) for one, other in zip(here, there, strict=True))


def test_a_thread_that_is_not_the_main_one_can_stream(photos: PhotoSet, expected: list[Batch]) -> None:
    """As in a notebook's kernel: no signal handler may be set there."""
    found: list[Batch] = []
    thread = threading.Thread(
        target=lambda: found.extend(TrainStream(train_plan(workers=1), photos).from_step(0, 2))
    )
    thread.start()
    thread.join(60)
    assert [same(one, other) for one, other in zip(found, expected, strict=False)] == [True, True]


# Endings


@pytest.mark.parametrize("ending", ["closed", "stream closed", "collected", "exhausted", "abandoned by an error"])
def test_no_worker_outlives_its_iterator(ending: str, photos: PhotoSet) -> None:
    known = {child.pid for child in psutil.Process().children(recursive=True)}
    handler = signal.getsignal(signal.SIGCHLD)
    stream = TrainStream(train_plan(workers=2), photos)
    running: Any = stream.from_step(0, 2 if ending == "exhausted" else 500)
    next(running)
    assert len(workers_but(known)) == 2
    started = time.monotonic()
    if ending == "closed":
        running.close()
    elif ending == "stream closed":
        stream.close()
    elif ending == "collected":
        del running
    elif ending == "exhausted":
        assert len(list(running)) == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt)
    assert not workers_but(known)
    assert time.monotonic() - started < 4.5  # torch waits five seconds for each that does not leave
    assert signal.getsignal(signal.SIGCHLD) is handler  # none of torch's is left to raise in the middle of a step


def test_workers_leave_signals_to_the_process_that_trains(photos: PhotoSet) -> None:
    known = {child.pid for child in psutil.Process().children(recursive=True)}
    running = TrainStream(train_plan(workers=2), photos).from_step(0, 12)
    seen = [next(running).step]
    for number in (signal.SIGINT, signal.SIGTERM):
        for worker in workers_but(known):
            worker.send_signal(number)
    seen += [batch.step for batch in running]
    assert seen == list(range(12))


# Faults


@pytest.mark.parametrize("kind", ["gone", "changed", "damaged"])
def test_a_fault_crosses_from_a_worker_as_it_is(kind: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 6, digests=kind != "damaged")
    path = tmp_path / photos.paths[4]
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300])

    def error(workers: int) -> DeitftError:
        with pytest.raises(DeitftError) as caught:
            list(TrainStream(train_plan(batch=2, workers=workers), photos).from_step(0, 3))
        return caught.value

    here, there = error(0), error(2)
    assert (type(here), here.record()) == (type(there), there.record())
    assert isinstance(there, StorageError if kind == "gone" else DataError)
    assert "\n" not in there.line
    assert "hat/004.jpg" in there.line


def test_N5_a_worker_that_is_killed_is_named_at_once(photos: PhotoSet) -> None:
    known = {child.pid for child in psutil.Process().children(recursive=True)}
    running = TrainStream(train_plan(workers=2), photos).from_step(0, 10**6)
    next(running)
    victim = workers_but(known)[0]
    victim.kill()
    started = time.monotonic()
    with pytest.raises(StoppedError) as caught:
        for _ in running:
            pass
    assert time.monotonic() - started < 20
    assert (caught.value.id, caught.value.exit_code) == ("N5", 75)
    assert "\n" not in caught.value.line
    assert "died (killed, signal 9: often out of memory) while reading " in caught.value.line
    assert caught.value.line.endswith(" — run the same command again (a training goes on with --resume)")
    assert not workers_but(known)


class Deadly:
    """Views that end their worker in one way or another."""

    def __init__(self, ending: str) -> None:
        self.ending = ending

    def __call__(self, rgb: Any, request: loading.Request) -> torch.Tensor:
        if request.photo == 3:
            if self.ending == "exit":
                os._exit(3)
            if self.ending == "hang":
                time.sleep(600)
            if self.ending.endswith("Error"):
                raise getattr(builtins, self.ending)("a bug of ours")
            os.kill(os.getpid(), signal.SIGBUS)
            time.sleep(600)
        return torch.zeros(3, 24, 24, dtype=torch.uint8)

    def needed_side(self, size: int) -> int:
        return size


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("exit", r"data worker 1 died \(exit status 3\) while reading boots/003.jpg"),
        ("bus", r"data worker 1 died \(.*\) while reading boots/003.jpg"),
        ("hang", r"the data workers gave nothing for 1 s \(reading .*boots/003.jpg"),
    ],
)
def test_N5_a_worker_that_dies_or_hangs_is_named_with_its_photo(
    ending: str, words: str, photos: PhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "HUNG_SECONDS", 1.0)
    reader = loading.Reader(photos, Deadly(ending), (255, 255, 255))
    batches = [[loading.Request(number, 0, 24) for number in pair] for pair in ((0, 1), (2, 3), (4, 5))]
    started = time.monotonic()
    with pytest.raises(StoppedError, match=words) as caught:
        list(loading.fetch(reader, batches, workers=2))
    assert caught.value.id == "N5"
    assert time.monotonic() - started < 20


class Untidy:
    """Views whose worker ends with exit status 1 when it is told that there is no more to do."""

    def __call__(self, rgb: Any, request: loading.Request) -> torch.Tensor:
        Finalize(None, os._exit, args=(1,), exitpriority=1000)
        return torch.full((3, 24, 24), request.photo, dtype=torch.uint8)

    def needed_side(self, size: int) -> int:
        return size


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_N5_a_worker_that_has_given_all_its_batches_may_end_as_it_likes(workers: int, photos: PhotoSet) -> None:
    """What a library does in a worker's last moment is no reason to end a run whose batches are all there."""
    ended: list[int | None] = []
    reader = loading.Reader(photos, Untidy(), (255, 255, 255))
    batches = [[loading.Request(number, 0, 24)] for number in range(5)]
    crew = loading.Crew(reader, batches, workers, loading.Watch.over(workers))
    try:
        seen = [loaded.images.unique().tolist() for loaded in iter(crew.next, None)]
        ended = [process.exitcode for process in crew._processes]
    finally:
        crew.dismiss()
    assert seen == [[number] for number in range(5)]
    assert ended == [1] * workers


@pytest.mark.parametrize("kind", ["ZeroDivisionError", "RuntimeError"])
def test_a_bug_in_a_worker_stays_a_bug(kind: str, photos: PhotoSet) -> None:
    reader = loading.Reader(photos, Deadly(kind), (255, 255, 255))
    with pytest.raises(getattr(builtins, kind), match="a bug of ours"):
        list(loading.fetch(reader, [[loading.Request(3, 0, 24)]], workers=1))


PROGRAM = """
import sys, time
from pathlib import Path
import psutil
from stream_sample import train_plan, write_photos
from deitft.data.stream import TrainStream

stream = TrainStream(train_plan(workers=2), write_photos(Path(sys.argv[1]), 6))
running = stream.from_step(0, 1000)
next(running)
print(*(child.pid for child in psutil.Process().children()), flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("ending", ["its last line", "SIGKILL"])
def test_no_worker_outlives_a_program_that_did_not_close_its_stream(ending: str, tmp_path: Path) -> None:
    """Workers ignore SIGTERM, which is what python sends to those left at exit, and then waits for ever."""
    seconds = "0" if ending == "its last line" else "100"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stdout is not None
        workers = [int(word) for word in program.stdout.readline().split()]
        assert len(workers) == 2
        if ending == "SIGKILL":
            program.kill()
        program.wait(20)
    deadline = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(runs, workers))


def runs(pid: int) -> bool:
    """False for a process that has ended, also where nobody has asked for its exit status yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_evaluation_over_workers_is_the_same(workers: int, tmp_path: Path) -> None:
    photos, pre = write_photos(tmp_path, 8, digests=False), Preprocessing(size=24)
    (tmp_path / photos.paths[2]).write_bytes(b"<!doctype html>")

    def run(workers: int) -> tuple[list[list[int]], torch.Tensor, list[tuple[str, str]]]:
        told: list[tuple[str, str]] = []
        stream = EvalStream(
            photos, pre, batch=3, workers=workers, on_bad=lambda path, error: told.append((path, error.line))
        )
        found = list(stream)
        return [indices.tolist() for _, indices in found], torch.cat([images for images, _ in found]), told

    here, there = run(0), run(workers)
    assert here[0] == there[0] == [[0, 1], [3, 4, 5], [6, 7]]
    assert torch.equal(here[1], there[1])
    assert here[2] == there[2]
    assert len(here[2]) == 1
    with pytest.raises(DataError, match=r"shoes/002\.jpg is not an image"):
        list(EvalStream(photos, pre, batch=3, workers=workers))
