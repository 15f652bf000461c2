"""README.md is true: its commands run, and say what it says."""

from __future__ import annotations

from pathlib import Path

from doc_blocks import OpenPage

README = Path(__file__).resolve().parents[2] / "README.md"


def test_every_command_of_the_readme_runs(open_page: OpenPage) -> None:
    page = open_page(README, runs=False)
    page.run()
    assert page.ran >= 6
    assert Path("runs/first/report.html").is_file()
    assert len(Path("answers.csv").read_text().splitlines()) == 4
