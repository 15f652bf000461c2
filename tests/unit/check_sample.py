"""A check's page with invented photos, for tests of the page only."""

from __future__ import annotations

from collections.abc import Sequence

from unit.report_sample import drawn_photo

from deitft.errors import Notice, Severity
from deitft.reporting.check_data import CheckPage, FoundPair, FoundPhoto, Part, Suspect

CLASSES = ("boots", "dress", "hat")


def photo(row: int, label: str = "boots", **more: object) -> FoundPhoto:
    known = {"split": "", "reason": "", "size": (400, 533)} | more
    return FoundPhoto(path=f"{label}/{row:03d}.jpg", image=drawn_photo(row), label=label, **known)  # type: ignore[arg-type]


def notice(id: str, severity: Severity, text: str, *files: str, hint: str = "") -> Notice:
    return Notice(id=id, severity=severity, text=text, hint=hint, files=files)


def pair(row: int, labels: tuple[str, str] = ("boots", "boots"), sides: tuple[str, str] = ("", "")) -> FoundPair:
    left, right = (
        photo(row + at, label, split=side) for at, (label, side) in enumerate(zip(labels, sides, strict=True))
    )
    return FoundPair(left=left, right=right, kind="almost the same", distance="3.5")


def parts(pairs: int = 15, suspects: int = 16) -> list[Part]:
    return [
        Part(
            notice=notice("D12", "warning", f"{pairs} pairs look almost the same", hint="compare them"),
            pairs=[pair(2 * row, ("boots", "hat") if row == 0 else ("dress", "dress")) for row in range(pairs)],
            total=pairs,
        ),
        Part(
            notice=notice("SUSPECT_LABELS", "warning", f"{suspects} labels are in doubt", "boots/001.jpg"),
            suspects=[Suspect(photo=photo(row), suggestion="hat", own=0.031) for row in range(suspects)],
            total=400,
        ),
        Part(
            notice=notice("D2", "warning", "1 photo cannot be read", "hat/007.jpg", hint="left out by name"),
            photos=[FoundPhoto(path="hat/007.jpg", image=None, label="hat", reason="file is empty")],
            total=1,
        ),
        Part(notice=notice("D14", "warning", "ignored 1 file that is not a photo", "notes.txt")),
    ]


def check_page(classes: Sequence[str] = CLASSES, found: Sequence[Part] | None = None, **more: object) -> CheckPage:
    known: dict[str, object] = {
        "title": "products",
        "n": 120,
        "classes": classes,
        "ok": True,
        "parts": parts() if found is None else found,
        "made": "2026-01-02T03:04:05",
        "fingerprint": "0123456789abcdef" * 4,
        "left_out": 1,
        "counts": {name: [20] * len(classes) for name in ("train", "val")},
        "facts": [("Size on disk", "1.2 MB")],
        "command": ["deitft", "check", "products"],
        "train_command": ["deitft", "finetune", "products"],
        "apply_command": ["deitft", "check", "products", "--apply-labels", "check-products/fixes.csv"],
        "fixes": 18,
        "fixes_file": "check-products/fixes.csv",
    }
    return CheckPage(**(known | more))  # type: ignore[arg-type]


def unfit() -> CheckPage:
    """Photos that cannot be trained on."""
    error = notice("D11", "error", "5 test photos are also in train", "test/a.jpg", hint="remove one copy")
    both = pair(0, sides=("test", "train"))
    return check_page(found=[Part(notice=error, pairs=[both], total=1), *parts()], ok=False, train_command=[])


def clean() -> CheckPage:
    """Nothing was found."""
    return check_page(found=[], fixes=0, left_out=0, counts={}, command=[])
