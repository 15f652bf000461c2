"""The page of a check: every finding with its photos, pairs side by side. One offline file, as the run report."""

from __future__ import annotations

from pathlib import Path

from deitft.core.files import write_text
from deitft.reporting.check_data import CheckPage, Part, numbered
from deitft.reporting.html import found_values, render_page
from deitft.reporting.next_step import NextStep, plural
from deitft.reporting.tables import SplitLine

LISTED = 7
"""Findings named on the first screen."""


def write_check_page(path: Path, page: CheckPage) -> int:
    """Write the page, whole or not at all; returns its size in bytes."""
    text = render_check(page)
    write_text(path, text)
    return len(text.encode())


def render_check(page: CheckPage) -> str:
    """The page as text. The same data gives the same text."""
    sides = [(name, sum(int(count) for count in counts)) for name, counts in page.counts.items()]
    values = {
        "data": page,
        "next": next_step(page),
        "sides": [(name, count, count / max(1, page.n)) for name, count in sides],
        "split_lines": split_lines(page),
        "split_names": list(page.counts),
        "listed": LISTED,
        **found_values([part.notice for part in page.parts], page.parts, "findings.csv"),
    }
    return render_page("check.html.j2", values)


def split_lines(page: CheckPage) -> list[SplitLine]:
    """A line a class, in class order; empty where photos have no side."""
    columns = list(page.counts.values())
    lines = []
    for index, name in enumerate(page.classes if columns else ()):
        counts = [int(column[index]) for column in columns]
        lines.append(SplitLine(name, counts, sum(counts)))
    return lines


def next_step(page: CheckPage) -> NextStep:
    """The one thing to do next, gravest first. Every figure in it is on the page."""
    errors = page.of("error")
    if errors:
        notice = errors[0].notice
        more = f" {plural(len(errors) - 1, 'more error')} after that." if len(errors) > 1 else ""
        hint = f" To do: {notice.hint}." if notice.hint else ""
        return NextStep(f"{sentence(notice.text)}{hint}{more}", anchor_of(page, errors[0]), "See it")
    if page.fixes:
        rows = plural(page.fixes, "row")
        text = f"Look at {rows} of {page.fixes_file} and write a decision where a label is wrong; then apply them."
        return NextStep(text, "decide", "How to decide")
    seen = [part for part in page.of("warning") if part.shown]
    if seen:
        return NextStep("Look at what was found, then train.", anchor_of(page, seen[0]), "See the first")
    return NextStep("Nothing stands in the way: train.", "decide", "The command")


def sentence(text: str) -> str:
    """A text that begins like a sentence and ends like one; a path at its start stays as it is."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def anchor_of(page: CheckPage, part: Part) -> str:
    """Where a finding stands on the page."""
    if not part.shown:
        return "findings"
    return next(anchor for anchor, _, other in numbered(page.parts) if other is part)
