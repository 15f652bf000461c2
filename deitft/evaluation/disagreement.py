"""Who disagrees with whom: teacher, heads, what is served, and the truth (arXiv 2012.12877, table 4).

Legend: N photos, K voices.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


def disagreement(voices: Mapping[str, Labels]) -> dict[str, dict[str, float]]:
    """Share of photos that each pair names differently, in 0..1: symmetric, zeros on the diagonal.

    ``voices`` hold one class a photo [N] each, of the same photos in the same order; N is at least 1.
    """
    return {
        name: {other: float(np.mean(said != also)) for other, also in voices.items()}
        for name, said in voices.items()
    }


def closer_to(voices: Mapping[str, Labels], one: str, first: str, second: str) -> tuple[int, int]:
    """On the photos where ``first`` and ``second`` differ: how often ``one`` sides with each."""
    apart = voices[first] != voices[second]
    return (
        int((apart & (voices[one] == voices[first])).sum()),
        int((apart & (voices[one] == voices[second])).sum()),
    )
