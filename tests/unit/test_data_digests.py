from __future__ import annotations

import pickle
from hashlib import sha256

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deitft.data.digests import Digests, numbers_of

DIGEST = st.one_of(
    st.just(b""),
    st.just(bytes(32)),
    st.just(b"\1" + bytes(31)),
    st.integers(0, 3).map(lambda n: sha256(bytes([n])).digest()),
)


@given(st.lists(DIGEST, max_size=12), st.data())
def test_as_a_list_of_byte_strings(values: list[bytes], data: st.DataObject) -> None:
    """Every answer is that of the list it stands for."""
    table = Digests.of(values)
    assert (list(table), table.tolist(), len(table)) == (values, values, len(values))
    assert list(pickle.loads(pickle.dumps(table.copy()))) == values
    rows = data.draw(st.lists(st.integers(0, max(0, len(values) - 1)), max_size=5 if values else 0))
    assert list(table[np.array(rows, np.int64)]) == [values[row] for row in rows]
    assert [table[row] for row in rows] == [values[row] for row in rows]
    assert list(table[1:3]) == values[1:3]
    numbers = table.numbers().tolist()
    for one, number in zip(values, numbers, strict=True):
        assert (number == -1) == (one == b"")
        for other, again in zip(values, numbers, strict=True):
            assert (one == other) == (number == again)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_numbers_of_rows_whose_first_bytes_are_equal(rows: list[tuple[int, int]]) -> None:
    table = np.zeros((len(rows), 16), np.uint8)
    for at, (first, last) in enumerate(rows):
        table[at, 0], table[at, 15] = first, last
    numbers = numbers_of(table)
    assert numbers.dtype == np.int64
    assert sorted(set(numbers.tolist())) == list(range(len(set(rows))))
    for one, number in zip(rows, numbers.tolist(), strict=True):
        for other, again in zip(rows, numbers.tolist(), strict=True):
            assert (one == other) == (number == again)


def test_rows_can_be_set() -> None:
    table = Digests.none(4)
    table[0] = sha256(b"a").digest()
    table[1:3] = table[0]
    table[[0]] = b""
    table[np.array([3])] = table[np.array([1])]
    assert table.tolist() == [b"", *[sha256(b"a").digest()] * 3]


def test_more_than_one_part() -> None:
    count = 65536 + 3
    table = Digests(
        np.arange(count * 32, dtype=np.uint64).astype(np.uint8).reshape(count, 32), np.ones(count, np.bool_)
    )
    found = list(table)
    assert len(found) == count
    assert found[65536] == table[65536]
