"""A thread that ends this process where another one is gone and the main thread cannot notice.

A peer that is stopped, a launcher that was killed, a device that waits for ever inside a collective: there the
main thread hangs in code that is not ours, for as long as torch's own time limit (fault N5, R7). Each process
counts aloud in the launcher's store; who hears nothing of another for a minute ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deitft.compute.group import FAULT, Group
from deitft.core.progress import Progress
from deitft.errors import DeitftError, Notice

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

BEAT_SECONDS = 2.0
LOST_BEATS = 25
"""So many of our own beats without one of another's: it is stopped or gone. Counted, not timed: a machine that
slept, or a whole group that was stopped, goes on."""
GRACE_BEATS = 5
"""How long the main thread may take to notice that somebody has failed."""


class Watch(threading.Thread):
    """Counts aloud, and listens."""

    def __init__(self, group: Group, store: Store, progress: Progress) -> None:
        super().__init__(name="deitft-watch", daemon=True)
        self._group, self._store, self._progress = group, store, progress
        self._over = threading.Event()

    def run(self) -> None:
        """Until ``end``, or until somebody is lost."""
        mine, others = 0, [rank for rank in range(self._group.world) if rank != self._group.rank]
        heard = dict.fromkeys(others, (b"", 0))
        waited = 0
        while not self._over.wait(BEAT_SECONDS):
            mine += 1
            try:
                self._store.set(_name(self._group.rank), str(mine))
                for rank in others:
                    # who has not said a first word may be stopped, too: it has met the others before
                    word = self._store.get(_name(rank)) if self._store.check([_name(rank)]) else b""
                    heard[rank] = (word, 0) if word != heard[rank][0] else (word, heard[rank][1] + 1)
                failed = self._store.check([FAULT])
            except RuntimeError:
                if not (self._over.is_set() or self._group.noticed):
                    self._leave(self._group.lost("the launcher, or the process that leads, is gone"))
                return
            silent = [rank for rank, (_, beats) in heard.items() if beats >= LOST_BEATS]
            if silent and not self._group.noticed:
                text = f"process {silent[0]} of {self._group.world} gave no sign of life for a minute"
                self._leave(self._group.lost(text, also=silent))
            waited = waited + 1 if failed and not self._group.noticed else 0
            if waited > GRACE_BEATS:
                self._leave(self._group.cause(RuntimeError("connection")))

    def _leave(self, error: Exception) -> None:
        """End this process."""
        if not isinstance(error, DeitftError):
            return
        self._group.tell(error)
        if getattr(error, "spoken_by", 0) == self._group.rank:
            self._progress.warn(Notice(id=error.id, severity="error", text=error.what, hint=error.hint))
        os._exit(error.exit_code)

    def end(self) -> None:
        """The command is over."""
        self._over.set()
        self.join(5)


def _name(rank: int) -> str:
    return f"deitft/alive/{rank}"


@contextlib.contextmanager
def watched(group: Group, progress: Progress) -> Iterator[None]:
    """A watch for the length of the block."""
    watch = Watch(group, group.own_line(), progress)
    watch.start()
    try:
        yield
    finally:
        watch.end()
