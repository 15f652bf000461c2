"""What is wrong with a recipe, in the words of the person who wrote it; all of it at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deitft.errors import RecipeError
from deitft.recipe.schema import Recipe, Section
from deitft.recipe.strict_yaml import visible

SHOWN = 30
"""Mistakes in the line at most; ``details["mistakes"]`` has all of them."""

Path = tuple[str, ...]

OTHER_WORDS = {
    "aa": "augment.policy",
    "batch_size": "train.batch",
    "dropout": "model.drop_path",
    "epochs": "train.length",
    "img_size": "model.image_size",
    "learning_rate": "optim.lr",
    "max_steps": "train.length",
    "reprob": "augment.erasing",
    "smoothing": "loss.label_smoothing",
    "steps": "train.length",
    "wd": "optim.weight_decay",
}
"""What other tools call our fields."""

_LENGTH = 'a length such as "8 epochs", "2000 steps" or "30m", or auto'
_DURATION = 'a duration such as "90s", "5m" or "1h30m"'


def recipe_error(source: str, mistakes: Sequence[str], *, id: str = "RECIPE") -> RecipeError:
    """One error that holds every mistake: the line has the first thirty, ``details["mistakes"]`` all."""
    more = f"; and {len(mistakes) - SHOWN} more" if len(mistakes) > SHOWN else ""
    what = f"{source}: {'; '.join(mistakes[:SHOWN])}{more}"
    return RecipeError(what, id=id, details={"mistakes": list(mistakes)})


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None."""
    names = list(known)
    lower = {item.lower(): item for item in names}
    match = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return lower[match[0]] if match else None


def no_such_field(dotted: str) -> str:
    """What to say of a field that does not exist: with the nearest name, if one is near."""
    *sections, last = dotted.split(".")
    section = section_of(tuple(sections))
    near = closest(last, section.model_fields) if section else None
    guess = ".".join([*sections, near]) if near else None
    if guess is None:
        known = [".".join(leaf) for leaf in leaves()]
        elsewhere = [name for name in known if name.rsplit(".", 1)[-1] == last]
        guess = OTHER_WORDS.get(last) or (elsewhere[0] if elsewhere else closest(dotted, known))
    return "no such field" + (f", did you mean {guess}?" if guess else "")


@cache
def section_of(path: Path) -> type[Section] | None:
    """The section a path leads to; None where it is a field or nothing at all."""
    model: type[Section] = Recipe
    for name in path:
        field = model.model_fields.get(name)
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            return None
        model = kind
    return model


@cache
def leaves() -> tuple[Path, ...]:
    """Every field that holds a value, as a path of names, in the order of the schema."""

    def below(path: Path, model: type[Section]) -> Iterable[Path]:
        for name in model.model_fields:
            section = section_of((*path, name))
            if section is None:
                yield (*path, name)
            else:
                yield from below((*path, name), section)

    return tuple(below((), Recipe))


def describe_value(value: object) -> str:
    """A value with its kind: ``"fast" (text)``."""
    if value is None:
        return "null (nothing)"
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    if isinstance(value, int):
        return f"{value} (whole number)"
    if isinstance(value, float):
        return f"{value:g} (number)"
    if isinstance(value, str):
        return f'"{visible(value)}" (text)'
    text = visible(json.dumps(value))
    return f"{text} (list)" if isinstance(value, list) else f"{text} (section)"


def _numbers(schema: Mapping[str, Any], word: str) -> str:
    """``word`` with the range that a JSON schema gives it."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{word} from {low:g} to {high:g}"
    if low is not None and below is not None:
        return f"{word} from {low:g} to below {below:g}"
    parts = [f"from {low:g}"] if low is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"below {below:g}"] if below is not None else []
    parts += [f"at most {high:g}"] if high is not None else []
    return f"{word} {' and '.join(parts)}" if parts else word


def describe_schema(schema: Mapping[str, Any]) -> str:
    """What a field wants, from its JSON schema: "a number above 0, or auto"."""
    if "anyOf" in schema:
        return ", or ".join(describe_schema(item) for item in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(str(item) for item in schema["enum"])
    if schema.get("format") in ("length", "duration"):
        return _LENGTH if schema["format"] == "length" else _DURATION
    if "prefixItems" in schema:
        items = schema["prefixItems"]
        one = describe_schema(items[0]).removeprefix("a ")
        plural = one.replace("number", "numbers", 1)
        return f"a list of {len(items)} {plural}"
    words = {
        "number": "a number",
        "integer": "a whole number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
        "array": "a list of {Name: {argument: value}}",
        "object": "a section",
    }
    return _numbers(schema, words[schema["type"]])


@cache
def wanted(path: Path) -> str:
    """What the field at ``path`` wants, in words."""
    if section_of(path) is not None:
        return "a section with names and values"
    parent = section_of(path[:-1]) or Recipe
    return describe_schema(parent.model_json_schema()["properties"][path[-1]])


def _field_path(location: Sequence[int | str]) -> Path:
    """The field that a pydantic location is in: what comes after it tells branches and items apart."""
    path: Path = ()
    for name in location:
        path = (*path, str(name))
        if section_of(path) is None:
            break
    return path


def _value_at(data: object, path: Path) -> object:
    for name in path:
        data = data[name] if isinstance(data, dict) else None
    return data


def _in_words(path: Path, error: ErrorDetails, data: object, *, guessing: bool) -> str:
    dotted = visible(".".join(path), 120)
    if error["type"] == "extra_forbidden":
        return f"{dotted}: {no_such_field('.'.join(path)) if guessing else 'no such field'}"
    value = _value_at(data, path)
    if error["type"] == "value_error" and isinstance(value, str):
        return f"{dotted}: {visible(str(error['ctx']['error']), 160)}"
    guess = closest(value, wanted(path).removeprefix("one of ").split(", ")) if isinstance(value, str) else None
    hint = f", did you mean {guess}?" if guess and "one of " in wanted(path) else ""
    if not path:
        return f"got {describe_value(value)}, want sections with names and values"
    return f"{dotted}: got {describe_value(value)}, want {wanted(path)}{hint}"


def mistakes_in(data: object) -> list[str]:
    """Everything that is wrong with the plain value of a recipe: names, types, ranges, contradictions.

    Each field has one mistake at most. Contradictions that involve a mistaken field are left out: they may
    vanish with it.
    """
    found: dict[Path, str] = {}
    try:
        Recipe.model_validate_json(json.dumps(data))
    except ValidationError as error:
        contradicting = _contradictions(error)
        if contradicting is not None:
            return contradicting
        for detail in error.errors(include_url=False):
            path = _field_path(detail["loc"])
            if path not in found:
                # Nearest names only for those that are shown: a hostile file has thousands.
                found[path] = _in_words(path, detail, data, guessing=len(found) < SHOWN)
    mistakes = list(found.values())
    if mistakes and isinstance(data, dict) and all(found):
        try:
            Recipe.model_validate_json(json.dumps(_without(data, found)))
        except ValidationError as error:
            names = [".".join(path) for path in found]
            others = _contradictions(error) or []
            mistakes += [text for text in others if not any(name in text for name in names)]
    return mistakes


def _contradictions(error: ValidationError) -> list[str] | None:
    """The contradictions, where they are all that is wrong; None where fields are wrong."""
    details = error.errors(include_url=False)
    if len(details) == 1 and details[0]["type"] == "contradiction":
        return [str(text) for text in details[0]["ctx"]["mistakes"]]
    return None


def _without(data: dict[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """The same sections without the fields at ``paths``."""
    gone = set(paths)

    def copy(value: object, at: Path) -> object:
        if not isinstance(value, dict) or section_of(at) is None:
            return value
        return {name: copy(item, (*at, name)) for name, item in value.items() if (*at, name) not in gone}

    result = copy(data, ())
    return result if isinstance(result, dict) else {}
