"""libjpeg-turbo's JPEGs against Pillow's: the same pixels to the last bit, and the same verdicts."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from photo_kit import encoded, jpeg, picture, put, read, write_classes
from PIL import Image

from deitft.data.decode import BadPhotoError, decode, examine
from deitft.data.jpeg import jpeg_scale, turned, whole_jpeg, with_end
from deitft.data.jpeg_segments import frame_of, has_all_scans, lacks_end, segments


def by_pillow(function, *words, **more):
    """What a function of ``decode`` says where Pillow decodes everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deitft.data.decode.whole_jpeg", lambda *_: (None, False))
        return function(*words, **more)


KINDS = {
    "plain": {},
    "grey": {"mode": "L"},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True, "quality": 40},
    "rgb inside": {"keep_rgb": True},
}


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pixels_as_pillow(kind, scale):
    options = dict(KINDS[kind])
    image = picture(3, (203, 157)).convert(options.pop("mode", "RGB"))
    data = encoded(image, **options)
    found, damaged = whole_jpeg(data, scale)
    reference = Image.open(io.BytesIO(data))
    if scale > 1:
        reference.draft("RGB", (203 // scale, 157 // scale))
    assert found is not None
    assert not damaged
    assert np.array_equal(found, np.asarray(reference.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_looks_are_pillows_whatever_the_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(1, (320, 200)), exif=exif.tobytes())
    quick, slow = examine(data), by_pillow(examine, data)
    assert quick == slow
    assert quick.looks is not None
    assert slow.looks is not None
    assert quick.looks.pixels == slow.looks.pixels
    assert np.array_equal(quick.looks.look, slow.looks.look)
    assert (quick.looks.contrast, quick.looks.sharpness) == (slow.looks.contrast, slow.looks.sharpness)


@pytest.mark.parametrize("at_least", [None, 90])
@pytest.mark.parametrize("orientation", [1, 5, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_photos_are_pillows_to_the_last_bit_and_may_be_written(kind, orientation, at_least):
    options = dict(KINDS[kind])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(2, (413, 227)).convert(options.pop("mode", "RGB")), exif=exif.tobytes(), **options)
    quick = decode(data, at_least=at_least)
    assert np.array_equal(quick, by_pillow(decode, data, at_least=at_least))
    assert quick.flags.writeable
    assert quick.flags.c_contiguous
    assert quick.shape == ((227, 413, 3) if orientation < 5 else (413, 227, 3)) or at_least


WAYS_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(9))
def test_turned_puts_every_orientation_upright(orientation):
    image = picture(2, (30, 20))
    stored = image.transpose(WAYS_BACK[orientation]) if orientation in WAYS_BACK else image
    assert np.array_equal(turned(np.asarray(stored), orientation), np.asarray(image))


def test_damage_and_cuts_are_left_to_pillow():
    data = jpeg(5, (300, 200))
    third = len(data) // 3
    blank = data[:third] + bytes(third) + data[2 * third :]
    assert whole_jpeg(blank, 1) == (None, True)
    for cut in (data[: len(data) // 2], data[:-2], b"\xff\xd8\xff", b""):
        assert whole_jpeg(cut, 1)[0] is None
    with pytest.raises(BadPhotoError):
        examine(data[: len(data) // 2])
    assert whole_jpeg(data + b"what a phone appends", 1)[0] is not None


def test_what_is_not_rgb_is_left_to_pillow():
    data = encoded(picture(4, (64, 64)).convert("CMYK"))
    quick, slow = examine(data), by_pillow(examine, data)
    assert quick == slow
    assert quick.looks.pixels == slow.looks.pixels


def test_verdicts_in_reading_processes(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 3, "b": 3}, size=(300, 200))
    data = jpeg(6, (300, 200))
    put(root, "a/no-end.jpg", data[:-2])
    put(root, "b/blank.jpg", data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * len(data) // 3 :])
    put(root, "b/whole.jpg", data)
    catalog = read(root)
    notes = dict(zip(catalog.paths, catalog.notes.tolist(), strict=True))
    assert {path: note for path, note in notes.items() if note} == {"a/no-end.jpg": 1, "b/blank.jpg": 2}
    pixels = dict(zip(catalog.paths, catalog.pixels, strict=True))
    assert pixels["a/no-end.jpg"].tobytes() == pixels["b/whole.jpg"].tobytes()


@pytest.mark.parametrize(("at_least", "want"), [(400, 1), (201, 1), (200, 2), (100, 4), (50, 8), (1, 8)])
def test_scales(at_least, want):
    assert jpeg_scale(533, 400, at_least) == want


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def lossless(width: int, height: int) -> bytes:
    """An RGB JPEG without losses: all differences are 0, one bit each."""
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    frame = segment(0xC3, b"\x08" + size + b"\x03R\x11\0G\x11\0B\x11\0")
    table = segment(0xC4, b"\0\1" + bytes(15) + b"\0")
    scan = segment(0xDA, b"\3R\0G\0B\0\1\0\0") + bytes(width * height * 3 // 8)
    return b"\xff\xd8" + adobe + frame + table + scan + b"\xff\xd9"


@pytest.mark.parametrize("at_least", [None, 100])
def test_lossless_files_are_never_reduced_and_left_to_pillow(at_least):
    # TurboJPEG makes room for the reduced picture and writes the whole one.
    data = lossless(300, 200)
    assert whole_jpeg(data, 2) == (None, False)
    assert decode(data, at_least=at_least).shape == (200, 300, 3)
    assert examine(data).width == 300


def test_rare_subsampling_is_read_at_every_scale():
    data = simplejpeg.encode_jpeg(np.asarray(picture(1, (320, 256))), colorsubsampling="411")
    turned_over = data.replace(b"\1\x41\0", b"\1\x14\0", 1)  # 4:4:1
    assert turned_over != data
    for at_least in (None, 64):
        assert decode(turned_over, at_least=at_least).size
    assert not examine(turned_over).notes


@pytest.mark.parametrize("progressive", [False, True])
def test_a_lost_end_marker_costs_little_and_is_all_that_is_lost(progressive):
    data = encoded(picture(7, (1200, 900)), progressive=progressive)
    assert np.array_equal(decode(data[:-2], at_least=300), decode(data, at_least=300))
    assert np.array_equal(decode(data[:-1]), decode(data))
    assert with_end(data) is None
    assert with_end(data[:-2]) == with_end(data[:-1]) == data
    for cut in (3, 4, 10, 500):
        assert with_end(data[:-cut]) is None
    assert with_end(data[: len(data) // 2]) is None


def test_what_follows_the_end_is_no_matter():
    data = jpeg(5, (300, 200))
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08\xff\xd8" * 50
    assert not lacks_end(data + film)
    assert lacks_end(data[:-2])
    thumbnail = segment(0xE1, b"Exif\0\0" + data)
    inside = data[:2] + thumbnail + data[2:]
    assert not lacks_end(inside)
    assert lacks_end(inside[:-2])  # the thumbnail's end is not the photo's


@pytest.mark.parametrize(
    "start", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\0", b"\xff\xd8junk", b"\xff\xd8\xff\xe0\0\0"]
)
def test_a_header_that_is_none(start):
    assert frame_of(start) is None


def test_a_frame_header_is_found_behind_filling():
    data = jpeg(5, (300, 200))
    frame = frame_of(data[:2] + b"\xff\xff" + data[2:])
    assert frame == frame_of(data) == (0xC0, 8, 200, 300)


def test_scans_of_a_jpeg():
    assert has_all_scans(jpeg())
    slow = encoded(picture(), progressive=True)
    assert has_all_scans(slow)
    last = slow.rindex(b"\xff\xda")
    assert not has_all_scans(slow[:last])
    assert not has_all_scans(slow[: last + 5])
    assert has_all_scans(encoded(picture(), restart_marker_blocks=1))


@given(st.binary(max_size=60), st.integers(2, 700))
def test_no_bytes_trouble_who_walks_segments(noise, at):
    data = jpeg(5, (30, 20))
    for hostile in (data[:at] + noise, data[:at] + noise + data[at:], b"\xff\xd8" + noise):
        found = list(segments(hostile))
        assert [one.start for one in found] == sorted({one.start for one in found})
        assert frame_of(hostile) is None or frame_of(hostile).coding in range(0xC0, 0xD0)
        assert {type(lacks_end(hostile)), type(has_all_scans(hostile))} == {bool}
