"""Order, keys and faults of the streams: what every step shows, and what is said when a photo is lost."""

from __future__ import annotations

import errno
import hashlib
import pickle
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_sample import augment_plan, mixing_plan, train_plan, write_photos

from deitft.core import keys
from deitft.data import photos as photos_module
from deitft.data import places as places_module
from deitft.data.decode import BadPhotoError
from deitft.data.loading import Reader, Request
from deitft.data.photos import Content, Lost, PhotoSet, photo_set
from deitft.data.places import Places
from deitft.data.stream import (
    Batch,
    EvalStream,
    SampleOrder,
    TrainStream,
    TrainViews,
    balanced_draw,
    earlier_occurrences,
)
from deitft.data.transforms import EvalTransform, TrainTransform, normalise
from deitft.errors import DataError, DeitftError, StorageError
from deitft.recipe.preprocessing import Preprocessing


def order_of(count: int, batch: int, *, repeats: int = 1, balance: str = "none", seed: int = 3) -> SampleOrder:
    plan = train_plan(batch=batch, augment={"repeats": repeats}, balance=balance, seed=seed)
    return SampleOrder(plan, np.arange(count, dtype=np.int64) % 3)


# Order


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    photos=st.integers(1, 12),
    repeats=st.integers(1, 3),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_every_epoch_shows_every_photo_exactly_once_a_repeat(
    count: int, photos: int, repeats: int, epochs: int, seed: int
) -> None:
    order = order_of(count, photos * repeats, repeats=repeats, seed=seed)
    steps = -(-count * epochs // photos)
    seen = Counter(
        triple for step in range(steps) for triple in zip(*(part.tolist() for part in order.at(step)), strict=True)
    )
    assert set(seen.values()) == {1}
    whole = {triple for triple in seen if triple[1] < epochs}
    assert whole == {
        (sample, epoch, repeat) for sample in range(count) for epoch in range(epochs) for repeat in range(repeats)
    }


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 16), step=st.integers(0, 10**6))
def test_a_step_does_not_depend_on_what_was_asked_before(count: int, batch: int, step: int) -> None:
    fresh, used = order_of(count, batch), order_of(count, batch)
    for earlier in (0, step + 7, 3):
        used.at(earlier)
    assert all(np.array_equal(one, other) for one, other in zip(fresh.at(step), used.at(step), strict=True))


def test_orders_differ_by_epoch_and_seed_and_are_not_the_files_order() -> None:
    first, second = order_of(30, 30).at(0)[0], order_of(30, 30).at(1)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, order_of(30, 30, seed=4).at(0)[0])
    assert not np.array_equal(first, np.arange(30))


def test_golden_order() -> None:
    assert [order_of(7, 4).at(step)[0].tolist() for step in range(4)] == GOLDEN_ORDER
    assert order_of(7, 4).at(1)[1].tolist() == [0, 0, 0, 1]


GOLDEN_ORDER = [[1, 4, 3, 5], [6, 2, 0, 0], [1, 3, 4, 2], [5, 6, 6, 0]]


@pytest.mark.parametrize(("photos", "repeats"), [(2, 3), (3, 3), (4, 2), (5, 2), (8, 4)])
def test_repeats_of_a_photo_are_never_mixed_with_each_other(photos: int, repeats: int) -> None:
    order = order_of(40, photos * repeats, repeats=repeats)
    pairs: Counter[frozenset[int]] = Counter()
    for step in range(5):
        ids, _, numbers = order.at(step)
        assert sorted(numbers.tolist()) == sorted(list(range(repeats)) * photos)
        for place in range(0, len(ids) - 1, 2):
            assert ids[place] != ids[place + 1]
            pairs[frozenset((int(ids[place]), int(ids[place + 1])))] += 1
    if photos > 3:
        assert max(pairs.values()) < repeats or repeats == 2  # partners change from repeat to repeat


def test_a_batch_that_the_repeats_do_not_divide_is_full() -> None:
    order = order_of(40, 16, repeats=3)
    for step in range(4):
        ids, epochs, numbers = order.at(step)
        assert len(ids) == len(epochs) == len(numbers) == 16
        assert Counter(ids.tolist()).most_common()[-1][1] == 2, "six photos, the last two shown twice"
        assert len(set(ids.tolist())) == 6
    shown = [place for step in range(20) for place in sorted(set(order.at(step)[0].tolist()))]
    assert Counter(shown) == dict.fromkeys(range(40), 3), "120 places are three epochs"


@pytest.mark.parametrize(("balance", "expected"), [("class", (1 / 3, 1 / 3, 1 / 3)), ("sqrt", (0.2, 0.3, 0.5))])
def test_balanced_draws_have_the_shares_they_promise(balance: str, expected: tuple[float, ...]) -> None:
    labels = np.repeat([0, 1, 2], [40, 90, 250])  # roots 2 : 3 : 5
    drawn = np.concatenate([balanced_draw(labels, balance, key) for key in range(40)])
    shares = np.bincount(labels[drawn]) / len(drawn)
    assert shares == pytest.approx(expected, abs=0.015)
    inside = np.bincount(drawn[labels[drawn] == 0], minlength=40)[:40]
    assert inside.min() > 0.6 * inside.mean()  # evenly inside a class
    assert set(drawn.tolist()) <= set(range(380))


def test_a_class_without_photos_is_never_drawn() -> None:
    labels = np.array([0, 0, 2, 2, 2])
    assert set(labels[balanced_draw(labels, "class", 1)].tolist()) <= {0, 2}


@settings(max_examples=30, deadline=None)
@given(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_earlier_occurrences_counts(numbers: list[int]) -> None:
    expected = [numbers[:place].count(number) for place, number in enumerate(numbers)]
    assert earlier_occurrences(np.array(numbers)).tolist() == expected


def test_a_photo_drawn_twice_in_an_epoch_has_two_views(tmp_path: Path) -> None:
    labels = np.array([0] + [1] * 29)
    plan = train_plan(batch=10, balance="class", augment={"repeats": 2})
    stream = TrainStream(plan, PhotoSet(tmp_path, ["x"] * 30, labels))
    view_keys = [key for step in range(12) for key in stream.view_keys(step)]
    assert len(set(view_keys)) == len(view_keys)


def test_golden_view_keys(tmp_path: Path) -> None:
    stream = TrainStream(train_plan(batch=2, seed=0), PhotoSet(tmp_path, ["a", "b"], np.array([0, 1])))
    ids, epochs, repeats = (part.tolist() for part in stream.sample_order(0))
    assert stream.view_keys(0) == tuple(
        keys.key("view", 0, epoch, sample, repeat)
        for sample, epoch, repeat in zip(ids, epochs, repeats, strict=True)
    )
    assert set(stream.view_keys(0)) == {3766590253778373413, 10156641784922500427}


# Batches


def test_a_batch_is_views_normalised_with_their_labels(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 6)
    plan = train_plan(augment={"erasing": 0.0}, mixing=mixing_plan(chance=0.0))
    batch = next(TrainStream(plan, photos).from_step(2, 3))
    assert (batch.step, len(batch)) == (2, 4)
    assert batch.images.shape == (4, 3, 24, 24)
    assert batch.images.dtype == batch.targets.dtype == torch.float32
    assert batch.targets.argmax(1).tolist() == [sample % 3 for sample in batch.sample_ids.tolist()]
    assert batch.targets.sum().item() == 4
    make = TrainTransform(plan.augment, plan.preprocessing, 24)
    from deitft.data.decode import decode_file

    for place, sample in enumerate(batch.sample_ids.tolist()):
        view = make(decode_file(tmp_path / photos.paths[sample]), batch.keys[place])
        assert torch.equal(batch.images[place], normalise(view[None], plan.preprocessing)[0])


def test_sizes_grow_where_the_plan_says(tmp_path: Path) -> None:
    plan = train_plan(train_size=16, full_size_from_step=2)
    sides = [batch.images.shape[-1] for batch in TrainStream(plan, write_photos(tmp_path, 5)).from_step(0, 4)]
    assert sides == [16, 16, 24, 24]


def test_fewer_photos_than_a_batch(tmp_path: Path) -> None:
    batches = list(TrainStream(train_plan(batch=8), write_photos(tmp_path, 3)).from_step(0, 3))
    assert [len(batch) for batch in batches] == [8, 8, 8]
    assert len({key for batch in batches for key in batch.keys}) == 24


def test_a_batch_splits_and_moves(tmp_path: Path) -> None:
    batch = next(TrainStream(train_plan(batch=6), write_photos(tmp_path, 6)).from_step(0, 1))
    parts = list(batch.split(4))
    assert [len(part) for part in parts] == [4, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert torch.equal(torch.cat([part.sample_ids for part in parts]), batch.sample_ids)
    assert parts[0].keys + parts[1].keys == batch.keys
    moved = batch.to("meta")
    assert moved.images.device.type == moved.targets.device.type == "meta"
    assert isinstance(moved, Batch)
    assert (moved.step, moved.keys) == (batch.step, batch.keys)


def test_closing_ends_an_iterator_and_a_new_one_ends_the_old(tmp_path: Path) -> None:
    stream = TrainStream(train_plan(), write_photos(tmp_path, 4))
    first = stream.from_step(0, 9)
    next(first)
    second = stream.from_step(0, 9)
    assert list(first) == []
    assert next(second).step == 0
    stream.close()
    stream.close()
    assert list(second) == []


# Reading


def test_photo_set_of_a_catalog() -> None:
    digests = np.empty(4, dtype=object)
    digests[:] = [bytes([number]) * 32 for number in range(4)]
    rows = SimpleNamespace(
        root=Path("r"),
        places=Places.folder("r"),
        paths=list("abcd"),
        labels=np.array([0, 1, 0, 1], np.int32),
        digests=digests,
    )
    chosen = photo_set(rows, np.array([3, 0]))  # type: ignore[arg-type]
    assert (list(chosen.paths), chosen.labels.tolist(), len(chosen)) == (["d", "a"], [1, 0], 2)
    assert list(chosen.digests or ()) == [bytes([3]) * 32, bytes(32)]
    digests[2] = b""
    assert photo_set(rows, [2, 3]).digests is None  # type: ignore[arg-type]
    assert photo_set(rows, []).digests is None  # type: ignore[arg-type]


def test_content_is_compared_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    labels = np.zeros(1, np.int64)
    right = hashlib.sha256(b"one").digest()
    assert PhotoSet(tmp_path, ["a"], labels, [right]).read(0) == Content(b"one", 0)
    assert PhotoSet(tmp_path, ["a"], labels).read(0) == Content(b"one", 0)
    lost = PhotoSet(tmp_path, ["a"], labels, [hashlib.sha256(b"two").digest()]).read(0)
    assert isinstance(lost, Lost)
    assert lost.kind == "changed"
    assert right.hex()[:12] in lost.detail
    assert pickle.loads(pickle.dumps(lost)) == lost


@pytest.mark.parametrize("failures", [1, 3, 4])
def test_an_error_that_may_pass_is_tried_three_times_more(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is the one part that cannot be made to stumble on demand; the real injection is strace's."""
    (tmp_path / "a").write_bytes(b"one")
    left = [failures]
    real = places_module.read_limited

    def stumbling(file: Any) -> bytes:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EIO, "Input/output error")
        return real(file)

    monkeypatch.setattr(places_module, "read_limited", stumbling)
    monkeypatch.setattr(photos_module, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    read = PhotoSet(tmp_path, ["a"], np.zeros(1, np.int64)).read(0)
    if failures <= 3:
        assert read == Content(b"one", failures)
    else:
        assert read == Lost("a", "unreadable", "input/output error")


def test_other_errors_are_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    photos = PhotoSet(tmp_path, ["folder.jpg", "none.jpg", "folder.jpg/x"], np.zeros(3, np.int64))
    assert photos.read(0) == Lost("folder.jpg", "unreadable", "is a directory")
    assert [getattr(photos.read(number), "kind", None) for number in (1, 2)] == ["gone", "gone"]


def test_retries_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TrainStream(train_plan(), write_photos(tmp_path, 4))
    data = (tmp_path / stream.photos.paths[0]).read_bytes()
    monkeypatch.setattr(PhotoSet, "read", lambda self, index: Content(data, 2))
    list(stream.from_step(0, 2))
    assert stream.retries == 16


def test_a_reader_stops_or_goes_on_at_a_fault(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 4)
    (tmp_path / photos.paths[1]).unlink()
    views = TrainViews(augment_plan(), Preprocessing(size=24), [24])
    requests = [Request(number, 5, 24) for number in range(4)]
    stopped = Reader(photos, views, (255, 255, 255)).__getitems__(requests)
    assert (stopped.indices, [fault.index for fault in stopped.faults]) == ((0,), [1])
    whole = Reader(photos, views, (255, 255, 255), stop_at_fault=False).__getitems__(requests)
    assert (whole.indices, [fault.index for fault in whole.faults]) == ((0, 2, 3), [1])
    assert whole.images.shape == (3, 3, 24, 24)
    assert pickle.loads(pickle.dumps(Reader(photos, views, (0, 0, 0)))).photos.paths == photos.paths


# Faults


def first_error(stream: TrainStream, steps: int = 3) -> DeitftError:
    with pytest.raises(DeitftError) as caught:
        list(stream.from_step(0, steps))
    return caught.value


def test_D16_a_a_photo_that_vanished_is_named_with_epoch_and_step(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 6)
    (tmp_path / photos.paths[4]).unlink()
    stream = TrainStream(train_plan(batch=2), photos)
    place = next(step for step in range(3) if 4 in stream.sample_order(step)[0])
    running = stream.from_step(0, 3)
    assert [next(running).step for _ in range(place)] == list(range(place))  # what comes before is fine
    with pytest.raises(StorageError) as caught:
        next(running)
    assert caught.value.line == (
        f"hat/004.jpg disappeared during training (epoch 1, step {place + 1}) — "
        "restore it and run the same command with --resume"
    )
    assert (caught.value.id, caught.value.exit_code, caught.value.files) == ("D16", 74, ("hat/004.jpg",))


def test_D16_b_a_photo_that_changed_is_refused(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 4)
    other = (tmp_path / photos.paths[0]).read_bytes()
    (tmp_path / photos.paths[3]).write_bytes(other)
    error = first_error(TrainStream(train_plan(batch=4), photos), 1)
    assert isinstance(error, DataError)
    assert error.what.startswith("boots/003.jpg changed since the run began (epoch 1, step 1; sha256 was ")
    assert (error.id, error.exit_code) == ("D16", 65)


def test_D16_c_a_photo_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 4)
    (tmp_path / photos.paths[2]).unlink()
    (tmp_path / photos.paths[2]).mkdir()
    error = first_error(TrainStream(train_plan(batch=4), photos), 1)
    assert isinstance(error, StorageError)
    assert error.what == "shoes/002.jpg cannot be read any more (is a directory) during training (epoch 1, step 1)"


def test_a_damaged_photo_without_a_known_digest_is_named(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, 4, digests=False)
    data = (tmp_path / photos.paths[2]).read_bytes()
    (tmp_path / photos.paths[2]).write_bytes(data[: len(data) // 2])
    error = first_error(TrainStream(train_plan(batch=4), photos), 1)
    assert isinstance(error, BadPhotoError)
    assert error.id == "D2"
    assert error.what.startswith("shoes/002.jpg cannot be read (")
    assert error.files == ("shoes/002.jpg",)


# Evaluation


@pytest.mark.parametrize("batch", [1, 3, 5, 50])
def test_evaluation_shows_each_photo_once_in_order(batch: int, tmp_path: Path) -> None:
    from deitft.data.decode import decode_file

    photos, pre = write_photos(tmp_path, 5), Preprocessing(size=24)
    stream = EvalStream(photos, pre, batch=batch)
    assert len(stream) == 5
    for _ in range(2):  # it can be run again
        found = list(stream)
        assert torch.cat([indices for _, indices in found]).tolist() == list(range(5))
        assert all(len(images) <= batch for images, _ in found)
        images = torch.cat([images for images, _ in found])
        assert images.dtype == torch.uint8
        for number, image in enumerate(images):
            assert torch.equal(image, EvalTransform(pre)(decode_file(tmp_path / photos.paths[number])))


def test_evaluation_of_nothing_is_nothing(tmp_path: Path) -> None:
    empty = PhotoSet(tmp_path, [], np.zeros(0, np.int64))
    assert list(EvalStream(empty, Preprocessing(size=24), batch=4, workers=2)) == []


def test_a_bad_photo_is_reported_and_left_out_or_ends_the_evaluation(tmp_path: Path) -> None:
    photos, pre = write_photos(tmp_path, 7, digests=False), Preprocessing(size=24)
    for number in (0, 1, 2, 4):
        (tmp_path / photos.paths[number]).write_bytes(b"no photo at all")
    (tmp_path / photos.paths[5]).unlink()
    told: list[tuple[str, DeitftError]] = []
    stream = EvalStream(photos, pre, batch=3, on_bad=lambda path, error: told.append((path, error)))
    found = list(stream)
    assert [indices.tolist() for _, indices in found] == [[3], [6]]
    assert [path for path, _ in told] == [photos.paths[number] for number in (0, 1, 2, 4, 5)]
    assert [error.id for _, error in told] == ["D3"] * 4 + ["D16"]
    assert told[-1][1].line == (
        "shoes/005.jpg disappeared during evaluation — restore it and run the same command again"
    )
    with pytest.raises(BadPhotoError, match=r"boots/000\.jpg is not an image"):
        list(EvalStream(photos, pre, batch=3))
