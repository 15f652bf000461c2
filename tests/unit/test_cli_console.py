from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import pytest

from deitft.cli import console
from deitft.errors import DataError, Notice, UsageError
from deitft.runs.printing import notice_line


def test_lines_of_errors_and_notices() -> None:
    assert console.error_line(DataError("a", "b", id="D2")) == "deitft: error [D2]: a — b"
    assert console.error_line(DataError("a", id="D2")) == "deitft: error [D2]: a"
    assert notice_line(Notice(id="D9", severity="error", text="a")) == "deitft: error [D9]: a"


def test_a_table_is_aligned_also_with_wide_and_hostile_names(capsys) -> None:
    rows = [("skirt", "7", "91.2"), ("犬", "1,024", "–"), ("[red]x\x1b\n", "12", "8.5 MB")]
    console.show_table(("class", "photos", "score"), rows)
    assert capsys.readouterr().out.splitlines() == [
        "class         photos   score",
        "skirt              7    91.2",
        "犬             1,024       –",  # two cells wide, one character
        "[red]x\\x1b\\n      12  8.5 MB",
    ]


def test_a_table_without_rows_shows_its_columns(capsys) -> None:
    console.show_table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


def test_long_cells_are_not_cut_off_a_terminal(capsys) -> None:
    console.show_table(("path",), [("x" * 300,)])
    assert capsys.readouterr().out.splitlines()[1] == "x" * 300


def test_a_narrow_terminal_leaves_out_columns_by_name(capsys, monkeypatch) -> None:
    monkeypatch.setattr(console, "on_terminal", lambda stream: True)
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [("deit_s", "22.4 M", "x" * 20, "y" * 20)]
    for columns, width in ((4, 80), (3, 50), (2, 30), (2, 12)):
        monkeypatch.setenv("COLUMNS", str(width))
        console.show_table(("model", "size", "seen", "name"), rows)
        out, err = capsys.readouterr()
        assert out.count("x" * 20) == (columns > 2)
        assert out.count("y" * 20) == (columns > 3)
        assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in out.splitlines()) <= width
        left_out = ", ".join(("seen", "name")[columns - 2 :])
        assert err == (f"no room for: {left_out} (widen the terminal, or --json)\n" if left_out else "")


def test_pairs_and_text(capsys) -> None:
    console.show_pairs([("a", 1), ("longer", "x\x9b"), ("empty", "")])
    console.show_text("one\x1b\n\ntwo")
    console.show_pairs([])
    assert capsys.readouterr().out == "a       1\nlonger  x\\x9b\nempty\none\\x1b\n\ntwo\n"


def test_json_is_ascii_and_has_no_nan(capsys) -> None:
    value = {"b": float("inf"), "a": Path("x/\u202ey\udcff"), "c": (1, 2.5, None, True), "d": {"e": "ü"}}
    console.show_json(value)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"a": "x/\u202ey\udcff", "b": None, "c": [1, 2.5, None, True], "d": {"e": "ü"}}


def test_nobody_to_ask_is_an_error_not_a_yes(monkeypatch) -> None:
    with pytest.raises(UsageError, match="nobody to ask"):
        console.ask("delete everything?")


def test_only_the_real_program_silences_other_libraries(monkeypatch) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        monkeypatch.setattr(sys, "warnoptions", [])
        console.prepare_process(debug=True)
        warnings.warn("heard", UserWarning, stacklevel=1)
        console.prepare_process(debug=False)
        warnings.warn("not heard", UserWarning, stacklevel=1)
    assert [str(item.message) for item in seen] == ["heard"]
