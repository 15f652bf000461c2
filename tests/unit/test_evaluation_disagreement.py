"""Who disagrees with whom: by hand, and what cannot be otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deitft.evaluation.disagreement import closer_to, disagreement

VOICES = {
    "truth": np.array([0, 1, 2, 0]),
    "teacher": np.array([0, 1, 1, 1]),
    "student": np.array([0, 2, 1, 0]),
}


def test_shares_by_hand() -> None:
    table = disagreement(VOICES)
    assert table["truth"] == {"truth": 0.0, "teacher": 0.5, "student": 0.5}
    assert table["teacher"]["student"] == 0.5
    assert closer_to(VOICES, "student", "truth", "teacher") == (1, 1)


@given(st.integers(1, 30).flatmap(lambda n: arrays(np.int64, (3, n), elements=st.integers(0, 4))))
def test_it_is_a_distance(rows: np.ndarray) -> None:
    table = disagreement(dict(zip("abc", rows, strict=True)))
    for one in "abc":
        assert table[one][one] == 0
        for other in "abc":
            assert table[one][other] == table[other][one]
            assert table[one][other] <= table[one]["c"] + table["c"][other] + 1e-12
    assert 1 - table["a"]["b"] == pytest.approx(np.mean(rows[0] == rows[1]))
