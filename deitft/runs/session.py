"""One process at work on one run: what was asked, what was found, what is to be done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from deitft.compute.device import Machine
from deitft.core.progress import StopFlag
from deitft.core.records import RunRecord
from deitft.errors import StoppedError
from deitft.models.build import Classifier
from deitft.recipe.plan_types import Plan
from deitft.runs.folder import RunFolder
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One process at work on one run. ``hard_stop``: ``time.monotonic()`` after which training ends; ``resumed``:
    it was begun before.
    """

    request: TrainRequest
    folder: RunFolder
    record: RunRecord
    plan: Plan
    prepared: Prepared
    machine: Machine
    classifier: Classifier
    stop: StopFlag
    hard_stop: float | None
    resumed: bool = False

    def elapsed(self) -> float:
        """Seconds since the command began."""
        return elapsed(self.request)

    @contextlib.contextmanager
    def stoppable(self, saved: str) -> Iterator[None]:
        """A signal ends the block, or what follows it, with the words of what is ``saved`` by then.

        Raises:
            StoppedError: of the signal's exit code.
        """
        try:
            yield
        except StoppedError:
            self._refuse_stop(saved)
            raise
        self._refuse_stop(saved)

    def _refuse_stop(self, saved: str) -> None:
        if self.stop.by_signal:
            raise self.stop.error(saved, f"continue with `deitft resume {self.folder.path}`")


def elapsed(request: TrainRequest) -> float:
    """Seconds since the command began."""
    return time.monotonic() - request.started
