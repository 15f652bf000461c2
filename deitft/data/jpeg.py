"""JPEGs by libjpeg-turbo itself: the same pixels as Pillow's, to the last bit, in half the time.

And it says what Pillow keeps to itself: a file damaged inside decodes without an error elsewhere. So one decode
tells both what a JPEG shows and whether it is whole. Whatever is unusual is left to Pillow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_TURNS = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: lambda rgb: np.rot90(rgb, 1),
}


def whole_jpeg(data: bytes, scale: int, colours: str = "RGB") -> tuple[Pixels | None, bool]:
    """(pixels [H, W, 3] as stored, at 1 / ``scale``, or None; whether the decoder told of damage).

    None where the file is damaged or cut off: Pillow says how. ``colours`` may be "CMYK" [H, W, 4] where the file
    is that inside.
    """
    import simplejpeg  # where nothing is decoded nothing is loaded

    try:
        least = {}
        if scale > 1:  # it takes the smallest scale that leaves so many pixels
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            least = {"min_height": -(-height // scale), "min_width": -(-width // scale)}
        rgb: Pixels = simplejpeg.decode_jpeg(data, colours, **least, strict=True)
    except ValueError as error:
        return None, "Corrupt JPEG" in str(error)
    return rgb, False


def turned(rgb: Pixels, orientation: int) -> Pixels:
    """Upright, by an EXIF orientation."""
    turn = _TURNS.get(orientation)
    return rgb if turn is None else np.ascontiguousarray(turn(rgb))


def jpeg_scale(width: int, height: int, at_least: int) -> int:
    """The largest reduction (8, 4, 2, 1) that leaves the shorter side so many pixels."""
    return next((scale for scale in (8, 4, 2) if -(-min(width, height) // scale) >= at_least), 1)


def lacks_end(data: bytes) -> bool:
    """Whether a JPEG that could be decoded has lost its end marker.

    A decoder may have all rows before it asks for more; and what stands behind an end marker is no matter.
    """
    return not data.endswith(b"\xff\xd9") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
