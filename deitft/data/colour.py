"""Whatever colour a decoder hands over -> 8-bit RGB: depth, CMYK, Lab, palettes, transparency.

Pillow's own ``convert("RGB")`` clips 16-bit greys to white and shows what lies hidden under full transparency;
both are undone here.
"""

from __future__ import annotations

import enum
import functools
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms


class PhotoNote(enum.IntFlag):
    """What is special about a photo that can be used."""

    NO_END_MARKER = 1  # D2: a JPEG without its last two bytes
    DAMAGED = 2  # D2: the decoder warned and went on
    WRONG_EXTENSION = 4  # D3
    BAD_EXIF = 8  # D5
    SIXTEEN_BIT = 16  # D6
    PLAIN_CMYK = 32  # D6: no profile says what its inks look like
    TRANSPARENT = 64  # D7: nothing but background is left
    ANIMATED = 128  # D8: only the first frame or page is used


class NoKnownRangeError(Exception):
    """Pixels are numbers whose black and white nobody knows; the text is their kind."""


_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_PLAIN = PhotoNote(0)


def to_rgb(
    image: Image.Image, background: tuple[int, int, int], *, bits: int = 8
) -> tuple[Image.Image, PhotoNote]:
    """A loaded image as mode RGB, and what was special about its colours.

    ``bits`` is the depth of one channel in the file. 16-bit greys become 8-bit by value / 257; of 16-bit
    colours Pillow gives the upper byte. CMYK goes through its profile where it has one.

    Raises:
        NoKnownRangeError: floating-point or 32-bit pixels.
    """
    notes = PhotoNote.SIXTEEN_BIT if bits == 16 else _PLAIN
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return (image if image.mode == "RGB" else image.convert("RGB")), notes
    if image.mode in ("F", "I"):
        raise NoKnownRangeError("floating-point" if image.mode == "F" else "32-bit")
    if image.mode.startswith("I;16"):
        return _from_16_bit(image, background, notes | PhotoNote.SIXTEEN_BIT)
    if image.mode == "CMYK":
        return _from_cmyk(image, notes)
    if image.mode == "LAB":
        return _through_profiles(image, _lab()), notes
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _flattened(image, background, notes, bits)
    return image.convert("RGB"), notes


def _from_16_bit(
    image: Image.Image, background: tuple[int, int, int], notes: PhotoNote
) -> tuple[Image.Image, PhotoNote]:
    values: npt.NDArray[np.uint16] = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray(((values.astype(np.uint32) * 2 + 257) // 514).astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey.convert("RGB"), notes
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return _laid_on(grey.convert("RGB"), alpha, background, notes)


def _flattened(
    image: Image.Image, background: tuple[int, int, int], notes: PhotoNote, bits: int
) -> tuple[Image.Image, PhotoNote]:
    """Composited on the background, so that colours hidden under full transparency never show."""
    key = image.info.get("transparency")
    if bits == 16 and isinstance(key, tuple):  # the pixels have lost their lower byte, the key has not
        image.info["transparency"] = tuple(part >> 8 for part in key)
    if image.mode in ("La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    return _laid_on(rgba, rgba.getchannel("A"), background, notes)


def _laid_on(
    image: Image.Image, alpha: Image.Image, background: tuple[int, int, int], notes: PhotoNote
) -> tuple[Image.Image, PhotoNote]:
    extrema: Any = alpha.getextrema()
    if extrema == (255, 255):
        return image.convert("RGB"), notes
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image.convert("RGB") if image.mode != "RGBA" else image, mask=alpha)
    return canvas, notes | (PhotoNote.TRANSPARENT if extrema[1] == 0 else _PLAIN)


def _from_cmyk(image: Image.Image, notes: PhotoNote) -> tuple[Image.Image, PhotoNote]:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            return _through_profiles(image, ImageCms.ImageCmsProfile(io.BytesIO(profile))), notes
        except (OSError, ImageCms.PyCMSError):
            pass  # a profile that cannot be used is as good as none, and is reported as none
    return image.convert("RGB"), notes | PhotoNote.PLAIN_CMYK


def _through_profiles(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    turned = ImageCms.profileToProfile(image, profile, _srgb(), outputMode="RGB")
    return image.convert("RGB") if turned is None else turned


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _lab() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
