"""D6: CMYK JPEG and 16-bit PNG (colour depth)."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from photo_kit import clean, encoded, judge, picture, put, refused, said, write_classes
from PIL import Image, ImageCms

from deitft.data.decode import PhotoNote, decode, examine


def without_adobe(data: bytes) -> bytes:
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def ramp16() -> np.ndarray:
    return np.linspace(0, 65535, 256 * 64).astype(np.uint16).reshape(64, 256)


def png16(values: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    """A 16-bit PNG, written by hand: Pillow cannot write 16-bit colours."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    key = chunk(b"tRNS", extra) if extra else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + key
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_D6_a_cmyk_is_close_to_the_original():
    image = picture(0, (96, 64))
    data = encoded(image.convert("CMYK"), quality=98)
    assert b"\xff\xee" in data
    assert np.abs(decode(data).astype(int) - np.asarray(image)).mean() < 3
    assert decode(data, at_least=16).shape == (16, 24, 3)


def test_D6_bc_cmyk_without_profile_is_said(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    clean(root, "D6")
    data = encoded(picture(0, (96, 64)).convert("CMYK"))
    put(root, "a/b.jpg", without_adobe(data))
    put(root, "b/c.jpg", encoded(picture(1, (96, 64)).convert("CMYK").point(lambda value: 255 - value)))
    catalog, findings = judge(root)
    findings.raise_errors()
    assert ("D6", "warning", "2 photos are CMYK without profile, colours may be off") in said(catalog, findings)


def test_D6_a_profile_is_used_and_a_broken_one_is_none():
    image = picture(0, (96, 64))
    cmyk = image.convert("CMYK")
    broken = encoded(cmyk, icc_profile=b"not a profile at all, but long enough to be looked at" * 4)
    assert examine(broken).notes == PhotoNote.PLAIN_CMYK
    assert np.array_equal(decode(broken), decode(encoded(cmyk)))
    # No CMYK profile can be made here; one of another colour space cannot be applied, and is none as well.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert examine(encoded(cmyk, icc_profile=srgb)).notes == PhotoNote.PLAIN_CMYK


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_D6_de_sixteen_bit_greys_keep_their_levels(kind):
    values = ramp16()
    data = encoded(Image.fromarray(values), kind)
    rgb = decode(data)
    assert len(np.unique(rgb)) >= 250
    assert np.array_equal(rgb[..., 0], np.round(values / 257).astype(np.uint8))
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
    assert examine(data).notes == PhotoNote.SIXTEEN_BIT


def test_D6_e_big_endian_tiff():
    values = ramp16()
    data = encoded(Image.fromarray(values.astype(">u2")), "TIFF")
    assert len(np.unique(decode(data))) >= 250


def test_D6_f_sixteen_bit_colours_and_transparency():
    values = np.stack([ramp16(), ramp16()[::-1], np.full((64, 256), 257 * 40)], axis=-1)
    rgb = decode(png16(values, 2))
    assert np.abs(rgb.astype(int) - values / 257).max() <= 1
    assert examine(png16(values, 2)).notes == PhotoNote.SIXTEEN_BIT
    alpha = np.concatenate([values, np.full((64, 256, 1), 65535)], axis=-1)
    alpha[:32, :, 3] = 0
    assert (decode(png16(alpha, 6))[:32] == 255).all()
    key = values[10, 10]
    flat = values.copy()
    flat[:8] = key
    assert (decode(png16(flat, 2, key.astype(">u2").tobytes()))[:8] == 255).all()
    grey = ramp16()
    grey[:8] = 1234
    assert (decode(png16(grey, 0, np.array(1234).astype(">u2").tobytes()))[:8] == 255).all()


def test_D6_is_said(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    for number in range(4):
        put(root, f"a/deep{number}.png", encoded(Image.fromarray(ramp16() // (number + 1)), "PNG"))
    catalog, findings = judge(root)
    assert ("D6", "warning", "4 photos are 16-bit, scaled to 8-bit by value / 257") in said(catalog, findings)


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_D6_g_floats_are_refused(tmp_path, value):
    root = write_classes(tmp_path / "p", {"shoes": 10, "hats": 10})
    put(root, "shoes/017.tif", encoded(Image.fromarray(np.full((40, 40), value, np.float32)), "TIFF"))
    error = refused(root, strict=True)
    assert (error.id, error.exit_code) == ("D6", 65)
    assert error.what == "shoes/017.tif has floating-point pixels with no known range"


def test_D6_h_one_bit_lab_and_ycc():
    checks = np.indices((40, 40)).sum(axis=0) % 2 == 0
    assert np.array_equal(decode(encoded(Image.fromarray(checks), "PNG"))[..., 1], np.where(checks, 255, 0))
    lab = Image.new("LAB", (40, 40), (255, 128, 128))
    assert decode(encoded(lab, "TIFF")).min() > 245  # L = 100 is white
    ycc = picture(0, (48, 40)).convert("YCbCr")
    assert np.abs(decode(encoded(ycc, "TIFF")).astype(int) - np.asarray(picture(0, (48, 40)))).mean() < 2
