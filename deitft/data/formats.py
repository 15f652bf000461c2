"""What a photo's bytes are, decided before any decoder sees them: format, claimed size, checksums, orientation.

Only formats on the list below reach a decoder. No pixel is touched here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from deitft.data.catalog import shown

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FORMAT_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF"

FORMAT_OF_EXTENSION: Mapping[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIC",
    ".heif": "HEIC",
}
"""Extensions of photos, in lower case. What a file is, its content says; a mismatch is counted."""

SNIFFED_BYTES = 64
"""Bytes of a file that ``sniff`` needs."""

_PNG = b"\x89PNG\r\n\x1a\n"
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    _PNG: "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_BITMAP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(data: bytes) -> str | None:
    """The format of a file by its first bytes: one of ``FORMATS``, "HEIC", or None."""
    for start, name in _STARTS.items():
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), SNIFFED_BYTES)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIC_BRANDS:
            return "HEIC"
    return None


def is_start_of_photo(data: bytes) -> bool:
    """True where so few bytes are left that the format cannot be told, yet they fit one."""
    starts = (*_STARTS, b"RIFF")
    return any(start.startswith(data) or data == start for start in starts)


def first_words(data: bytes) -> str:
    """The beginning of a file that is no photo, as it may be shown."""
    text = data[:64].decode("latin-1").lstrip("\ufeff \t\r\n")
    return shown(text.splitlines()[0][:14] if text.strip() else data[:8].decode("latin-1"))


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP claims: its decoder reserves the memory before anybody can ask."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def gif_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a GIF's screen."""
    return struct.unpack_from("<HH", data, 6) if len(data) >= 10 else None


def png_chunks(data: bytes) -> tuple[str, bytes | None]:
    """Walk a PNG's chunks and check each one's CRC, which Pillow does not do for pixels.

    Returns (what is wrong or "", the content of its eXIf chunk or None).
    """
    at, exif = 8, None
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            break
        name = data[at + 4 : at + 8]
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"checksum of {shown(name.decode('latin-1'))} at byte {at} is wrong", exif
        if name == b"eXIf":
            exif = data[at + 8 : end - 4]
        if name == b"IEND":
            return "", exif
        at = end
    return f"file ends early at byte {len(data)}", exif


def ends_early(kind: str, data: bytes) -> bool:
    """True where a file that could not be decoded is shorter than it says, or lacks its end."""
    if kind == "JPEG":
        return not data.rstrip(b"\0\r\n").endswith(b"\xff\xd9")
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b"\x3b")
    if kind == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    if kind in ("AVIF", "HEIC"):
        at = 0
        while at + 8 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            at = at + size if size >= 8 else len(data)
        return at > len(data)
    return False


def exif_block(info: Mapping[Any, Any]) -> bytes | None:
    """The EXIF block among what Pillow read of a file, or None."""
    block = info.get("exif")
    if isinstance(block, bytes):
        return block
    text = info.get("Raw profile type exif")  # ImageMagick's way to put EXIF into PNG text
    if isinstance(text, str):
        try:
            return bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            return b""
    return None


def exif_orientation(block: bytes) -> int | None:
    """The orientation (1 to 8) that an EXIF block asks for; 1 where it asks for none; None: unreadable.

    Reads the one tag and nothing else: a phone's block has hundreds, and a garbled one costs nothing.
    """
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", block, entry)
            if tag == 0x0112:
                letter = {1: "B", 3: "H", 4: "I"}.get(kind)
                value = struct.unpack_from(order + letter, block, entry + 8)[0] if letter else 1
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return None
    return 1


_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])["<]')


def xmp_orientation(info: Mapping[Any, Any]) -> int:
    """The orientation in an XMP packet, read where EXIF has none (some editors write only this one)."""
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    match = _XMP_ORIENTATION.search(packet) if isinstance(packet, bytes) else None
    return int(match[1]) if match else 1
