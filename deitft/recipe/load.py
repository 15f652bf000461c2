"""YAML and ``--set`` to a Recipe: every mistake in one error, nothing in the file is ever code (fault S2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.errors import MissingInputError, RecipeError, StorageError
from deitft.recipe.mistakes import closest, mistakes_in, no_such_field, recipe_error, section_of
from deitft.recipe.schema import Recipe
from deitft.recipe.strict_yaml import LIMIT_BYTES, read_yaml, visible, write_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeInfo:
    """A shipped recipe: its name, its file, the first line of its header, and the header without ``#``."""

    name: str
    path: Path
    title: str
    header: str


def recipe_folder() -> Path:
    """Where the shipped recipes are: inside the installed package, or beside it in a checkout.

    Raises:
        RecipeError: neither is there (the installation is damaged).
    """
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent
    if (package / "recipes").is_dir():
        return package / "recipes"
    # Only a checkout has both; a folder "recipes" beside other packages belongs to somebody else.
    if (checkout / "recipes").is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "recipes"
    raise RecipeError(f"no recipes in {package}", "install deitft again, or name a recipe file")


def shipped_recipes() -> list[RecipeInfo]:
    """The recipes that come with deitft, by name."""
    return [_info(path) for path in sorted(recipe_folder().glob("*.yaml"))]


def _info(path: Path) -> RecipeInfo:
    header = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        header.append(line.removeprefix("#").strip())
    return RecipeInfo(name=path.stem, path=path, title=header[0] if header else "", header="\n".join(header))


def load_recipe(
    name_or_path: str,
    *,
    overrides: Sequence[str] = (),
    base: Path | None = None,
    check: Callable[[Mapping[str, Any]], list[str]] = lambda data: [],
) -> Recipe:
    """Read a shipped recipe by name, or a recipe file by path, and put ``overrides`` on top.

    A path ends in ``.yaml`` or ``.yml`` or holds a slash; it is looked up from ``base`` (default: the working
    directory). An override is ``section.field=value``; the value is read as in a recipe file. A recipe file
    without ``name`` is named after its file. ``check`` finds mistakes that the form does not show, in the plain
    value: it may have any type where the form is wrong.

    Raises:
        MissingInputError: no such file (exit 66).
        StorageError: the file cannot be read (exit 74).
        RecipeError: no shipped recipe of that name, a file that is refused (id S2), or mistakes: unknown
            fields, wrong types, contradictions, all of them in one error (exit 78).
    """
    path = _find(name_or_path, base)
    source = visible(name_or_path if _is_path(name_or_path) else f"recipe {name_or_path}", 200)
    data, unreadable = read_yaml(_read(path), source=source)
    if data is None:  # an empty file asks for nothing, so all of it is decided by deitft
        data = {}
    if isinstance(data, dict):
        data.setdefault("name", path.stem)
    mistakes = list(unreadable)
    mistakes += _put_on_top(data, overrides) + mistakes_in(data)
    mistakes += check(data) if isinstance(data, dict) else []
    if mistakes:
        raise recipe_error(source, mistakes, id="S2" if unreadable else "RECIPE")
    return Recipe.model_validate_json(json.dumps(data))


def recipe_yaml(recipe: Recipe) -> str:
    """A recipe as YAML, every field written out; ``load_recipe`` of it gives an equal one."""
    return write_yaml(recipe.model_dump(mode="json"))


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.lower().endswith((".yaml", ".yml"))


def _find(name_or_path: str, base: Path | None) -> Path:
    if not _is_path(name_or_path):
        known = {info.name: info.path for info in shipped_recipes()}
        if name_or_path in known:
            return known[name_or_path]
        guess = closest(name_or_path, known)
        raise RecipeError(
            f'no recipe "{visible(name_or_path)}"' + (f", did you mean {guess}?" if guess else ""),
            f"shipped recipes: {', '.join(sorted(known))}; a file is named with .yaml",
        )
    return (base or Path()) / Path(name_or_path).expanduser()


def _read(path: Path) -> bytes:
    """The file's bytes, one more than allowed at most. Never opens a pipe or a device: they may not end."""
    shown = visible(str(path), 200)
    try:
        if not path.exists():
            raise MissingInputError(f"no such recipe file: {shown}", "check the path", id="RECIPE")
        if not path.is_file():
            raise RecipeError(f"{shown} is not a file", "name a recipe file")
        with path.open("rb") as file:
            return file.read(LIMIT_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"cannot read {shown} ({reason})", "check the path", id="RECIPE") from error


def _put_on_top(data: object, overrides: Sequence[str]) -> list[str]:
    """Write overrides into the plain value of a recipe; what is wrong with their form comes back."""
    mistakes: list[str] = []
    seen: set[str] = set()
    for override in overrides:
        name, equals, text = override.partition("=")
        name = name.strip()
        where = f"--set {visible(override)}"
        if not equals or not name:
            mistakes.append(f"{where}: write section.field=value")
        elif name in seen:
            mistakes.append(f"{where}: {visible(name)} is set twice")
        elif not text.strip():
            mistakes.append(f"{where}: no value (write null for nothing)")
        else:
            seen.add(name)
            mistakes += _set(data, name, text, where)
    return mistakes


def _set(data: object, name: str, text: str, where: str) -> list[str]:
    """Set one field; a section on the way that is not one is left for ``mistakes_in`` to report."""
    try:
        value, mistakes = read_yaml(text.encode("utf-8", "surrogateescape"), source=where)
    except RecipeError as error:
        return [error.what]
    if mistakes:
        return [f"{where}: {mistake.split(': ', 1)[1]}" for mistake in mistakes]
    *sections, last = name.split(".")
    path = tuple(sections)
    if section_of(path) is None:
        return [f"{visible(name)}: {no_such_field(name)}"]
    target: Any = data
    for section in sections:
        if isinstance(target, dict):
            target = target.setdefault(section, {})
    if isinstance(target, dict):
        target[last] = value
    return []
