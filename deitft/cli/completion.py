"""What the shell may complete: names of models, recipes and runs."""

from __future__ import annotations

from pathlib import Path


def complete_models(incomplete: str) -> list[tuple[str, str]]:
    """Short names of models, for the shell."""
    from deitft.models.zoo import ZOO

    return [(entry.short, entry.tag) for entry in ZOO if entry.short.startswith(incomplete)]


def complete_recipes(incomplete: str) -> list[tuple[str, str]]:
    """Names of shipped recipes, for the shell."""
    from deitft.recipe.load import shipped_recipes

    return [(info.name, info.title) for info in shipped_recipes() if info.name.startswith(incomplete)]


def complete_runs(incomplete: str) -> list[str]:
    """Run folders below ``runs/`` or whatever folder was typed so far, for the shell."""
    typed = Path(incomplete)
    parents = (typed if incomplete.endswith("/") else typed.parent, Path("runs"))
    found = [file.parent.as_posix() for parent in parents for file in parent.glob("*/run.json")]
    return sorted({name for name in found if name.startswith(incomplete)})


def complete_run_names(incomplete: str) -> list[str]:
    """Names of the runs in ``runs/``, for the shell."""
    return [Path(name).name for name in complete_runs(f"runs/{incomplete}")]
