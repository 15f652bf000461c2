"""The photos that a check found, opened again for its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deitft.core.progress import Task
from deitft.core.records import now
from deitft.data.catalog import SPLIT_NAMES, Catalog
from deitft.data.decode import decode_file
from deitft.errors import DeitftError, Notice
from deitft.reporting.check_data import CheckPage, FoundPair, FoundPhoto, Part, Suspect
from deitft.reporting.report_data import Pixels

if TYPE_CHECKING:
    from deitft.runs.checking import CheckResult

SIDE = 320
"""Shorter side, in pixels, of a photo opened for the page."""
PHOTOS, PAIRS, SUSPECTS = 24, 100, 60
"""Shown of one finding at most; the rest is counted."""


@dataclass
class Album:
    """Photos of a catalog by path; each is opened once."""

    catalog: Catalog
    task: Task
    _rows: dict[str, int] = field(default_factory=dict)
    _images: dict[str, Pixels | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = {path: row for row, path in enumerate(self.catalog.paths)}

    def photo(self, path: str, reason: str = "") -> FoundPhoto:
        """A photo, as far as it can be had."""
        row = self._rows.get(path)
        label = -1 if row is None else int(self.catalog.labels[row])
        side = -1 if row is None else int(self.catalog.given[row])
        return FoundPhoto(
            path=path,
            image=self._image(path),
            label=self.catalog.classes[label] if label >= 0 else "",
            split=SPLIT_NAMES[side] if side >= 0 else "",
            reason=reason,
        )

    def knows(self, path: str) -> bool:
        """True for a photo of the catalog."""
        return path in self._rows

    def _image(self, path: str) -> Pixels | None:
        if path not in self._images:
            try:
                self._images[path] = decode_file(self.catalog.root / path, at_least=SIDE)
            except (DeitftError, OSError):
                self._images[path] = None
            self.task.advance()
        return self._images[path]


def page_of(result: CheckResult, task: Task) -> CheckPage:
    """The page of a result."""
    catalog = result.catalog
    album = Album(catalog, task)
    return CheckPage(
        title=result.data.resolve().name,
        fingerprint=catalog.fingerprint,
        n=len(catalog),
        classes=catalog.classes,
        ok=result.ok,
        verdict=dict(result.summary())["Verdict"],
        made=now(),
        parts=[part_of(finding, album) for finding in result.findings],
    )


def part_of(finding: Notice, album: Album) -> Part:
    """A finding with its photos, pairs and suspects."""
    details: Any = finding.details
    pairs: Sequence[Any] = details.get("pairs") or ()
    suspects: Sequence[Any] = details.get("suspects") or ()
    photos: list[FoundPhoto] = []
    if not pairs and not suspects:
        reasons = details.get("reasons") or [""] * len(finding.files)
        known = [(path, reason) for path, reason in zip(finding.files, reasons, strict=True) if album.knows(path)]
        photos = [album.photo(path, reason) for path, reason in known[:PHOTOS]]
    return Part(
        notice=finding,
        title=finding.id,
        photos=photos,
        pairs=[
            FoundPair(left=album.photo(one), right=album.photo(other), kind=str(kind), distance=str(distance))
            for one, other, kind, distance in pairs[:PAIRS]
        ],
        suspects=[
            Suspect(photo=album.photo(path), suggestion=suggestion, own=float(own))
            for path, label, suggestion, own in suspects[:SUSPECTS]
        ],
    )
