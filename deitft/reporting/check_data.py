"""What the page of a check shows, as plain data: findings with the photos they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deitft.errors import Notice
from deitft.reporting.report_data import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPhoto:
    """A photo, its label ("" for none) and what was found of it; ``image`` is None where it cannot be read."""

    path: str
    image: Pixels | None
    label: str = ""
    split: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPair:
    """Two photos that are, or look, the same. ``kind`` says how they were found."""

    left: FoundPhoto
    right: FoundPhoto
    kind: str = ""
    distance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A photo whose label is in doubt: ``own`` is what its label got, in 0..1."""

    photo: FoundPhoto
    suggestion: str
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One finding with its photos; ``more`` of them are not shown."""

    notice: Notice
    title: str
    photos: Sequence[FoundPhoto] = ()
    pairs: Sequence[FoundPair] = ()
    suspects: Sequence[Suspect] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPage:
    """One check, for one page. ``counts`` are photos of each class on each side, [C] each."""

    title: str
    fingerprint: str
    n: int
    classes: Sequence[str]
    ok: bool
    verdict: str
    made: str
    parts: Sequence[Part]
    facts: Sequence[tuple[str, str]] = ()
    counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    command: Sequence[str] = ()
