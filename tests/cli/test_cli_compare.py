"""What ``deitft compare`` prints of its tables, and what it says of runs that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.compare_sample import comparison

from deitft.cli.comparing import _print, _raise_if_failed
from deitft.core.records import parse_csv_text
from deitft.errors import MissingInputError
from deitft.reporting import compare_tables
from deitft.reporting.compare_data import Row
from deitft.runs.comparing import Compared

SEVERAL = Compared(
    tables=(comparison(1, sides="c" * 64), comparison(2, sides="d" * 64, title="new\x1b[2J photos", n=380)),
    folders=(Path("one"), Path("two")),
)
ALONE = Compared(tables=SEVERAL.tables[:1], folders=SEVERAL.folders[:1])


@pytest.mark.parametrize("name", ["text", "md"])
def test_each_of_several_tables_has_a_heading(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _print(SEVERAL, name, quiet=True)
    text = capsys.readouterr().out
    assert text.startswith(f"{compare_tables.APART}\n\n")
    marks = ("372 test photos, 10 classes, data abababababab, sides ccc", "380 test photos, 10 classes, data ab")
    first, second = (text.index(mark) for mark in marks)
    assert first < text.index("s is chosen") < second < text.rindex("s is chosen")
    assert "\x1b" not in text
    assert all(f"{'## ' if name == 'md' else ''}{title}" in text for title in ("products", "new"))


def test_one_table_needs_no_heading(capsys: pytest.CaptureFixture[str]) -> None:
    _print(ALONE, "text", quiet=True)
    text = capsys.readouterr().out
    assert text.startswith("model")
    assert compare_tables.APART not in text


def test_tables_in_csv_are_one_file_and_can_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _print(SEVERAL, "csv", quiet=True)
    lines = parse_csv_text(capsys.readouterr().out)
    assert [line["model"] for line in lines] == ["deit_s", "swin_l", "deit_s", "resnet50", "swin_l"]
    assert next(iter(lines[0])) == "photos"
    assert len({line["photos"] for line in lines[:2]}) == len({line["photos"] for line in lines[2:]}) == 1
    assert lines[0]["photos"] != lines[2]["photos"]
    _print(ALONE, "csv", quiet=True)
    assert "photos" not in parse_csv_text(capsys.readouterr().out)[0]


def test_runs_that_failed_are_named_and_not_counted_against_lines_of_the_table() -> None:
    failed = [Row(label=f"deit_ti, seed {seed}", status="failed", why="no room") for seed in (0, 1)]
    with pytest.raises(MissingInputError) as caught:
        _raise_if_failed(Compared(tables=(comparison(1, rows=[Row(label="net"), *failed]),)))
    assert caught.value.what == "deit_ti, seed 0 was not finished: no room; nor was deit_ti, seed 1"
    _raise_if_failed(Compared(tables=(comparison(1, rows=[Row(label="net")]),)))
