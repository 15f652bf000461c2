"""Which runs a comparison needs: those that are there already, and those that have yet to be made.

All of them see the same photos on the same sides: the split of the first seed is pinned for the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from deitft.core.files import canonical_json, sha256_bytes, write_text
from deitft.core.progress import Progress
from deitft.core.records import csv_text
from deitft.data.splits import columns_of
from deitft.errors import DeitftError, UsageError
from deitft.models.zoo import resolve as resolve_model
from deitft.recipe.load import recipe_yaml
from deitft.runs.assemble import choose_weights
from deitft.runs.finished import Finished, signature_of
from deitft.runs.folder import RunFolder
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest, seconds_text
from deitft.runs.train import read_recipe

NO_WEIGHTS = "none"
"""``Entry.start`` of a run that starts at random."""
_LENGTHS = ("train.length", "train.length_factor")
"""Recipe fields whose place an equal time takes."""


@dataclass(frozen=True)
class Entry:
    """One run that is wanted: a model with a seed. ``signature`` is that of the photos on their sides.

    ``start``: SHA-256 of its starting weights, "none" without any, None where there are none to be had.
    ``equal_time``: seconds it gets in the place of its epochs. ``time_limit``: seconds of the whole command: with
    another limit it is another run.
    """

    request: TrainRequest
    signature: str
    start: str | None
    equal_time: float | None = None
    time_limit: float | None = None

    @property
    def model(self) -> str:
        """The model's name as asked."""
        return str(self.request.model)

    @property
    def title(self) -> str:
        """What it is called while it is made."""
        return f"{self.model}, seed {self.request.seed}"

    @cached_property
    def asked(self) -> str:
        """The recipe as a run's ``recipe.yaml`` keeps it."""
        return recipe_yaml(read_recipe(self.request))

    @cached_property
    def name(self) -> str:
        """The run's name: the same whenever the same is asked for, so that it is found again."""
        return self._name + ("" if self.time_limit is None else f"-{math.ceil(self.time_limit)}s")

    @cached_property
    def _name(self) -> str:
        """Its name without a time limit of the whole command."""
        seed = self.request.seed
        identity = [self.signature, self.asked, seed, self.start, self.equal_time]
        short = resolve_model(self.model).short_name or self.model.partition(".")[0]
        return f"compare-{short[:40]}-{seed}-{sha256_bytes(canonical_json(identity))[:8]}"

    @property
    def folder(self) -> RunFolder:
        """Where the run is, if it has begun."""
        return RunFolder(self.request.runs_dir / self.name)

    @property
    def as_good(self) -> list[RunFolder]:
        """Folders in which the run may be: its own, then those of larger limits of the whole command, the closest
        first, and of none."""
        if self.time_limit is None:
            return [self.folder]
        runs_dir, own = self.request.runs_dir, math.ceil(self.time_limit)
        names = (
            re.fullmatch(rf"{re.escape(self._name)}-(\d+)s", path.name)
            for path in runs_dir.glob(f"{self._name}-*")
        )
        larger = sorted(int(found[1]) for found in names if found and int(found[1]) > own)
        return [
            self.folder,
            *(RunFolder(runs_dir / f"{self._name}-{limit}s") for limit in larger),
            RunFolder(runs_dir / self._name),
        ]

    def words(self, *, time_limit: float | None, dry_run: bool = False, fill: bool = False) -> list[str]:
        """The command line that makes the run. A dry run has no name: its folder may be there, half done.

        ``fill``: its length is the equal time, in the place of the epochs that would end before.
        """
        name = None if dry_run else self.name
        request = replace(self.request, name=name, time_limit=time_limit, dry_run=dry_run)
        if fill and self.equal_time is not None:
            kept = [text for text in request.set if text.partition("=")[0].strip() not in _LENGTHS]
            length = f"train.length={seconds_text(self.equal_time)}"
            request = replace(request, set=(*kept, length, "train.length_factor=1"))
        return request.as_command()[1:]

    def is_answered_by(self, run: Finished) -> bool:
        """Whether a finished run is what is wanted: the same photos, model, recipe, seed, starting weights, and
        whole.
        """
        return (
            run.plan.seed == self.request.seed
            and self._starts_as(run)
            and run.folder.recipe.is_file()
            and run.folder.recipe.read_text("utf-8") == self.asked
            and run.whole
            and self.equal_time is None
            and run.signature == self.signature
        )

    def _starts_as(self, run: Finished) -> bool:
        """By content; where the weights cannot be had any more, whether they were the hub's: it has one kind."""
        weights = run.plan.weights
        if self.start is None:
            return weights.get("kind") == "hub"
        return str(weights.get("sha256", NO_WEIGHTS)) == self.start


def entries(
    request: TrainRequest,
    models: Sequence[str],
    seeds: Sequence[int],
    prepared: Prepared,
    splits: Path,
    progress: Progress,
    *,
    equal_time: float | None,
    time_limit: float | None,
) -> list[Entry]:
    """All runs of a comparison, model by model within a seed: a table fills up evenly.

    ``splits`` pins the sides for all of them; the limits are those of ``Entry``.

    Raises:
        UsageError: a model is named twice, or not known (id MODEL).
    """
    double = [name for name in models if models.count(name) > 1]
    if double:
        raise UsageError(f"{double[0]} is named twice", "name each model once", id="MODEL")
    for name in models:
        resolve_model(name)
    signature = signature_of(prepared.catalog.classes, prepared.splits.table(prepared.catalog))
    wanted = replace(request, verb="finetune", splits=splits, dry_run=False, resume=False, time_limit=None)
    starts = {}
    with progress.task("reading the starting weights", len(models), unit="models") as task:
        for name in models:
            starts[name] = _start_of(replace(wanted, model=name))
            task.advance()
    return [
        Entry(replace(wanted, model=name, seed=seed), signature, starts[name], equal_time, time_limit)
        for seed in seeds
        for name in models
    ]


def _start_of(request: TrainRequest) -> str | None:
    """See ``Entry.start``. Why weights cannot be had is what the plan of the run says."""
    try:
        _, source = choose_weights(read_recipe(request), request)
    except DeitftError:
        return None
    return str(source.record().get("sha256", NO_WEIGHTS))


def pin_splits(prepared: Prepared, folder: Path) -> Path:
    """Write the sides that all runs share; the same photos give the same file."""
    rows = prepared.splits.table(prepared.catalog)
    path = table_folder(folder, signature_of(prepared.catalog.classes, rows)) / "splits.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, csv_text(rows, columns_of(prepared.catalog)))
    return path


def table_folder(runs_dir: Path, signature: str) -> Path:
    """Where the table of runs on the same photos is kept."""
    return runs_dir / f"comparison-{signature[:8]}"
