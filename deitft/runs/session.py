"""One process at work on one run: what was asked, what was found, what is to be done."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deitft.compute.device import Machine
from deitft.core.progress import StopFlag
from deitft.core.records import RunRecord
from deitft.models.build import Classifier
from deitft.models.weights import LoadReport
from deitft.recipe.plan_types import Plan
from deitft.runs.folder import RunFolder
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One process at work on one run. ``hard_stop``: ``time.monotonic()`` after which training ends."""

    request: TrainRequest
    folder: RunFolder
    record: RunRecord
    plan: Plan
    prepared: Prepared
    machine: Machine
    classifier: Classifier
    load_report: LoadReport | None
    stop: StopFlag
    hard_stop: float | None

    def elapsed(self) -> float:
        """Seconds since the command began."""
        return elapsed(self.request)

    def refuse_stop(self, during: str) -> None:
        """End here if a signal came, with the words of what is saved.

        Raises:
            StoppedError: of the signal's exit code.
        """
        if self.stop.by_signal:
            self.record.status = "stopped"
            raise self.stop.error(
                f"while {during}, training is saved", f"continue with `deitft resume {self.folder.path}`"
            )


def elapsed(request: TrainRequest) -> float:
    """Seconds since the command began."""
    return time.monotonic() - request.started
