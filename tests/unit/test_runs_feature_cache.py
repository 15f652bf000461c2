"""Features are computed once for a content, and a file that is not whole is as good as none."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from deitft.data.digests import Digests
from deitft.runs import feature_cache
from deitft.runs.feature_cache import features_file, kept_whole, remembered


def digests(*names: str) -> Digests:
    return Digests.of([sha256(name.encode()).digest() for name in names])


class Model:
    """Sees a photo as the first bytes of its digest, and counts what it looks at."""

    def __init__(self, photos: Digests, width: int = 3) -> None:
        self.photos, self.width, self.seen = photos, width, 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.seen += len(rows)
        return self.photos.table[rows, : self.width].astype(np.float32)


def look(file: Path, *names: str, width: int = 3) -> int:
    """How many photos had to be looked at; what comes out is right in any case."""
    photos = digests(*names)
    model = Model(photos, width)
    assert np.array_equal(remembered(file, photos, model), photos.table[:, :width])
    return model.seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return features_file(tmp_path / "cache", "ab" * 32, {"size": 224})


def test_only_what_is_new_is_looked_at(file: Path) -> None:
    assert look(file, "a", "b", "a") == 3
    assert look(file, "b", "a") == 0
    assert look(file, "c", "a", "d") == 2
    assert look(file, "d", "b", "c", "a") == 0, "what was not asked for the last time stays"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_other_weights_or_settings_have_a_file_of_their_own(tmp_path: Path, file: Path) -> None:
    assert file == features_file(tmp_path / "cache", "ab" * 32, {"size": 224})
    assert file != features_file(tmp_path / "cache", "ac" * 32, {"size": 224})
    assert file != features_file(tmp_path / "cache", "ab" * 32, {"size": 192})


@pytest.mark.parametrize("keep", [0, 100, -1, -40])
def test_a_file_that_is_not_whole_is_none(file: Path, keep: int) -> None:
    look(file, "a", "b")
    file.write_bytes(file.read_bytes()[:keep])
    assert look(file, "a", "b") == 2
    assert look(file, "a", "b") == 0


@pytest.mark.parametrize(("place", "value"), [(10, 99), (8, 1), (6, 255)])  # compression, flags, version
def test_a_file_that_is_damaged_in_its_directory_is_none(file: Path, place: int, value: int) -> None:
    look(file, "a", "b")
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + place] = value
    file.write_bytes(data)
    assert look(file, "a", "b") == 2


def test_a_file_of_other_features_is_none(file: Path) -> None:
    look(file, "a", "b", width=2)
    assert look(file, "a", "c") == 1 + 2, "all of them, as the ones that were kept have another width"
    with file.open("wb") as out:
        np.savez(out, digests=digests("a").table, features=np.full((1, 3), np.nan, np.float32))
    assert look(file, "a") == 1


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    look(file, "a")
    file.rename(tmp_path / "elsewhere.npz")
    file.symlink_to(tmp_path / "elsewhere.npz")
    assert look(file, "a") == 1


def test_what_is_kept_is_bounded(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 2 * (3 * 4 + 32))
    look(file, "a", "b", "c")
    assert look(file, "a", "b", "c") == 1
    monkeypatch.setattr(feature_cache, "MOST_BYTES_OF_ALL", file.stat().st_size)
    look(features_file(tmp_path / "cache", "ff" * 32, {}), "a", "b")
    assert not file.exists()


def test_where_nothing_can_be_written_all_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    file = features_file(tmp_path / "cache", "ab" * 32, {})
    assert look(file, "a") == 1


class Computation:
    """Gives the features of three photos for two heads, and counts how often it was asked."""

    def __init__(self, rows: int = 3) -> None:
        self.columns = tuple(
            np.random.default_rng(head).normal(size=(rows, 4)).astype(np.float32) for head in (0, 1)
        )
        self.asked = 0

    def __call__(self) -> tuple[np.ndarray, ...]:
        self.asked += 1
        return self.columns


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return [column.tobytes() for column in one] == [column.tobytes() for column in other]


def test_a_computation_is_kept_whole_to_the_last_bit(file: Path) -> None:
    compute = Computation()
    assert same(kept_whole(file, 3, compute), compute.columns)
    assert same(kept_whole(file, 3, compute), compute.columns)
    assert compute.asked == 1


@pytest.mark.parametrize("keep", [0, 100, -1, -40])
def test_a_computation_that_is_not_there_whole_is_made_again(file: Path, keep: int) -> None:
    compute = Computation()
    kept_whole(file, 3, compute)
    file.write_bytes(file.read_bytes()[:keep])
    assert same(kept_whole(file, 3, compute), compute.columns)
    assert compute.asked == 2
    assert same(kept_whole(file, 3, compute), compute.columns)
    assert compute.asked == 2


def test_a_computation_of_another_number_of_photos_is_made_again(file: Path) -> None:
    kept_whole(file, 2, Computation(2))
    compute = Computation()
    assert same(kept_whole(file, 3, compute), compute.columns)
    assert compute.asked == 1


def test_a_computation_that_is_large_is_not_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 2 * 3 * 4 * 4 - 1)
    compute = Computation()
    kept_whole(file, 3, compute)
    assert not file.exists()


def test_no_photos_leave_no_file(file: Path) -> None:
    assert kept_whole(file, 0, lambda: ()) == ()
    assert not file.exists()
