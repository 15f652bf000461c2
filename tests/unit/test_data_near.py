from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_kit import encoded, put, read
from PIL import Image, ImageDraw
from threadpoolctl import threadpool_limits

from deitft.core.progress import Silent, StopFlag
from deitft.data import near, near_pairs
from deitft.data.audit import audit
from deitft.data.catalog import NearPairs
from deitft.data.inspect import inspect
from deitft.data.looks import LOOK_BYTES, crop_matrix, frequencies_of, mirror_signs
from deitft.data.near import VIEWS, candidates, has_look
from deitft.data.near_pixels import PLAIN, SAME, SIDE, likeness, plane_of
from deitft.data.photo_cache import cache_file
from deitft.data.places import Places
from deitft.data.scan import scan
from deitft.errors import StoppedError


def looks_of(values: np.ndarray) -> np.ndarray:
    """Looks [N, K] that stand for these frequencies."""
    steps = np.sqrt(np.minimum(np.abs(values) / 140, 1)) * 127
    return (128 + np.rint(np.copysign(steps, values))).astype(np.uint8)


def random_looks(count: int, seed: int = 0) -> np.ndarray:
    """Looks like those of photos: strong low frequencies, weak high ones."""
    from deitft.data.looks import FREQUENCIES

    draw = np.random.default_rng(seed)
    fall = 30 / (1 + FREQUENCIES.sum(axis=1)) ** 1.2
    return looks_of(draw.normal(0, fall, (count, LOOK_BYTES)))


def pairs_of(found: near.Candidates) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}


def test_strangers_are_no_candidates():
    assert len(candidates(random_looks(3000))) == 0


@pytest.mark.parametrize("view", range(len(VIEWS)))
def test_every_view_is_found_among_strangers(view):
    scale, right, down, mirrored = VIEWS[view]
    looks = random_looks(2000)
    values = frequencies_of(looks[:50]) * (mirror_signs() if mirrored else 1)
    copies = looks_of(values @ crop_matrix(scale, right, down).T * 1.1)
    found = candidates(np.concatenate((looks, copies)))
    assert pairs_of(found) == {(row, 2000 + row) for row in range(50)}
    assert (found.alike >= min(near.ALIKE.values())).all()
    best = found.views[(found.first < 2000) & (found.second >= 2000)]
    assert (best == view).mean() > 0.9


def test_candidates_do_not_depend_on_strangers():
    looks = np.concatenate((random_looks(300), random_looks(300)[:40]))
    more = np.concatenate((looks, random_looks(4000, seed=1)))
    assert pairs_of(candidates(looks)) == {(row, 300 + row) for row in range(40)} == pairs_of(candidates(more))


def test_candidates_are_the_same_to_the_last_bit_with_more_threads():
    looks = np.concatenate((random_looks(1500), random_looks(1500)[:200]))
    one = candidates(looks)
    with threadpool_limits(2, user_api="blas"):
        two = candidates(looks, threads=2)
    for column in ("first", "second", "views", "alike"):
        assert getattr(one, column).tobytes() == getattr(two, column).tobytes()


def test_a_crowd_of_equals_stays_bounded_and_connected():
    """A thousand copies of one look: each keeps a few partners, and time does not grow with the square."""
    looks = np.repeat(random_looks(1), 3000, axis=0)
    began = time.process_time()
    found = candidates(looks)
    assert time.process_time() - began < 20
    assert len(found) <= 2 * near.PARTNERS * len(looks)
    assert set(found.first.tolist()) | set(found.second.tolist()) == set(range(3000))


def test_few_or_no_photos():
    assert len(candidates(np.zeros((0, LOOK_BYTES), np.uint8))) == 0
    assert len(candidates(random_looks(1))) == 0


def test_plain_photos_have_no_look():
    values = np.zeros((2, LOOK_BYTES))
    values[1, 3] = 40
    assert has_look(looks_of(values)).tolist() == [False, True]


def busy(seed: int, size: int = 200) -> np.ndarray:
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), (120, 130, 140))
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = draw.integers(-10, size, 2)
        w, h = draw.integers(6, 50, 2)
        pen.rectangle([int(x), int(y), int(x + w), int(y + h)], fill=tuple(draw.integers(0, 256, 3).tolist()))
    return np.asarray(image)


def test_one_picture_moved_turned_brighter_is_one_picture():
    plane = plane_of(busy(0))
    assert likeness(plane, plane, 0) == pytest.approx(1, abs=1e-3)
    turned = Image.fromarray(busy(0)).rotate(1.5, Image.Resampling.BICUBIC, translate=(3, 2), fillcolor=(9, 9, 9))
    other = np.clip(np.asarray(turned) * 0.9 + 12, 0, 255).astype(np.uint8)[8:-8, 8:-8]
    assert likeness(plane, plane_of(other), 5) > SAME
    mirror = next(number for number, view in enumerate(VIEWS) if view[3])
    assert likeness(plane, plane_of(busy(0)[:, ::-1]), mirror) == pytest.approx(1, abs=1e-3)
    assert likeness(plane, plane_of(busy(0)[:, ::-1]), 0) < SAME


def test_other_pictures_are_not():
    planes = [plane_of(busy(seed)) for seed in range(12)]
    scores = [likeness(one, two, 0) for at, one in enumerate(planes) for two in planes[at + 1 :]]
    assert max(scores) < 0.5


def test_plain_pictures_cannot_be_told():
    flat = np.full((SIDE, SIDE), 200, np.float32)
    ramp = flat + np.linspace(0, 5, SIDE, dtype=np.float32)
    assert PLAIN > 0
    assert likeness(flat, flat, 0) == 0 == likeness(ramp, ramp, 0)


def folder_with_copies(root: Path) -> Path:
    for seed in range(12):
        put(root, f"{'ab'[seed % 2]}/{seed:02d}.jpg", encoded(Image.fromarray(busy(seed))))
    put(root, "a/again.jpg", encoded(Image.fromarray(busy(4)), quality=60))
    put(root, "b/small.png", encoded(Image.fromarray(busy(5)).resize((90, 90)), "PNG"))
    put(root, "b/mirrored.jpg", encoded(Image.fromarray(busy(7)[:, ::-1])))
    return root


def named(catalog) -> set[tuple[str, str, bool]]:
    near_pairs_found = catalog.pairs
    rows = zip(near_pairs_found.first, near_pairs_found.second, near_pairs_found.mirrored, strict=True)
    return {(catalog.paths[one], catalog.paths[two], bool(mirrored)) for one, two, mirrored in rows}


WANTED = {
    ("a/04.jpg", "a/again.jpg", False),
    ("b/05.jpg", "b/small.png", False),
    ("b/07.jpg", "b/mirrored.jpg", True),
}


def test_pairs_are_found_and_remembered(tmp_path, monkeypatch):
    root, cache = folder_with_copies(tmp_path / "p"), tmp_path / "cache"
    first = read(root, cache_dir=cache)
    assert named(first) == WANTED
    assert (first.pairs.distance <= 0.1).all()
    monkeypatch.setattr(near_pairs.Search, "jobs", None)  # a search would fail
    again = read(root, cache_dir=cache)
    assert named(again) == WANTED
    assert (again.pairs.distance == first.pairs.distance).all()
    monkeypatch.undo()
    put(root, "b/newer.jpg", encoded(Image.fromarray(busy(9)), quality=50))
    assert named(read(root, cache_dir=cache)) == WANTED | {("b/09.jpg", "b/newer.jpg", False)}


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_memory_is_made_anew(tmp_path, damage):
    root, cache = folder_with_copies(tmp_path / "p"), tmp_path / "cache"
    read(root, cache_dir=cache)
    file = cache / "pairs" / cache_file(cache, Places.folder(root)).name
    if damage is None:
        with np.load(file) as stored:
            kept = dict(stored)
        kept["rows"] = kept["rows"] + 1000
        np.savez(file, **kept)
    else:
        file.write_bytes(damage)
    assert named(read(root, cache_dir=cache)) == WANTED


def test_no_cache_and_no_search(tmp_path):
    root = folder_with_copies(tmp_path / "p")
    listed = scan(root, progress=Silent())
    assert named(inspect(listed, workers=2, progress=Silent(), cache_dir=None)) == WANTED
    assert len(inspect(listed, workers=1, progress=Silent(), cache_dir=None, near=False).pairs) == 0


def test_a_stop_between_photos_and_pairs_is_honoured(tmp_path, monkeypatch):
    root, cache, stop = folder_with_copies(tmp_path / "p"), tmp_path / "cache", StopFlag()
    search = near_pairs.Search.jobs

    def stopping(self, threads):
        stop.reason = "SIGTERM"
        return search(self, threads)

    monkeypatch.setattr(near_pairs.Search, "jobs", stopping)
    with pytest.raises(StoppedError):
        inspect(scan(root, progress=Silent()), workers=1, progress=Silent(), cache_dir=cache, stop=stop)
    monkeypatch.undo()
    assert named(read(root, cache_dir=cache)) == WANTED


def test_the_same_pixels_are_compared_once(tmp_path):
    root = folder_with_copies(tmp_path / "p")
    for number in range(6):
        put(root, f"a/x{number}.jpg", (root / "a/04.jpg").read_bytes())
    catalog = read(root)
    assert len(catalog.pairs) == 3
    assert len(set(catalog.pictures.tolist())) == 15


def test_pairs_follow_their_rows():
    pairs = NearPairs(np.array([0, 2]), np.array([3, 4]), np.array([False, True]), np.float32([0.1, 0.2]))
    moved = pairs.select(np.array([4, 3, 2]), 5)
    assert (moved.first.tolist(), moved.second.tolist(), moved.mirrored.tolist()) == ([2], [0], [True])


def test_small_photos_are_not_searched(tmp_path):
    root = tmp_path / "p"
    for number in range(4):
        put(
            root,
            f"{'ab'[number % 2]}/{number}.png",
            encoded(Image.fromarray(busy(1)).resize((20 + number, 22)), "PNG"),
        )
    catalog = read(root)
    assert len(catalog.pairs) == 0
    bad = replace(catalog, widths=catalog.widths * 2, heights=catalog.heights * 2)
    assert near_pairs.Search(bad, None).known is None


def test_too_many_look_alikes_are_counted(tmp_path, monkeypatch):
    root, cache = folder_with_copies(tmp_path / "p"), tmp_path / "cache"
    monkeypatch.setattr(near_pairs, "MOST_COMPARED", 1)
    monkeypatch.setattr(near_pairs, "COMPARED_SHARE", 0.1)
    for _ in range(2):  # found, then remembered
        catalog = read(root, cache_dir=cache)
        assert (len(catalog.pairs), catalog.pairs.left) == (1, 2)
    told = [finding.text for finding in audit(catalog) if finding.id == "D12"]
    assert "2 more pairs of photos look alike and were not compared: the closest ones were" in told
