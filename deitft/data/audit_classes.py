"""What is wrong with classes: too few photos to be tested (fault D15), very different sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import NONE, TEST, TRAIN, VAL, Catalog, counted, shown
from deitft.data.findings import Finding

IMBALANCE = 10
"""The largest class this many times the smallest is worth a line."""


def class_findings(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    """Classes too small to be tested (fault D15), and classes of very different size."""
    pool = good & (catalog.labels >= 0) & np.isin(catalog.given, (NONE, TRAIN))
    counts = np.bincount(catalog.labels[pool], minlength=len(catalog.classes))
    found = []
    tiny = np.flatnonzero((counts > 0) & (counts < 3)).tolist()
    given = set(np.unique(catalog.given).tolist())
    if tiny and not {VAL, TEST} <= given:
        name, count = shown(catalog.classes[tiny[0]]), counted(int(counts[tiny[0]]), "photo")
        if len(tiny) == 1:
            text = f'"{name}" has {count}'
            who = "it stays" if counts[tiny[0]] == 1 else "they stay"
            hint = f"{who} in train and cannot be tested"
        else:
            text = f'{len(tiny)} classes have 1 or 2 photos, first: "{name}" ({count})'
            hint = "these stay in train and cannot be tested"
        names = [catalog.classes[label] for label in tiny]
        found.append(Finding(id="D15", severity="warning", text=text, hint=hint, details={"classes": names}))
    present = np.flatnonzero(counts > 0)
    if len(present):
        large, small = present[np.argmax(counts[present])], present[np.argmin(counts[present])]
        times = counts[large] / counts[small]
        if times >= IMBALANCE:
            names = [f'"{shown(catalog.classes[label])}" ({counts[label]:,})' for label in (large, small)]
            text = f"the largest class has {times:.0f} times the photos of the smallest: {names[0]}, {names[1]}"
            hint = "balanced accuracy and macro F1 count every class alike"
            found.append(Finding(id="IMBALANCE", severity="info", text=text, hint=hint))
    return found
