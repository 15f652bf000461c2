"""What decoders say on the side, kept from people: warnings, log lines, a C library's stderr.

What matters of it comes as an error as well, and is reported once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

# Without a handler of ours, python would print what Pillow logs of a damaged file.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def silenced(kind: str | None) -> contextlib.AbstractContextManager[None]:
    """A block in which a photo of a format is decoded without a word. JPEG, the frequent case, has none."""
    if kind == "JPEG":
        return contextlib.nullcontext()
    return _all_silenced() if kind == "TIFF" else _no_warnings_shared()


class _Shared:
    """A context that the first thread enters and the last one leaves: for what belongs to the whole process."""

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self.make = make
        self.lock = threading.Lock()
        self.inside = 0
        self.guard: contextlib.AbstractContextManager[None] | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if self.guard is None:
                self.guard = self.make()
                self.guard.__enter__()
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0 and self.guard is not None:
                    self.guard.__exit__(None, None, None)
                    self.guard = None


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """libtiff writes to the process's stderr whatever it meets; what matters comes as an error as well."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


_no_warnings_shared = _Shared(_no_warnings)
_no_stderr_shared = _Shared(_no_stderr)


@contextlib.contextmanager
def _all_silenced() -> Iterator[None]:
    with _no_warnings_shared(), _no_stderr_shared():
        yield
