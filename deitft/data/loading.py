"""How photos become batches of views, in this process or in workers, and how faults come back whole.

Workers hand faults over as values: torch's DataLoader would turn exceptions into text of its own. A worker that
dies or hangs is noticed and named (fault N5); none outlives the loop that asked for it.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing as mp
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from ctypes import c_int64
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from deitft.core.forked import as_child, how_it_ended, signals_held_back
from deitft.data.catalog import shown
from deitft.data.crops import Colour, Pixels
from deitft.data.decode import BadPhotoError, decode
from deitft.data.forking import still_opencv
from deitft.data.photos import Lost, PhotoSet
from deitft.errors import StoppedError

PREFETCH = 2
"""Batches each worker prepares ahead."""
HUNG_SECONDS = 600.0
"""A batch that takes longer than this will not come: a worker was stopped, or its disk answers no more."""
NOTHING = -1
_WHY = {9: ": often out of memory", getattr(signal, "SIGBUS", 0): ": often /dev/shm is full"}  # 9: SIGKILL
_AGAIN = "run the same command again (a training goes on with --resume)"


class Request(NamedTuple):
    """One view to make: which photo, with which key, at how many pixels a side."""

    photo: int
    key: int
    size: int


class Views(Protocol):
    """How a decoded photo becomes a view."""

    def __call__(self, rgb: Pixels, request: Request) -> Tensor:
        """uint8 [H, W, 3] to uint8 [3, S, S]."""
        ...

    def needed_side(self, size: int) -> int:
        """Pixels the shorter side must keep in decoding."""
        ...


@dataclass(frozen=True, slots=True)
class Fault:
    """A photo of a batch that could not be had."""

    index: int
    reason: Lost | BadPhotoError


@dataclass(frozen=True, slots=True)
class Loaded:
    """Views uint8 [n, 3, S, S] of the photos ``indices``, and the faults of the others of the batch."""

    images: Tensor
    indices: tuple[int, ...]
    faults: tuple[Fault, ...]
    retries: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Memory shared with the workers: what each is reading, and whether it may leave."""

    reading: Any
    leave: Any

    @classmethod
    def over(cls, workers: int) -> Watch:
        """For so many workers; photo numbers are filled in by them."""
        return cls(mp.RawArray(c_int64, [NOTHING] * workers), mp.RawValue("b", 0))


@dataclass
class Reader(Dataset[Loaded]):
    """Batches of requests to batches of views. ``stop_at_fault``: a batch with a fault is not finished."""

    photos: PhotoSet
    views: Views
    background: Colour
    stop_at_fault: bool = True
    watch: Watch | None = None

    def __getitems__(self, requests: Sequence[Request]) -> Loaded:
        images: list[Tensor] = []
        indices: list[int] = []
        faults: list[Fault] = []
        retries = 0
        for request in requests:
            if self._told_to_leave(request.photo):
                break
            view, again = self._view(request)
            retries += again
            if isinstance(view, Tensor):
                images.append(view)
                indices.append(request.photo)
                continue
            faults.append(Fault(request.photo, view))
            if self.stop_at_fault:
                break
        stacked = torch.stack(images) if images else torch.empty(0, 3, 0, 0, dtype=torch.uint8)
        return Loaded(stacked, tuple(indices), tuple(faults), retries)

    def _view(self, request: Request) -> tuple[Tensor | Lost | BadPhotoError, int]:
        try:
            content = self.photos.read(request.photo)
            if isinstance(content, Lost):
                return content, 0
            at_least = self.views.needed_side(request.size)
            rgb = decode(content.data, background=self.background, at_least=at_least)
        except BadPhotoError as error:
            return error, 0
        return self.views(rgb, request), content.retries

    def _told_to_leave(self, index: int) -> bool:
        info = get_worker_info()
        if self.watch is None or info is None:
            return False
        self.watch.reading[info.id] = index
        return bool(self.watch.leave.value)


def fetch(reader: Reader, batches: Iterable[list[Request]], *, workers: int) -> Iterator[Loaded]:
    """The views of each batch, in order, made here (``workers`` 0) or ahead of time by workers.

    What comes out does not depend on ``workers``.

    Raises:
        StoppedError: a worker died or hangs (id N5).
    """
    if workers == 0:
        return map(reader.__getitems__, batches)
    return _fetch_from_workers(reader, batches, workers)


def _fetch_from_workers(reader: Reader, batches: Iterable[list[Request]], workers: int) -> Iterator[Loaded]:
    watch = Watch.over(workers)
    reader = Reader(reader.photos, reader.views, reader.background, reader.stop_at_fault, watch)
    crew = Crew(reader, batches, workers, watch)
    try:
        while (loaded := crew.next()) is not None:
            yield loaded
    finally:
        crew.dismiss()


class WorkerDied(Exception):  # noqa: N818 - a signal to ourselves, no error of the user's
    """A worker is gone while a batch is awaited."""


def start_worker(number: int) -> None:
    """A worker leaves Ctrl-C and SIGTERM, which reach a whole group of processes, to the process that trains.

    It has one thread.
    """
    as_child()
    torch.set_num_threads(1)


def _as_loaded(loaded: Any) -> Any:
    """In the place of the loader's collating: a batch is made already."""
    return loaded


@dataclass
class Crew:
    """Workers over one sequence of batches, on top of torch's DataLoader."""

    reader: Reader
    batches: Iterable[list[Request]]
    workers: int
    watch: Watch
    _iterator: Any = field(init=False)
    _processes: list[BaseProcess] = field(init=False)
    _at_exit: Finalize = field(init=False)

    def __post_init__(self) -> None:
        still_opencv()
        with warnings.catch_warnings(), _undisturbed():
            warnings.filterwarnings("ignore", message="This DataLoader will create")  # the user chose the number
            loader: DataLoader[Loaded] = DataLoader(
                self.reader,
                batch_sampler=self.batches,
                num_workers=self.workers,
                collate_fn=_as_loaded,
                worker_init_fn=start_worker,
                generator=torch.Generator(),  # its own: the global one is not touched
                prefetch_factor=PREFETCH,
                timeout=HUNG_SECONDS,
                # a fork has the transforms and their libraries already, and asks for no __main__ guard
                multiprocessing_context="fork" if sys.platform == "linux" else None,
            )
            self._iterator = iter(loader)
        self._processes = list(self._iterator._workers)
        # multiprocessing ends what is left at exit with SIGTERM and waits for ever: these workers ignore it
        self._at_exit = Finalize(self, _kill, args=(self._processes,), exitpriority=10)

    def next(self) -> Loaded | None:
        """The next batch; None after the last one."""
        try:
            with self._noticing_deaths():
                return next(self._iterator, None)
        except (WorkerDied, RuntimeError, EOFError, OSError) as error:
            trouble = self._trouble(error)
            if trouble is None:
                raise
            raise trouble from error

    @contextlib.contextmanager
    def _noticing_deaths(self) -> Iterator[None]:
        """Inside, the death of a worker ends the wait for it at once (in the main thread; else it takes
        ``HUNG_SECONDS``). Outside it does not: torch's own handler would raise in the middle of a step."""

        def notice(number: int, frame: FrameType | None) -> None:
            if self._missed():
                raise WorkerDied

        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
            yield
            return
        # an exception that comes up while garbage is collected would be dropped there
        collecting = gc.isenabled()
        gc.disable()
        before = signal.signal(signal.SIGCHLD, notice)
        try:
            if self._missed():
                raise WorkerDied
            yield
        finally:
            signal.signal(signal.SIGCHLD, before)
            if collecting:
                gc.enable()

    def _dead(self) -> list[int]:
        """Workers that ended badly."""
        return [number for number, process in enumerate(self._processes) if process.exitcode]

    def _missed(self) -> list[int]:
        """Workers that ended badly and owe a batch. How one ends that has given all its batches is no matter."""
        owing = {task[0] for task in self._iterator._task_info.values() if len(task) == 1}
        return [number for number in self._dead() if number in owing]

    def _trouble(self, error: Exception) -> StoppedError | None:
        if isinstance(error, EOFError | OSError):  # the line to a worker broke: it is dying, not yet dead
            for process in self._processes if wait([each.sentinel for each in self._processes], 1.0) else []:
                process.join(0.5)
        dead = self._missed() or self._dead()
        if dead:
            number, code = dead[0], self._processes[dead[0]].exitcode
            what = f"data worker {number} died ({how_it_ended(code, _WHY)}){self._while_reading(number)}"
            return StoppedError(what, _AGAIN, id="N5")
        if "timed out" in str(error):
            photos = ", ".join(sorted({self._path(number) for number in range(self.workers)} - {""}))
            _kill(self._processes)
            what = f"the data workers gave nothing for {HUNG_SECONDS:.0f} s (reading {photos or 'nothing'})"
            return StoppedError(what, f"check the disk and {_AGAIN}", id="N5")
        return None

    def _path(self, number: int) -> str:
        index = self.watch.reading[number]
        return "" if index == NOTHING else shown(self.reader.photos.paths[index])

    def _while_reading(self, number: int) -> str:
        path = self._path(number)
        return f" while reading {path}" if path else ""

    def dismiss(self) -> None:
        """Let the workers go: each leaves after the photo it is at, and is killed where it does not."""
        self.watch.leave.value = 1
        with contextlib.suppress(RuntimeError, OSError):
            self._iterator._shutdown_workers()
        self._at_exit()


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Start workers: Ctrl-C and SIGTERM are held back until they ignore them (they inherit the mask), and the
    SIGCHLD handler that torch installs with the first workers of a process is taken off again."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    with signals_held_back():
        try:
            yield
        finally:
            signal.signal(signal.SIGCHLD, handler)
