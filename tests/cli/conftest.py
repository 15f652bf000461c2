"""The command line, called in this process or as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deitft.cli.app import main


@dataclass(frozen=True)
class Said:
    """What a command line came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def program(tmp_path: Path) -> Call:
    """Run a command line as a program of its own, in an empty folder."""

    def run(*words: object, module: bool = True, **env: str) -> Said:
        start = ["-m", "deitft"] if module else []
        done = subprocess.run(
            [sys.executable, *start, *(str(word) for word in words)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, **env},
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run
