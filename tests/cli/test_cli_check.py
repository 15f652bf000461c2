"""`deitft check` as it is typed: the table, the exit code, the files it leaves, and what it leaves alone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from photo_kit import encoded, jpeg, picture, put, untouched, write_classes

from deitft.core.records import parse_csv_text

OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos of three classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "shop", {"boots": 14, "hat": 14, "shoes": 14})
    return Path("shop")


def rows_of(file: Path) -> list[dict[str, str]]:
    return parse_csv_text(file.read_text("utf-8"))


def two_labels(root: Path) -> None:
    """One photo under two names, in two classes."""
    put(root, "hat/same.jpg", (root / "boots" / "003.jpg").read_bytes())


def test_clean_photos_are_said_to_be_clean(call, shop: Path) -> None:
    with untouched(shop):
        said = call("check", shop)
    assert (said.code, said.err) == (0, "")
    assert "42 of 3 classes" in said.out
    assert "can be trained on" in said.out
    assert sorted(path.name for path in Path("check-shop").iterdir()) == ["check.json", "findings.csv"]


def test_errors_are_a_table_an_exit_code_and_one_line(call, shop: Path) -> None:
    for number in range(3):
        put(shop, f"hat/cut{number}.jpg", jpeg(number)[:200])
    with untouched(shop):
        said = call("check", shop)
    assert said.code == 65
    assert re.search(r"^D2 +error +3 +3 photos cannot be read, first: hat/cut0.jpg", said.out, re.MULTILINE)
    assert "cannot be trained on: 1 error" in said.out
    assert re.fullmatch(r"deitft: error \[D2\]: 3 photos cannot be read, first: [^\n]+\n", said.err)
    again = call("check", shop, "--skip-bad")
    assert again.code == 0
    assert "3 photos, by name" in again.out


def test_json_and_files_say_the_same_as_the_table(call, shop: Path) -> None:
    put(shop, "hat/page.jpg", b"<!doctype html>")
    put(shop, "notes.txt", b"x")
    said = call("check", shop, "--json", "--quiet")
    told = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert told["ok"] is True
    assert told["photos"] == 43
    assert [finding["id"] for finding in told["findings"]][:2] == ["D3", "D14"]
    assert told["left_out"] == [
        {"path": "hat/page.jpg", "id": "D3", "reason": 'is not an image (starts with "<!doctype html")'}
    ]
    stored = json.loads(Path("check-shop/check.json").read_text())
    assert stored | {"data": ""} == told | {"data": ""}
    rows = rows_of(Path("check-shop/findings.csv"))
    assert [(row["id"], row["path"]) for row in rows][:2] == [("D3", "hat/page.jpg"), ("D14", "notes.txt")]
    assert rows[0]["reason"] == 'is not an image (starts with "<!doctype html")'
    assert rows[0]["suggestion"] == "left out by name"
    assert rows[1]["reason"] == "not a photo: .txt"


def test_every_row_has_a_reason_of_its_own(call, shop: Path) -> None:
    for number in (1, 2):
        put(shop, f"hat/again-{number}.jpg", (shop / "boots" / f"00{number}.jpg").read_bytes())
    assert call("check", shop).code == 65
    rows = rows_of(Path("check-shop/findings.csv"))
    assert [(row["path"], row["reason"]) for row in rows if row["id"] == "D13"] == [
        (f"boots/00{number}.jpg", f"the same file: hat/again-{number}.jpg") for number in (1, 2)
    ]


def test_missing_input_and_a_place_that_cannot_be_written_to(call, shop: Path) -> None:
    assert call("check", "nothing").code == 66
    inside = call("check", shop, "--out", shop / "check")
    assert (inside.code, inside.err.split("]")[0]) == (73, "deitft: error [C5")
    assert not (shop / "check").exists()
    put(Path("other"), "findings.csv", b"mine")
    taken = call("check", shop, "--out", "other")
    assert (taken.code, taken.err.split("]")[0]) == (73, "deitft: error [OUT")
    assert Path("other/findings.csv").read_bytes() == b"mine"


def test_photos_that_cannot_be_read_at_all_are_told_as_json_too(call, shop: Path) -> None:
    said = call("check", "nothing", "--json", "--html")
    told = json.loads(said.out)
    assert (said.code, told["ok"], told["data"]) == (66, False, "nothing")
    assert told["error"]["id"] == "D1"
    assert said.err == f"deitft: error [D1]: {told['error']['line']}\n"
    assert told["error"]["hint"] == "check the path"
    assert not Path("check-nothing").exists()
    ends_early = put(Path("tars"), "a.tar", b"x" * 700)
    put(Path("lists"), "names.csv", b"path;label\n")
    put(Path("lists"), "away.csv", b"path,label\n../shop/hat/001.jpg,hat\n")
    for data, id in ((ends_early, "D20"), (Path("lists/names.csv"), "D19"), (Path("lists/away.csv"), "S4")):
        said = call("check", data, "--json", "--html", "--out", "found")
        told = json.loads(said.out)
        assert (said.code, told["error"]["id"], told["error"]["exit_code"]) == (65, id, 65)
        assert [finding["id"] for finding in told["findings"]] == [id]
        assert [path.name for path in Path("found").iterdir()] == ["check.json"]
        stored = json.loads(Path("found/check.json").read_text())
        assert stored | {"data": ""} == told | {"data": ""}
        Path("found/check.json").unlink()
    clean = json.loads(call("check", shop, "--json").out)
    assert clean["error"] is None
    assert clean.keys() == told.keys()


def test_the_files_of_other_photos_are_not_overwritten(call, shop: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "deep" / "shop", {"a": 12, "b": 12})
    assert call("check", shop).code == 0
    assert call("check", shop).code == 0  # its own are
    taken = call("check", "deep/shop")
    assert (taken.code, taken.err.split("]")[0]) == (73, "deitft: error [OUT")
    assert call("check", "deep/shop", "--out", "check-deep").code == 0


def test_how_large_a_photo_may_be_can_be_said(call, shop: Path) -> None:
    assert "limit 0.0004 million" in call("check", shop, "--max-pixels", 400).out
    assert call("check", shop, "--max-pixels", "0.001M").code == 0  # 24 x 20 pixels are fewer than 1,000
    wrong = call("check", shop, "--max-pixels", "large")
    assert (wrong.code, wrong.err.split("]")[0]) == (2, "deitft: error [PIXELS")
    assert "DEITFT_MAX_PIXELS" not in os.environ


def test_a_page_with_the_photos_is_written_on_request(call, shop: Path) -> None:
    put(shop, "hat/odd.png", encoded(picture(7, (300, 12)), "PNG"))
    assert not Path("check-shop/check.html").exists()
    said = call("check", shop, "--html")
    assert said.code == 0, said.err
    page = Path("check-shop/check.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "hat/odd.png" in page
    assert "Content-Security-Policy" in page


def test_decisions_become_a_list_of_labels_and_photos_stay(call, shop: Path) -> None:
    two_labels(shop)
    with untouched(shop):
        first = call("check", shop, "--skip-bad")
        assert first.code == 0, first.err
        rows = rows_of(Path("check-shop/fixes.csv"))
        assert list(rows[0]) == ["path", "label", "suggestion", "reason", "decision"]
        assert {(row["path"], row["label"], row["suggestion"], row["decision"]) for row in rows} == {
            ("boots/003.jpg", "boots", "hat", ""),
            ("hat/same.jpg", "hat", "boots", ""),
        }
        text = Path("check-shop/fixes.csv").read_text().splitlines()
        decided = [f"{line}drop" if line.startswith("hat/same.jpg") else line for line in text]
        Path("check-shop/fixes.csv").write_text("\n".join(decided) + "\n")
        said = call("check", shop, "--apply-labels", "check-shop/fixes.csv")
    assert said.code == 0, said.err
    assert "0 moved, 1 dropped, 0 kept, 1 without decision" in said.out
    assert "D13" not in said.out
    assert "Train" in said.out
    assert "deitft finetune check-shop/labels.csv --root shop" in said.out
    labels = {row["path"]: row["label"] for row in rows_of(Path("check-shop/labels.csv"))}
    assert len(labels) == 42
    assert "hat/same.jpg" not in labels
    assert labels["boots/003.jpg"] == "boots"
    assert Path("check-shop/fixes.csv").read_text() == "\n".join(decided) + "\n"  # decisions stay as they are


def test_a_decision_outlives_the_next_check(call, shop: Path) -> None:
    two_labels(shop)
    call("check", shop, "--skip-bad")
    text = Path("check-shop/fixes.csv").read_text()
    Path("check-shop/fixes.csv").write_text(re.sub(r"(?m)^(boots/003\.jpg.*)$", r"\1keep", text))
    said = call("check", shop, "--skip-bad")
    assert "1 photo, in fixes.csv" in said.out
    assert {row["path"]: row["decision"] for row in rows_of(Path("check-shop/fixes.csv"))} == {
        "boots/003.jpg": "keep",
        "hat/same.jpg": "",
    }
    Path("check-shop/fixes.csv").write_text("path;what\nx;y\n")
    broken = call("check", shop)
    assert (broken.code, broken.err.split("]")[0]) == (65, "deitft: error [FIXES")
    assert Path("check-shop/fixes.csv").read_text() == "path;what\nx;y\n"  # nothing of it is thrown away


@pytest.mark.parametrize(
    ("decision", "words"),
    [("sandal", "has the decision"), ("boots,boots", "more cells"), ("boot", 'mean "boots"')],
)
def test_decisions_that_make_no_sense_stop_before_anything_is_written(
    call, shop: Path, decision: str, words: str
) -> None:
    put(Path(), "fixes.csv", f"path,label,decision\nhat/000.jpg,hat,{decision}\n".encode())
    said = call("check", shop, "--apply-labels", "fixes.csv")
    assert said.code == 65
    assert said.out == ""
    assert words in said.err
    assert not Path("check-shop/labels.csv").exists()
    assert call("check", shop, "--apply-labels", "nothing.csv").code == 66


def test_S5_nothing_in_a_name_acts_on_a_terminal(call, make_photos, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shop = make_photos({"[red]x\x1b[31m": 12, "=1+1": 12, "-rf\u202e": 12})
    put(shop, "=1+1/\x1b]52;c;cm0=\x07[bold].jpg", b"<html>")
    put(shop, "-rf\u202e/same.jpg", next((shop / "=1+1").glob("0*.jpg")).read_bytes())
    for words in ([], ["--html"], ["--json"]):
        said = call("check", shop, "--skip-bad", *words)
        assert said.code == 0, said.err
        assert not OBEYED.search(said.out + said.err)
    text = Path("check-photos/fixes.csv").read_text()
    assert "\n'=1+1/" in text
    assert "\n=1+1/" not in text


def on_terminal(columns: int, *words: str) -> tuple[int, str]:
    """Exit code, and what a terminal of this width receives."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deitft", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**env, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        received += piece
    os.close(ours)
    return process.wait(timeout=60), received.decode()


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_fits_a_terminal_and_says_everything(shop: Path, columns: int) -> None:
    for number in range(3):
        put(shop, f"hat/a rather long name of a photo, number {number}.jpg", jpeg(number)[:200])
    code, seen = on_terminal(columns, "check", "shop", "--model", "none")
    assert code == 65
    assert "\x1b[1;31merror" in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r\n", "\n")
    lines = plain.splitlines()
    assert max(map(len, lines)) <= columns
    words = " ".join(plain.split())
    assert "3 photos cannot be read, first: hat/a rather long name of a photo, number 0.jpg" in words
    assert "fix them or add --skip-bad" in words
    assert any(line.startswith("Verdict") for line in lines)
