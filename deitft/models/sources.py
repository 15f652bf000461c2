"""Where starting weights come from: a file, a folder in timm's hub layout, a run of ours, the cache, the hub.

Nothing is substituted. A folder's own tag wins over what was asked for, and is reported; what cannot be found
is an error that names the ways out.
"""

from __future__ import annotations

import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deitft.core.files import read_json, sha256_file
from deitft.core.progress import Progress
from deitft.core.units import format_bytes
from deitft.errors import DataError, MissingInputError, UnavailableError, UsageError
from deitft.models import registry
from deitft.models.downloading import download
from deitft.models.zoo import HUB_FILES, WEIGHT_FILES, ModelChoice, plain_variant

CONFIG_LIMIT = 8 * 1024 * 1024
CONNECT_SECONDS = 4.0
"""How long the hub may take to answer a first call before it counts as out of reach."""

_NAME_SOME = "name some with --weights or --weights-dir (DEITFT_WEIGHTS_DIR)"
_WAYS_OUT = f"{_NAME_SOME}, or start at random with --no-pretrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Weights found but not yet read.

    ``kind`` says where; ``path`` is the weights file (None for "none"). ``architecture``, ``tag``, ``license``
    and ``pretrained_cfg`` are what the place itself says. ``exact_tag`` is True where they are the very weights
    that the model's name stands for: only then do its published figures hold. ``classes`` are the labels of the
    weights' classifier where the place names them.
    """

    kind: Literal["file", "folder", "hub", "run", "none"]
    path: Path | None = None
    architecture: str = ""
    tag: str | None = None
    license: str | None = None
    pretrained_cfg: Mapping[str, Any] = field(default_factory=dict)
    exact_tag: bool = False
    classes: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The architecture with its tag, as far as known."""
        return f"{self.architecture}.{self.tag}" if self.tag else self.architecture

    def record(self) -> dict[str, Any]:
        """Plain data for ``plan.json``: which weights, by content too."""
        if self.path is None:
            return {"kind": "none"}
        return {
            "kind": self.kind,
            "path": str(self.path),
            "sha256": sha256_file(self.path),
            "architecture": self.architecture,
            "tag": self.tag,
            "license": self.license,
            "exact_tag": self.exact_tag,
        }


def find(
    choice: ModelChoice,
    *,
    weights: str | None = None,
    weights_dir: Path | None = None,
    pretrained: bool = True,
    progress: Progress | None = None,
) -> WeightSource:
    """The starting weights of a model. The order matters, the first that exists wins:

    1. ``weights``: a file, a folder in timm's hub layout, or a run folder (its ``best``);
    2. ``weights_dir``, or DEITFT_WEIGHTS_DIR: a subfolder ``architecture.tag``, then ``architecture``;
    3. for a two-token model the same for the plain variant;
    4. the hub's cache on this machine, then the hub, of which ``progress`` hears.

    Raises:
        UnavailableError: none to be had (id WEIGHTS, exit 69).
        MissingInputError: a place that was named does not exist (id WEIGHTS, exit 66).
        DataError: it holds another model, or its config.json is not acceptable (ids WEIGHTS, S6).
        UsageError: weights and none at once (id WEIGHTS).
    """
    if not pretrained:
        if weights is not None:
            raise UsageError("--weights and --no-pretrained contradict each other", "give one", id="WEIGHTS")
        return WeightSource(kind="none", architecture=choice.architecture)
    if weights is not None:
        return _named(choice, Path(weights).expanduser())
    named = weights_dir or os.environ.get("DEITFT_WEIGHTS_DIR")
    folder = Path(named).expanduser() if named else None
    if folder is not None:
        if not folder.is_dir():
            raise MissingInputError(f"there is no weights folder {folder}", _WAYS_OUT, id="WEIGHTS")
        for name in choice.folder_names:
            if (folder / name).is_dir():
                return _from_folder(choice, folder / name, "folder")
    return _from_hub(choice, folder, progress)


def find_needed(
    choice: ModelChoice,
    *,
    weights: str | None = None,
    weights_dir: Path | None = None,
    progress: Progress | None = None,
) -> WeightSource:
    """``find`` where random weights are of no use: its errors do not offer them.

    Raises:
        UnavailableError, MissingInputError, DataError: see ``find``.
    """
    try:
        return find(choice, weights=weights, weights_dir=weights_dir, progress=progress)
    except (UnavailableError, MissingInputError) as error:
        if error.hint != _WAYS_OUT:
            raise
        raise type(error)(error.what, _NAME_SOME, id=error.id) from error


def _named(choice: ModelChoice, path: Path) -> WeightSource:
    """What ``--weights`` names."""
    if path.is_file() and (path.parent / "config.json").is_file() and path.name in WEIGHT_FILES:
        return _from_folder(choice, path.parent, "folder", file=path)
    if path.is_file():
        config = registry.pretrained_config(choice.timm_name)
        return WeightSource(kind="file", path=path, architecture=choice.architecture, pretrained_cfg=config)
    if (path / "config.json").is_file():
        return _from_folder(choice, path, "folder")
    for inner in ("best", "last"):
        if (path / inner / "config.json").is_file():
            return _from_folder(choice, path / inner, "run")
    if path.exists():
        raise DataError(
            f"{path} holds no config.json with {WEIGHT_FILES[0]}, and no best/ of a run",
            "name a weights file, a folder in timm's hub layout or a run folder",
            id="WEIGHTS",
        )
    raise MissingInputError(f"there is no file or folder {path}", "check --weights", id="WEIGHTS")


def _from_folder(
    choice: ModelChoice, folder: Path, kind: Literal["folder", "run"], file: Path | None = None
) -> WeightSource:
    config = read_hub_config(folder)
    architecture = config["architecture"]
    if not _fits(choice.architecture, architecture):
        raise DataError(
            f"{folder} holds {architecture}, not {choice.architecture}",
            "choose that model, or name other weights with --weights",
            id="WEIGHTS",
            files=[str(folder / "config.json")],
        )
    found = file or next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise MissingInputError(f"{folder} holds no {WEIGHT_FILES[0]}", "check the folder", id="WEIGHTS")
    details = config["pretrained_cfg"]
    tag = details.get("tag") or None
    if (folder / "deitft.json").is_file():
        kind = "run"  # a bundle keeps the tag of the weights it began with, and was trained further
    return WeightSource(
        kind=kind,
        path=found,
        architecture=architecture,
        tag=tag,
        license=details.get("license") or None,
        pretrained_cfg=details,
        exact_tag=kind == "folder" and architecture == choice.architecture and tag == choice.tag,
        classes=config["classes"],
    )


def _fits(wanted: str, found: str) -> bool:
    """The same function up to the input size; a two-token model may start from its plain variant."""

    def stem(name: str) -> str:
        return re.sub(r"_\d{3}$", "", name)

    plain = plain_variant(wanted)
    return stem(found) in {stem(wanted), stem(plain) if plain else stem(wanted)}


def read_hub_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of timm's hub layout, checked: ``architecture``, ``pretrained_cfg``, ``classes`` (or None).

    Raises:
        MissingInputError: there is none (id WEIGHTS).
        DataError: not such a file, or values that are not what they should be (id S6).
    """
    path = folder / "config.json"
    if not path.is_file():
        raise MissingInputError(f"{folder} holds no config.json", "is it in timm's hub layout?", id="WEIGHTS")
    value = read_json(path, limit=CONFIG_LIMIT)

    def fault(what: str) -> DataError:
        return DataError(f"{path}: {what}", "check where it comes from", id="S6", files=[str(path)])

    if not isinstance(value, dict):
        raise fault("not a table")
    architecture = value.get("architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"\w{1,200}", architecture, re.ASCII):
        raise fault(f"architecture is {str(architecture)[:80]!r}")
    details = value.get("pretrained_cfg", value)
    if not isinstance(details, dict):
        raise fault("pretrained_cfg is not a table")
    for name in ("tag", "license"):
        text = details.get(name)
        if text is not None and not (isinstance(text, str) and len(text) <= 200 and text.isprintable()):
            raise fault(f"{name} is {str(text)[:80]!r}")
    names = value.get("label_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise fault("label_names is not a list of names")
    return {
        "architecture": architecture,
        "pretrained_cfg": details,
        "classes": tuple(names) if names is not None else None,
    }


# The hub


def _from_hub(choice: ModelChoice, folder: Path | None, progress: Progress | None) -> WeightSource:
    config = registry.pretrained_config(choice.timm_name)
    repository = config.get("hf_hub_id")
    looked = f"nothing in {folder}" if folder else "no weights folder given"
    if not repository:
        raise _unavailable(choice, f"{looked}; timm names no place to get them from")
    files = [name for name in (config.get("hf_hub_filename"), *HUB_FILES) if name]
    path = _cached(str(repository), files)
    if path is None:
        if _offline():
            raise _unavailable(choice, f"{looked}; not in the cache, and HF_HUB_OFFLINE is set")
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        if not _answers(endpoint):
            raise _unavailable(choice, f"{looked}; not in the cache, and {endpoint} does not answer")
        if progress is not None:
            size = f" ({format_bytes(choice.entry.weights_mb * 1e6)})" if choice.entry else ""
            progress.say(f"downloading {choice.timm_name}{size} from {endpoint}")
        path = _download(choice, str(repository), files, progress)
    return WeightSource(
        kind="hub",
        path=path,
        architecture=choice.architecture,
        tag=choice.tag or None,
        license=config.get("license"),
        pretrained_cfg=config,
        exact_tag=True,
    )


def _unavailable(choice: ModelChoice, why: str) -> UnavailableError:
    return UnavailableError(f"no weights for {choice.timm_name}: {why}", _WAYS_OUT, id="WEIGHTS")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _cached(repository: str, files: Sequence[str]) -> Path | None:
    import huggingface_hub

    for name in files:
        found = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _answers(endpoint: str) -> bool:
    """Whether the hub can be reached at all; any answer counts. Bounded in time, name lookup included."""
    answers: list[bool] = []

    def call() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=CONNECT_SECONDS):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 1)
    return bool(answers)


def _download(choice: ModelChoice, repository: str, files: Sequence[str], progress: Progress | None) -> Path:
    reason = "no such file"
    for name in files:
        try:
            return download(repository, name, seconds=CONNECT_SECONDS, progress=progress)
        except Exception as error:  # noqa: BLE001  whatever went wrong, the user has the same ways out
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    raise _unavailable(choice, f"downloading them failed ({reason})")
