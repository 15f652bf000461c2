"""The page of a check: every finding with its photos, pairs side by side. One offline file, as the run report."""

from __future__ import annotations

from pathlib import Path

from deitft.core.files import write_text
from deitft.reporting.check_data import CheckPage
from deitft.reporting.html import render_page


def write_check_page(path: Path, page: CheckPage) -> int:
    """Write the page, whole or not at all; returns its size in bytes."""
    text = render_check(page)
    write_text(path, text)
    return len(text.encode())


def render_check(page: CheckPage) -> str:
    """The page as text. The same data gives the same text."""
    return render_page("check.html.j2", {"data": page})
