"""``compare``: the runs that are needed, those missing made, all of them judged on the same photos, one table
each.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.compute.device import choose
from deitft.core.files import read_json, write_json, write_text
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.core.records import csv_text
from deitft.data.catalog import Catalog
from deitft.data.photo_cache import default_cache_dir
from deitft.data.photos import PhotoSet, photo_set
from deitft.data.source import Source
from deitft.errors import DeitftError, MissingInputError, Notice, OutputError
from deitft.evaluation.cost import CostReport, CostSettings
from deitft.reporting.compare_data import Comparison
from deitft.reporting.compare_page import write_comparison
from deitft.reporting.compare_tables import markdown, numbers
from deitft.runs.compare_elsewhere import on_other_photos
from deitft.runs.compare_figures import Field, compare_field
from deitft.runs.compare_request import CompareRequest
from deitft.runs.compare_training import (
    KEPT_FOR_THE_END,
    LEAST_KEPT_SECONDS,
    Missing,
    foretold,
    plan_rows,
    sort_out,
    train_missing,
)
from deitft.runs.contest import entries, pin_splits, table_folder
from deitft.runs.costing import measure_costs
from deitft.runs.finished import Contender, Finished, contenders_of, finished_below, open_finished
from deitft.runs.folder import check_creatable, check_outside, check_place, check_writable
from deitft.runs.prepare import prepare, read_catalog
from deitft.runs.request import TrainRequest

PAGE, MARKDOWN, CSV, JSON = "compare.html", "compare.md", "compare.csv", "compare.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What ``compare`` hands back: a table for each set of photos, and where its files are; or a plan alone."""

    tables: tuple[Comparison, ...] = ()
    folders: tuple[Path, ...] = ()
    plan: Sequence[tuple[str, str]] = ()
    to_train: Sequence[Missing] = ()
    others: Sequence[tuple[str, str]] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate is met."""
        return all(met for table in self.tables for _, met, _ in table.gates)

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "tables": [
                {**table.record(), "folder": str(folder)}
                for table, folder in zip(self.tables, self.folders, strict=True)
            ],
            "plan": [list(row) for row in self.plan],
            "to_train": [item.record() for item in self.to_train],
            "left_out": [{"run": name, "why": why} for name, why in self.others],
        }

    def summary(self) -> list[tuple[str, str]]:
        """(name, text) rows for people: of a plan."""
        return list(self.plan)


def compare_runs(request: CompareRequest, progress: Progress) -> Compared:
    """See ``jobs.compare``."""
    stop = StopFlag()
    with catch_stop_signals(stop, progress):
        others: list[tuple[str, str]] = []
        failed: list[tuple[str, str]] = []
        choose(request.device, threads=request.threads)  # a device that is not there is said before hours of work
        runs = [open_finished(path) for path in request.runs]
        _check_places(request, runs)
        if request.train is not None:
            made = _contest(request, request.train, progress, stop)
            if made.plan:
                return Compared(plan=made.plan, to_train=made.planned)
            runs, failed = [*made.runs, *runs], made.failed
        elif not runs:
            runs, others = finished_below(request.runs_dir, whole=True)
        if request.test is not None and runs:
            runs = on_other_photos(
                runs,
                request.test,
                device=request.device,
                threads=request.threads,
                progress=progress,
                stop=stop,
            )
        for run in runs:
            run.check_whole()
        tables = contenders_of(runs)
        if not tables:
            raise _nothing(request, failed)
        found = [
            _compared(
                table,
                _folder_of(table, request, len(tables)),
                failed if number == 0 else [],
                request,
                progress,
                stop,
            )
            for number, table in enumerate(tables)
        ]
    for name, why in others:
        progress.say(f"left out: {name} ({why})")
    return Compared(
        tables=tuple(table for table, _ in found), folders=tuple(folder for _, folder in found), others=others
    )


def _check_places(request: CompareRequest, runs: Sequence[Finished]) -> None:
    """Runs, tables and pages can be written, and not among photos, neither those asked about nor those of the runs
    named. Nothing is left behind.

    Raises:
        OutputError: they cannot (id C5).
    """
    sources = [Source.read(run.record.data.get("source"), run.plan.data) for run in runs]
    for data in (*sources, request.test, None if request.train is None else request.train.data):
        if data is not None and request.out is not None:
            check_outside(request.out, data, "folder of the comparison", "--out")
    if request.train is not None:
        check_place(request.runs_dir, None, request.train.data)
    if request.out is not None:
        check_creatable(request.out, "choose another place with --out")


def _folder_of(table: Sequence[Contender], request: CompareRequest, tables: int) -> Path:
    """Where a table is written; of several each has a folder of its own, or the last would be all that is left."""
    own = table_folder(request.out or request.runs_dir, table[0].first.signature)
    return own if request.out is None or tables > 1 else request.out


def _nothing(request: CompareRequest, failed: Sequence[tuple[str, str]]) -> DeitftError:
    if failed:
        (label, why), what = failed[0], "can be made" if request.dry_run else "was finished"
        return MissingInputError(f"no run {what}; {label}: {why}", "mend that and run it again", id="RUN")
    return MissingInputError(
        f"no finished run in {request.runs_dir}",
        "name photos and models: `deitft compare ./products --models deit_ti,mobilenetv2`",
        id="RUN",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What came of the missing runs; ``plan`` where nothing but that was asked for."""

    runs: list[Finished]
    failed: list[tuple[str, str]]
    plan: Sequence[tuple[str, str]] = ()
    planned: Sequence[Missing] = ()


def _contest(request: CompareRequest, train: TrainRequest, progress: Progress, stop: StopFlag) -> _Made:
    """Photos audited and split once; runs found again or made."""
    prepared = prepare(
        train.data,
        seed=request.seeds[0],
        workers=train.threads or 2,
        progress=progress,
        stop=stop,
        splits_file=train.splits,
        strict=train.strict,
        skip_bad=train.skip_bad,
        allow_leak=train.allow_leak,
    )
    known, _ = finished_below(request.runs_dir)
    with _place_of_splits(request) as place:
        pinned = pin_splits(prepared, place)
        wanted = entries(
            train,
            request.models,
            request.seeds,
            prepared,
            pinned,
            progress,
            equal_time=request.equal_time,
            time_limit=request.time_limit,
        )
        found, missing = sort_out(wanted, known)
        planned = foretold(missing, progress, stop)
    rows = plan_rows(found, planned, request.price)
    if request.dry_run:
        fails = [(item.entry.title, item.why) for item in planned if item.why]
        nothing = not found and len(fails) == len(planned)
        return _Made(runs=[], failed=fails, plan=() if nothing else rows, planned=planned)
    for name, text in rows:
        progress.say(f"{name}: {text}")
    ends = None
    if request.time_limit is not None:
        ends = (
            request.started + request.time_limit - max(LEAST_KEPT_SECONDS, KEPT_FOR_THE_END * request.time_limit)
        )
    done, failed = train_missing(planned, progress, stop, ends=ends)
    return _Made(runs=[*found, *done], failed=[(entry.title, why) for entry, why in failed])


@contextlib.contextmanager
def _place_of_splits(request: CompareRequest) -> Iterator[Path]:
    """Where the sides of the photos are kept: beside the runs; a plan alone leaves nothing behind."""
    if not request.dry_run:
        yield request.runs_dir
        return
    with tempfile.TemporaryDirectory(prefix="deitft-") as place:
        yield Path(place)


def _compared(
    contenders: list[Contender],
    folder: Path,
    failed: Sequence[tuple[str, str]],
    request: CompareRequest,
    progress: Progress,
    stop: StopFlag,
) -> tuple[Comparison, Path]:
    """One table: costs measured, figures made, files written."""
    catalog = _photos(contenders[0].first, request.test, progress, stop)
    costs, notes = _costs(contenders, catalog, request, progress, stop)
    table = Field(contenders=contenders, failed=failed, costs=costs, catalog=catalog, notes=notes)
    with progress.task("judging and drawing", 1) as task:
        data = compare_field(table, request)
        write_files(folder, data)
        task.advance()
    return data, folder


def _photos(run: Finished, other: Source | None, progress: Progress, stop: StopFlag) -> Catalog | None:
    """The photos of a run, if they are still there and the same; a comparison stands without them."""
    source = Source.read(run.record.data.get("source"), run.plan.data) if other is None else other
    if not all(path.exists() for path in source.places):
        return None
    try:
        catalog = read_catalog(source, workers=2, progress=progress, stop=stop, classes=run.plan.classes)
    except DeitftError as error:
        if stop.by_signal:
            raise
        progress.say(f"the photos of {run.folder.name} cannot be read again: {error.what}")
        return None
    return catalog


def _costs(
    contenders: Sequence[Contender],
    catalog: Catalog | None,
    request: CompareRequest,
    progress: Progress,
    stop: StopFlag,
) -> tuple[CostReport | None, list[str]]:
    if not request.measure:
        return None, ["Costs were not measured, as asked."]
    photos = _sample(contenders[0].first, catalog)
    if photos is None:
        return None, ["Costs were not measured: the photos are not where they were."]
    report = measure_costs(
        [one.first.folder.best for one in contenders],
        photos,
        settings=CostSettings(device=request.device, threads=request.threads),
        cache_dir=default_cache_dir(),
        progress=progress,
        stop=stop,
    )
    for model in report.models:
        if model.error is not None:
            text = f"costs of {Path(model.bundle).parent.name}: {model.error.get('what')}"
            progress.warn(Notice(id="COST", severity="warning", text=text))
    return report, []


def _sample(run: Finished, catalog: Catalog | None) -> PhotoSet | None:
    """The photos that judge, of those that are still there."""
    if catalog is None:
        return None
    known = set(catalog.paths)
    rows = catalog.rows_of(path for path in run.test.paths if path in known)
    return photo_set(catalog, rows) if len(rows) else None


def write_files(folder: Path, data: Comparison) -> None:
    """Page, Markdown, CSV and JSON. What is there of other runs, or with costs that are not measured now, is moved
    to a folder beside it, named after when it was made.

    Raises:
        OutputError: other files of these names are there (id OUT), or they cannot be written (id C5).
    """
    if (folder / "run.json").exists():
        raise OutputError(f"{folder} is a run", "choose another --out", id="OUT")
    check_writable(folder, "choose another place with --out")
    _keep_earlier(folder, data)
    lines = numbers(data)
    write_json(folder / JSON, data.record())
    write_text(folder / CSV, csv_text(lines, list(lines[0])))
    write_text(folder / MARKDOWN, markdown(data))
    write_comparison(folder / PAGE, data)


def _keep_earlier(folder: Path, data: Comparison) -> None:
    """Move away a comparison that this one does not stand in for."""
    try:
        earlier = read_json(folder / JSON)
    except (DeitftError, OSError):
        return
    if not isinstance(earlier, dict) or _stands_in_for(data.record(), earlier):
        return
    place = folder / f"earlier-{re.sub('[^0-9T]', '', str(earlier.get('made', '')))[:15]}"
    place.mkdir(exist_ok=True)
    for name in (PAGE, MARKDOWN, CSV, JSON):
        if (folder / name).is_file():
            (folder / name).replace(place / name)


def _stands_in_for(new: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether all runs of the earlier one are in it, and costs, if they were measured."""
    runs, old_runs = (
        {name for row in one.get("rows", ()) for name in row.get("runs", ())} for one in (new, earlier)
    )
    costs, old_costs = (
        any((row.get("cost") or {}).get("latency") for row in one.get("rows", ())) for one in (new, earlier)
    )
    return old_runs <= runs and (costs or not old_costs)
