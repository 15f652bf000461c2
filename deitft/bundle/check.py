"""What a bundle may say. Every value of its JSON is looked at before anything is built or allocated (fault S6).

Nothing that is read here is executed, imported or used as a path: a field that is not known is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deitft.core.files import read_json
from deitft.errors import DataError, MissingInputError
from deitft.models.registry import is_architecture, tags
from deitft.recipe.preprocessing import MAX_SIDE, Preprocessing, preprocessing_from

FORMAT = "deitft-bundle"
BUNDLE_VERSION = 1
"""Of ``deitft.json``. Bundles of this and every earlier version are read by this and every later deitft."""

MANIFEST, CONFIG, WEIGHTS, CARD = "deitft.json", "config.json", "model.safetensors", "README.md"

MOST_CLASSES = 100_000
LONGEST_NAME = 1_000
"""Characters of a class name. A folder name has at most 255 bytes; names from a table may be longer."""

JSON_BYTES = 64 * 1024 * 1024
TEMPERATURES = (0.01, 100.0)

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "version": int,
    "model": str,
    "short_name": (str, type(None)),
    "heads": int,
    "served": str,
    "classes": list,
    "preprocessing": dict,
    "temperature": (int, float),
    "sha256": str,
    "starting_weights": dict,
    "data": dict,
    "metrics": dict,
    "training": dict,
    "created": str,
    "versions": dict,
}
_CONFIG_FIELDS = frozenset(
    ("architecture", "num_classes", "num_features", "global_pool", "label_names", "pretrained_cfg")
)

TIMM_FIELDS = frozenset(
    (
        *("tag", "custom_load", "input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode"),
        *("mean", "std", "num_classes", "pool_size", "first_conv", "classifier", "license"),
        *("origin_url", "paper_name", "paper_ids"),
    )
)
"""Of timm's pretrained_cfg: what says something of these weights. None names a place to fetch others from."""

Served = Literal["class", "logit_mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``deitft.json``, checked. The mappings are evidence for people: nothing is decided by what they hold.

    ``model`` is timm's name with its tag; ``served`` says how the heads become one answer; ``sha256`` is of
    ``model.safetensors``; ``starting_weights`` says what training began with, and under which licence.
    """

    model: str
    short_name: str | None
    heads: int
    served: Served
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float
    sha256: str
    starting_weights: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    created: str
    versions: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """timm's name without the tag."""
        return self.model.partition(".")[0]


def refused(where: str, what: str) -> DataError:
    """The error of fault S6."""
    return DataError(f"{where}: {what}", "check where the bundle comes from, or make it anew", id="S6")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        MissingInputError: it is not there (id BUNDLE).
        DataError: it is not JSON, or not an object (id S6).
    """
    if not path.is_file():
        raise MissingInputError(
            f"there is no {path.name} in {path.parent}", "name the folder of a bundle", id="BUNDLE"
        )
    value = read_json(path, limit=JSON_BYTES)
    if not isinstance(value, dict):
        raise refused(str(path), "it holds no JSON object")
    return value


def manifest_from(value: Mapping[str, Any], where: str) -> Manifest:
    """Check what ``deitft.json`` holds; ``where`` names the file in errors.

    Raises:
        DataError: of a newer version (id BUNDLE); anything unknown, missing, mistyped or out of range (id S6).
    """
    if value.get("format") != FORMAT:
        raise refused(where, f'"format" is {_short(value.get("format"))}, not "{FORMAT}"')
    version = value.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise refused(where, f"version is {_short(version)}")
    if version > BUNDLE_VERSION:
        raise DataError(
            f"{where} was written by a newer deitft (version {_short(version)}, this one knows {BUNDLE_VERSION})",
            "upgrade deitft",
            id="BUNDLE",
        )
    _known_fields(value, where)
    classes = _class_names(value["classes"], where, "classes")
    _architecture(value["model"], where, "model")
    heads, served = value["heads"], value["served"]
    if (heads, served) not in ((1, "class"), (2, "logit_mean")):
        raise refused(where, f"heads {_short(heads)} served as {_short(served)}")
    temperature = value["temperature"]
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:  # false for NaN too
        raise refused(
            where, f"temperature is {_short(temperature)} (allowed {TEMPERATURES[0]} to {TEMPERATURES[1]})"
        )
    if not re.fullmatch("[0-9a-f]{64}", value["sha256"]):
        raise refused(where, "sha256 is not 64 hexadecimal digits")
    return Manifest(
        model=value["model"],
        short_name=value["short_name"],
        heads=heads,
        served=served,
        classes=classes,
        preprocessing=_preprocessing(value["preprocessing"], where),
        temperature=float(temperature),
        **{
            name: value[name]
            for name in ("sha256", "starting_weights", "data", "metrics", "training", "created", "versions")
        },
    )


def check_config(value: Mapping[str, Any], manifest: Manifest, where: str) -> None:
    """timm's ``config.json`` must tell the same story as ``deitft.json``: timm reads the one, we the other.

    Raises:
        DataError: it does not, or a value is out of range (id S6).
    """
    unknown = [name for name in value if name not in _CONFIG_FIELDS]
    if unknown:
        raise refused(where, f"unknown field {_short(unknown[0])}")
    count = value.get("num_classes")
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= MOST_CLASSES:
        raise refused(where, f"num_classes is {_short(count)} (allowed 2 to {MOST_CLASSES})")
    _architecture(value.get("architecture"), where, "architecture")
    same = {
        "architecture": (value["architecture"], manifest.architecture),
        "num_classes": (count, len(manifest.classes)),
        "label_names": (value.get("label_names"), list(manifest.classes)),
    }
    config = value.get("pretrained_cfg")
    if not isinstance(config, dict):
        raise refused(where, "pretrained_cfg is not an object")
    unknown = [name for name in config if name not in TIMM_FIELDS]
    if unknown or config.get("custom_load"):
        raise refused(where, f"unknown field {_short((unknown or ['custom_load'])[0])} in pretrained_cfg")
    size = config.get("input_size")
    if not isinstance(size, list) or len(size) != 3 or not all(_whole(side, 1, MAX_SIDE) for side in size):
        raise refused(where, f"input_size is {_short(size)} (want [3, side, side], sides up to {MAX_SIDE})")
    side = manifest.preprocessing.size
    same["input_size"] = (size, [3, side, side])
    same["mean"] = (config.get("mean"), list(manifest.preprocessing.mean))
    same["std"] = (config.get("std"), list(manifest.preprocessing.std))
    same["pretrained_cfg.num_classes"] = (config.get("num_classes"), count)
    for name, (ours, theirs) in same.items():
        if ours != theirs:
            raise refused(where, f"{name} is {_short(ours)}, but {_short(theirs)} in {MANIFEST}")


def _known_fields(value: Mapping[str, Any], where: str) -> None:
    unknown = [name for name in value if name not in _FIELDS]
    missing = [name for name in _FIELDS if name not in value]
    if unknown or missing:
        raise refused(where, f"unknown field {_short(unknown[0])}" if unknown else f'"{missing[0]}" is missing')
    for name, kinds in _FIELDS.items():
        item = value[name]
        if not isinstance(item, kinds) or isinstance(item, bool):
            raise refused(where, f"{name} is {_short(item)}")


def _preprocessing(value: dict[str, Any], where: str) -> Preprocessing:
    try:
        return preprocessing_from(value, where=where)
    except OverflowError as error:  # a whole number of hundreds of digits is no float
        raise refused(where, "preprocessing: a number is out of any range") from error


def _class_names(names: list[Any], where: str, field: str) -> tuple[str, ...]:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise refused(where, f"{field} has {len(names)} names (allowed 2 to {MOST_CLASSES})")
    seen = set()
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise refused(where, f"{field} holds {_short(name)} (want names of 1 to {LONGEST_NAME} characters)")
        if name in seen:
            raise refused(where, f"{field} names {_short(name)} twice")
        seen.add(name)
    return tuple(names)


def _architecture(name: object, where: str, field: str) -> None:
    """Only names, and tags, in timm's registry: a path or an address is none."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", name):
        raise refused(where, f"{field} is {_short(name)}, not the name of a model")
    architecture, _, tag = name.partition(".")
    if not is_architecture(architecture) or (tag and tag not in tags(architecture)):
        raise refused(where, f"{field} is {_short(name)}, which timm does not know: upgrade timm if it is real")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _short(value: object) -> str:
    """A value for an error's line: never longer than a line, whatever was put in."""
    text = repr(value) if not isinstance(value, list | dict) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
