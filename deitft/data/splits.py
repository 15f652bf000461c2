"""Catalog -> train, val, test: by thresholds on a hash of (content, seed), groups kept whole.

The rule, for each *unit* (photos of equal content, or a declared group): ``u`` in [0, 1) is a hash of the
unit and the seed. With a share ``t`` (``held_out_share``), ``u < t`` is test and ``0.5 <= u < 0.5 + t`` is
val, the rest train. So nothing moves when photos are added, and where the share shrinks, photos move only
into train: the two intervals shrink from their upper ends and never touch.

Exceptions, per class and by its number of units:
- 10 or more: where a threshold leaves test (val) empty, the unit nearest above 0 (0.5) goes there. When a
  photo comes that lies nearer, the other goes back into train.
- 3 to 9: by the thresholds alone; where all would be held out, the one farthest inside goes into train.
- 1 or 2: all in train.
A class that grows past 3 or 10 changes its rule once. Where all of this leaves val (test) without a single photo,
each class of 4 or more gives it the unit that lies nearest.

A split the user gave is kept as it is; what is missing of val and test is carved from train by the same rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.files import write_text
from deitft.core.records import csv_text
from deitft.data.audit_same import near_leaks
from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, TRAIN, VAL, Catalog, counted, normal, shown
from deitft.data.csv_rows import any_csv_rows
from deitft.data.units import units_of
from deitft.errors import DataError, Notice, Severity

COLUMNS = ("path", "label", "split", "sha256")
ALWAYS_HELD_OUT = 10
"""Units a class needs to have at least one in val and in test."""
NEVER_HELD_OUT = 2
"""Units up to which a class stays in train as a whole."""

GIVES_TO_EMPTY = 4
"""Units a class needs to give one to a side that would be empty: two stay in train."""

_BANDS = ((10_000, 0.10), (20_000, 0.08), (50_000, 0.06), (100_000, 0.04), (200_000, 0.03), (500_000, 0.02))


@dataclass(frozen=True, slots=True)
class Splits:
    """Where each photo of a catalog goes: TRAIN, VAL, TEST, or NONE where it is left out."""

    split: npt.NDArray[np.int8]  # [N]
    notices: tuple[Notice, ...] = ()
    note: str = ""  # how it came about, for reports

    def indices(self, which: int) -> npt.NDArray[np.int64]:
        """The rows of one side, ascending."""
        return np.flatnonzero(self.split == which).astype(np.int64)

    def table(self, catalog: Catalog) -> list[dict[str, object]]:
        """Rows of ``splits.csv``: path, label, split ("" where left out), sha256; group, where groups are
        declared."""
        names = (*SPLIT_NAMES, "")
        classes = (*catalog.classes, "")
        sides, labels = self.split.tolist(), catalog.labels.tolist()
        rows: list[dict[str, object]] = [
            {"path": path, "label": classes[label], "split": names[side], "sha256": digest.hex()}
            for path, label, side, digest in zip(catalog.paths, labels, sides, catalog.digests, strict=True)
        ]
        for row, group in zip(rows, () if catalog.groups is None else catalog.groups.tolist(), strict=False):
            row["group"] = str(group)
        return rows


def columns_of(catalog: Catalog) -> tuple[str, ...]:
    """The columns of ``splits.csv``."""
    return COLUMNS if catalog.groups is None else (*COLUMNS, "group")


def held_out_share(count: int) -> float:
    """The share of ``count`` photos that val gets, and test as well: 10 % to 1 %, in bands of size.

    >>> held_out_share(3_000), held_out_share(80_000), held_out_share(5_000_000)
    (0.1, 0.04, 0.01)
    """
    for largest, share in _BANDS:
        if count <= largest:
            return share
    return 0.015 if count < 1_000_000 else 0.01


def assign(catalog: Catalog, *, seed: int, groups: Sequence[str] | None = None, labelled: bool = True) -> Splits:
    """Split an inspected catalog by the rule above; unlabelled photos are left out.

    Not ``labelled``: photos without a label are split like those of one class.

    ``groups`` names each photo's group ("" for none): photos of one group, like photos of equal content, are
    kept on one side. Groups that share a photo become one, and are named in the notices.
    """
    given = catalog.given
    carved = [side for side in (TEST, VAL) if not (given == side).any()]
    asked = np.where(given == NONE, TRAIN, given)
    split = np.where((catalog.labels < 0) & labelled, NONE, asked).astype(np.int8)
    pool = np.flatnonzero(split == TRAIN)
    if not carved or not len(pool):
        return Splits(split, (), "as the folders say")
    units, hashes, notices = units_of(catalog, seed, groups)
    share = held_out_share(len(pool))
    held = _Carving(units[pool], catalog.labels[pool], hashes, share, carved)
    # Content that already stands on a given side draws nothing after it.
    held.pin(np.unique(units[split > TRAIN]))
    split[pool] = held.sides()[units[pool]]
    names = " and ".join(SPLIT_NAMES[side] for side in sorted(carved))
    kept = [SPLIT_NAMES[side] for side in (TRAIN, VAL, TEST) if (given == side).any()]
    note = f"{names}: {share:.1%} of the photos each, by content, seed {seed}"
    note += f"; {' and '.join(kept)} as the folders say" if kept else ""
    return Splits(split, (*notices, *(_untested(catalog, split, carved) if labelled else ())), note)


class _Carving:
    """Which units of train go to val and test. ``units`` and ``labels`` are of the photos in the pool."""

    def __init__(
        self,
        units: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int32],
        hashes: npt.NDArray[np.float64],
        share: float,
        carved: Sequence[int],
    ) -> None:
        self.share = share
        self.carved = carved
        self.side = np.full(len(hashes), TRAIN, np.int8)
        self.pinned = np.zeros(len(hashes), np.bool_)
        # Of a million photos every column counts: in place, and none is kept that is not needed.
        pairs = labels.astype(np.int64)
        pairs *= len(hashes)
        pairs += units
        pairs.sort()
        pairs = pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]
        members = pairs % len(hashes)
        pairs //= len(hashes)
        self.units_of = np.split(members, np.flatnonzero(np.diff(pairs)) + 1)  # per class that has photos
        del pairs
        self.shared = set(np.flatnonzero(np.bincount(members) > 1).tolist())  # units that several classes have
        # How far a unit lies from the start of each side: upwards first, then from the far end down.
        self.far = {
            TEST: np.where(hashes < 0.5, hashes, 1.5 - hashes),
            VAL: np.where(hashes >= 0.5, hashes - 0.5, 1.0 - hashes),
        }

    def pin(self, units: npt.NDArray[np.int64]) -> None:
        """These units stay in train."""
        self.pinned[units] = True

    def sides(self) -> npt.NDArray[np.int8]:
        """The side of each unit."""
        for units in self.units_of:
            if len(units) <= NEVER_HELD_OUT:
                self.pin(units)
        for side in self.carved:
            self.side[(self.far[side] < self.share) & ~self.pinned] = side
        for units in self.units_of:
            if len(units) >= ALWAYS_HELD_OUT:
                for side in self.carved:
                    self._at_least_one(units, side)
        for side in self.carved:
            if not (self.side == side).any():
                for units in self.units_of:
                    if len(units) >= GIVES_TO_EMPTY:
                        self._at_least_one(units, side)
        for units in self.units_of:
            self._keep_some_in_train(units)
        return self.side

    def _at_least_one(self, units: npt.NDArray[np.int64], side: int) -> None:
        if (self.side[units] == side).any():
            return
        free = units[(self.side[units] == TRAIN) & ~self.pinned[units]]
        for unit in free[np.argsort(self.far[side][free], kind="stable")].tolist():
            if unit not in self.shared or not self._last_in_train(unit):
                self.side[unit] = side
                return

    def _last_in_train(self, unit: int) -> bool:
        """True where some class has no other unit in train."""
        return any(unit in units and int((self.side[units] == TRAIN).sum()) == 1 for units in self.units_of)

    def _keep_some_in_train(self, units: npt.NDArray[np.int64]) -> None:
        if not (self.side[units] == TRAIN).any():
            depth = np.min([self.far[side][units] for side in self.carved], axis=0)
            self.side[units[np.argmax(depth)]] = TRAIN


def _untested(catalog: Catalog, split: npt.NDArray[np.int8], carved: Sequence[int]) -> list[Notice]:
    """Classes that a carved val or test has no photo of."""
    size = len(catalog.classes)
    total = np.bincount(catalog.labels[split >= 0], minlength=size)
    notices = []
    for side in sorted(carved):
        here = np.bincount(catalog.labels[split == side], minlength=size)
        labels = np.flatnonzero((total > 0) & (here == 0))
        missing = [catalog.classes[label] for label in labels.tolist()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            text = f'{SPLIT_NAMES[side]} has no photos of "{shown(missing[0])}"{more}'
            hint = f"a class of {ALWAYS_HELD_OUT} photos or more gets some"
            # Photos enough, but in few units: that is not what the numbers of photos let one expect.
            joined = (total[labels] >= ALWAYS_HELD_OUT).any()
            if joined:
                hint = f"by --group-by or likeness its photos stay together in fewer than {ALWAYS_HELD_OUT} groups"
            severity: Severity = "warning" if joined else "info"
            details = {"split": SPLIT_NAMES[side], "classes": missing}
            notices.append(Notice(id="D15", severity=severity, text=text, hint=hint, details=details))
    return notices


def write_splits(path: Path, splits: Splits, catalog: Catalog) -> None:
    """Write ``splits.csv``, which ``read_splits`` reads."""
    write_text(path, csv_text(splits.table(catalog), columns_of(catalog)))


def read_splits(path: Path, catalog: Catalog, *, allow_leak: bool = False, labelled: bool = True) -> Splits:
    """The split that a file pins: columns path, label, split (train, val, test or empty), sha256.

    ``label`` and ``sha256`` may be missing; where they stand, they must fit. Photos that the file does not
    name are left out, with a notice. Not ``labelled``: a photo without a label may have one in the file.

    Raises:
        MissingInputError: no such file (id D19).
        DataError: a row that does not fit the photos, the first of each kind named with its line (D19); the
            same content on two sides (D11), unless ``allow_leak``.
    """
    lines = _read_lines(path)
    rows = {normal(name): row for row, name in enumerate(catalog.paths)}
    sides = {"": NONE, "train": TRAIN, "val": VAL, "test": TEST}
    split = np.full(len(catalog), NONE, np.int8)
    named: dict[int, int] = {}
    problems: dict[str, list[tuple[int, str]]] = {}
    for line, cells in lines:
        row = rows.get(normal(cells["path"]))
        side = cells["split"].strip().lower()
        if row is None and side == "":
            continue
        for kind, wrong in _mistakes(catalog, cells, row, side in sides, row in named, labelled):
            problems.setdefault(kind, []).append((line, wrong))
        if row is not None and side in sides:
            named[row] = line
            split[row] = sides[side]
    _raise_problems(path, problems)
    _check_pinned(path, catalog, split, allow_leak, labelled)
    left = [catalog.paths[row] for row in range(len(catalog)) if row not in named]
    notices = []
    if left:
        verb = "is" if len(left) == 1 else "are"
        text = f"{counted(len(left), 'photo')} {verb} not in {path.name} and left out, first: {shown(left[0])}"
        notices.append(Notice(id="D19", severity="warning", text=text, files=tuple(left)))
    notices += [finding.notice() for finding in near_leaks(catalog, split)]
    return Splits(split, tuple(notices), f"as {shown(path.name)} says")


def held_out_labels(path: Path, catalog: Catalog) -> Catalog:
    """A catalog of photos without labels, with those that a file of splits has for val and test.

    Raises:
        DataError: a label that is no class (D19).
    """
    rows = {normal(name): row for row, name in enumerate(catalog.paths)}
    number_of = {name: number for number, name in enumerate(catalog.classes)}
    labels = catalog.labels.copy()
    problems: list[tuple[int, str]] = []
    for line, cells in _read_lines(path):
        name, row = normal(cells.get("label", "")), rows.get(normal(cells["path"]))
        if row is None or not name or cells["split"].strip().lower() not in ("val", "test"):
            continue
        if name not in number_of:
            problems.append((line, f'the teacher does not know the label "{shown(name)}"'))
        labels[row] = number_of.get(name, -1)
    _raise_problems(path, {"label": problems} if problems else {})
    return replace(catalog, labels=labels)


def _read_lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line as an editor counts it, cells by column) of each row."""
    rows = any_csv_rows(path)
    _, header = next(rows, (1, []))
    if not {"path", "split"} <= set(header) or len(set(header)) < len(header):
        text = f"{shown(path.name)} has no columns path and split in its first line"
        raise DataError(text, f"the columns are {', '.join(COLUMNS)}", id="D19", files=(str(path),))
    lines = []
    for line, cells in rows:
        if len(cells) != len(header):
            text = f"{shown(path.name)} row {line}: {len(cells)} cells, want {len(header)}"
            raise DataError(text, "fix the row or remove it", id="D19", files=(str(path),))
        lines.append((line, dict(zip(header, cells, strict=True))))
    return lines


def _mistakes(
    catalog: Catalog, cells: Mapping[str, str], row: int | None, side_known: bool, twice: bool, labelled: bool
) -> list[tuple[str, str]]:
    """(kind, sentence) of everything wrong with one row."""
    where, found = f"file {shown(cells['path'])}", []
    if not side_known:
        found.append(("side", f'"{shown(cells["split"])}" is not a split (train, val, test or empty)'))
    if row is None:
        return [*found, ("path", f"{where} does not exist among the photos")]
    if twice:
        found.append(("twice", f"{where} stands here a second time"))
    label, digest = catalog.labels[row], catalog.digests[row].hex()
    name = catalog.classes[label] if label >= 0 else ""
    if normal(cells.get("label", name)) != name and (name or labelled):
        found.append(("label", f'{where} has the label "{shown(cells["label"])}", its folder is "{shown(name)}"'))
    if cells.get("sha256", "") not in (digest, ""):
        found.append(("content", f"{where} has changed since (another sha256)"))
    return found


def _raise_problems(path: Path, problems: Mapping[str, list[tuple[int, str]]]) -> None:
    if not problems:
        return
    first = min(itertools.chain.from_iterable(problems.values()))
    rows = next(rows for rows in problems.values() if first in rows)
    more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
    raise DataError(
        f"{shown(path.name)} row {first[0]}: {first[1]}{more}",
        "fix the rows or remove them",
        id="D19",
        files=(str(path),),
        details={kind: [line for line, _ in rows] for kind, rows in problems.items()},
    )


def _check_pinned(
    path: Path, catalog: Catalog, split: npt.NDArray[np.int8], allow_leak: bool, labelled: bool
) -> None:
    labels = catalog.labels[split == TRAIN]
    for label, name in enumerate(catalog.classes if labelled else ()):
        if label not in labels:
            text = f'{shown(path.name)} leaves no train photo of "{shown(name)}"'
            raise DataError(text, "give every class some", id="D19", files=(str(path),))
    if allow_leak:
        return
    contents = np.where(split >= 0, catalog.pictures, -1)
    for late, early in ((TEST, TRAIN), (VAL, TRAIN), (TEST, VAL)):
        both = np.intersect1d(contents[split == late], contents[split == early])
        if (both >= 0).any():
            twins = [int(np.flatnonzero((contents == both.max()) & (split == side))[0]) for side in (late, early)]
            pair = " = ".join(shown(catalog.paths[row]) for row in twins)
            text = (
                f"{shown(path.name)} puts the same photo into {SPLIT_NAMES[late]} and {SPLIT_NAMES[early]}: {pair}"
            )
            raise DataError(text, "put both on one side, or add --allow-leak", id="D11", files=(str(path),))
