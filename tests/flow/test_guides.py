"""The guides and concepts are true: what they show runs, what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import OpenPage, blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs" / "guides").glob("*.md")), *sorted((ROOT / "docs" / "concepts").glob("*.md"))]
RUN = [page for page in PAGES if any(block.kind in ("console", "python") for block in blocks(page.read_text()))]
ALL = [ROOT / "README.md", *PAGES]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", RUN, ids=name)
def test_every_block_of_a_page_runs(file: Path, open_page: OpenPage) -> None:
    page = open_page(file)
    page.run()
    assert page.ran
