"""D4: decompression bomb, huge image."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import psutil
import pytest
from photo_kit import clean, encoded, jpeg, judge, picture, put, read, refused, said, write_classes
from PIL import Image, PngImagePlugin

from deitft.compute.limits import resident_peak
from deitft.data import decode as room
from deitft.data import reading_limits
from deitft.data.bad_photo import MAX_PIXELS, max_pixels, pixel_count, pixel_limit
from deitft.data.catalog import BadPhoto
from deitft.data.decode import BadPhotoError, decode, examine, photo_size
from deitft.errors import UsageError


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_claiming(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def grey_png(width: int, height: int) -> bytes:
    """A black photo that is all there; making it takes no memory."""
    press = zlib.compressobj(1)
    pixels = b"".join(press.compress(bytes(width + 1)) for _ in range(height)) + press.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


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
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the high-water mark begins anew: tests before may have used more
    before = resident_peak()
    for data, _ in (*BOMBS.values(), (png_claiming(13001, 12999), ()), (png_claiming(60000, 60000, 16, 6), ())):
        for judge_one in (examine, decode):
            with pytest.raises(BadPhotoError) as caught:
                judge_one(data)
            assert caught.value.id == "D4"
    assert resident_peak() - before < 100e6


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


# The reading process: seconds, memory


def scan_bomb(side: int, repeats: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: a few bytes each, all pixels visited each time."""
    data = encoded(Image.new("L", (side, side), 128), progressive=True, quality=50)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * repeats + b"\xff\xd9"


def test_D4_a_photo_that_takes_too_long_is_named_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_limits, "SECONDS", 0.4)
    root = write_classes(tmp_path / "p", {"shoes": 50, "hats": 50})
    put(root, "shoes/015-control.jpg", scan_bomb(3000, 0))
    clean(root, "D4")
    put(root, "shoes/016-slow.jpg", scan_bomb(3000, 600))  # 60 kB, four seconds
    catalog, findings = judge(root)
    assert catalog.bad == {
        catalog.paths.index("shoes/016-slow.jpg"): BadPhoto("D4", "takes longer than 0.4 s to decode")
    }
    assert sum(map(bool, catalog.digests)) == len(catalog) - 1
    line = "shoes/016-slow.jpg takes longer than 0.4 s to decode — left out by name"
    assert ("D4", "warning", line) in said(catalog, findings)


def test_D4_the_clock_is_of_work_not_of_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_limits, "SECONDS", 0.2)
    monkeypatch.setattr("deitft.data.photo_reader.examine", lambda data, **_: (time.sleep(0.5), examine(data))[1])
    assert read(write_classes(tmp_path / "p", {"shoes": 2, "hats": 1})).bad == {}


def test_D4_a_photo_that_needs_too_much_memory_is_named_and_its_reader_goes_on(tmp_path):
    """In a fresh process: one that has held gigabytes hands free memory on to the readers that it forks."""
    root = write_classes(tmp_path / "p", {"shoes": 5, "hats": 5})
    put(root, "shoes/002-big.png", grey_png(9900, 9900))
    clean(root, "D4")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from photo_kit import read\n"
        "from deitft.data import reading_limits\n"
        "reading_limits.BYTES_A_PIXEL = 1\n"
        "catalog = read(Path(sys.argv[1]))\n"
        "print({catalog.paths[row]: (bad.id, bad.reason) for row, bad in catalog.bad.items()})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout == "{'shoes/002-big.png': ('D4', 'needs more memory than a photo should')}\n", done.stderr


def peak_of(command: list[str], **options: object) -> tuple[int, int, str]:
    """Exit code, the most memory that a command and its children had together, and its stderr."""
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **options
    ) as process:
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            total = 0
            for one in [watched, *watched.children(recursive=True)]:
                try:
                    total += one.memory_full_info().pss
                except (psutil.Error, ProcessLookupError, FileNotFoundError):
                    continue
            peak = max(peak, total)
            time.sleep(0.02)
        assert process.stderr is not None
        return process.returncode, peak, process.stderr.read()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="shared memory is counted by /proc")
def test_D4_check_stays_small_with_eight_bombs(tmp_path):
    """Among them two that are allowed: almost 100 million pixels, with transparency."""
    root = write_classes(tmp_path / "p", {"shoes": 60, "hats": 60})
    allowed = encoded(Image.new("RGBA", (9950, 9950), (9, 9, 9, 128)), "PNG", compress_level=1)
    bombs = [data for data, _ in BOMBS.values()] + [allowed, allowed + b"\0"]
    for number, data in enumerate(bombs):
        put(root, f"shoes/bomb{number}.png", data)
    command = [sys.executable, "-m", "deitft", "check", str(root), "--out", str(tmp_path / "out")]
    code, peak, stderr = peak_of(
        command, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, cwd=tmp_path
    )
    assert code == 65, stderr
    assert 400e6 < peak < 1.5e9  # it did decode something large


# The limit


def test_D4_the_limit_can_be_raised_and_lowered(tmp_path):
    data = BOMBS["a"][0]
    root = write_classes(tmp_path / "p", {"shoes": 3, "hats": 3})
    put(root, "hats/big.png", data)
    cache = tmp_path / "cache"
    bad = BadPhoto("D4", "claims 10000 x 10000 pixels (limit 100 million)")
    assert list(read(root, cache_dir=cache).bad.values()) == [bad]
    with pixel_limit(pixel_count("150M")):
        assert photo_size(data) == (10000, 10000)
        assert read(root, cache_dir=cache).bad == {}  # what was judged by another limit is judged again
    assert list(read(root, cache_dir=cache).bad.values()) == [bad]
    with pixel_limit(400):
        assert len(read(root, cache_dir=cache).bad) == 7
    assert max_pixels() == MAX_PIXELS


@pytest.mark.parametrize(
    ("text", "count"), [("200M", 200_000_000), ("1.5m", 1_500_000), ("150_000_000", 150_000_000)]
)
def test_D4_counts_of_pixels_as_people_write_them(text, count):
    assert pixel_count(text) == count


@pytest.mark.parametrize("text", ["", "many", "-5", "0", "1e9", "200 MB", "9999999M"])
def test_D4_other_words_are_no_count(text):
    with pytest.raises(UsageError, match="not a number of pixels") as caught:
        pixel_count(text)
    assert (caught.value.id, caught.value.exit_code) == ("PIXELS", 2)
