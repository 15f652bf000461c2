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


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link may end in: headings as GitHub spells them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("file", ALL, ids=name)
def test_every_link_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)", prose(file)):
        path, _, anchor = target.partition("#")
        place = (file.parent / path).resolve() if path else file
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("file", ALL, ids=name)
def test_every_option_that_is_named_exists(file: Path) -> None:
    known = set(re.findall(r"`(--?[\w-]+)`", (ROOT / "docs/reference/cli.md").read_text())) | OTHERS
    commands = [block.text for block in blocks(file.read_text("utf-8")) if block.kind == "console"]
    ours = [line for text in commands for line in text.splitlines() if line.startswith("$ ") and "deitft" in line]
    words = [*re.findall(r"`[^`]*`", prose(file)), *ours]
    named = {option for text in words for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}
    assert named <= known, named - known


OTHERS = {"--help", "--version", "--install-completion", "--signal"}


@pytest.mark.parametrize("file", ALL, ids=name)
def test_every_recipe_field_that_is_named_exists(file: Path) -> None:
    known = set(re.findall(r"^\| `([\w.]+)`", (ROOT / "docs/reference/recipe.md").read_text(), re.MULTILINE))
    sections = {field.partition(".")[0] for field in known if "." in field}
    pattern = rf"`(?:--set )?'?((?:{'|'.join(sorted(sections))})\.\w+)"
    files = ("csv", "html", "json", "log", "safetensors")
    named = {field for field in re.findall(pattern, prose(file)) if field.partition(".")[2] not in files}
    assert named <= known, named - known


@pytest.mark.parametrize("file", ALL, ids=name)
def test_every_error_id_that_is_named_exists(file: Path) -> None:
    known = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE))
    named = set(re.findall(r"\(`([A-Z][A-Z0-9]+)`\)", prose(file)))
    assert named <= known, named - known


def test_every_file_of_a_run_stands_on_its_page(furnished: Path) -> None:
    page = (ROOT / "docs/concepts/run-folder.md").read_text("utf-8")
    told = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    run = furnished / "runs" / "finetune-1"
    there = {f"{path.name}/" if path.is_dir() else path.name for path in run.iterdir()} - {"checkpoints/"}
    there |= {re.sub(r"\d+", "000120", f"checkpoints/{path.name}/") for path in (run / "checkpoints").iterdir()}
    assert there <= told, there - told
    assert told - there == {"probe.json", "lock"}, "a file is told of that this run does not have"
