"""D4: decompression bomb, huge image."""

from __future__ import annotations

import io
import resource
import struct
import zlib

import pytest
from photo_kit import clean, encoded, jpeg, judge, picture, put, refused, write_classes
from PIL import Image, PngImagePlugin

from deitft.data import decode as room
from deitft.data.decode import BadPhotoError, decode, examine, photo_size


def png_claiming(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded(picture(), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"))  # an extended header
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def gif_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded(picture(), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


BOMBS = {
    "a": (encoded(Image.new("1", (10000, 10000)), "PNG"), (10000, 10000)),
    "b": (png_claiming(13000, 13000), (13000, 13000)),
    "c": (png_claiming(2**31 - 1, 2**31 - 1), (2**31 - 1, 2**31 - 1)),
    "jpeg": (jpeg_claiming(65000, 65000), (65000, 65000)),
    "webp": (webp_claiming(16000, 16000), (16000, 16000)),
    "gif": (gif_claiming(65000, 2000), (65000, 2000)),
}


@pytest.mark.parametrize("case", BOMBS)
def test_D4_abc_the_header_is_enough(tmp_path, case):
    data, (width, height) = BOMBS[case]
    root = write_classes(tmp_path / "p", {"shoes": 20, "hats": 20})
    clean(root, "D4")
    put(root, "shoes/017.jpg", data)
    error = refused(root, strict=True)
    assert (error.id, error.exit_code, error.line) == (
        "D4",
        65,
        f"shoes/017.jpg claims {width} x {height} pixels (limit 100 million) "
        "— resize it, raise --max-pixels, or add --skip-bad",
    )
    with pytest.raises(BadPhotoError, match="claims"):
        photo_size(data)


def test_D4_memory_stays_small():
    """Eight bombs refused without reserving what they claim: 169 million pixels are half a gigabyte."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data, _ in (*BOMBS.values(), (png_claiming(13001, 12999), ()), (png_claiming(60000, 60000, 16, 6), ())):
        for judge_one in (examine, decode):
            with pytest.raises(BadPhotoError) as caught:
                judge_one(data)
            assert caught.value.id == "D4"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_D4_d_text_that_unpacks_to_more_than_a_photo():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 200_000_000, zip=True)
    with pytest.raises(BadPhotoError, match="text that unpacks") as caught:
        decode(encoded(picture(), "PNG", pnginfo=text))
    assert caught.value.id == "D4"


def test_D4_e_a_long_animation_costs_one_frame():
    frames = [Image.new("RGB", (64, 64), (index % 250, index // 250, 9)) for index in range(400)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    data = out.getvalue()
    assert room.examine(data).notes == room.PhotoNote.ANIMATED
    assert decode(data).shape == (64, 64, 3)


def test_D4_f_lying_strips():
    data = bytearray(encoded(picture(), "TIFF"))
    for tag in (273, 279):  # where the strips are, how long they are
        at = data.index(struct.pack("<HH", tag, 4)) if struct.pack("<HH", tag, 4) in data else -1
        if at >= 0:
            data[at + 8 : at + 12] = struct.pack("<I", 2**31)
    with pytest.raises(BadPhotoError) as caught:
        decode(bytes(data))
    assert caught.value.id in ("D2", "D4")


def test_D4_g_a_genuine_large_photo_passes(tmp_path):
    data = encoded(Image.new("RGB", (9248, 6944), (90, 120, 200)))  # 64 megapixels
    assert decode(data, at_least=500).shape == (868, 1156, 3)
    root = write_classes(tmp_path / "p", {"shoes": 2, "hats": 2})
    put(root, "shoes/phone.jpg", data)
    catalog, findings = judge(root)
    assert (catalog.bad, findings.errors) == ({}, [])
    assert catalog.widths.max() == 9248
