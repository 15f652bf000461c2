"""D18: HEIC where no decoder is there."""

from __future__ import annotations

import pytest
from photo_kit import clean, encoded, jpeg, judge, picture, put, refused, write_classes


def box(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0\0\0\x08mdat"


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
@pytest.mark.parametrize("name", ["phone.heic", "phone.jpg", "phone"])
def test_D18_a_heic_is_told_by_its_content(tmp_path, brand, name):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    clean(root, "D18")
    put(root, f"shoes/{name}", box(brand))
    error = refused(root, strict=True)
    assert (error.id, error.exit_code) == ("D18", 65)
    assert error.line == (
        "1 of 21 photos is HEIC and no HEIC reader is installed — convert it to JPEG or add --skip-bad"
    )


def test_D18_cd_avif_is_read_and_a_jpeg_called_heic_is_a_jpeg(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/x.avif", encoded(picture(50), "AVIF"))
    put(root, "shoes/x.heic", jpeg(51))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert catalog.bad == {}
