"""Which models have their weights on this machine, told without loading timm and without asking the network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deitft.models.zoo import HUB_FILES, WEIGHT_FILES, ZOO, ModelChoice, ZooEntry


def first_at_hand(shorts: Iterable[str], weights_dir: Path | None) -> str | None:
    """The first of these short names whose weights are in ``weights_dir``, in DEITFT_WEIGHTS_DIR or in the hub's
    cache; None where there are none of them."""
    named = weights_dir or os.environ.get("DEITFT_WEIGHTS_DIR")
    folder = Path(named).expanduser() if named else None
    entries = {entry.short: entry for entry in ZOO}
    for short in shorts:
        if (folder is not None and _in_folder(entries[short], folder)) or _in_cache(entries[short]):
            return short
    return None


def _in_folder(entry: ZooEntry, folder: Path) -> bool:
    """A folder of the name that ``sources.find`` looks for, with weights in it."""
    names = ModelChoice(entry.tag).folder_names
    return any((folder / name / file).is_file() for name in names for file in WEIGHT_FILES)


def _in_cache(entry: ZooEntry) -> bool:
    import huggingface_hub

    found = (huggingface_hub.try_to_load_from_cache(f"timm/{entry.tag}", file) for file in HUB_FILES)
    return any(isinstance(path, str) for path in found)
