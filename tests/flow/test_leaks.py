"""A whole run on given splits that leak: figures with and without, in record, files, page and evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from run_kit import finetune

import deitft
from deitft.core.files import read_json
from deitft.errors import DataError

SHORT = ("model.image_size=32", "model.drop_path=0", "train.length=2 steps", "train.batch=8")


def place(seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", (160, 120), tuple(draw.integers(60, 200, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, width, height = draw.integers(0, 150), draw.integers(0, 110), *draw.integers(8, 50, 2)
        box = [int(x), int(y), int(x + width), int(y + height)]
        pen.rectangle(box, fill=tuple(draw.integers(0, 256, 3).tolist()))
    return image


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, given splits; in test one copy of a train photo and two that are almost train photos."""
    root = tmp_path_factory.mktemp("leaking")
    for side, count, base in (("train", 12, 0), ("val", 4, 500), ("test", 5, 700)):
        for label, folder in enumerate(("shoes", "hats")):
            (root / side / folder).mkdir(parents=True)
            for number in range(count):
                place(base + 100 * label + number).save(root / side / folder / f"{number:02d}.jpg", quality=95)
    (root / "test/shoes/same.jpg").write_bytes((root / "train/shoes/03.jpg").read_bytes())
    place(4).save(root / "test/shoes/again.jpg", quality=60)
    place(105).resize((80, 60)).save(root / "test/hats/half.jpg")
    return root


def test_leaking_photos_stop_a_run_or_are_counted(leaking: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        finetune(leaking, tmp_path, "refused", *SHORT)
    assert caught.value.id == "D11"
    result = finetune(leaking, tmp_path, "allowed", *SHORT, allow_leak=True, probe=False)
    run = tmp_path / "allowed"
    metrics = read_json(run / "metrics.json")
    assert isinstance(metrics, dict)
    leaks = metrics["leaks"]
    assert (leaks["same"], leaks["near"]) == (1, 2)
    assert [leaks[name]["n"] for name in ("all", "without_same", "without_same_and_near")] == [13, 12, 10]
    assert leaks["all"]["top1"] == metrics["test"]["top1"]
    named = [name for name, _ in result.summary()]
    assert "Top-1 without near leaks too" in named
    page = (run / "report.html").read_text()
    assert "1 test photo is also among those the model was trained or chosen on" in page
    found = deitft.evaluate(run, leaking, device="cpu", threads=1, workers=0)
    assert found.leaks is not None
    assert (found.leaks["same"], found.leaks["near"]) == (1, 2)
    assert found.record()["leaks"] == found.leaks
