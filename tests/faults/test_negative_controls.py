"""A test that cannot fail shows nothing: with its guard taken away, a row's own test turns red.

Each case is pytest in a process of its own, on one test, with one guard of ``guards_off.py`` replaced. They have
their own target, ``make test-negative-controls``, and are no part of ``make test``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from guards_off import GUARDS

HERE = Path(__file__).parent
ROWS = {*(f"D{number}" for number in range(1, 22)), "S3", "S4"}

pytestmark = pytest.mark.control


def run(nodes: list[str], guard: str, place: Path) -> tuple[int, str]:
    """Exit code and output of pytest on these tests, with one guard taken away, or none ("")."""
    paths = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "guards_off",
        "-p",
        "no:xdist",
        "--basetemp",
        str(place / "p"),
    ]
    done = subprocess.run(
        [*command, "--tb=short", *nodes],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=HERE.parent.parent,
        env=os.environ | {"PYTHONPATH": paths, "GUARD_OFF": guard},
    )
    return done.returncode, done.stdout + done.stderr


def node(guard: str) -> str:
    """The test that has to notice."""
    return f"{HERE}/test_{GUARDS[guard].row}.py::{GUARDS[guard].test}"


def test_every_row_has_a_negative_control():
    assert {guard.row.partition("_")[0] for guard in GUARDS.values()} == ROWS


def test_with_all_guards_these_tests_are_green(tmp_path):
    code, output = run(sorted({node(guard) for guard in GUARDS}), "", tmp_path)
    assert code == 0, output
    assert "skipped" not in output


@pytest.mark.parametrize("guard", GUARDS)
def test_without_its_guard_a_row_is_red(tmp_path, guard):
    code, output = run([node(guard)], guard, tmp_path)
    assert code == 1, output  # 1: tests failed; anything else: they could not be run
    assert re.search(r"^1 failed", output, re.MULTILINE), output
    assert re.search(r"^E +(AssertionError|assert|Failed: DID NOT RAISE|deitft\.errors)", output, re.MULTILINE), (
        output
    )
