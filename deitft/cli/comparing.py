"""``deitft compare``: its options, and its tables on a terminal."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deitft.cli import console, options
from deitft.cli.completion import complete_runs
from deitft.cli.options import DATA, MACHINE, MODEL, OUTPUT, TRAINING
from deitft.cli.work import run_job, show
from deitft.errors import GateError, MissingInputError
from deitft.reporting.visible import visible

if TYPE_CHECKING:
    from deitft.reporting.compare_data import Comparison
    from deitft.runs.comparing import Compared

CHOICE = "Choice"


class FormatName(StrEnum):
    """What is printed."""

    text = "text"
    md = "md"
    csv = "csv"
    json = "json"
    html = "html"
    latex = "latex"


What = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[RUN|DATA]...",
        help="finished runs, or photos with --models to train on them; left out: all runs of --runs-dir",
        autocompletion=complete_runs,
    ),
]
OtherPhotos = Annotated[
    list[Path] | None,
    typer.Option(
        "--test",
        metavar="DATA",
        help="judge finished runs on these labelled photos; those that a run has learned from are refused",
        rich_help_panel=DATA,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--models", metavar="NAME,NAME", help="train these where no run is there", rich_help_panel=MODEL),
]
Seeds = Annotated[
    int,
    typer.Option("--seeds", metavar="N", min=1, help="runs a model, of seeds 0 to N-1", rich_help_panel=TRAINING),
]
EqualTime = Annotated[
    str | None,
    typer.Option(
        "--equal-time", metavar="TIME", help="every run gets this long, not its epochs", rich_help_panel=TRAINING
    ),
]
Price = Annotated[
    float | None,
    typer.Option("--price-per-hour", metavar="N", min=0, help="what this machine costs", rich_help_panel=MACHINE),
]
MaxLatency = Annotated[
    str | None,
    typer.Option(
        "--max-latency", metavar="5ms", help="median time of one photo, model only", rich_help_panel=CHOICE
    ),
]
MaxSize = Annotated[
    str | None, typer.Option("--max-size", metavar="100MB", help="size of the weights", rich_help_panel=CHOICE)
]
MaxMemory = Annotated[
    str | None, typer.Option("--max-memory", metavar="1GB", help="peak memory in use", rich_help_panel=CHOICE)
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        metavar="POINTS",
        help="take the cheapest model that is not worse than the best by this much",
        rich_help_panel=CHOICE,
    ),
]
Cheapest = Annotated[
    str, typer.Option("--cheapest", metavar="FIGURE", help="what cheap is measured by", rich_help_panel=CHOICE)
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="EXPR",
        help='a gate for the chosen model, as "top1>=0.9": exit 3 if not met; may be repeated',
        rich_help_panel=CHOICE,
    ),
]
MeasureCosts = Annotated[
    bool,
    typer.Option(
        "--costs/--no-costs", help="measure latency, throughput and memory here", rich_help_panel=MACHINE
    ),
]
Format = Annotated[
    FormatName,
    typer.Option(
        "--format",
        metavar="NAME",
        help="what is printed: text, md, csv, json, html or latex",
        rich_help_panel=OUTPUT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="folder for page and tables; left out: below --runs-dir",
        rich_help_panel=OUTPUT,
    ),
]


def compare(
    what: What = None,
    models: Models = None,
    seeds: Seeds = 1,
    root: options.Root = None,
    nested: options.Nested = False,
    group_by: options.GroupBy = None,
    splits: options.SplitsFile = None,
    test: OtherPhotos = None,
    strict: options.Strict = False,
    skip_bad: options.SkipBad = False,
    max_pixels: options.MaxPixels = None,
    allow_leak: options.AllowLeak = False,
    weights_dir: options.WeightsDir = None,
    pretrained: options.Pretrained = True,
    recipe: options.RecipeName = "finetune",
    set: options.Set = None,
    equal_time: EqualTime = None,
    time_limit: options.TimeLimit = None,
    dry_run: options.DryRun = False,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    margin: Margin = None,
    cheapest: Cheapest = "latency_ms",
    require: Require = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    costs: MeasureCosts = True,
    price_per_hour: Price = None,
    runs_dir: options.RunsDir = Path("runs"),
    out: Out = None,
    format: Format = FormatName.text,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Compare models on the same photos: how good, how sure, what each costs, and which one to take."""
    given: dict[str, Any] = dict(locals())
    wanted = "json" if given.pop("format") is FormatName.json else format.value
    result: Compared = run_job("compare", given)
    if result.plan or json or wanted == "json":
        show(result, json or wanted == "json", quiet)
    else:
        _print(result, wanted, quiet=quiet)
    _raise_if_failed(result)
    missed = [text for table in result.tables for _, met, text in table.gates if not met]
    if missed:
        raise GateError("; ".join(missed), "", id="GATE")


def _raise_if_failed(result: Compared) -> None:
    """The table stands without the runs that failed, but a script has to hear of them."""
    failed = [row for table in result.tables for row in table.rows if row.status == "failed"]
    if failed:
        first, *others = failed
        why = f"{first.label} was not finished: {first.why}"
        raise MissingInputError(
            "; ".join([why, *(f"nor was {row.label}" for row in others)]),
            "mend that and run the same command: finished runs are used again",
            id="RUN",
        )


def _print(result: Compared, wanted: str, *, quiet: bool) -> None:
    """All tables in the format that was asked for."""
    from deitft.reporting import compare_tables
    from deitft.reporting.compare_page import render_comparison

    several = len(result.tables) > 1
    if wanted == "csv":
        _print_csv(result)
        return
    if several and wanted in ("text", "md"):
        console.out(f"{compare_tables.APART}\n")
    for number, (table, folder) in enumerate(zip(result.tables, result.folders, strict=True)):
        if wanted == "md":
            console.out(compare_tables.markdown(table).rstrip("\n") + ("\n" if several else ""))
        elif wanted == "html":
            console.out(render_comparison(table))
        elif wanted == "latex":
            console.out(compare_tables.latex(table).rstrip("\n"))
        else:
            if number:
                console.out()
            if several:
                console.out(f"{visible(compare_tables.heading(table))}\n")
            _print_text(table, folder, quiet=quiet)


def _print_csv(result: Compared) -> None:
    """One header, whatever the number of tables: what is printed stays one CSV file."""
    from deitft.core.records import csv_text
    from deitft.reporting.compare_tables import numbers, stacked_numbers

    lines = stacked_numbers(result.tables) if len(result.tables) > 1 else numbers(result.tables[0])
    console.out(csv_text(lines, list(lines[0])).rstrip("\n"))


def _print_text(table: Comparison, folder: Path, *, quiet: bool) -> None:
    from deitft.reporting import compare_tables

    for columns in (compare_tables.SCORES, compare_tables.COSTS):
        kept = compare_tables.filled(columns, table.rows)
        if len(kept) > 1:
            console.show_table([column.title for column in kept], compare_tables.cells(kept, table.rows))
            console.out()
    for text in compare_tables.sentences(table):
        console.out(visible(text))
    if not quiet:
        for note in table.all_notes:
            console.talk(note)
        console.talk(f"page: {folder / 'compare.html'}")
