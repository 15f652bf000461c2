"""What the page of a check shows, as plain data: findings with the photos they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deitft.errors import Notice

PAIRS_FIRST = 12
"""Pairs of one finding that stand open; the others are folded away."""

TITLES = {
    "D1": "Classes without photos",
    "D2": "Damaged files",
    "D3": "Not what their name says",
    "D4": "Too large to be a photo",
    "D5": "Orientation that cannot be read",
    "D6": "Colours that had to be converted",
    "D7": "Transparency",
    "D8": "Animations",
    "D9": "Classes that a split lacks",
    "D10": "Too small, or too long",
    "D11": "The same photo on two sides",
    "D12": "Photos that look almost the same",
    "D13": "One photo, two labels",
    "D14": "Files that are not used",
    "D15": "Too few photos",
    "D16": "Photos that changed meanwhile",
    "D17": "Folders met twice",
    "D18": "A format without a reader",
    "D19": "Rows that could not be used",
    "D20": "Archives that are not whole",
    "D21": "Names that cannot be told apart",
    "S3": "Archives",
    "S4": "Links that lead outside",
    "ALIKE": "Classes that look alike",
    "ARTICLES": "File names with article numbers",
    "ASPECT": "Long photos",
    "BLANK": "One plain colour",
    "BLUR": "Blurred photos",
    "COPIES": "Copies",
    "IMBALANCE": "Large and small classes",
    "SIZE": "Odd sizes",
    "SUSPECTS": "Labels in doubt",
    "UNSEEN_LABELS": "Labels nobody looked at",
}
"""What a finding is about, by id, as a heading. One without an entry is headed by its id."""

Pixels = npt.NDArray[np.uint8]
"""An upright RGB photo, [H, W, 3]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPhoto:
    """A photo, its label ("" for none), its side ("" where none was given) and what was found of it.

    ``image`` is None where it cannot be read; ``size`` is width and height in pixels, upright, 0 if unknown.
    """

    path: str
    image: Pixels | None
    label: str = ""
    split: str = ""
    reason: str = ""
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPair:
    """Two photos that are, or look, the same. ``kind`` says how they were found, ``distance`` how far apart."""

    left: FoundPhoto
    right: FoundPhoto
    kind: str = ""
    distance: str = ""

    @property
    def two_labels(self) -> bool:
        """True where the two are labelled differently."""
        return bool(self.left.label and self.right.label) and self.left.label != self.right.label

    @property
    def two_sides(self) -> bool:
        """True where the two are on different sides of a given split."""
        return self.left.split != self.right.split


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A photo whose label is in doubt: ``own`` is what its label got, in 0..1."""

    photo: FoundPhoto
    suggestion: str
    own: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One finding with photos of it; ``total`` counts all of them, shown or not, in its own unit."""

    notice: Notice
    photos: Sequence[FoundPhoto] = ()
    pairs: Sequence[FoundPair] = ()
    suspects: Sequence[Suspect] = ()
    total: int = 0

    @property
    def shown(self) -> int:
        """Photos, pairs or suspects that the page has; 0 for a finding without pictures."""
        return len(self.photos) + len(self.pairs) + len(self.suspects)

    @property
    def unit(self) -> str:
        """What ``total`` counts."""
        return "pair" if self.pairs else "photo"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPage:
    """One check, for one page.

    ``counts`` are photos of each class on each side, [C] each, as given or as a run would split them (``note``
    says which). ``command`` is what to type next, ``fixes`` how many rows wait for a decision in ``fixes_file``.
    """

    title: str
    n: int
    classes: Sequence[str]
    ok: bool
    parts: Sequence[Part]
    made: str = ""
    fingerprint: str = ""
    left_out: int = 0
    counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    note: str = ""
    facts: Sequence[tuple[str, str]] = ()
    command: Sequence[str] = ()
    train_command: Sequence[str] = ()
    apply_command: Sequence[str] = ()
    fixes_file: str = ""
    fixes: int = 0

    def of(self, severity: str) -> list[Part]:
        """Findings of one severity."""
        return [part for part in self.parts if part.notice.severity == severity]


def title_of(part: Part) -> str:
    """The heading of a finding."""
    id = part.notice.id
    return TITLES.get(id) or id.replace("_", " ").replace("-", " ").capitalize()


def numbered(parts: Sequence[Part]) -> list[tuple[str, str, Part]]:
    """(anchor, heading, finding) of each; no two have one heading."""
    return [
        (f"found-{number}", title, part)
        for number, (title, part) in enumerate(zip(_told_apart(parts), parts, strict=True), 1)
    ]


def _told_apart(parts: Sequence[Part]) -> list[str]:
    """A heading for each: where several would have the same, with what ``details`` add to it, else numbered."""
    titles = [title_of(part) for part in parts]
    longer = []
    for title, part in zip(titles, parts, strict=True):
        more = str(part.notice.details.get("heading") or "")
        longer.append(f"{title}: {more}" if more and titles.count(title) > 1 else title)
    return [
        f"{title} ({longer[: place + 1].count(title)})" if title in longer[:place] else title
        for place, title in enumerate(longer)
    ]
