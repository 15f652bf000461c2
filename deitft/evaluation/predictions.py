"""Predictions: one row a photo. What the model said, kept whole, so that every figure can be made again.

Legend: N photos, C classes. No torch here: a saved file is judged anew without the model.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from deitft.core.files import write_text
from deitft.core.records import csv_text, parse_csv_text
from deitft.errors import DataError

Head = Literal["both", "class", "distill"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]

UNKNOWN = -1
"""The label of a photo whose class nobody told us."""

SHOWN = 5
"""Classes named beside each photo in the file."""

CLASS_COLUMN, DISTILL_COLUMN = "logit:", "distill:"
"""What the names of the logit columns begin with; the class name follows."""


def softmax(logits_NC: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Probabilities [N, C] in float64 of logits divided by ``temperature``; rows sum to 1."""
    scaled = logits_NC.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def alone(groups: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Groups in which a photo of none ("") is its own, named by its path."""
    return [f"group {group}" if group else f"photo {path}" for group, path in zip(groups, paths, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a model said of N photos.

    ``labels`` are class indices, ``UNKNOWN`` (-1) where there is none; ``class_logits`` float32 [N, C];
    ``distill_logits`` the same of the second head, None where the model has one.
    """

    paths: tuple[str, ...]
    labels: Ints
    class_logits: Logits
    distill_logits: Logits | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.class_logits.shape[1])

    def logits(self, head: Head = "both") -> Logits:
        """Logits [N, C] of one head, or the mean of both: what is served. With one head all three are the same.

        Raises:
            DataError: a logit is not a finite number (id N1): its argmax would be class 0.
        """
        if head == "class" or self.distill_logits is None:
            chosen = self.class_logits
        elif head == "distill":
            chosen = self.distill_logits
        else:
            chosen = (self.class_logits + self.distill_logits) / np.float32(2)
        self._refuse_non_finite(chosen)
        return chosen

    def probabilities(self, temperature: float = 1.0, head: Head = "both") -> Floats:
        """Softmax of ``logits(head) / temperature``, float64 [N, C]."""
        return softmax(self.logits(head), temperature)

    def softmax_sum(self) -> Floats:
        """Mean of the two heads' probabilities [N, C]: the other way to fuse, reported beside what is served."""
        return (self.probabilities(head="class") + self.probabilities(head="distill")) / 2

    def rows(self, indices: npt.NDArray[np.integer]) -> Predictions:
        """The same for some photos, in the order of ``indices``."""
        return Predictions(
            paths=tuple(self.paths[index] for index in indices),
            labels=self.labels[indices],
            class_logits=self.class_logits[indices],
            distill_logits=None if self.distill_logits is None else self.distill_logits[indices],
        )

    def save(
        self,
        path: Path,
        classes: Sequence[str],
        *,
        temperature: float = 1.0,
        by_teacher: bool = False,
    ) -> None:
        """Write a CSV file that a person can open and ``load_predictions`` restores to the last bit.

        Columns: path, label (empty if unknown), predicted, confidence, then the next best classes with their
        probabilities (after ``temperature``), then one logit column a class and head. Where the
        labels are a teacher's answers they stand in a column "teacher", and the column "label" is empty.
        """
        rows, columns = _rows(self, classes, temperature), _columns(self, classes)
        if by_teacher:
            columns.insert(2, "teacher")
            rows = [{**row, "label": "", "teacher": row["label"]} for row in rows]
        write_text(path, csv_text(rows, columns))

    def _refuse_non_finite(self, logits: Logits) -> None:
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            files = tuple(self.paths[index] for index in bad[:100])
            raise DataError(
                f"the model gave no number for {len(bad)} of {len(self)} photos, first: {files[0]}",
                "the weights are damaged or overflow: use precision fp32 or an earlier checkpoint",
                id="N1",
                files=files,
            )


def _columns(predictions: Predictions, classes: Sequence[str]) -> list[str]:
    columns = ["path", "label", "predicted", "confidence"]
    for rank in range(2, min(SHOWN, len(classes)) + 1):
        columns += [f"class_{rank}", f"probability_{rank}"]
    columns += [CLASS_COLUMN + name for name in classes]
    if predictions.distill_logits is not None:
        columns += [DISTILL_COLUMN + name for name in classes]
    return columns


def _rows(predictions: Predictions, classes: Sequence[str], temperature: float) -> list[dict[str, object]]:
    probabilities = predictions.probabilities(temperature)
    order = np.argsort(-predictions.logits(), axis=1, kind="stable")[:, :SHOWN]
    rows: list[dict[str, object]] = []
    for index, path in enumerate(predictions.paths):
        label = int(predictions.labels[index])
        row: dict[str, object] = {"path": path, "label": "" if label == UNKNOWN else classes[label]}
        for rank, chosen in enumerate(order[index], start=1):
            named = ("predicted", "confidence") if rank == 1 else (f"class_{rank}", f"probability_{rank}")
            row |= {named[0]: classes[chosen], named[1]: round(float(probabilities[index, chosen]), 6)}
        # A numpy float32 prints the shortest text that reads back as the same 32 bits.
        row |= dict(zip((CLASS_COLUMN + name for name in classes), predictions.class_logits[index], strict=True))
        if predictions.distill_logits is not None:
            names = (DISTILL_COLUMN + name for name in classes)
            row |= dict(zip(names, predictions.distill_logits[index], strict=True))
        rows.append(row)
    return rows


def load_predictions(path: Path) -> tuple[Predictions, tuple[str, ...]]:
    """Read what ``Predictions.save`` wrote: the predictions, and the class names in their order.

    Raises:
        DataError: not such a file, or a row that does not fit its header (id PREDICTIONS).
    """
    try:
        rows = parse_csv_text(path.read_bytes().decode())
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong_file(path, str(error)) from error
    if not rows:
        raise _wrong_file(path, "it holds no row")
    classes = tuple(name.removeprefix(CLASS_COLUMN) for name in rows[0] if name.startswith(CLASS_COLUMN))
    if len(classes) < 2:
        raise _wrong_file(path, f'it has no columns "{CLASS_COLUMN}CLASS"')
    places = {name: index for index, name in enumerate(classes)} | {"": UNKNOWN}
    two_heads = DISTILL_COLUMN + classes[0] in rows[0]
    try:
        return Predictions(
            paths=tuple(row["path"] for row in rows),
            labels=np.array([places[row["label"]] for row in rows], dtype=np.int64),
            class_logits=_numbers(rows, CLASS_COLUMN, classes),
            distill_logits=_numbers(rows, DISTILL_COLUMN, classes) if two_heads else None,
        ), classes
    except KeyError as error:
        raise _wrong_file(path, f"no such column or class: {error}") from error
    except ValueError as error:
        raise _wrong_file(path, str(error)) from error


def _numbers(rows: Sequence[Mapping[str, str]], prefix: str, classes: Sequence[str]) -> Logits:
    names = [prefix + name for name in classes]
    return np.array([[row[name] for name in names] for row in rows], dtype=np.str_).astype(np.float32)


def _wrong_file(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a file of predictions: {reason}", "name predictions.csv of a run", id="PREDICTIONS"
    )
