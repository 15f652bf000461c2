"""Published figures: each from its source, each once, and no torch for them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deitft.models import registry
from deitft.models.published import (
    COLUMNS,
    MISQUOTED,
    PAPERS,
    REFERENCES,
    WEIGHTS,
    Reference,
    about,
    of_weights,
    table,
)
from deitft.models.zoo import ZOO

DEIT3 = {"S": 0, "M": 1, "B": 2, "L": 3, "H/14": 4}


@pytest.fixture(scope="module")
def facts(shared: Path) -> str:
    """The sources, read by somebody else."""
    file = shared / "docs" / "deit-facts.md"
    if not file.is_file():
        pytest.skip(f"no {file.name} beside the shared photos")
    return file.read_text()


def paper(name: str) -> list[Reference]:
    return [row for row in PAPERS if row.name.startswith(name)]


def test_every_figure_stands_once() -> None:
    rows = [(row.name, row.size, row.seen, row.source) for row in REFERENCES]
    assert len(set(rows)) == len(rows)
    tags = [(row.tag, row.size) for row in WEIGHTS]
    assert len(set(tags)) == len(tags)
    by_tag = {entry.tag: entry for entry in ZOO}
    for row in WEIGHTS:
        if row.tag in by_tag and row.size == by_tag[row.tag].top1_size:
            assert row.top1 == by_tag[row.tag].top1


def test_weights_agree_with_timms_table(facts: str) -> None:
    """model | size | top-1 | top-5 | millions | crop"""
    cells = [
        [cell.strip(" `") for cell in line.split("|")[1:7]] for line in facts.splitlines() if line[:3] == "| `"
    ]
    known = {(cell[0], cell[1]): (cell[2], cell[4], cell[5]) for cell in cells if len(cell) == 6}
    for row in WEIGHTS:
        if not row.source.startswith("timm"):
            continue
        top1, millions, crop = known[(str(row.tag), str(row.size))]
        assert (float(top1), float(millions), float(crop)) == (row.top1, row.millions, row.crop), row.tag


def test_deit_agrees_with_the_papers_table_5(facts: str) -> None:
    found = {}
    for line in facts.partition("### Table 5")[2].partition("### Table 6")[0].splitlines():
        cells = [cell.strip(" *") for cell in line.split("|")]
        if len(cells) > 5:
            found[cells[1]] = [value.strip(" *") for value in cells[4].split("/")]
    for name, label in (
        ("DeiT-{}", "DeiT-Ti / S / B"),
        ("DeiT-{}⚗", "⚗ Ti / S / B"),
        ("DeiT-{}⚗, 1000 epochs", "⚗ 1000 ep Ti / S / B"),
    ):
        for letter, figure in zip(("Ti", "S", "B"), found[label], strict=True):
            (row,) = [row for row in PAPERS if row.name == name.format(letter) and row.size == 224]
            assert f"{row.top1}" == figure
            assert row.epochs == (1000 if "1000" in name else 300)
    for name, label in (
        ("DeiT-B ↑384", "DeiT-B↑384"),
        ("DeiT-B⚗ ↑384", "⚗ B↑384"),
        ("DeiT-B⚗, 1000 epochs ↑384", "⚗ B↑384 1000 ep"),
        ("ResNet-50", "ResNet-50"),
    ):
        (row,) = [row for row in PAPERS if row.name == name]
        assert [f"{row.top1}"] == found[label]
    assert found["EffNet-B4 / B5 / B6 / B7"][1] == f"{paper('EfficientNet-B5')[0].top1}"
    assert found["ViT-B/16 (1k) / ViT-L/16 (1k)"][0] == f"{paper('ViT-B/16')[0].top1}"
    assert found["RegNetY-4GF / 8GF / 16GF (authors' recipe)"][2] == f"{paper('RegNetY-16GF')[0].top1}"


def test_the_ways_to_distil_agree_with_the_papers_table_3(facts: str) -> None:
    part = facts.partition("### Table 3")[2].partition("Gains:")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line[:1] == "|"]
    found = {cells[0]: cells[3:6] for cells in rows if len(cells) == 7}
    for what, label in ((", hard distillation", "hard"), (", soft distillation", "usual (soft)"), ("⚗", "⚗ both")):
        ours = [row.top1 for letter in ("Ti", "S", "B") for row in PAPERS if row.name == f"DeiT-{letter}{what}"]
        assert [f"{top1}" for top1 in ours] == found[label]


def test_deit_iii_agrees_with_its_readme(facts: str) -> None:
    part = facts.partition("Results (README / timm CSV):")[2].partition("timm evaluates")[0]
    columns = {(224, False): 2, (384, False): 3, (224, True): 4, (384, True): 5}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 6 or cells[1] not in DEIT3:
            continue
        for (size, more), column in columns.items():
            rows = [
                row
                for row in paper(f"DeiT III-{cells[1]}")
                if row.size == size and row.seen.startswith("ImageNet-21k") == more
            ]
            assert [f"{row.top1}" for row in rows] == (
                [] if cells[column] == "–" else [cells[column].split(" /")[0]]
            )


def test_the_other_papers_and_what_is_misquoted_agree_with_the_sources(facts: str) -> None:
    claims = facts.partition("## 5.")[2].partition("## 6.")[0]
    for start in ("Swin-B", "ConvNeXt-B", "ViT-B/16"):
        said = " ".join(line for line in claims.splitlines() if start in line)
        for row in paper(start):
            assert re.search(rf"(?<![\d.]){re.escape(f'{row.top1:g}')}(?!\d)", said), row
    numbers = set(re.findall(r"\d+(?:\.\d+)?", facts))
    for pair in MISQUOTED:
        for number in re.findall(r"\d+\.\d+", " ".join(pair)):
            assert number in numbers, pair


def test_names_of_weights_are_timms() -> None:
    for row in WEIGHTS:
        assert row.tag is not None
        assert registry.pretrained_config(row.tag).get("tag") == row.tag.partition(".")[2]
    architectures = registry.architectures()
    for row in REFERENCES:
        assert any(name.startswith(row.architecture) for name in architectures), row


def test_what_stands_beside_a_comparison() -> None:
    names = {row.name for row in about(["deit_small_distilled_patch16_224.fb_in1k"])}
    assert names == {"DeiT-S⚗", "DeiT-S⚗, 1000 epochs", "deit_s"}
    assert {row.name for row in about(["mobilenetv2_100.ra_in1k"])} == {"mobilenetv2"}
    assert about([]) == ()


def test_the_figure_of_exactly_these_weights() -> None:
    plain = of_weights("deit_tiny_patch16_224.fb_in1k", 224, 0.9)
    assert plain is not None
    assert plain.top1 == 72.190
    assert of_weights("deit_tiny_patch16_224.fb_in1k", 224, 0.875) is None
    assert of_weights("nothing", 224, 0.9) is None


def test_rows_are_plain_text() -> None:
    rows = table()
    assert len(rows) == len(REFERENCES)
    assert all(len(row) == len(COLUMNS) and all(isinstance(cell, str) for cell in row) for row in rows)
    (jft,) = table([row for row in PAPERS if row.top1 == 84.15])
    assert jft[:6] == ("ViT-B/16, JFT", "84.15", "384", "–", "–", "JFT-300M, 300 M private photos")


def test_no_torch_for_figures() -> None:
    code = "import sys, deitft.models.published; sys.exit(any(name in sys.modules for name in ('torch', 'timm')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
