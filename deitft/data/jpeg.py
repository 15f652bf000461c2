"""JPEGs by libjpeg-turbo itself: the same pixels as Pillow's, to the last bit, in half the time.

And it says what Pillow keeps to itself: a file damaged inside decodes without an error elsewhere. So one decode
tells both what a JPEG shows and whether it is whole. Whatever is unusual is left to Pillow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deitft.data.jpeg_segments import END, frame_of, has_all_scans, lacks_end

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

    None where the file is damaged, cut off or of a rare kind: Pillow says how. ``colours`` may be "CMYK" [H, W, 4]
    where the file is that inside.
    """
    import simplejpeg  # where nothing is decoded nothing is loaded

    frame = frame_of(data)
    if frame is None or not frame.is_common:
        return None, False
    # It takes the smallest scale that leaves so many pixels.
    height, width = -(-frame.height // scale), -(-frame.width // scale)
    least = {"min_height": height, "min_width": width} if scale > 1 else {}
    try:
        rgb: Pixels = simplejpeg.decode_jpeg(data, colours, **least, strict=True)
    except ValueError as error:
        text = str(error)
        return None, "Corrupt JPEG" in text and "ICC" not in text  # a colour profile is no pixel
    return (rgb if rgb.shape[:2] == (height, width) else None), False


def with_end(data: bytes, colours: str = "RGB") -> bytes | None:
    """A JPEG that has lost its end marker and nothing else, with one; None of any other file.

    libjpeg warns as soon as it needs a bit that is not there, so one decode tells, at the smallest scale.
    """
    body = data.rstrip(b"\xff")  # half of a lost end marker
    if not lacks_end(data) or not has_all_scans(body):
        return None
    whole = body + END
    return whole if whole_jpeg(whole, 8, colours)[0] is not None else None


def turned(rgb: Pixels, orientation: int) -> Pixels:
    """Upright, by an EXIF orientation."""
    turn = _TURNS.get(orientation)
    return rgb if turn is None else np.ascontiguousarray(turn(rgb))


def jpeg_scale(width: int, height: int, at_least: int) -> int:
    """The largest reduction (8, 4, 2, 1) that leaves the shorter side so many pixels."""
    return next((scale for scale in (8, 4, 2) if -(-min(width, height) // scale) >= at_least), 1)
