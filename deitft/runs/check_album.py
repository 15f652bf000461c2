"""The photos that a look at the data found, opened again for a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from deitft.core.progress import SilentTask, Task
from deitft.data.catalog import SPLIT_NAMES, Catalog
from deitft.data.decode import decode
from deitft.data.findings import SEVERITY_ORDER
from deitft.errors import DeitftError, Notice
from deitft.reporting.check_data import FoundPair, FoundPhoto, Part, Pixels, Suspect

SIDE = 320
"""Shorter side, in pixels, of a photo opened for the page."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many of one finding are opened and shown; the rest is counted."""

    photos: int
    pairs: int
    suspects: int


CHECK, REPORT = Limits(24, 100, 60), Limits(8, 12, 12)


@dataclass
class Album:
    """Photos of a catalog by path; each is opened once."""

    catalog: Catalog
    task: Task = field(default_factory=SilentTask)
    background: tuple[int, int, int] = (255, 255, 255)
    _rows: Mapping[str, int] = field(init=False)
    _images: dict[str, Pixels | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = {path: row for row, path in enumerate(self.catalog.paths)}

    def photo(self, path: str, reason: str = "", label: str = "") -> FoundPhoto:
        """A photo, as far as it can be had; ``label`` is what one that was left out was labelled."""
        row = self._rows.get(path)
        if row is None:
            return FoundPhoto(path=path, image=self._image(path), label=label, reason=reason)
        catalog = self.catalog
        number, side = int(catalog.labels[row]), int(catalog.given[row])
        return FoundPhoto(
            path=path,
            image=self._image(path),
            label=catalog.classes[number] if number >= 0 else "",
            split=SPLIT_NAMES[side] if side >= 0 else "",
            reason=reason,
            size=(int(catalog.widths[row]), int(catalog.heights[row])),
        )

    def knows(self, path: str) -> bool:
        """True for a photo of the catalog."""
        return path in self._rows

    def _image(self, path: str) -> Pixels | None:
        if path not in self._images:
            try:
                _, data = self.catalog.places.read(path)
                self._images[path] = decode(data, background=self.background, at_least=SIDE)
            except (DeitftError, OSError):  # the page says so in its place
                self._images[path] = None
            self.task.advance()
        return self._images[path]


def gravest_first(findings: Iterable[Notice]) -> list[Notice]:
    """Errors, then warnings, then the rest; among these photos in two places, then labels in doubt."""
    return sorted(findings, key=lambda finding: (SEVERITY_ORDER[finding.severity], _weight(finding)))


def _weight(finding: Notice) -> int:
    if finding.id in ("D11", "D13"):
        return 0
    return 1 if pairs_of(finding) else 2 if finding.details.get("suspects") else 3


def parts_of(findings: Iterable[Notice], album: Album, limits: Limits) -> list[Part]:
    """Every finding, with as many photos, pairs and suspects as ``limits`` allow."""
    return [_part(finding, album, limits) for finding in findings]


def _part(finding: Notice, album: Album, limits: Limits) -> Part:
    details: Any = finding.details
    pairs: Sequence[Any] = pairs_of(finding)
    suspects: Sequence[Any] = details.get("suspects") or ()
    if pairs:
        labels = dict(zip(finding.files, details.get("labels_left_out") or (), strict=False))
        shown = [_pair(album, labels, *pair) for pair in pairs[: limits.pairs]]
        shown.sort(key=lambda pair: (not pair.two_labels, not pair.two_sides))
        return Part(notice=finding, pairs=shown, total=len(pairs))
    if suspects:
        doubts = [
            Suspect(photo=album.photo(str(path)), suggestion=str(suggestion), own=float(own))
            for path, _, suggestion, own in suspects[: limits.suspects]
        ]
        return Part(notice=finding, suspects=doubts, total=len(suspects))
    if details.get("share"):  # of photos that are what the folder is made of: no picture tells more
        return Part(notice=finding)
    reasons = details.get("reasons") or [""] * len(finding.files)
    known = [(path, str(why)) for path, why in zip(finding.files, reasons, strict=True) if album.knows(path)]
    photos = [album.photo(path, reason) for path, reason in islice(known, limits.photos)]
    return Part(notice=finding, photos=photos, total=len(known))


def _pair(album: Album, labels: Mapping[str, str], one: str, other: str, kind: str, distance: object) -> FoundPair:
    same = str(kind).startswith("the same")  # then there is no distance to speak of
    text = "" if same else f"{distance:.3g}" if isinstance(distance, float) else str(distance or "")
    left, right = (album.photo(path, label=labels.get(path, "")) for path in (one, other))
    return FoundPair(left=left, right=right, kind=str(kind), distance=text)


def pairs_of(finding: Notice) -> Sequence[tuple[str, str, str, object]]:
    """(path, path, kind, distance) of a finding about pairs, however it names them."""
    details: Any = finding.details
    if details.get("pairs"):
        found: Sequence[tuple[str, str, str, object]] = details["pairs"]
        return found
    if details.get("twins"):
        return [
            (one, other, "the same file", "") for one, other in zip(finding.files, details["twins"], strict=True)
        ]
    return ()
