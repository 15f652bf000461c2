"""The verbs that only look: models, recipes, runs, and this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from deitft.cli import console, endings, options
from deitft.cli.bars import open_progress
from deitft.cli.work import show
from deitft.errors import UsageError

PANEL = "Look around"
RUNS_DIR = Path("runs")

recipes = endings.group("List, show and copy the shipped recipes.", invoke_without_command=True)
runs = endings.group("List and remove runs.", invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    """Give a program these verbs."""
    app.add_typer(recipes, name="recipes", rich_help_panel=PANEL)
    app.add_typer(runs, name="runs", rich_help_panel=PANEL)
    app.command(rich_help_panel=PANEL)(models)
    app.command(rich_help_panel=PANEL)(env)


def _behind_the_verb(ctx: typer.Context, typed: Mapping[str, bool]) -> None:
    """Options of a group are those of its list; before another verb they would be dropped in silence.

    Raises:
        UsageError: there is one (id USAGE).
    """
    for name in (name for name, given in typed.items() if given):
        words = f"{ctx.command_path} {ctx.invoked_subcommand}"
        raise UsageError(f"{name} stands before the verb", f"write it behind `{words}`", id="USAGE")


def models(json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """List the models that have a short name: size, what they have seen, published score."""
    from deitft.jobs import inventory

    show(inventory.models(), json, quiet)


def env(json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """Print versions, processor, memory and device: what a bug report needs."""
    from deitft.jobs import inventory

    with open_progress(quiet=quiet, idle="loading torch …"):
        found = inventory.env()
    show(found, json, quiet)


@recipes.callback(invoke_without_command=True)
def _recipes(
    ctx: typer.Context, json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> None:
    if ctx.invoked_subcommand is None:
        recipes_list(json=json, quiet=quiet)
    else:
        _behind_the_verb(ctx, {"--json": json, "--quiet": quiet})


@recipes.command("list")
def recipes_list(json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """List the shipped recipes (so does `deitft recipes` alone)."""
    from deitft.jobs import inventory

    show(inventory.recipes(), json, quiet)


@recipes.command("show")
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


@recipes.command("copy")
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


@runs.callback(invoke_without_command=True)
def _runs(
    ctx: typer.Context,
    runs_dir: options.RunsDir = RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    if ctx.invoked_subcommand is None:
        runs_list(runs_dir, json=json, quiet=quiet)
    else:
        _behind_the_verb(ctx, {"--runs-dir": runs_dir != RUNS_DIR, "--json": json, "--quiet": quiet})


@runs.command("list")
def runs_list(
    runs_dir: options.RunsDir = RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """List the runs and what came of them (so does `deitft runs` alone)."""
    from deitft.jobs import inventory

    show(inventory.runs(runs_dir), json, quiet)


@runs.command("rm")
def runs_rm(
    names: options.RunNames,
    runs_dir: options.RunsDir = RUNS_DIR,
    yes: options.Yes = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Delete runs with all their checkpoints, bundles and reports. It asks first."""
    from deitft.core.units import format_bytes
    from deitft.jobs import inventory

    named = [inventory.find_run(name, runs_dir) for name in names]
    found = list({run.path.resolve(): run for run in named}.values())  # one that is named twice is one
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
