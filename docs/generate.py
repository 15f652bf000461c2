"""Write docs/reference/ from the code: options, recipe, errors, files, figures. ``make reference`` calls it.

A test fails where the pages and the code differ. The tables inside the guides: ``guide_tables.py``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel

from deitft import errors
from deitft.cli.app import app
from deitft.data.bad_photo import HINTS
from deitft.models import published
from deitft.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
FAULT_ID = re.compile(r"D(?:1?\d|2[01])|C(?:\d|1[0-3])|[NS][1-6]")
SEVERITIES = {"warning", "info"}
MADE = "<!-- made by docs/generate.py: change the code, then `make reference` -->\n"


def cell(text: object) -> str:
    """Text for one cell of a markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell(item) for item in line) + " |" for line in lines) + "\n"


# The command line


def verbs(command: Any, path: tuple[str, ...] = ("deitft",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below ``command`` with the words that call it, in the order of the help."""
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from verbs(child, (*path, name))
        else:
            yield (*path, name), child


def flags_of(option: Any) -> str:
    """How an option is typed: `--seed N`."""
    words = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    return f"{words} {option.metavar}" if option.metavar else words


def default_of(option: Any) -> str:
    """The default as it would be typed; empty where there is none, or for a flag that is off."""
    if option.default is None or option.default is False or option.default in ((), []):
        return ""
    if option.default is True:
        return f"`{option.opts[0]}`"
    return f"`{option.default}`"


def cli_page() -> str:
    """Every verb with its arguments and options, from the Typer app."""
    parts = [
        MADE,
        "# Command line\n",
        "stdout carries data, stderr talk. `--json` makes the data one JSON document. `NO_COLOR` is honoured, off "
        "a terminal there are lines in place of bars. Exit codes: [errors](errors.md). Completion for the shell: "
        "`deitft --install-completion`.\n",
    ]
    for path, command in verbs(typer.main.get_command(app)):
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option"]
        typed = [f"[{item.metavar}]" if not item.required else item.metavar for item in arguments]
        parts.append(f"## {' '.join(path)}\n")
        parts.append(f"{command.help}\n")
        parts.append(f"```\n{' '.join([*path, *typed])} [OPTIONS]\n```\n")
        rows: list[tuple[object, ...]] = [(f"`{item.metavar}`", item.help, "", "") for item in arguments]
        for item in options:
            if item.name == "help":
                continue
            variable = f" (or `{item.envvar}`)" if item.envvar else ""
            rows.append((flags_of(item), f"{item.help}{variable}", default_of(item), item.rich_help_panel or ""))
        parts.append(table(("option", "what it does", "default", "about"), rows))
    return "\n".join(parts)


# The recipe


def type_text(kind: Any, limits: list[Any]) -> str:
    """A field's type in words a user of YAML would say."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_text(inner[0], [*limits, *inner[1:]])
    if origin is Literal:
        return " or ".join(f"`{item}`" for item in inner)
    if origin in (UnionType, Union):
        parts = [
            type_text(item, limits if get_origin(item) is None else []) for item in inner if item is not NoneType
        ]
        return " or ".join([*parts, *(["null"] if NoneType in inner else [])])
    if origin is tuple:
        items = [item for item in inner if item is not Ellipsis]
        one = type_text(items[0], [])
        return f"list of {one}" if Ellipsis in inner else f"{len(items)} × {one}"
    if origin is dict:
        return "map"
    names = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}
    return f"{names.get(kind, getattr(kind, '__name__', str(kind)))}{limit_text(limits)}"


def limit_text(limits: list[Any]) -> str:
    """Bounds of a number: " from 0 to 1", " above 0"."""
    found: dict[str, object] = {}
    for item in limits:
        for part in getattr(item, "metadata", None) or [item]:
            for name in ("ge", "gt", "le", "lt"):
                if getattr(part, name, None) is not None:
                    found[name] = getattr(part, name)
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    return "".join(f" {words[name]} {found[name]}" for name in words if name in found)


def value_text(value: Any) -> str:
    """A default as YAML would write it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    return f"`{text}`"


def recipe_page() -> str:
    """Every field of a recipe: type, default, meaning, from the pydantic schema."""
    parts = [
        MADE,
        "# Recipe\n",
        f"{Recipe.__doc__}\n",
        "A YAML file with any of these fields; what it leaves out keeps its default. `deitft recipes` lists the "
        "shipped ones, `--set SECTION.FIELD=VALUE` changes one field on the command line. `auto` is decided from "
        "the photos and the machine before the run, and `plan.json` says what it became. Lengths are written with "
        'their unit: `"8 epochs"`, `"2000 steps"`, `30m`.\n',
    ]
    top: list[tuple[object, ...]] = []
    for name, field in Recipe.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            parts.append(f"## {name}\n\n{(kind.__doc__ or '').strip()}\n")
            parts.append(table(("field", "type", "default", "what it means"), list(field_rows(name, kind))))
        else:
            top.append((f"`{name}`", type_text(kind, field.metadata), value_text(field.default), ""))
    parts.insert(4, table(("field", "type", "default", ""), top))
    return "\n".join(parts)


def field_rows(section: str, kind: type[BaseModel]) -> Iterator[tuple[object, ...]]:
    """One row a field of a section."""
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        plain = list(default) if isinstance(default, tuple) else default
        words = type_text(field.annotation, field.metadata)
        yield f"`{section}.{name}`", words, value_text(plain), field.description or ""


# The errors


@cache
def error_classes() -> dict[str, type[errors.DeitftError]]:
    """Every error class by name, the base left out."""
    found = {name: item for name, item in vars(errors).items() if isinstance(item, type)}
    return {
        name: item
        for name, item in found.items()
        if issubclass(item, errors.DeitftError) and item is not errors.DeitftError
    }


def texts_in(node: ast.AST | None) -> list[str]:
    """The strings an expression may give: a constant, or both sides of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return [*texts_in(node.body), *texts_in(node.orelse)]
    return []


@cache
def ids_in_code() -> dict[str, set[str]]:
    """id -> what it comes as: "exit 65", "warning", "info", gathered from every call in the package."""
    found: dict[str, set[str]] = defaultdict(set)
    # What no call shows: the last resort, the stop whose class depends on the signal, and findings about single
    # photos, which are warnings while they are few.
    found["BUG"].add("exit 70")
    found["N3"].update({"exit 75", "exit 143"})
    for id in {*HINTS, "D2", "D13"}:
        found[id].update({"exit 65", "warning"})
    for file in sorted((ROOT / "deitft").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            for id, kinds in ids_of(node):
                found[id].update(kinds)
    return {id: kinds - {"error"} for id, kinds in found.items()}


def ids_of(node: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """The ids that a call or a row of a table of findings names, and what they come as there."""
    if isinstance(node, ast.Tuple):
        texts = [text for item in node.elts for text in texts_in(item)]
        for id in filter(FAULT_ID.fullmatch, texts):
            yield id, SEVERITIES & set(texts)
    if not isinstance(node, ast.Call):
        return
    keywords = {item.arg: item.value for item in node.keywords}
    kind = error_classes().get(node.func.id) if isinstance(node.func, ast.Name) else None
    texts = [text for argument in node.args for text in texts_in(argument)]
    comes_as = (
        {f"exit {kind.exit_code}"} if kind else {*texts_in(keywords.get("severity")), *(SEVERITIES & set(texts))}
    )
    named = [text for argument in node.args[2:3] for text in texts_in(argument)] if of_photos(node) else []
    for id in [*texts_in(keywords.get("id")), *(named or filter(FAULT_ID.fullmatch, texts))]:
        yield id, comes_as
    if kind is errors.RecipeError and "id" not in keywords:
        yield "RECIPE", comes_as


def of_photos(node: ast.Call) -> bool:
    """Whether this is ``about(catalog, rows, id, severity, …)``: a finding about photos."""
    return isinstance(node.func, ast.Name) and node.func.id == "about"


def meanings() -> dict[str, str]:
    """What each id means, in one line: docs/error_ids.yaml."""
    value: dict[str, str] = yaml.safe_load((ROOT / "docs" / "error_ids.yaml").read_text("utf-8"))
    return value


def id_order(id: str) -> tuple[str, int]:
    """D2 before D10, words after the table's letters."""
    letter, number = id[:1], id[1:]
    return (letter, int(number)) if number.isdigit() else ("~" + id, 0)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, as markdown."""
    sentence = re.split(r"(?<=[.?!])\s", text.strip(), maxsplit=1)[0].replace("``", "`")
    return sentence if sentence.endswith((".", "?", "!")) else sentence + "."


def errors_page() -> str:
    """Every exit code and every id."""
    codes: dict[int, list[str]] = {0: ["Done."]}
    for item in error_classes().values():
        codes.setdefault(item.exit_code, []).append(first_sentence(item.__doc__ or ""))
    codes[70] = ["A mistake of ours (id BUG): the traceback is kept in a file that the line names."]
    codes[141] = ["The reader of a pipe went away."]
    said, found = meanings(), ids_in_code()
    rows: list[tuple[object, ...]] = []
    for id in sorted(found, key=id_order):
        rows.append((f"`{id}`", said.get(id, "(undescribed)"), ", ".join(sorted(found.get(id, ())))))
    return "\n".join(
        [
            MADE,
            "# Errors and exit codes\n",
            "An error is one line on stderr, `deitft: error [ID]: what — what to do`; a warning starts with "
            "`deitft: warning [ID]`. Ids do not change. `--debug` adds the traceback.\n",
            "## Exit codes\n",
            table(("code", "meaning"), [(code, " ".join(codes[code])) for code in sorted(codes)]),
            "## Ids\n",
            table(("id", "meaning", "comes as"), rows),
        ]
    )


# The files


def files_page() -> str:
    """Every module with the first sentence of its docstring, room by room."""
    parts = [MADE, "# Files\n", "Every file of the package, in its own words. The rooms: CONTRIBUTING.md.\n"]
    rooms: dict[str, list[tuple[object, ...]]] = {"deitft": []}
    for file in sorted((ROOT / "deitft").rglob("*.py")):
        doc = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        room = file.parent.relative_to(ROOT).as_posix()
        rows = rooms.setdefault(room, [])
        if file.name == "__init__.py" and room != "deitft":
            rows.insert(0, (f"`{room.partition('/')[2]}/`", first_sentence(doc)))
        else:
            rows.append((f"`{file.name}`", first_sentence(doc)))
    for room, rows in rooms.items():
        parts.append(f"## {room}\n")
        parts.append(table(("file", "what it is"), rows))
    return "\n".join(parts)


# The published figures


def published_page() -> str:
    """ImageNet figures of papers and of weights, and what is often misquoted."""
    header: tuple[str, ...] = published.COLUMNS
    return "\n".join(
        [
            MADE,
            "# Published figures\n",
            "Top-1 on ImageNet-1k's 50,000 validation photos, in per cent, as others have published it. Nothing "
            "here was measured by deitft, and nothing of it says how good a model is on your photos. ⚗ is a DeiT "
            "with the distillation token, ↑384 one that was fine-tuned at 384 px. The same weights differ by some "
            "tenths with the crop: `deitft evaluate --model NAME --crop timm` or `authors`.\n",
            "## Papers and their authors' pages\n",
            table(header, [tuple(row) for row in published.table(published.PAPERS)]),
            "## Weights\n",
            "timm's `results-imagenet.csv` of 2025-10-30 where no other source is named.\n",
            table(header, [tuple(row) for row in published.table(published.WEIGHTS)]),
            "## Often misquoted\n",
            table(("one reads", "the sources say"), [tuple(row) for row in published.MISQUOTED]),
        ]
    )


def pages() -> dict[str, str]:
    """File name -> content."""
    import recipe_origins  # stands beside this file

    return {
        "cli.md": cli_page(),
        "recipe.md": recipe_page(),
        "recipe-origins.md": recipe_origins.page(MADE, table, value_text),
        "errors.md": errors_page(),
        "files.md": files_page(),
        "published.md": published_page(),
    }


def main() -> int:
    """Write all pages, and the tables inside the guides."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, "utf-8")
    import guide_tables  # stands beside this file

    guide_tables.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
