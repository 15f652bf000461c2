"""What an audit says: findings, errors first, each with its photos; and the photos left out by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog, counted, shown
from deitft.errors import DataError, Notice, Severity

SEVERITY_ORDER = {"error": 0, "warning": 1, "info": 2}
"""What comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found, of one or many photos. ``paths`` names all of them."""

    id: str
    severity: Severity
    text: str
    hint: str = ""
    paths: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    def notice(self) -> Notice:
        """The same as a notice."""
        return Notice(
            id=self.id,
            severity=self.severity,
            text=self.text,
            hint=self.hint,
            files=self.paths,
            details=self.details,
        )

    def record(self) -> dict[str, object]:
        """The same as plain data."""
        return self.notice().record()


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings, errors first, and the photos left out by name."""

    items: tuple[Finding, ...]
    quarantined: npt.NDArray[np.int64]  # rows of the catalog, ascending
    reasons: tuple[tuple[str, str, str], ...]  # (path, id, reason) of each

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def errors(self) -> list[Finding]:
        """What stops a run."""
        return [item for item in self.items if item.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What is said on stderr."""
        return [item for item in self.items if item.severity == "warning"]

    def raise_errors(self) -> None:
        """Stop where there is an error.

        Raises:
            DataError: the first error; ``details["errors"]`` holds all.
        """
        errors = self.errors
        if errors:
            first = errors[0]
            rest = f" ({counted(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
            details = {**first.details, "errors": [error.record() for error in errors]}
            raise DataError(first.text, first.hint + rest, id=first.id, files=first.paths, details=details)

    def notices(self) -> list[Notice]:
        """Everything but errors, as notices."""
        return [item.notice() for item in self.items if item.severity != "error"]

    def record(self) -> list[dict[str, object]]:
        """Plain data, for ``check.json``."""
        return [item.record() for item in self.items]

    def plus(self, more: Iterable[Finding]) -> Findings:
        """These findings and more of them, each where its severity stands."""
        return replace(self, items=sorted_findings((*self.items, *more)))

    def quarantine_rows(self) -> list[dict[str, object]]:
        """Rows of ``quarantine.csv``: path, id, reason."""
        return [{"path": path, "id": id, "reason": reason} for path, id, reason in self.reasons]


def sorted_findings(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then facts; else as they came."""
    return tuple(sorted(found, key=lambda finding: SEVERITY_ORDER[finding.severity]))


_ONE = {
    "have": "has",
    "are": "is",
    "lack": "lacks",
    "look": "looks",
    "their": "its",
    "are animations": "is an animation",
    "are copies of others": "is a copy of another",
}
"""Words of a sentence about many photos, and what they become for one."""


def about(
    catalog: Catalog,
    rows: Sequence[int],
    id: str,
    severity: Severity,
    text: str,
    hint: str = "",
    details: Mapping[str, object] | None = None,
) -> Finding:
    """A finding about photos of a catalog.

    ``text`` and ``hint`` may hold {photo}, {file}, {JPEG} (counts with words), {first} (a path) and the words
    of ``_ONE``, which become singular for one photo.
    """
    count = len(rows)
    words = {word: counted(count, word) for word in ("photo", "file", "JPEG")}
    words |= {"first": shown(catalog.paths[rows[0]])}
    words |= _ONE if count == 1 else {many: many for many in _ONE}
    paths = tuple(catalog.paths[row] for row in rows)
    return Finding(
        id=id,
        severity=severity,
        text=text.format(**words),
        hint=hint.format(**words),
        paths=paths,
        details=details or {},
    )
