"""Work on a stranger's file in a process of its own, with little memory, little time and no core dump (fault S1).

Whatever the file makes of that process, this one sees its end, plain files it has written, and one line of text.
Nothing that comes back is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing as mp
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from deitft.core.forked import as_child, how_it_ended, signals_held_back
from deitft.errors import DataError

SPARE_BYTES = 512 * 1024 * 1024
"""Memory for anything but the file's content: allocators, python, the error that tells of the lack of memory."""
SPARE_SECONDS = 60
BYTES_A_SECONDS = 10 * 1024 * 1024
"""A slow processor unpacks far more than this."""
_WHY = {9: ": often out of memory", 24: ": it took too long"}  # SIGKILL, SIGXCPU

Work = Callable[[Path, Path], None]


def work_apart(work: Work, file: Path, folder: Path) -> None:
    """Call ``work(file, folder)`` in another process; what it writes into ``folder`` is all that stays of it.

    ``work`` is a function of a module. The process may take twice the file's size in memory and half a GB.

    Raises:
        DataError: what ``work`` raised, as text; or it came to a bad end (id S6).
    """
    answer = folder / "error.json"
    # a fork has torch already; elsewhere a new process has to import it
    context = mp.get_context("fork" if sys.platform == "linux" else "spawn")
    process = context.Process(target=_work, args=(work, file, folder, answer), daemon=True)  # type: ignore[attr-defined]
    with signals_held_back():
        process.start()
    try:
        process.join()
        if process.exitcode:
            raise _fault(file, f"the process that read it died ({how_it_ended(process.exitcode, _WHY)})")
    finally:
        process.kill()
        process.join()
        process.close()
    if answer.exists():
        try:
            with answer.open("rb") as opened:
                what, hint, id = (str(text) for text in json.loads(opened.read(65_536)))
        except (ValueError, TypeError) as error:
            raise _fault(file, "the process that read it said nothing that makes sense") from error
        raise DataError(what, hint, id=id, files=[str(file)])


def _fault(file: Path, what: str) -> DataError:
    return DataError(f"{file}: {what}", "check where it comes from", id="S6", files=[str(file)])


def _work(work: Work, file: Path, folder: Path, answer: Path) -> None:
    as_child()
    torch.set_num_threads(1)
    limit(file.stat().st_size)
    try:
        work(file, folder)
    except DataError as error:
        answer.write_text(json.dumps([error.what, error.hint, error.id]))
    except (MemoryError, OSError, RuntimeError) as error:
        what = f"{file}: cannot be read apart from this process ({str(error).partition(chr(10))[0][:200]})"
        answer.write_text(json.dumps([what, "see that there is memory and room for temporary files", "S6"]))


def limit(size: int) -> None:
    """Bound this process: memory for a file of ``size`` bytes twice, processor time, no core dump."""
    if sys.platform == "win32":
        return
    import resource

    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: SPARE_SECONDS + size // BYTES_A_SECONDS}
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * os.sysconf("SC_PAGE_SIZE") + 2 * size + SPARE_BYTES
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, hard))  # the soft one: at the hard one of time the kernel gives no reason
