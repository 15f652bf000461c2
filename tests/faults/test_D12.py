"""D12: identical pixels re-encoded; near duplicates."""

from __future__ import annotations

import io

import numpy as np
import pytest
from photo_kit import clean, encoded, judge, put, refused, said
from PIL import Image, ImageDraw, ImageEnhance

from deitft.data.catalog import TEST, TRAIN
from deitft.data.leaks import leaks_from
from deitft.data.splits import assign, read_splits, write_splits

SIZE = (320, 240)


def place(seed: int, *, things: int = 40) -> Image.Image:
    """A photo of many things, another place for each seed."""
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", SIZE, tuple(draw.integers(60, 200, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for number in range(things):
        x, y = draw.integers(-20, SIZE[0]), draw.integers(-20, SIZE[1])
        box = (x, y, x + draw.integers(8, 90), y + draw.integers(8, 70))
        colour = tuple(draw.integers(0, 256, 3).tolist())
        (pen.ellipse if number % 2 else pen.rectangle)(list(map(int, box)), fill=colour)
    return image


def product(seed: int) -> Image.Image:
    """A white shirt on a white ground, as a shop takes all of them; what is printed on it differs."""
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    outline = [(90, 30), (140, 20), (180, 20), (230, 30), (270, 80), (240, 100), (220, 80), (220, 220), (100, 220)]
    pen.polygon([*outline, (100, 80), (80, 100), (50, 80)], fill=(225, 225, 228), outline=(190, 190, 195))
    draw = np.random.default_rng(seed)
    for _ in range(14):
        x, y = draw.integers(110, 190), draw.integers(60, 170)
        pen.ellipse([int(x), int(y), int(x + draw.integers(4, 26)), int(y + draw.integers(4, 26))],
                    fill=tuple(draw.integers(0, 230, 3).tolist()))  # fmt: skip
    return image


def shot_again(image: Image.Image) -> Image.Image:
    draw = np.random.default_rng(5)
    turned = image.rotate(1.2, Image.Resampling.BICUBIC, translate=(4, -3), fillcolor=(128, 128, 128))
    noisy = np.asarray(turned) * 1.04 + draw.normal(0, 4, (SIZE[1], SIZE[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).crop((6, 6, SIZE[0] - 6, SIZE[1] - 6))


CHANGES = {
    "b": lambda image: encoded(image, quality=60),
    "c": lambda image: encoded(image.resize((SIZE[0] // 2, SIZE[1] // 2))),
    "d": lambda image: encoded(ImageEnhance.Brightness(image.crop((8, 6, SIZE[0] - 8, SIZE[1] - 6))).enhance(1.1)),
    "e": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "f": lambda image: encoded(shot_again(image)),
}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "p"
    for side, count, base in (("train", 20, 0), ("val", 3, 500), ("test", 4, 700)):
        for label, folder in enumerate(("shoes", "hats")):
            for number in range(count):
                data = encoded(place(base + 100 * label + number), quality=95)
                put(root, f"{side}/{folder}/{number:02d}.jpg", data)
    clean(root, "D12")
    return root


def segment_stripped(data: bytes) -> bytes:
    """A JPEG without its first application segment: other bytes, the same pixels."""
    length = int.from_bytes(data[4:6], "big")
    return data[:2] + data[4 + length :]


def test_D12_a_equal_pixels_in_other_bytes_leak(root):
    original = (root / "train/shoes/03.jpg").read_bytes()
    put(root, "test/shoes/copy.jpg", segment_stripped(original))
    error = refused(root)
    assert (error.id, error.exit_code) == ("D11", 65)
    assert error.line.startswith("1 test photo is also in train, first: test/shoes/copy.jpg = train/shoes/03.jpg")
    catalog, findings = judge(root, allow_leak=True)
    findings.raise_errors()
    pairs = next(finding.details["pairs"] for finding in findings if finding.id == "D11")
    assert pairs == [["test/shoes/copy.jpg", "train/shoes/03.jpg", "the same pixels", 0.0]]
    assert not any(id == "D12" for id, _, _ in said(catalog, findings))


def test_D12_a_a_recompressed_png_carries_two_labels(root):
    image = place(900)
    put(root, "train/shoes/x.png", encoded(image, "PNG", compress_level=1))
    clean(root, "D13")
    put(root, "train/hats/y.png", encoded(image, "PNG", compress_level=9))
    assert (root / "train/shoes/x.png").read_bytes() != (root / "train/hats/y.png").read_bytes()
    found = [line for id, _, line in said(*judge(root, skip_bad=True)) if id == "D13"]
    want = "1 photo carries two labels, first: train/hats/y.png and train/shoes/x.png are the same picture"
    assert found == [f"{want} — left out by name"]


@pytest.mark.parametrize("change", CHANGES)
def test_D12_a_copy_changed_is_said(root, change):
    for number in range(2):
        original = Image.open(io.BytesIO((root / f"train/hats/{number:02d}.jpg").read_bytes()))
        put(root, f"test/hats/copy{number}.jpg", CHANGES[change](original))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert not len(findings.quarantined)
    kind = "mirrored" if change == "e" else "almost the same"
    (found,) = [finding for finding in findings if finding.id == "D12"]
    assert (found.severity, found.notice().line) == (
        "warning",
        "2 test photos look almost the same as train photos, first: test/hats/copy0.jpg and train/hats/00.jpg — "
        "compare before trusting the score",
    )
    assert [(one, other) for one, other, _, _ in found.details["pairs"]] == [
        (f"test/hats/copy{number}.jpg", f"train/hats/{number:02d}.jpg") for number in range(2)
    ]
    assert all(kind in pair[2] and 0 <= pair[3] <= 0.1 for pair in found.details["pairs"])
    leaks = leaks_from(catalog, catalog.given, (TRAIN,))
    assert [catalog.paths[row] for row in np.flatnonzero(leaks.near)] == list(found.paths)
    assert not leaks.same.any()


def test_D12_two_labels_and_one_side(tmp_path):
    root = tmp_path / "p"
    for number in range(12):
        put(root, f"shoes/{number:02d}.jpg", encoded(place(number), quality=95))
        put(root, f"hats/{number:02d}.jpg", encoded(place(100 + number), quality=95))
    clean(root, "D12")
    put(root, "hats/again.jpg", encoded(place(3), quality=60))
    put(root, "shoes/half.jpg", encoded(place(5).resize((160, 120))))
    catalog, findings = judge(root)
    findings.raise_errors()
    lines = [(severity, line) for id, severity, line in said(catalog, findings) if id == "D12"]
    assert lines == [
        (
            "warning",
            "1 pair of photos that are almost the same carries two labels, first: hats/again.jpg and shoes/03.jpg "
            "— compare them, one label may be wrong",
        ),
        (
            "info",
            "1 pair of photos is almost the same, first: shoes/05.jpg and shoes/half.jpg — "
            "they are kept on one side of the split",
        ),
    ]


def test_D12_things_that_only_look_alike_are_no_pairs(tmp_path):
    """500 unrelated pairs and more; shirts on one ground, in one pose."""
    root = tmp_path / "p"
    for number in range(40):
        put(root, f"places/{number:02d}.jpg", encoded(place(number)))
        put(root, f"shirts/{number:02d}.jpg", encoded(product(number)))
    catalog, findings = judge(root)
    assert len(catalog.pairs) <= 0.005 * 500
    assert [line for id, _, line in said(catalog, findings) if id == "D12"] == []


def test_D12_a_split_of_ours_keeps_copies_on_one_side(tmp_path):
    root = tmp_path / "p"
    for number in range(24):
        put(root, f"{'ab'[number % 2]}/{number:02d}.jpg", encoded(place(number), quality=95))
    alone, _ = judge(root)
    for number in range(0, 24, 3):
        folder = "ab"[number % 2]
        for change, make in CHANGES.items():
            put(root, f"{folder}/{number:02d}{change}.jpg", make(place(number)))
    catalog, findings = judge(root)
    findings.raise_errors()
    several = 0
    for seed in range(40):
        split = assign(catalog, seed=seed).split
        for number in range(0, 24, 3):
            rows = [row for row, path in enumerate(catalog.paths) if path[2:].startswith(f"{number:02d}")]
            assert len(rows) == 6
            assert len(set(split[rows].tolist())) == 1
        several += (split != TRAIN).any()
        assert not leaks_from(catalog, split, (TRAIN,)).near[split == TEST].any()
    assert several == 40
    assert len(alone.pairs) == 0


def test_D12_a_split_file_that_parts_them_is_told(tmp_path):
    root = tmp_path / "p"
    for number in range(12):
        put(root, f"a/{number:02d}.jpg", encoded(place(number), quality=95))
        put(root, f"b/{number:02d}.jpg", encoded(place(100 + number), quality=95))
    put(root, "a/copy.jpg", encoded(place(0), quality=60))
    catalog, _ = judge(root)
    splits = assign(catalog, seed=0)
    split = np.full(len(catalog), TRAIN, np.int8)
    split[catalog.paths.index("a/copy.jpg")] = TEST
    write_splits(tmp_path / "s.csv", type(splits)(split), catalog)
    told = [notice.line for notice in read_splits(tmp_path / "s.csv", catalog).notices]
    assert told == [
        "1 test photo looks almost the same as train photos, first: a/copy.jpg and a/00.jpg — "
        "compare before trusting the score"
    ]
