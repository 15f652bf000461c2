"""Which runs a comparison needs: those that are there already, and those that have yet to be made.

All of them see the same photos on the same sides: the split of the first seed is pinned for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from deitft.core.files import canonical_json, sha256_bytes, write_text
from deitft.core.records import csv_text
from deitft.data.splits import columns_of
from deitft.errors import UsageError
from deitft.models.zoo import resolve as resolve_model
from deitft.recipe.load import recipe_yaml
from deitft.runs.finished import Finished, signature_of
from deitft.runs.folder import RunFolder
from deitft.runs.prepare import Prepared
from deitft.runs.request import TrainRequest
from deitft.runs.train import read_recipe


@dataclass(frozen=True)
class Entry:
    """One run that is wanted: a model with a seed. ``signature`` is that of the photos on their sides."""

    request: TrainRequest
    signature: str
    budget: tuple[float | None, bool] = (None, False)
    """Seconds it gets in the place of its epochs, and whether the whole command has a limit: such a run is
    another."""

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
        request = self.request
        identity = [self.signature, self.asked, request.seed, request.weights, request.pretrained, *self.budget]
        short = resolve_model(self.model).short_name or self.model.partition(".")[0]
        return f"compare-{short[:40]}-{request.seed}-{sha256_bytes(canonical_json(identity))[:8]}"

    @property
    def folder(self) -> RunFolder:
        """Where the run is, if it has begun."""
        return RunFolder(self.request.runs_dir / self.name)

    def words(self, *, time_limit: float | None, dry_run: bool = False) -> list[str]:
        """The command line that makes the run. A dry run has no name: its folder may be there, half done."""
        name = None if dry_run else self.name
        request = replace(self.request, name=name, time_limit=time_limit, dry_run=dry_run)
        return request.as_command()[1:]

    def is_answered_by(self, run: Finished) -> bool:
        """Whether a finished run is what is wanted: the same photos, model, recipe, seed, kind of start, and
        whole.
        """
        kind = run.plan.weights.get("kind")
        return (
            run.plan.seed == self.request.seed
            and (kind != "none") == self.request.pretrained
            and run.folder.recipe.is_file()
            and run.folder.recipe.read_text("utf-8") == self.asked
            and self.request.weights is None
            and not run.shortened
            and self.budget[0] is None
            and run.signature == self.signature
        )


def entries(
    request: TrainRequest,
    models: Sequence[str],
    seeds: Sequence[int],
    prepared: Prepared,
    splits: Path,
    budget: tuple[float | None, bool],
) -> list[Entry]:
    """All runs of a comparison, model by model within a seed: a table fills up evenly.

    ``splits`` pins the sides for all of them.

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
    return [Entry(replace(wanted, model=name, seed=seed), signature, budget) for seed in seeds for name in models]


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
