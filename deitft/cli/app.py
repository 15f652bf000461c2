"""The command line: verbs, and how every one of them ends.

A verb here says which options there are and calls the Python function of the same name in ``deitft.jobs``.
``main`` turns whatever comes out of it into one line and an exit code.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deitft.cli import comparing, console, endings, look_around, measuring, options, teaching
from deitft.cli.work import call
from deitft.core.records import version_of
from deitft.data.source import Source
from deitft.errors import DeitftError, InterruptError, UsageError

app = endings.group("Fine-tune DeiT and its rivals on a folder of photos, and see how good they are.")


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
    distill: teaching.Distill = None,
    teacher: teaching.TeacherName = None,
    adapt_teacher: teaching.AdaptTeacher = None,
    teacher_cache: teaching.TeacherCacheFolder = None,
    cache_views: teaching.CacheViews = None,
    seed: options.Seed = 0,
    time_limit: options.TimeLimit = None,
    resume: options.Resume = False,
    allow_changed: options.AllowChanged = None,
    dry_run: options.DryRun = False,
    price_per_hour: teaching.PricePerHour = None,
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
    call("finetune", dict(locals()))


@app.command(rich_help_panel="Train and use")
def pretrain(
    data: teaching.PhotosIfAny = None,
    root: options.Root = None,
    nested: options.Nested = False,
    group_by: options.GroupBy = None,
    splits: options.SplitsFile = None,
    strict: options.Strict = False,
    skip_bad: options.SkipBad = False,
    max_pixels: options.MaxPixels = None,
    allow_leak: options.AllowLeak = False,
    unlabelled: teaching.Unlabelled = False,
    model: options.Model = None,
    weights: options.Weights = None,
    weights_dir: options.WeightsDir = None,
    recipe: teaching.RecipeIfAny = None,
    set: options.Set = None,
    distill: teaching.Distill = None,
    teacher: teaching.TeacherName = None,
    adapt_teacher: teaching.AdaptTeacher = None,
    teacher_cache: teaching.TeacherCacheFolder = None,
    cache_views: teaching.CacheViews = None,
    seed: options.Seed = 0,
    time_limit: options.TimeLimit = None,
    resume: options.Resume = False,
    allow_changed: options.AllowChanged = None,
    dry_run: options.DryRun = False,
    price_per_hour: teaching.PricePerHour = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    precision: options.Precision = None,
    runs_dir: options.RunsDir = Path("runs"),
    name: options.Name = None,
    log_to: options.LogTo = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train from random weights as DeiT does, with a teacher or without; of no data, on embedded digits."""
    call("pretrain", dict(locals()))


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
        result = call("check", given)
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
    call("resume", dict(locals()))


@app.command("teacher-cache", rich_help_panel="Train and use")
def teacher_cache(
    run: options.ResumableRun,
    verify: teaching.Verify = None,
    teacher_cache: teaching.CacheOfRun = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Ask a run's teacher about every view in advance and keep its answers; or compare them with it."""
    call("teacher_cache", dict(locals()))


@app.command(rich_help_panel="Train and use")
def evaluate(
    run: measuring.RunIfAny,
    data: measuring.PhotosAfterRun = None,
    root: options.Root = None,
    nested: options.Nested = False,
    split: options.Split = None,
    strict: options.Strict = False,
    skip_bad: options.SkipBad = False,
    max_pixels: options.MaxPixels = None,
    model: measuring.PublishedModel = None,
    weights: measuring.PublishedWeights = None,
    weights_dir: options.WeightsDir = None,
    crop: measuring.Crop = None,
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
    """Measure a trained classifier, or with --model ImageNet weights, on photos whose classes are known."""
    given = dict(locals())
    if model is not None:  # then there is no run: the first word names photos, too
        given |= {"run": None, "data": [run, *(data or ())]}
    elif not data:
        raise UsageError(
            "no photos are named",
            "`deitft evaluate RUN DATA`; without a run --model names ImageNet weights",
            id="USAGE",
        )
    call("evaluate", given)


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
    call("predict", dict(locals()))


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
    call("pack", dict(locals()))


app.command(rich_help_panel="Train and use")(comparing.compare)
look_around.add_to(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Nothing is raised.

    Where none is given it is ``sys.argv``, and the process ends with it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    if argv is None:
        console.prepare_process(debug=debug)
    try:
        code = _run(words)
    except console.StopNow as stopped:
        code = endings.end(stopped.error)
    except KeyboardInterrupt:
        code = endings.end(InterruptError("stopped by Ctrl-C", endings.after_interrupt(words), id="N4"))
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line and an exit code
        if debug:
            traceback.print_exc()
        code = endings.end(error)
    if argv is None:
        console.leave(code)
    return code


def _run(words: list[str]) -> int:
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
