"""A list from a recipe to an albumentations pipeline, with every mistake named.

The library comes as an argument: ``data.transforms`` is the only place that imports it. A spec is
``{Name: {argument: value}}``, or a composition: ``{OneOf: [specs]}``, ``{SomeOf: {transforms: [specs], n: 2}}``.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from deitft.errors import RecipeError

COMPOSITIONS = ("OneOf", "RandomOrder", "Sequential", "SomeOf")
REFUSED = frozenset({"Lambda", "BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"})
FIELD = "augment.albumentations"
_PROBE = 96  # pixels a side of the picture each entry is tried on
_TRIES = 4


def mistakes(library: ModuleType, specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """All mistakes, one sentence each, with the place in the list in front."""
    found: list[str] = []
    for number, spec in enumerate(specs):
        where = f"{FIELD}[{number}]"
        wrong = list(_spec_mistakes(library, spec, where))
        found += wrong or _trial_mistakes(library, spec, where)
    return found


def build(library: ModuleType, specs: Sequence[Mapping[str, Any]]) -> Any:
    """The pipeline: an ``albumentations.Compose`` of the whole list.

    Raises:
        RecipeError: anything wrong with the list (id ALBUMENTATIONS), all mistakes in one error.
    """
    found = mistakes(library, specs)
    if found:
        raise RecipeError("; ".join(found), "see `deitft recipes show` for an example", id="ALBUMENTATIONS")
    return library.Compose([_make(library, spec) for spec in specs])


def _names(library: ModuleType) -> dict[str, type]:
    """Everything a spec may name: the library's transforms, and four compositions."""
    known: dict[str, type] = {}
    for name, value in vars(library).items():
        if inspect.isclass(value) and issubclass(value, library.BasicTransform) and name not in REFUSED:
            known[name] = value
    return known | {name: getattr(library, name) for name in COMPOSITIONS}


def _parameters(kind: type) -> list[str]:
    names = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    return [name for name in names if name not in ("self", "strict", "transforms", "kwargs")]


def _parts(name: str, value: Any) -> tuple[dict[str, Any], Any]:
    """Arguments and, for a composition, the specs inside it."""
    if name in COMPOSITIONS and not isinstance(value, Mapping):
        return {}, value
    arguments = dict(value or {})
    return arguments, arguments.pop("transforms", None) if name in COMPOSITIONS else None


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(sorted(known))})"


def _spec_mistakes(library: ModuleType, spec: Any, where: str) -> Iterator[str]:
    if not isinstance(spec, Mapping) or len(spec) != 1:
        yield f"{where}: want one {{Name: {{argument: value}}}}, got {_short(spec)}"
        return
    name, value = next(iter(spec.items()))
    known = _names(library)
    if name not in known:
        near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
        yield f"{where}: unknown transform {name}" + (f" (did you mean {near[0]}?)" if near else "")
        return
    where = f"{where}.{name}"
    if value is not None and not isinstance(value, Mapping) and name not in COMPOSITIONS:
        yield f"{where}: want {{argument: value}}, got {_short(value)}"
        return
    arguments, inner = _parts(name, value)
    allowed = _parameters(known[name])
    unknown = [argument for argument in arguments if argument not in allowed]
    for argument in unknown:
        yield f"{where}: unknown argument {argument}{_nearest(str(argument), allowed)}"
    chance = arguments.get("p", 0)
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        yield f"{where}: p is {_short(chance)}, want a number from 0 to 1"
        return
    if name in COMPOSITIONS:
        yield from _inner_mistakes(library, inner, where)
    elif not unknown:
        yield from _argument_mistakes(known[name], arguments, where)


def _inner_mistakes(library: ModuleType, inner: Any, where: str) -> Iterator[str]:
    if not isinstance(inner, list | tuple) or not inner:
        yield f"{where}: want a list of transforms, got {_short(inner)}"
        return
    for number, spec in enumerate(inner):
        yield from _spec_mistakes(library, spec, f"{where}[{number}]")


def _argument_mistakes(kind: type, arguments: Mapping[str, Any], where: str) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind(**arguments, strict=True)  # else the library warns and goes on with its defaults
    except Exception as error:  # noqa: BLE001 - foreign constructors raise what they like
        listed = getattr(error.__cause__, "errors", None)
        if listed is None:
            yield f"{where}: {_first_line(error)}"
            return
        for item in listed():
            place = ".".join(str(part) for part in item["loc"])
            yield f"{where}.{place}: {item['msg'].removeprefix('Value error, ')}, got {_short(item['input'])}"


def _trial_mistakes(library: ModuleType, spec: Mapping[str, Any], where: str) -> list[str]:
    """Run one entry, always on, on a picture: it must take a photo alone and give one of the same size back."""
    where = f"{where}.{next(iter(spec))}"
    picture = np.random.default_rng(0).integers(0, 256, (_PROBE, _PROBE, 3), dtype=np.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transform = _make(library, spec)
            transform.p = 1.0
            compose = library.Compose([transform])
            for seed in range(_TRIES):
                compose.set_random_seed(seed)
                out = compose(image=picture)["image"]
                if not isinstance(out, np.ndarray) or out.dtype != np.uint8:
                    kind = getattr(out, "dtype", type(out).__name__)
                    return [f"{where}: gives {kind} values, want uint8 (values are normalised afterwards)"]
                if out.shape != picture.shape:
                    size = " x ".join(str(side) for side in out.shape)
                    return [f"{where}: changes the size to {size} (the crop is set by augment.crop)"]
    except Exception as error:  # noqa: BLE001 - foreign code
        return [f"{where}: cannot be used on photos: {_first_line(error)}"]
    return []


def _make(library: ModuleType, spec: Mapping[str, Any]) -> Any:
    name, value = next(iter(spec.items()))
    arguments, inner = _parts(name, value)
    if name in COMPOSITIONS:
        arguments["transforms"] = [_make(library, item) for item in inner]
    return getattr(library, name)(**arguments)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
