"""What pages only show is true, too: the commands of ``sh`` blocks, how one installs, and ``make demo``."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from doc_blocks import blocks

from deitft.cli import app, comparing
from deitft.cli.app import main
from deitft.recipe.load import shipped_recipes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md"))]


def shown(page: Path) -> list[str]:
    """The lines of a page's ``sh`` blocks, those that are continued in one."""
    text = "\n".join(block.text for block in blocks(page.read_text("utf-8")) if block.kind == "sh")
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


OURS = sorted({line for page in PAGES for line in shown(page) if line.startswith("deitft ")})


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Verbs with what was typed for them, which is all that happens."""
    found: list[tuple[str, dict[str, Any]]] = []

    def nothing(verb: str, given: dict[str, Any]) -> SimpleNamespace:
        found.append((verb, given))
        return SimpleNamespace(plan=(), tables=(), folders=())

    monkeypatch.setattr(app, "call", nothing)
    monkeypatch.setattr(comparing, "run_job", nothing)
    return found


@pytest.mark.parametrize("line", OURS)
def test_a_command_that_is_only_shown_can_be_typed(line: str, typed: list[tuple[str, dict[str, Any]]]) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert main(words) == 0
    assert [verb for verb, _ in typed] == [words[0].replace("-", "_")]


def test_make_knows_what_the_readme_makes() -> None:
    lines = [line for line in shown(ROOT / "README.md") if line.startswith("make ")]
    assert lines == ["make demo"]
    done = subprocess.run(
        ["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/python benchmarks/demo.py" in done.stdout.splitlines()
    assert (ROOT / "benchmarks" / "demo.py").is_file()


def test_pip_takes_the_package_as_the_readme_says(tmp_path: Path) -> None:
    """Without a network: what builds it must be there. The wheel's parts are named in pyproject.toml."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    assert "pip install ." in shown(ROOT / "README.md")
    for name in ("deitft", "recipes", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    words = [sys.executable, "-m", "pip", "wheel", *alone, "--wheel-dir", str(tmp_path / "wheels"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheels").glob("deitft-*.whl")
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    inside = {path.name for path in (tmp_path / "unpacked").rglob("*.yaml")}
    assert {f"{info.name}.yaml" for info in shipped_recipes()} <= inside


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """``benchmarks/demo.py`` in a folder of its own."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "benchmarks" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def test_the_commands_of_the_demo_can_be_typed(
    demo: ModuleType, typed: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "write_digits", lambda folder: None)
    codes: list[int] = []
    monkeypatch.setattr(demo, "deitft", lambda words: codes.append(main(words)))
    demo.main()
    assert codes == [0] * 5
    assert [verb for verb, _ in typed] == ["pretrain", "pretrain", "finetune", "pretrain", "compare"]


@pytest.mark.slow
def test_the_demo_small(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it, with two steps a run (the teacher: 3 epochs), 32 pixels, and no costs measured."""

    def small(words: list[str]) -> None:
        short = "train.length=3 epochs" if demo.TEACHER in words else "train.length=2 steps"  # else it is refused
        length = [short if word.startswith("train.length=") else word for word in words]
        less = [word.replace("image_size=64", "image_size=32") for word in length]
        less += ["--no-costs"] if less[0] == "compare" else ["--workers", "0"]
        assert main([*less, "--threads", "1"]) == 0

    monkeypatch.setattr(demo, "deitft", small)
    demo.main()
    said = capsys.readouterr().out
    reports = [Path(path) for path in said.splitlines()[-1].removeprefix("reports: ").split(", ")]
    assert len(reports) == 3
    assert all(report.is_file() for report in reports)
    assert (demo.RUNS / "comparison" / "compare.html").is_file()
    monkeypatch.setattr(demo, "deitft", lambda words: pytest.fail(str(words)) if words[0] != "compare" else None)
    demo.main()  # what is finished is not trained again
