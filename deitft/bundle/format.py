"""A bundle: a folder that timm opens as one of its own, and that tells deitft and people everything else.

``config.json`` and ``model.safetensors`` are timm's hub layout; ``deitft.json`` adds class order, preprocessing,
temperature and evidence; ``README.md`` is the model card. Written whole or not at all; read with every value
checked first (fault S6).

``deitft.json`` is what holds. timm's ``config.json`` cannot say everything: it knows no temperature, and its
"border" pads with the mean colour where ``pad`` here has a background. Crop and squash are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from deitft.bundle.check import (
    BUNDLE_VERSION,
    CARD,
    CONFIG,
    FORMAT,
    MANIFEST,
    TIMM_FIELDS,
    WEIGHTS,
    Manifest,
    check_config,
    manifest_from,
    read_object,
    refused,
)
from deitft.core.files import commit_directory, sha256_bytes, sha256_file, write_bytes, write_json, write_text
from deitft.core.records import LIBRARIES, now, version_of
from deitft.errors import DataError, DeitftError, MissingInputError
from deitft.models.build import Classifier, build
from deitft.models.read_state import read_header, read_state
from deitft.models.registry import pretrained_config
from deitft.recipe.preprocessing import Preprocessing

__all__ = ["BUNDLE_VERSION", "Bundle", "load_bundle", "save_bundle"]

_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose JSON and whose weights' header have been checked; the weights are read when asked."""

    folder: Path
    manifest: Manifest

    @property
    def model_name(self) -> str:
        """timm's name with its tag."""
        return self.manifest.model

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.manifest.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """What a photo goes through before the model sees it."""
        return self.manifest.preprocessing

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax."""
        return self.manifest.temperature

    def state(self) -> dict[str, Tensor]:
        """The weights by timm's names, in memory of their own: float32 (whole numbers as they are), all finite.

        Raises:
            DataError: not the file that ``deitft.json`` speaks of, damaged, or not finite (id S6).
        """
        path = self.folder / WEIGHTS
        if sha256_file(path) != self.manifest.sha256:
            raise refused(str(self.folder), f"{WEIGHTS} does not match its sha256 in {MANIFEST}")
        return read_state(path)


def save_bundle(
    folder: Path,
    *,
    classifier: Classifier,
    state: Mapping[str, Tensor],
    short_name: str | None,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    temperature: float,
    starting_weights: Mapping[str, Any],
    data: Mapping[str, Any],
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    card: str,
) -> Bundle:
    """Write a bundle, whole or not at all; one that stands there already is replaced.

    ``classifier`` tells what the function is, ``state`` which weights to hand over (its own, or an average; timm's
    names). ``starting_weights`` says what they began with ("kind", "architecture", "tag", "sha256", "license");
    where that lay on this machine ("path") is left out. ``data`` holds the fingerprint and counts; ``metrics``
    and ``training`` are evidence as plain data; ``card`` is the README.

    Raises:
        DataError: a weight is not finite (id N1), or a value is not one that ``load_bundle`` takes (id S6).
    """
    weights = safetensors.torch.save(_handed_over(state), metadata={"format": "pt"})
    manifest = {
        "format": FORMAT,
        "version": BUNDLE_VERSION,
        "model": classifier.timm_name,
        "short_name": short_name,
        "heads": 2 if classifier.two_heads else 1,
        "served": "logit_mean" if classifier.two_heads else "class",
        "classes": list(classes),
        "preprocessing": preprocessing.record(),
        "temperature": temperature,
        "sha256": sha256_bytes(weights),
        "starting_weights": {name: value for name, value in starting_weights.items() if name != "path"},
        "data": dict(data),
        "metrics": dict(metrics),
        "training": dict(training),
        "created": now(),
        "versions": {name: version_of(name) for name in LIBRARIES},
    }
    manifest_from(manifest, MANIFEST)
    config = _timm_config(classifier, classes, preprocessing, starting_weights)

    def fill(place: Path) -> None:
        write_bytes(place / WEIGHTS, weights)
        write_json(place / CONFIG, config)
        write_text(place / CARD, card)
        write_json(place / MANIFEST, manifest)

    commit_directory(folder, fill)
    return load_bundle(folder)


def _handed_over(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, numbers with a point as float32: what another version of torch or timm reads too."""
    copies = {}
    for name, tensor in state.items():
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        copy = tensor.detach().to("cpu", dtype, copy=True).contiguous()
        if not torch.isfinite(copy).all():
            raise DataError(
                f'the weights hold values that are not numbers, first in "{name}": nothing is handed over',
                "go back to an earlier checkpoint",
                id="N1",
            )
        copies[name] = copy
    return copies


def _timm_config(
    classifier: Classifier, classes: Sequence[str], pre: Preprocessing, starting_weights: Mapping[str, Any]
) -> dict[str, Any]:
    """``config.json`` as timm writes it (``timm.models.save_for_hf``), of these weights and this preprocessing."""
    known = pretrained_config(classifier.timm_name)
    size_changed = list(known.get("input_size", ())) != [3, pre.size, pre.size]
    config: dict[str, Any] = {name: value for name, value in known.items() if name in TIMM_FIELDS}
    config |= {
        "tag": starting_weights.get("tag") or classifier.timm_name.partition(".")[2],
        "custom_load": False,
        "input_size": [3, pre.size, pre.size],
        "fixed_input_size": bool(known.get("fixed_input_size")),
        "interpolation": pre.interpolation,
        "crop_pct": pre.crop_share if pre.aspect == "crop" else 1.0,
        "crop_mode": _CROP_MODES[pre.aspect],
        "mean": list(pre.mean),
        "std": list(pre.std),
        "num_classes": len(classes),
        "pool_size": None if size_changed else known.get("pool_size"),
        "license": starting_weights.get("license"),
    }
    net: Any = classifier.net
    whole: dict[str, Any] = {
        "architecture": classifier.architecture,
        "num_classes": len(classes),
        "num_features": int(net.num_features),
        "label_names": list(classes),
        "pretrained_cfg": config,
    }
    if isinstance(getattr(net, "global_pool", None), str) and net.global_pool:
        whole["global_pool"] = net.global_pool
    return whole


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle: every value of its JSON and the header of its weights are checked, nothing is allocated yet.

    Raises:
        MissingInputError: a file of the bundle is not there (id BUNDLE).
        DataError: written by a newer deitft (id BUNDLE), or damaged or hostile (id S6).
    """
    manifest = manifest_from(read_object(folder / MANIFEST), str(folder / MANIFEST))
    check_config(read_object(folder / CONFIG), manifest, str(folder / CONFIG))
    path = folder / WEIGHTS
    if not path.is_file():
        raise MissingInputError(f"there is no {WEIGHTS} in {folder}", "name the folder of a bundle", id="BUNDLE")
    with path.open("rb") as file:
        entries, _ = read_header(file, path.stat().st_size, path)
    found = {name: (dtype, shape) for name, dtype, shape, _ in entries}
    _check_shapes(found, _expected(manifest, str(folder)), str(path))
    return Bundle(folder, manifest)


_Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


def _expected(manifest: Manifest, where: str) -> _Shapes:
    """Names, types and shapes that the model has, from one built without memory."""
    try:
        shape = build(
            manifest.model,
            num_classes=len(manifest.classes),
            image_size=manifest.preprocessing.size,
            device="meta",
        )
    except DeitftError as error:
        raise refused(where, error.what) from error
    if (2 if shape.two_heads else 1) != manifest.heads:
        raise refused(where, f"heads is {manifest.heads}, which {manifest.model} does not have")
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in shape.net.state_dict().items()}


def _check_shapes(found: _Shapes, expected: _Shapes, where: str) -> None:
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        what = f'"{missing[0]}" is missing' if missing else f'"{unknown[0]}" does not belong to the model'
        count = len(missing) + len(unknown)
        raise refused(where, f"{what}{f' (and {count - 1} more such names)' if count > 1 else ''}")
    for name, (dtype, shape) in found.items():
        if (dtype, shape) != expected[name]:
            wanted, sides = expected[name]
            raise refused(where, f'"{name}" is {dtype} {list(shape)}, the model has {wanted} {list(sides)}')
