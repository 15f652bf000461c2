"""The one decoder: bytes -> upright RGB array. Training, evaluation, prediction and reports all see this.

The only place that opens an image with Pillow. The format is told by content from an allow-list, the claimed
size is refused before a pixel is reserved, orientation is applied, transparency is laid on a background,
depth and colour become 8-bit RGB. Nothing is repaired on disk, nothing is replaced.

Legend: H x W pixels.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from deitft.data import formats
from deitft.data.bad_photo import BadPhotoError, bad, bad_photo_text, max_pixels
from deitft.data.catalog import shown
from deitft.data.colour import NoKnownRangeError, PhotoNote, to_rgb
from deitft.data.jpeg import Pixels, jpeg_scale, turned, whole_jpeg, with_end
from deitft.data.jpeg_segments import frame_of, lacks_end
from deitft.data.looks import LONGER_SIDE, Looks, look_at, look_at_image
from deitft.data.quiet import silenced

__all__ = ["BadPhotoError", "Examined", "bad_photo_text", "decode", "decode_file", "examine", "photo_size"]

MAX_FILE_BYTES = 512 * 1024 * 1024
"""A file must have fewer: photos are read whole."""
MIN_SIDE = 8
"""Pixels a side at least (fault D10)."""
MAX_ASPECT = 20
"""Longer photos are cut to this many times their shorter side, around the middle (fault D10)."""
WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Examined:
    """What ``examine`` found: format, upright size in pixels, flags, and what the photo looks like."""

    format: str
    width: int
    height: int
    notes: PhotoNote
    looks: Looks | None = field(default=None, compare=False)


def decode(
    data: bytes, *, background: tuple[int, int, int] = WHITE, at_least: int | None = None
) -> npt.NDArray[np.uint8]:
    """The photo as an upright RGB array [H, W, 3], writable.

    ``background`` is what transparency is laid on. ``at_least`` allows a JPEG to be decoded at 1/2, 1/4 or
    1/8 scale (much faster) as long as its shorter side keeps that many pixels. A photo longer than 20 : 1 is
    cut to that, around its middle. Of an animation the first frame is used.

    Raises:
        BadPhotoError: ids D2 (cannot be read), D3 (not an image), D4 (claims too many pixels), D6 (float or
            32-bit pixels), D10 (smaller than 8 x 8), D18 (HEIC).
    """
    with _errors_named(data):
        photo = _open(data)
        pixels, _ = _quickly(photo, data, at_least)
        if pixels is not None:
            return _bounded(turned(pixels, _orientation(photo)[0]))
        _load(photo, data, at_least)
        rgb, _ = to_rgb(photo.image, background, bits=photo.bits)
        upright = _turn(rgb, _orientation(photo)[0])
    return _bounded(np.array(upright))


def decode_file(
    path: Path, *, background: tuple[int, int, int] = WHITE, at_least: int | None = None
) -> npt.NDArray[np.uint8]:
    """``decode`` of a file; the error names it.

    Raises:
        BadPhotoError: as ``decode``, and D2 where the file cannot be read at all.
    """
    try:
        try:
            with path.open("rb") as file:
                data = read_limited(file)
        except OSError as error:
            raise bad("D2", (error.strerror or str(error)).lower()) from error
        return decode(data, background=background, at_least=at_least)
    except BadPhotoError as error:
        name = shown(str(path))
        what = bad_photo_text(error.id, name, error.reason)
        raise BadPhotoError(what, error.hint, id=error.id, files=(str(path),), details=error.details) from error


def read_limited(file: BinaryIO) -> bytes:
    """A photo's content, of an open file; one too large to be a photo is refused, not read to its end.

    Raises:
        BadPhotoError: id D4.
        OSError: the system's reason.
    """
    # python reserves what it is asked for: no more than the file has, unless it grows meanwhile
    size = os.fstat(file.fileno()).st_size
    data = file.read(min(size + 1, MAX_FILE_BYTES))
    if len(data) > size:
        data += file.read(MAX_FILE_BYTES - len(data))
    if len(data) == MAX_FILE_BYTES:
        raise bad("D4", f"has more bytes than a photo (limit {MAX_FILE_BYTES // 2**20} MiB)")
    return data


def photo_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels as seen upright, from the header alone.

    Raises:
        BadPhotoError: as ``decode``, as far as the header tells.
    """
    with _errors_named(data):
        photo = _open(data)
        return _upright_size(photo)


def examine(
    data: bytes,
    *,
    alone: Callable[[int], contextlib.AbstractContextManager[None]] | None = None,
) -> Examined:
    """Decode a photo wholly, to know that it can be, and say what is special about it.

    A large JPEG is decoded at reduced scale: every byte of it is read all the same. ``alone(pixels)`` is entered
    while that many decoded pixels are held. Damage inside a JPEG is noted.

    Raises:
        BadPhotoError: as ``decode``.
    """
    with _errors_named(data):
        photo = _open(data)
        width, height = photo.image.size
        shorter = max(MIN_SIDE, -(-LONGER_SIDE * min(width, height) // max(width, height)))
        held = width * height // _scale(photo, shorter) ** 2
        with alone(held) if alone else contextlib.nullcontext():
            looks, notes = _looked_at(photo, data, shorter)
            orientation, readable = _orientation(photo)
            moving = _has_more_frames(photo.image)
    if orientation >= 5:
        width, height = height, width
    if moving:
        notes |= PhotoNote.ANIMATED
    if not readable:
        notes |= PhotoNote.BAD_EXIF
    return Examined(photo.format, width, height, notes, looks)


def _looked_at(photo: _Photo, data: bytes, shorter: int) -> tuple[Looks, PhotoNote]:
    """Decode wholly and describe, turned upright."""
    width, height = photo.image.size
    orientation = _orientation(photo)[0]
    size = (height, width) if orientation >= 5 else (width, height)
    pixels, damaged = _quickly(photo, data, shorter)
    if pixels is not None:
        return look_at(turned(pixels, orientation), size), _end_note(data)
    notes = PhotoNote.DAMAGED if damaged else PhotoNote(0)
    notes |= _load(photo, data, shorter)
    rgb, colour_notes = to_rgb(photo.image, WHITE, bits=photo.bits)
    return look_at_image(_turn(rgb, _orientation(photo)[0]), size), notes | colour_notes


def _quickly(photo: _Photo, data: bytes, at_least: int | None) -> tuple[Pixels | None, bool]:
    """(RGB pixels as stored, or None where they are for Pillow to make; whether it is a JPEG damaged inside).

    One whose end marker alone is lost gets one, in memory.
    """
    if photo.format != "JPEG":
        return None, False
    pixels, damaged = whole_jpeg(data, _scale(photo, at_least), photo.colours)
    if pixels is None and (ended := with_end(data, photo.colours)):
        photo.image = _Jpeg(io.BytesIO(ended))  # for Pillow, where these are not RGB
        pixels, damaged = whole_jpeg(ended, _scale(photo, at_least), photo.colours)
    return (pixels if photo.colours == "RGB" else None), damaged


def _scale(photo: _Photo, at_least: int | None) -> int:
    """By how much a photo may be reduced while it is decoded."""
    return jpeg_scale(*photo.image.size, at_least) if at_least is not None and photo.reducible else 1


def _has_more_frames(image: ImageFile.ImageFile) -> bool:
    """Beyond the first frame nothing is used, but a person should know that there is more, damaged or not."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 - a decoder raises anything when its input is damaged
        return True


@dataclass(slots=True)
class _Photo:
    """An opened image: its header is read and its size accepted, its pixels are not decoded yet."""

    image: ImageFile.ImageFile
    format: str
    exif: bytes | None  # where Pillow does not find it
    bits: int  # a channel
    reducible: bool = False  # a JPEG that can be decoded at a part of its size

    @property
    def colours(self) -> str:
        """What a JPEG's pixels are inside."""
        return "RGB" if self.image.mode in ("RGB", "L") else "CMYK"


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """Pillow's JPEG reader, without a look into EXIF for the resolution: slow, and it warns of garbled blocks."""

    def _read_dpi_from_exif(self) -> None:
        pass


_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": _Jpeg,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


def heic_opener() -> type[ImageFile.ImageFile] | None:
    """The reader of HEIC, where the extra "heic" is installed. It turns photos upright by itself."""
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.options.DECODE_THREADS = 1  # photos are spread over processes
    opener: type[ImageFile.ImageFile] = pillow_heif.HeifImageFile
    return opener


def _open(data: bytes) -> _Photo:
    kind = _format_of(data)
    exif = None
    claimed = {"WEBP": formats.webp_size, "GIF": formats.gif_size}.get(kind)
    if claimed is not None and (size := claimed(data)):
        _check_size(*size)
    if kind == "PNG":
        damage, exif = formats.png_chunks(data)
        if damage:
            raise bad("D2", damage)
    opener = heic_opener() if kind == "HEIC" else _OPENERS[kind]
    image = (opener or ImageFile.ImageFile)(io.BytesIO(data))
    _check_size(*image.size)
    frame = frame_of(data) if kind == "JPEG" else None
    return _Photo(image, kind, exif, _bits(image, kind, data), frame is not None and frame.is_common)


def _format_of(data: bytes) -> str:
    kind = formats.sniff(data)
    if (kind == "HEIC" and heic_opener() is None) or (kind == "AVIF" and not AvifImagePlugin.SUPPORTED):
        raise bad("D18", f"is {kind} and no {kind} reader is installed")
    if kind is None:
        if not data:
            raise bad("D2", "file is empty")
        if formats.is_start_of_photo(data):
            raise bad("D2", f"file ends early at byte {len(data)}")
        raise bad("D3", f'is not an image (starts with "{formats.first_words(data)}")')
    return kind


def _check_size(width: int, height: int) -> None:
    if width * height >= max_pixels():
        limit = f"limit {max_pixels() / 1e6:g} million"
        raise bad("D4", f"claims {width} x {height} pixels ({limit})")
    if min(width, height) < MIN_SIDE:
        raise bad("D10", f"is smaller than {MIN_SIDE} x {MIN_SIDE} pixels ({width} x {height})")


def _bits(image: ImageFile.ImageFile, kind: str, data: bytes) -> int:
    if kind == "PNG":
        return data[24]
    if kind == "TIFF":
        tags: Any = image
        return max(tags.tag_v2.get(258, (1,)), default=1)
    return 8


def _load(photo: _Photo, data: bytes, at_least: int | None) -> PhotoNote:
    """Decode the pixels by Pillow, after ``_quickly``."""
    if photo.format != "JPEG":
        photo.image.load()
        return PhotoNote(0)
    width, height = photo.image.size
    scale = _scale(photo, at_least)
    if scale > 1:
        photo.image.draft("RGB", (width // scale, height // scale))
    photo.image.load()
    return _end_note(data)


def _end_note(data: bytes) -> PhotoNote:
    return PhotoNote.NO_END_MARKER if lacks_end(data) else PhotoNote(0)


def _orientation(photo: _Photo) -> tuple[int, bool]:
    """(orientation 1 to 8, whether the EXIF block could be read)."""
    if photo.format in ("TIFF", "HEIC"):  # their readers turn these themselves
        return 1, True
    block = formats.exif_block(photo.image.info) or photo.exif
    if block is None:
        return formats.xmp_orientation(photo.image.info), True
    orientation = formats.exif_orientation(block)
    if orientation in (None, 1):
        return formats.xmp_orientation(photo.image.info), orientation is not None
    return orientation or 1, True


def _upright_size(photo: _Photo) -> tuple[int, int]:
    width, height = photo.image.size
    return (height, width) if _orientation(photo)[0] >= 5 else (width, height)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _bounded(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut to 20 : 1 around the middle, so that no resize asks for gigabytes."""
    height, width = rgb.shape[:2]
    longest = MAX_ASPECT * min(height, width)
    if max(height, width) <= longest:
        return rgb
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return np.ascontiguousarray(rgb[top : top + min(height, longest), left : left + min(width, longest)])


@contextlib.contextmanager
def _errors_named(data: bytes) -> Iterator[None]:
    """Whatever a decoder raises on hostile bytes becomes a ``BadPhotoError``; its warnings stay inside."""
    try:
        with silenced(formats.sniff(data)):
            yield
    except BadPhotoError:
        raise
    except NoKnownRangeError as error:
        raise bad("D6", f"has {error} pixels with no known range") from error
    except (MemoryError, Image.DecompressionBombError) as error:
        raise bad("D4", "needs more memory than a photo should") from error
    except Exception as error:
        raise _named(data, error) from error


def _named(data: bytes, error: Exception) -> BadPhotoError:
    kind, text = formats.sniff(data) or "", " ".join(str(error).split())
    if "Security limit exceeded" in text:  # libheif's own
        return bad("D4", "claims more than a photo should")
    if "Decompressed data too large" in text or "MAX_TEXT" in text:
        return bad("D4", "has a text that unpacks to more than a photo should")
    if formats.ends_early(kind, data):
        return bad("D2", f"file ends early at byte {len(data)}")
    if kind == "TIFF" and "unknown pixel mode" in text:
        return bad("D6", "has a kind of pixels that is not supported")
    return bad("D2", f"damaged {kind}: {shown(text)[:80]}" if text else f"damaged {kind}")
