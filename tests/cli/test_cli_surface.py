"""What can be typed: frozen by a snapshot, and equal to what the Python functions take."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import deitft
from deitft.cli.app import app
from deitft.jobs import inventory

GOLDEN = Path(__file__).parent / "golden_options.json"
ENDS_HERE = {"json", "quiet", "debug", "help", "format"}  # of the command line alone


def verbs(command: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with its command."""
    command = command or typer.main.get_command(app)
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from verbs(child, f"{path}{name} ")
        else:
            yield f"{path}{name}", child


def surface() -> dict[str, dict[str, Any]]:
    """Every verb's arguments and options, with what matters to a script that uses them."""
    found: dict[str, dict[str, Any]] = {}
    for path, command in verbs():
        found[path] = {}
        for param in command.params:
            if param.name == "help":
                continue
            flags = [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else ["(argument)"]
            default = param.default
            found[path][param.name] = {
                "flags": flags,
                "required": param.required,
                "default": default if isinstance(default, bool | int | type(None)) else str(default),
                "repeats": bool(getattr(param, "multiple", False) or param.nargs == -1),
            }
    return found


def test_no_option_comes_goes_or_changes_unseen() -> None:
    """After a wanted change: DEITFT_WRITE_GOLDEN=1, `make reference`, and a line in CHANGELOG.md."""
    text = json.dumps(surface(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("DEITFT_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert json.loads(GOLDEN.read_text()) == json.loads(text)


JOBS = ("check", "pack", "finetune", "pretrain", "resume", "teacher-cache", "evaluate", "predict", "compare")
FUNCTIONS: dict[str, tuple[Callable[..., object], dict[str, str]]] = {
    **{verb: (getattr(deitft, verb.replace("-", "_")), {}) for verb in JOBS},
    "models": (inventory.models, {}),
    "env": (inventory.env, {}),
    "recipes list": (inventory.recipes, {}),
    "recipes show": (inventory.recipe_text, {"recipe": "name"}),
    "recipes copy": (inventory.copy_recipe, {"recipe": "name"}),
    "runs list": (inventory.runs, {}),
    "runs rm": (inventory.find_run, {"names": "name"}),  # of each, which then goes
}
"""What a verb calls, and what is typed under another name than the function's."""


def keywords_of(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return {name: item for name, item in inspect.signature(function).parameters.items() if name != "progress"}


def test_no_verb_is_left_out() -> None:
    assert set(FUNCTIONS) == set(dict(verbs()))
    assert keywords_of(inventory.recipe_text) == keywords_of(inventory.recipe_record)  # `recipes show --json`


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_options_are_the_keywords_of_the_python_function(verb: str) -> None:
    function, other_names = FUNCTIONS[verb]
    keywords = keywords_of(function)
    ends_here = ENDS_HERE | ({"yes"} if verb == "runs rm" else set())
    params = [param for param in dict(verbs())[verb].params if param.name not in ends_here]
    typed = {other_names.get(param.name, param.name): param for param in params}
    assert set(typed) == set(keywords)
    for name, param in typed.items():
        default = keywords[name].default
        if param.param_type_name == "argument":
            assert default in ((inspect.Parameter.empty,) if param.required else (None, ())), name
        elif default == ():
            assert param.multiple, name
            assert param.default in (None, (), []), name
        else:
            assert type(default) is type(param.default) or isinstance(param.default, Path), name
            assert str(param.default) == str(default), name


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_arguments_come_in_the_order_of_the_python_function(verb: str) -> None:
    function, other_names = FUNCTIONS[verb]
    kinds = keywords_of(function).values()
    positional = [item.name for item in kinds if item.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    params = [param for param in dict(verbs())[verb].params if param.param_type_name == "argument"]
    arguments = [other_names.get(param.name, param.name) for param in params]
    if verb.startswith("runs "):
        positional.remove("runs_dir")  # an option that may be given by position in Python
    assert arguments == positional


@pytest.mark.parametrize(("path", "command"), list(verbs()), ids=[path for path, _ in verbs()])
def test_every_verb_speaks_json_has_debug_and_explains_itself(path: str, command: Any) -> None:
    options = {param.name: param for param in command.params}
    assert {"json", "quiet", "debug"} <= set(options)
    assert command.help
    for param in command.params:
        assert param.help, f"{path}: {param.name} says nothing"
        takes_value = param.param_type_name == "argument" or not param.is_flag
        assert param.name == "help" or bool(param.metavar) == takes_value, param.name


@pytest.mark.parametrize("path", ["", *(path for path, _ in verbs()), "recipes", "runs"])
def test_the_help_names_no_type_of_python(path: str, call, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    said = call(*path.split(), "--help")
    assert said.code == 0
    assert not re.search(r"<\w+(\[\w+\])?>", said.out), said.out
    many = ("finetune", "pretrain", "check", "pack", "predict", "evaluate", "compare")
    assert ("PATH ..." in said.out) == (path in many)


@pytest.mark.parametrize("group", ["recipes", "runs"])
def test_a_group_alone_takes_the_options_of_its_list(group: str) -> None:
    command = typer.main.get_command(app).commands[group]

    def typed(params: Any) -> dict[str, Any]:
        return {param.name: (param.opts, param.default, param.help) for param in params if param.name != "help"}

    assert typed(command.params) == typed(command.commands["list"].params)


def test_public_names_are_the_jobs_own_functions() -> None:
    for verb in JOBS:
        name = verb.replace("-", "_")
        assert name in deitft.__all__
        assert getattr(deitft, name) is getattr(importlib.import_module(f"deitft.jobs.{name}"), name)
        assert f"``deitft {verb}``" in (importlib.import_module(f"deitft.jobs.{name}").__doc__ or "")


def test_what_was_typed_arrives(call, monkeypatch) -> None:
    from deitft.jobs.inventory import Facts

    got: dict[str, Any] = {}

    def finetune(**asked: Any) -> Facts:
        got.update(asked)
        return Facts(pairs=[("score", "0.9\x1b")], data={"score": float("nan"), "name": "\x9b\u202e"})

    monkeypatch.setattr("deitft.jobs.finetune.finetune", finetune)
    monkeypatch.setenv("DEITFT_WEIGHTS_DIR", "/some/weights")
    words = [
        "finetune",
        "photos",
        "--set",
        "optim.lr=1e-4",
        "--set",
        "a=b,c",
        "--no-pretrained",
        "--precision",
        "bf16",
    ]
    words += ["--log-to", "tensorboard", "--allow-changed", "data,lr", "--allow-changed", "epochs"]
    said = call(*words)
    assert (said.code, said.out) == (0, "score  0.9\\x1b\n")
    assert "progress" in got
    assert got["data"] == [Path("photos")]
    assert got["set"] == ("optim.lr=1e-4", "a=b,c")
    assert got["pretrained"] is False
    assert type(got["precision"]) is str
    assert got["precision"] == "bf16"
    assert got["log_to"] == ("tensorboard",)
    assert type(got["log_to"][0]) is str
    assert got["allow_changed"] == ("data", "lr", "epochs")
    assert got["weights_dir"] == Path("/some/weights")
    assert call("finetune", "photos").code == 0
    assert got["set"] == got["log_to"] == got["allow_changed"] == ()
    as_json = call("finetune", "photos", "--json")
    assert json.loads(as_json.out) == {"score": None, "name": "\x9b\u202e"}
    assert as_json.out.isascii()
