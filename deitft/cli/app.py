"""The command line: verbs, and how every one of them ends.

A verb here says which options there are and calls the Python function of the same name in ``deitft.jobs``.
``main`` turns whatever comes out of it into one line and an exit code.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from deitft.cli import console, endings, options
from deitft.cli.bars import open_progress
from deitft.core.records import version_of
from deitft.data.source import Source
from deitft.errors import DeitftError, InterruptError, UsageError


def _group(help: str, **more: Any) -> typer.Typer:
    return typer.Typer(
        cls=endings.Verbs, help=help, rich_markup_mode="rich", pretty_exceptions_enable=False, **more
    )


app = _group("Fine-tune DeiT and its rivals on a folder of photos, and see how good they are.")
recipes_app = _group("List, show and copy the shipped recipes.", invoke_without_command=True)
runs_app = _group("List and remove runs.", invoke_without_command=True)
app.add_typer(recipes_app, name="recipes", rich_help_panel="Look around")
app.add_typer(runs_app, name="runs", rich_help_panel="Look around")


def _show_version(wanted: bool) -> None:
    if wanted:
        console.out(f"deitft {version_of('deitft')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_show_version, is_eager=True, help="print the version and stop"
        ),
    ] = False,
    debug: options.Debug = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), nl=False)


def _work(verb: str, given: dict[str, Any]) -> Any:
    """Call a verb's Python function with what was typed, show what comes back, and hand it on."""
    as_json, quiet = given.pop("json"), given.pop("quiet")
    del given["debug"]  # ``main`` has seen it
    asked = {name: _plain(value) for name, value in given.items()}
    for name in {"set", "log_to", "allow_changed", "root"} & asked.keys():
        asked[name] = tuple(asked[name] or ())
    if "allow_changed" in asked:  # one error may name several fields: they can be given as it lists them
        asked["allow_changed"] = tuple(word for text in asked["allow_changed"] for word in text.split(","))
    with open_progress(quiet=quiet, idle="loading torch …") as progress:
        job = getattr(importlib.import_module(f"deitft.jobs.{verb}"), verb)
        result = job(**asked, progress=progress)
    _show(result, as_json, quiet)
    return result


def _plain(value: Any) -> Any:
    """A choice as its text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _show(result: Any, as_json: bool, quiet: bool) -> None:
    if as_json:
        console.show_json(result.record())
    elif hasattr(result, "findings"):
        console.show_findings(result.findings)
        console.out()
        console.show_pairs(result.summary())
    elif hasattr(result, "columns"):
        if result.rows:
            console.show_table(result.columns, result.rows)
        for remark in () if quiet else result.remarks:
            console.talk(remark)
    else:
        console.show_pairs(result.summary())


@app.command(rich_help_panel="Train and use")
def finetune(
    data: options.Photos,
    root: options.Root = None,
    nested: options.Nested = False,
    group_by: options.GroupBy = None,
    splits: options.SplitsFile = None,
    strict: options.Strict = False,
    skip_bad: options.SkipBad = False,
    max_pixels: options.MaxPixels = None,
    allow_leak: options.AllowLeak = False,
    model: options.Model = None,
    weights: options.Weights = None,
    weights_dir: options.WeightsDir = None,
    pretrained: options.Pretrained = True,
    recipe: options.RecipeName = "finetune",
    set: options.Set = None,
    seed: options.Seed = 0,
    time_limit: options.TimeLimit = None,
    resume: options.Resume = False,
    allow_changed: options.AllowChanged = None,
    dry_run: options.DryRun = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    precision: options.Precision = None,
    probe: options.Probe = True,
    runs_dir: options.RunsDir = Path("runs"),
    name: options.Name = None,
    log_to: options.LogTo = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train a classifier on a folder of photos, and measure it on photos it has not seen."""
    _work("finetune", dict(locals()))


@app.command(rich_help_panel="Train and use")
def check(
    data: options.Photos,
    root: options.Root = None,
    nested: options.Nested = False,
    group_by: options.GroupBy = None,
    splits: options.SplitsFile = None,
    strict: options.Strict = False,
    skip_bad: options.SkipBad = False,
    max_pixels: options.MaxPixels = None,
    allow_leak: options.AllowLeak = False,
    apply_labels: options.ApplyLabels = None,
    model: options.LookModel = None,
    weights: options.Weights = None,
    weights_dir: options.WeightsDir = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    html: options.Html = False,
    out: options.CheckFolder = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Say what is wrong with photos and labels, and whether they can be trained on."""
    given = dict(locals())
    try:
        result = _work("check", given)
    except DeitftError as known:
        if json:
            from deitft.runs.check_files import failure_record

            console.show_json(failure_record(Source.of(data), known))
        raise
    result.raise_errors()


@app.command(rich_help_panel="Train and use")
def resume(
    run: options.ResumableRun,
    allow_changed: options.AllowChanged = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    log_to: options.LogTo = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Go on with a run that was stopped or killed, as if nothing had happened."""
    _work("resume", dict(locals()))


@app.command(rich_help_panel="Train and use")
def evaluate(
    run: options.Run,
    data: options.Photos,
    root: options.Root = None,
    nested: options.Nested = False,
    split: options.Split = None,
    strict: options.Strict = False,
    skip_bad: options.SkipBad = False,
    max_pixels: options.MaxPixels = None,
    batch: options.BatchSize = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    precision: options.Precision = None,
    out: options.OutFolder = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure a trained classifier on photos whose classes are known."""
    _work("evaluate", dict(locals()))


@app.command(rich_help_panel="Train and use")
def predict(
    run: options.Run,
    photos: options.PhotosOrFiles,
    top: options.Top = 5,
    max_pixels: options.MaxPixels = None,
    batch: options.BatchSize = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    precision: options.Precision = None,
    out: options.OutCsv = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Name what is in photos, with how sure the classifier is."""
    _work("predict", dict(locals()))


@app.command(rich_help_panel="Train and use")
def pack(
    data: options.Photos,
    out: options.ShardsFolder,
    root: options.Root = None,
    nested: options.Nested = False,
    group_by: options.GroupBy = None,
    shard_mb: options.ShardMegabytes = 256,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Pack photos into tar shards with an index: fewer files to copy and to list, the same bytes."""
    _work("pack", dict(locals()))


@app.command(rich_help_panel="Look around")
def models(json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """List the models that have a short name: size, what they have seen, published score."""
    from deitft.jobs import inventory

    _show(inventory.models(), json, quiet)


@app.command(rich_help_panel="Look around")
def env(json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """Print versions, processor, memory and device: what a bug report needs."""
    from deitft.jobs import inventory

    with open_progress(quiet=quiet, idle="loading torch …"):
        found = inventory.env()
    _show(found, json, quiet)


@recipes_app.callback(invoke_without_command=True)
def _recipes(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        recipes_list()


@recipes_app.command("list")
def recipes_list(json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """List the shipped recipes (so does `deitft recipes` alone)."""
    from deitft.jobs import inventory

    _show(inventory.recipes(), json, quiet)


@recipes_app.command("show")
def recipes_show(
    recipe: options.RecipeArgument,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Print a recipe with its comments; with --json every field, also those it leaves alone."""
    from deitft.jobs import inventory

    if json:
        console.show_json(inventory.recipe_record(recipe))
    else:
        console.show_text(inventory.recipe_text(recipe))


@recipes_app.command("copy")
def recipes_copy(
    recipe: options.RecipeArgument,
    to: options.Target = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write a recipe to a file of your own, to change it there."""
    from deitft.jobs import inventory

    path = inventory.copy_recipe(recipe, to, force=force)
    if json:
        console.show_json({"path": path})
    else:
        console.show_text(str(path))


@runs_app.callback(invoke_without_command=True)
def _runs(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        runs_list()


@runs_app.command("list")
def runs_list(
    runs_dir: options.RunsDir = Path("runs"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """List the runs and what came of them (so does `deitft runs` alone)."""
    from deitft.jobs import inventory

    _show(inventory.runs(runs_dir), json, quiet)


@runs_app.command("rm")
def runs_rm(
    names: options.RunNames,
    runs_dir: options.RunsDir = Path("runs"),
    yes: options.Yes = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Delete runs with all their checkpoints, bundles and reports. It asks first."""
    from deitft.core.units import format_bytes
    from deitft.jobs import inventory

    runs = [inventory.find_run(name, runs_dir) for name in names]
    found = list({run.path.resolve(): run for run in runs}.values())  # one that is named twice is one
    sizes = [inventory.size_of(run) for run in found]
    sized = list(zip(found, sizes, strict=True))
    # every answer first: Ctrl-C at any question deletes nothing
    doomed = [each for each in sized if yes or console.ask(f"delete {each[0].path} ({format_bytes(each[1])})?")]
    removed = []
    for run, size in doomed:
        inventory.remove_run(run)
        removed.append({"path": run.path, "bytes": size})
    if json:
        console.show_json({"removed": removed})
    elif not quiet:
        console.talk(f"removed {len(removed)} of {len(found)} runs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Nothing is raised.

    Where none is given it is ``sys.argv``, and the process ends with it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    if argv is None:
        console.prepare_process(debug=debug)
    try:
        code = _call(words)
    except console.StopNow as stopped:
        code = endings.end(stopped.error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line and an exit code
        if debug:
            traceback.print_exc()
        code = endings.end(error)
    if argv is None:
        console.leave(code)
    return code


def _call(words: list[str]) -> int:
    for before, word in zip(["", *words], words, strict=False):
        if not word or re.fullmatch(r"--[a-z-]+=", word):  # else an empty path would mean the folder one is in
            where = f" after {before}" if before else ""
            what = f"{word[:-1]} is empty" if word else f"an empty word{where}"
            raise UsageError(what, "a variable of the shell that is not set?", id="USAGE")
    command = typer.main.get_command(app)
    code = command.main(args=words, prog_name="deitft", standalone_mode=False)
    if code == 130:  # Ctrl-C, with nothing saved: typer says no more than this
        raise InterruptError("stopped by Ctrl-C", endings.after_interrupt(words), id="N4")
    return code if isinstance(code, int) else 0
