from __future__ import annotations

import io
import logging
import os
import pickle
import struct
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photo_kit import encoded, jpeg, picture, put
from PIL import Image

from deitft.data import decode as room
from deitft.data import formats, quiet
from deitft.data.colour import NoKnownRangeError, PhotoNote, to_rgb
from deitft.data.decode import BadPhotoError, decode, decode_file, examine, photo_size


def far(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_decodes_to_the_same_picture(kind):
    image = picture(3, (64, 48))
    data = encoded(image, kind)
    rgb = decode(data)
    assert (rgb.shape, rgb.dtype, rgb.flags.writeable, rgb.flags.c_contiguous) == (
        (48, 64, 3),
        np.uint8,
        True,
        True,
    )
    assert far(rgb, np.asarray(image)) < 8
    assert photo_size(data) == (64, 48)
    assert examine(data) == room.Examined(kind, 64, 48, PhotoNote(0))


def test_jpeg_equals_pillow_bit_for_bit():
    data = jpeg(1, (61, 47))
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(
    ("size", "at_least", "want"),
    [
        ((400, 533), 224, (533, 400)),
        ((400, 533), 200, (267, 200)),
        ((401, 533), 201, (267, 201)),
        ((400, 533), 100, (134, 100)),
        ((400, 533), 50, (67, 50)),
        ((400, 533), 1, (67, 50)),
        ((40, 30), 30, (30, 40)),
        ((200, 18), 3, (3, 25)),
        ((200, 18), 4, (5, 50)),
    ],
)
def test_reduced_scale_keeps_the_shorter_side(size, at_least, want):
    image = picture(2, size)
    rgb = decode(encoded(image), at_least=at_least)
    assert rgb.shape[:2] == want
    assert min(rgb.shape[:2]) >= min(at_least, *size)
    if min(want) > 20:
        small = image.resize((want[1], want[0]), Image.Resampling.BOX)
        assert far(rgb, np.asarray(small)) < 8


def test_reduced_scale_is_for_jpeg_alone_and_turns_with_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(picture(0, (64, 48)), exif=exif), at_least=12).shape == (16, 12, 3)
    assert decode(encoded(picture(0, (64, 48)), "PNG"), at_least=12).shape == (48, 64, 3)


def test_decode_file_names_the_file(tmp_path):
    good = put(tmp_path, "a.jpg", jpeg())
    assert decode_file(good).shape == (40, 48, 3)
    bad = put(tmp_path, "b.jpg", jpeg()[:300])
    with pytest.raises(BadPhotoError) as caught:
        decode_file(bad)
    assert caught.value.line == (
        f"{bad} cannot be read (file ends early at byte 300) — restore it from the original or delete it"
    )
    assert (caught.value.id, caught.value.exit_code, caught.value.files) == ("D2", 65, (str(bad),))
    with pytest.raises(BadPhotoError, match=r"none.jpg cannot be read \(no such file or directory\)"):
        decode_file(tmp_path / "none.jpg")
    red = put(tmp_path, "bad\x1b[31m.jpg", b"<html>")
    with pytest.raises(BadPhotoError, match=r"bad\\x1b\[31m.jpg is not an image"):
        decode_file(red)


def test_a_bad_photo_error_crosses_a_process_border():
    with pytest.raises(BadPhotoError) as caught:
        decode(b"<html>")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.id, again.reason, again.line) == (
        BadPhotoError,
        "D3",
        'is not an image (starts with "<html>")',
        caught.value.line,
    )


def test_a_file_too_large_to_be_a_photo_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MAX_FILE_BYTES", 2**20)
    large, fits = tmp_path / "large", tmp_path / "fits"
    large.write_bytes(bytes(2**20 + 5))
    fits.write_bytes(bytes(2**20 - 1))
    with large.open("rb") as file, pytest.raises(BadPhotoError, match="more bytes than a photo") as caught:
        room.read_limited(file)
    assert caught.value.id == "D4"
    with fits.open("rb") as file:
        assert len(room.read_limited(file)) == 2**20 - 1


def test_a_file_whose_size_is_not_told_is_read_whole():
    with Path("/proc/self/status").open("rb") as file:  # its size is 0
        assert len(room.read_limited(file)) > 500


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"BM is not always a bitmap", None),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"MM\0*", "TIFF"),
        (b"%!PS-Adobe-3.0 EPSF", None),
        (b"8BPS\0\1", None),
        (b"", None),
    ],
)
def test_sniff(data, want):
    assert formats.sniff(data) == want


def test_every_extension_has_a_known_format():
    assert set(formats.FORMAT_OF_EXTENSION.values()) == {*formats.FORMATS, "HEIC"}


def test_claimed_sizes_are_read_as_pillow_reads_them():
    for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}):
        data = encoded(picture(0, (301, 77)), "WEBP", **options)
        assert formats.webp_size(data) == (301, 77)
    assert formats.webp_size(b"RIFF\0\0\0\0WEBPVP9 ") is None
    assert formats.webp_size(b"RIFF\0\0\0\0WEBPVP8X") is None
    assert formats.gif_size(encoded(picture(0, (301, 77)), "GIF")) == (301, 77)
    assert formats.gif_size(b"GIF89a") is None


def test_orientation_is_read_as_pillow_reads_it():
    for byte_order in (b"II", b"MM"):
        for value in range(1, 9):
            exif = Image.Exif()
            exif.endian = "<" if byte_order == b"II" else ">"
            exif[0x010F], exif[0x0112], exif[0x8769] = "maker", value, {0x9003: "2024:01:01 00:00:00"}
            assert formats.exif_orientation(exif.tobytes()) == value


@pytest.mark.parametrize(
    ("block", "want"),
    [
        (b"", None),
        (b"Exif\0\0", None),
        (b"Exif\0\0garbage garbage", None),
        (b"II*\0\xff\xff\xff\x7f", None),
        (b"II*\0\x08\0\0\0\x05\0", None),  # claims five entries, has none
        (b"II*\0\x08\0\0\0\0\0", 1),
        (b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, 9), 1),
        (b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 4, 1, 8), 8),
        (b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 2, 1, 8), 1),  # text is no number
        (b"Exif\0\0Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, 6), 6),
    ],
)
def test_orientation_of_odd_blocks(block, want):
    assert formats.exif_orientation(block) == want


def test_orientation_in_xmp_and_in_png_text():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert formats.xmp_orientation({"xmp": xmp}) == 6
    assert formats.xmp_orientation({"XML:com.adobe.xmp": xmp.decode()}) == 6
    assert formats.xmp_orientation({"xmp": b"<tiff:Orientation>8</tiff:Orientation>"}) == 8
    assert formats.xmp_orientation({}) == 1
    assert decode(encoded(picture(0, (30, 20)), xmp=xmp)).shape == (30, 20, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    text = "\nexif\n      42\n" + exif.tobytes().hex()
    assert formats.exif_orientation(formats.exif_block({"Raw profile type exif": text}) or b"") == 6
    assert formats.exif_block({"Raw profile type exif": "\nexif\n 2\nzz"}) == b""


def test_the_block_of_a_png_may_stand_behind_its_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(0, (30, 20)), "PNG", exif=exif)
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    moved = data[:at] + data[end:-12] + data[at:end] + data[-12:]
    assert decode(moved).shape == (30, 20, 3)
    assert photo_size(moved) == (20, 30)


def test_kinds_of_pixels_without_a_range_are_refused():
    with pytest.raises(NoKnownRangeError, match="32-bit"):
        to_rgb(Image.new("I", (9, 9)), (0, 0, 0))
    with pytest.raises(BadPhotoError, match="32-bit pixels with no known range"):
        decode(encoded(Image.new("I", (9, 9), 70000), "TIFF"))


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa"])
def test_rare_modes_with_transparency_are_laid_on_the_background(mode):
    source = Image.new("RGBA" if mode != "La" else "LA", (9, 9))
    image = Image.new("PA", (9, 9)) if mode == "PA" else source.convert(mode)
    rgb, notes = to_rgb(image, (10, 200, 30))
    if mode != "PA":
        assert notes == PhotoNote.TRANSPARENT
        assert np.asarray(rgb).reshape(-1, 3).tolist() == [[10, 200, 30]] * 81
    else:
        assert rgb.mode == "RGB"


def test_opaque_alpha_changes_nothing():
    image = picture()
    assert np.array_equal(decode(encoded(image.convert("RGBA"), "PNG")), np.asarray(image))


def test_half_transparent_is_the_mean_with_the_background():
    image = Image.new("RGBA", (10, 10), (200, 100, 0, 128))
    rgb = decode(encoded(image, "PNG"), background=(0, 100, 200))
    assert np.abs(rgb.astype(int) - (100, 100, 100)).max() <= 1


def test_warnings_and_logs_of_decoders_stay_inside(capfd):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x0f\x01\x02\0\xff\xff\xff\x7f\xff\xff\xff\x7f"
    damaged = bytearray(encoded(picture(), "TIFF", compression="tiff_lzw"))
    damaged[8:40] = bytes(32)
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (encoded(picture(), exif=exif), encoded(picture(), "WEBP", exif=exif)):
            assert PhotoNote.BAD_EXIF in examine(data).notes
            assert decode(data).shape == (40, 48, 3)
        with pytest.raises(BadPhotoError):
            decode(bytes(damaged))
    assert list(warnings.filters) == before
    os.write(2, b"still here\n")
    logging.getLogger("PIL.any").error("not printed")
    assert capfd.readouterr().err == "still here\n"


def test_silence_is_shared_between_threads_and_ends_with_the_last():
    before = list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet.silenced("TIFF"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait(10)
    with quiet.silenced("PNG"):
        assert warnings.filters[0][0] == "ignore"
        leave.set()
        thread.join()
        assert warnings.filters[0][0] == "ignore"
    assert list(warnings.filters) == before


def verdict(judge: Callable[[bytes], object], data: bytes) -> tuple[str, str]:
    try:
        judge(data)
    except BadPhotoError as error:
        return error.id, error.reason
    return "good", "good"


def test_random_damage_never_gives_anything_but_a_bad_photo_error():
    """300 damaged files a format would be the nightly; here 12 each, and both judges must agree."""
    draw = np.random.default_rng(11)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        whole = encoded(picture(0, (32, 24)), kind)
        for round in range(12):
            data = bytearray(whole[: int(draw.integers(1, len(whole)))] if round % 3 == 0 else whole)
            for at in draw.integers(0, len(data), 3).tolist() if round % 3 else []:
                data[at] ^= int(draw.integers(1, 256))
            verdicts = [verdict(judge, bytes(data)) for judge in (examine, decode)]
            assert verdicts[0] == verdicts[1]
            assert verdicts[0][1].isprintable()


def test_no_other_module_opens_an_image():
    package = Path(room.__file__).parent.parent
    words = ("Image.open", "ImagePlugin", "imread", "decode_jpeg", "decode_image", "read_image")
    opening = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text() for word in words)
    ]
    assert sorted(opening) == ["data/decode.py", "data/jpeg.py"]


def test_a_png_text_that_unpacks_too_large_and_memory_that_is_not_there(monkeypatch):
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setitem(room._OPENERS, "BMP", too_large)
    with pytest.raises(BadPhotoError, match="more memory") as caught:
        decode(encoded(picture(), "BMP"))
    assert caught.value.id == "D4"


def test_avif_without_its_reader(monkeypatch):
    monkeypatch.setattr(room.AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(BadPhotoError, match="is AVIF and no AVIF reader is installed") as caught:
        decode(encoded(picture(), "AVIF"))
    assert caught.value.id == "D18"


@pytest.mark.parametrize(
    ("data", "id", "reason"),
    [
        (b"", "D2", "file is empty"),
        (b"\x89PNG", "D2", "file ends early at byte 4"),
        (encoded(Image.new("RGB", (7, 9)), "PNG"), "D10", "is smaller than 8 x 8 pixels (7 x 9)"),
        (jpeg()[:-2].replace(b"\xff\xda", b"\xff\xdb", 1) + b"\xff\xd9", "D2", None),
    ],
)
def test_reasons(data, id, reason):
    with pytest.raises(BadPhotoError) as caught:
        decode(data)
    assert caught.value.id == id
    assert reason in (None, caught.value.reason)


def test_a_tiff_of_unknown_pixels_is_no_damage():
    data = bytearray(encoded(Image.new("F", (9, 9)), "TIFF"))
    at = data.index(struct.pack("<HHI", 258, 3, 1))  # bits a channel
    data[at + 8] = 24
    with pytest.raises(BadPhotoError, match="a kind of pixels that is not supported") as caught:
        decode(bytes(data))
    assert caught.value.id == "D6"


def test_examine_gives_the_upright_size_and_sees_more_frames():
    exif = Image.Exif()
    exif[0x0112] = 8
    assert examine(encoded(picture(0, (30, 20)), exif=exif)) == room.Examined("JPEG", 20, 30, PhotoNote(0))
    out = io.BytesIO()
    picture(1).save(out, "GIF", save_all=True, append_images=[picture(2)])
    assert examine(out.getvalue()).notes == PhotoNote.ANIMATED
    torn = bytearray(out.getvalue())
    second = torn.rindex(b"\x2c\0\0\0\0")
    torn[second + 5 : second + 9] = b"\xff\xff\xff\xff"  # a second frame of 65535 x 65535
    assert examine(bytes(torn)).notes == PhotoNote.ANIMATED
    assert decode(bytes(torn)).shape == (40, 48, 3)
