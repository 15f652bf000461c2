"""D1: empty or missing root, no images, one class only."""

from __future__ import annotations

import pytest
from photo_kit import clean, judge, put, refused, untouched, write_classes

from deitft.core.progress import Silent
from deitft.data.scan import scan
from deitft.errors import DeitftError

FORMATS = "(looked for JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF)"


def stopped(root: str) -> tuple[str, str, int]:
    with pytest.raises(DeitftError) as caught:
        scan(root, progress=Silent())
    return caught.value.id, caught.value.line, caught.value.exit_code


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_D1_control(tmp_path):
    clean(write_classes(tmp_path / "products", {"shoes": 10, "hats": 10}), "D1")


def test_D1_a_no_such_folder(tmp_path):
    assert stopped("products") == ("D1", "no such folder: products — check the path", 66)
    assert list(tmp_path.iterdir()) == []


def test_D1_b_an_empty_folder(tmp_path):
    (tmp_path / "products").mkdir()
    assert stopped("products") == ("D1", f"no photos found under products {FORMATS}", 66)


def test_D1_c_no_images(tmp_path):
    for name in ("shoes/a.txt", "hats/b.txt", "c.txt"):
        put(tmp_path / "products", name, b"text")
    with untouched(tmp_path):
        assert stopped("products") == ("D1", f"no photos found under products {FORMATS}", 66)
    put(tmp_path / "split", "train/a/x.txt", b"")
    write_classes(tmp_path / "split", {"test/a": 3})
    assert stopped("split")[:2] == ("D1", f"no photos found under split/train {FORMATS}")


def test_D1_c_photos_without_class_folders(tmp_path):
    write_classes(tmp_path, {"products": 3})
    assert stopped("products") == (
        "D1",
        "the photos lie directly in products, nothing says which class they are — "
        "put each class into a folder of its own",
        65,
    )


def test_D1_d_one_class(tmp_path):
    root = write_classes(tmp_path / "products", {"shoes": 10})
    error = refused(root)
    assert (error.id, error.line, error.exit_code) == (
        "D1",
        'only one class ("shoes") — a classifier needs at least two class folders',
        65,
    )


def test_D1_e_a_file(tmp_path):
    put(tmp_path, "products", b"")
    assert stopped("products") == ("D1", "not a folder: products — check the path", 66)


def test_D1_f_an_empty_class(tmp_path):
    root = write_classes(tmp_path / "products", {"shoes": 10, "hats": 10})
    (root / "@eaDir").mkdir()
    clean(root, "D1")
    (root / "socks").mkdir()
    put(root, "ties/notes.txt", b"")
    catalog, findings = judge(root)
    findings.raise_errors()
    assert catalog.classes == ("hats", "shoes")
    assert [(notice.severity, notice.text) for notice in catalog.notices if notice.id == "D1"] == [
        ("warning", 'class folder "socks" has no photos, no class is made of it'),
        ("warning", 'class folder "ties" has no photos, no class is made of it'),
    ]
