"""The guides and concepts are true: what they show runs, what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import SMALL, SMALL_FIELDS, Block, OpenPage, blocks, commands, missing_line, small, split_pipe

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
    for target in re.findall(r"\[[^\]]+\]\(([^)\s]+)\)", prose(file)):
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
    assert told - there == {"probe.json", "lock", "teacher-cache/"}, (
        "a file is told of that this run does not have"
    )


def test_what_is_not_said_is_noticed() -> None:
    assert missing_line(["a … c", "d"], "x\na b  c\nd\n") is None
    assert missing_line(["d", "a … c"], "a b c\nd\n") == "a … c", "another order"
    assert missing_line(["a (95 %)"], "a (95 %) or so\n") == "a (95 %)", "a part of a line"


def test_commands_are_read_as_they_stand() -> None:
    first, second = commands(Block("console", "$ deitft x \\\n  --y\nsaid\n$ deitft z\n^C\n", 1))
    assert (first.text, first.says, first.interrupted) == ("deitft x --y", ["said"], False)
    assert (second.text, second.line, second.interrupted) == ("deitft z", 4, True)
    assert split_pipe("deitft runs --json | head -3 > a") == ("deitft runs --json ", "| head -3 > a")
    assert split_pipe("deitft x 'a|b'") == ("deitft x 'a|b'", "")


def test_small_settings_give_way_to_the_page() -> None:
    words = small(["finetune", "photos", "--weights", "w", "--set", "train.length=3 steps", "--threads", "2"], {})
    assert "--no-pretrained" not in words
    assert words.count("--threads") == 1
    assert sum("train.length" in word for word in words) == 1
    assert small(["runs"], {}) == ["runs"]


def test_the_page_about_pages_names_the_small_settings() -> None:
    page = (ROOT / "docs/guides/README.md").read_text("utf-8")
    for option, value in SMALL.items():
        assert (option if value is None else f"{option} {value}") in page
    assert SMALL_FIELDS.keys() - {field for field in SMALL_FIELDS if field in page} == {"train.length_factor"}
