"""Folders as people have them in the beginning: training ends with a report, which says how little it knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from run_kit import finetune, record_of

from deitft.core.records import parse_csv_text

SHORT = ("model.image_size=32", "train.length=3 steps", "train.micro_batch=2")


def photos(root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (40, 32), grey: bool = False) -> Path:
    """Different photos of a colour a class; ``size`` is width, height."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for photo in range(count):
            draw = np.random.default_rng((number, photo))
            small = draw.normal(40 + 170 * number / max(len(counts) - 1, 1), 30, (8, 8, 3)).clip(0, 255)
            image = Image.fromarray(small.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
            (image.convert("L") if grey else image).save(root / name / f"{photo:03d}.jpg", quality=80)
    return root


def finished(root: Path, tmp_path: Path, *settings: str, **more: object) -> tuple[dict, dict, str]:
    """A run on these photos: its record, its metrics, its page."""
    result = finetune(root, tmp_path / "runs", "r", *SHORT, *settings, **more)
    run = tmp_path / "runs" / "r"
    page = (run / "report.html").read_text()
    assert result.status == "done"
    assert record_of(run)["status"] == "done"
    assert page.rstrip().endswith("</html>")
    assert "Next step" in page
    for folder in ("best", "last"):
        assert (run / folder / "model.safetensors").is_file()
    return record_of(run), json.loads((run / "metrics.json").read_text()), page


def sides(run: Path) -> dict[str, int]:
    rows = [row["split"] for row in parse_csv_text((run / "splits.csv").read_text())]
    return {side: rows.count(side) for side in sorted(set(rows))}


def test_two_classes_of_eight(tmp_path):
    root = photos(tmp_path / "p", {"hats": 8, "shoes": 8})
    _, metrics, _ = finished(root, tmp_path)
    assert metrics["claim_split"] == "test"
    assert min(sides(tmp_path / "runs/r").values()) >= 1


def test_three_hundred_classes_of_four(tmp_path):
    root = photos(tmp_path / "p", {f"c{number:03d}": 4 for number in range(300)}, size=(9, 8))
    _, metrics, page = finished(root, tmp_path)
    assert metrics["claim_split"] == "test"
    assert metrics["test"]["n"] > 50
    assert "c299" in page


def test_one_class_at_95_percent(tmp_path):
    root = photos(tmp_path / "p", {"hats": 15, "shoes": 285}, size=(9, 8))
    record, metrics, page = finished(root, tmp_path)
    assert 0.9 < metrics["test"]["majority"] < 1
    assert "IMBALANCE" in [found["id"] for found in record["findings"]]
    assert "19 times the photos" in page


def test_greys_of_28_pixels(tmp_path):
    root = photos(tmp_path / "p", {str(digit): 12 for digit in range(3)}, size=(28, 28), grey=True)
    finished(root, tmp_path)


def test_photos_of_20_megapixels(tmp_path):
    root = photos(tmp_path / "p", {"hats": 4, "shoes": 4}, size=(5472, 3648))
    _, metrics, _ = finished(root, tmp_path)
    assert metrics["claim_split"] == "test"


def test_nothing_can_be_held_out(tmp_path):
    """The last weights are kept, and the figures are called what they are."""
    root = photos(tmp_path / "p", {"hats": 2, "shoes": 2})
    record, metrics, page = finished(root, tmp_path, "train.batch=2")
    result = record["result"]
    assert (metrics["claim_split"], metrics["val"], metrics["test"]["n"]) == ("train", None, 4)
    assert (result["best_step"], result["steps"], result["temperature"]) == (None, 3, 1.0)
    assert sides(tmp_path / "runs/r") == {"train": 4}
    assert "No photo was held out" in page
    assert "say nothing of new" in (tmp_path / "runs/r/best/README.md").read_text()
    best, last = ((tmp_path / f"runs/r/{name}/model.safetensors").read_bytes() for name in ("best", "last"))
    assert best == last


def test_nothing_held_out_and_the_probe_judges_each_photo_by_the_others(tmp_path, shared):
    root = photos(tmp_path / "p", {"black": 8, "white": 8})
    pinned = tmp_path / "all-train.csv"
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    pinned.write_text("path,split\n" + "".join(f"{path},train\n" for path in paths))
    weights = {"weights_dir": shared / "weights", "pretrained": True, "model": "mobilenetv2"}
    _, metrics, page = finished(root, tmp_path, splits=pinned, **weights)
    assert metrics["probe"]["top1"] == 1.0  # black and white are told apart
    assert "by a probe of the other photos" in metrics["probe"]["note"]
    assert "No photo was held out" in page


def test_control_a_folder_of_twelve_is_judged_on_test(tmp_path):
    root = photos(tmp_path / "p", {"hats": 12, "shoes": 12})
    _, metrics, page = finished(root, tmp_path)
    assert metrics["claim_split"] == "test"
    assert metrics["val"] is not None
    assert "No photo was held out" not in page
