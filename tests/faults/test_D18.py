"""D18: HEIC and AVIF where no decoder is there; and where there is one."""

from __future__ import annotations

import base64
import sys

import numpy as np
import pytest
from photo_kit import clean, encoded, jpeg, judge, picture, put, read, refused, said, write_classes
from PIL import AvifImagePlugin

from deitft.data.colour import PhotoNote
from deitft.data.decode import BadPhotoError, decode, examine

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAH8AAgAAAAACawABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAADAAAAABAAAAQAAAAAH////wAAAAAgAAAAAAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEA"
    "AQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAKttZGF0AAAAeygBr1jnCRycDAi+WGoZaDJqhYIpRRbM6I74K8iL"
    "BtYSH+g/ZqHKHwRF9yZV1D+b9ZNewmuYrg9lWpHbBSLyv54EqsTkluL8IoshQnBPSpVtwUfrrPpIpBXTZZTamuFCI5DEZHmFJ0xu"
    "lCKVMp4NUA/qfNGTKgSQMt+zgAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
"""``picture(3, (64, 48))``, stored on its side with a turn, as phones do; by libheif 1.23 and x265."""


def box(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0\0\0\x08mdat"


@pytest.fixture
def no_reader(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # its import fails, in forked readers too


@pytest.fixture
def reader():
    return pytest.importorskip("pillow_heif", reason='the extra "heic" is not installed')


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
@pytest.mark.parametrize("name", ["phone.heic", "phone.jpg", "phone"])
def test_D18_a_heic_is_told_by_its_content(tmp_path, brand, name, no_reader):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    clean(root, "D18")
    put(root, f"shoes/{name}", box(brand))
    error = refused(root, strict=True)
    assert (error.id, error.exit_code) == ("D18", 65)
    assert error.line == (
        '1 of 21 photos is HEIC and no HEIC reader is installed — pip install "deitft[heic]", convert it, '
        "or add --skip-bad"
    )


def test_D18_a_a_folder_from_a_phone(tmp_path, no_reader):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    for number in range(6):
        put(root, f"shoes/IMG_{number}.HEIC", HEIC + bytes(number))
    assert refused(root).line == (
        '6 of 26 photos are HEIC and no HEIC reader is installed — pip install "deitft[heic]", convert them, '
        "or add --skip-bad"
    )
    _, findings = judge(root, skip_bad=True)
    assert (findings.errors, len(findings.quarantined)) == ([], 6)


def test_D18_b_avif_with_a_pillow_that_cannot(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/x.avif", encoded(picture(50), "AVIF"))
    clean(root, "D18")
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    line = "1 of 21 photos is AVIF and no AVIF reader is installed — convert it or add --skip-bad"
    assert refused(root, strict=True).line == line


def test_D18_c_avif_here_is_read(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/x.avif", encoded(picture(50), "AVIF"))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert catalog.bad == {}


def test_D18_d_a_jpeg_called_heic_is_a_jpeg(tmp_path, no_reader):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/x.heic", jpeg(51))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert catalog.bad == {}
    assert ("D3", "info", "1 file has an extension that does not match") in said(catalog, findings)


def test_D18_with_a_reader_heic_is_a_photo_like_others(tmp_path, reader):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/phone.heic", HEIC)
    clean(root, "D18")
    found = examine(HEIC)
    assert (found.format, found.width, found.height, found.notes) == ("HEIC", 64, 48, PhotoNote(0))
    assert np.abs(decode(HEIC).astype(int) - np.asarray(picture(3, (64, 48)))).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_D18_a_turned_heic_stands_upright(reader, orientation):
    import io

    from PIL import Image

    upright = picture(3, (64, 48))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers of transposes that undo a turn
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    reader.from_pillow(stored).save(out, quality=95, exif=exif.tobytes())
    assert np.abs(decode(out.getvalue()).astype(int) - np.asarray(upright)).mean() < 6


def test_D18_damaged_and_huge_heic(reader):
    for data in (HEIC[:-100], HEIC[:40] + bytes(20) + HEIC[60:]):
        with pytest.raises(BadPhotoError) as caught:
            decode(data)
        assert caught.value.id == "D2"
    at = HEIC.index(b"ispe") + 8
    with pytest.raises(BadPhotoError, match="claims more than a photo should") as caught:
        decode(HEIC[:at] + (60000).to_bytes(4, "big") * 2 + HEIC[at + 8 :])
    assert caught.value.id == "D4"


def test_D18_a_reader_that_comes_later_is_noticed(tmp_path, reader, monkeypatch):
    """What the cache says of a photo holds for the decoders of that day."""
    root = write_classes(tmp_path / "p", {"shoes": 3, "hats": 3})
    put(root, "shoes/phone.heic", HEIC)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        assert [bad.id for bad in read(root, cache_dir=tmp_path / "cache").bad.values()] == ["D18"]
    assert read(root, cache_dir=tmp_path / "cache").bad == {}
