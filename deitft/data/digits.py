"""Real handwritten digits as a folder of photos: the data that is always at hand.

Source: scikit-learn's copy of the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin,
C. Kaynak, UCI, CC BY 4.0): 1,797 images of 8 x 8 pixels in 17 grey levels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
"""Pixels a side as written: 8 x 8, each pixel four times four."""


def write_digits(folder: Path) -> Path:
    """Write the digits as class folders of PNG files into ``folder`` (made if need be); returns it.

    The same files with the same bytes each time.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    large = grey.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    for number, (pixels, label) in enumerate(zip(large, labels, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:04d}.png", optimize=False)
    return folder
