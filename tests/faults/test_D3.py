"""D3: wrong extension, mislabelled format."""

from __future__ import annotations

import numpy as np
import pytest
from photo_kit import clean, encoded, jpeg, judge, picture, put, refused, said, write_classes


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 20, "hats": 20})
    clean(root, "D3")
    return root


def test_D3_ad_content_decides(root):
    put(root, "shoes/017.jpg", encoded(picture(90), "PNG"))
    put(root, "shoes/phone.heic", jpeg(91))
    put(root, "hats/x.png", encoded(picture(92), "AVIF"))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert ("D3", "info", "3 files have an extension that does not match") in said(catalog, findings)
    assert not len(findings.quarantined)
    assert len(catalog) == 42


@pytest.mark.parametrize(
    ("data", "start"),
    [
        (b"<!doctype html><html><body>404 Not Found</body></html>", "<!doctype html"),
        (b"\n\n  <html>\n", "<html>"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2mp41", "\\x00\\x00\\x00\\x18ftypisom\\x00\\x00"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "%!PS-Adobe-3.0"),
        (b"8BPS\x00\x01\x00\x00", "8BPS\\x00\\x01\\x00\\x00"),
        (b"%PDF-1.7\n", "%PDF-1.7"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    ],
)
def test_D3_bce_what_is_no_photo_is_named(root, data, start):
    put(root, "shoes/017.jpg", data)
    error = refused(root, strict=True)
    assert (error.id, error.exit_code, error.line) == (
        "D3",
        65,
        f'shoes/017.jpg is not an image (starts with "{start}") — delete it or add --skip-bad',
    )
    assert judge(root)[1].quarantine_rows()[0]["path"] == "shoes/017.jpg"


def test_D3_e_no_interpreter_is_started(root, monkeypatch):
    """EPS would start Ghostscript: with an allow-list its parser is not even asked."""
    import subprocess

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    put(root, "shoes/017.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n")
    assert refused(root, strict=True).id == "D3"


def test_D3_f_extensions_in_any_spelling(root):
    for number, name in enumerate(("A.JPG", "b.JpEg", "c.jfif", "d.JPE", "without")):
        put(root, f"hats/{name}", jpeg(50 + number))
    catalog, findings = judge(root)
    assert len(catalog) == 45
    assert [item for item in findings if item.id == "D3"] == []
    assert np.bincount(catalog.labels).tolist() == [25, 20]
