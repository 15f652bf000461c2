from __future__ import annotations

import os
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from photo_kit import jpeg, put
from source_kit import samples, tar_bytes

from deitft.data import places as room
from deitft.data.places import FolderPlace, Places, ShardChangedError, ShardPlace, stamps_of
from deitft.data.shard_index import index_of
from deitft.data.shards import place_of

PHOTOS = [(f"{number:03d}.jpg", jpeg(number)) for number in range(30)]


def write_shard(file: Path, first: int = 0, count: int = 10) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    photos = PHOTOS[first : first + count]
    file.write_bytes(tar_bytes(samples(photos, ["a"] * len(photos))))
    return file


def shard_place(file: Path, prefix: str) -> ShardPlace:
    return place_of(str(file), prefix, index_of(str(file), file.name, None))


@pytest.fixture
def places(tmp_path):
    """Two folders, a folder's folder that is a place of its own, two shards, and files named one by one."""
    put(tmp_path, "one/a/1.jpg", b"one a 1")
    put(tmp_path, "two/a/1.jpg", b"two a 1")
    put(tmp_path, "inner/1.jpg", b"inner 1")
    put(tmp_path, "loose.jpg", b"loose")
    shards = [write_shard(tmp_path / f"s-{number}.tar", 10 * number) for number in range(2)]
    folders = [
        FolderPlace(prefix, str(tmp_path / name))
        for prefix, name in (("one/", "one"), ("two/", "two"), ("one/a/deep/", "inner"))
    ]
    return Places(
        (*folders, *(shard_place(file, f"two/{file.name}/") for file in shards), FolderPlace("", "")),
        (str(tmp_path / "one"), str(shards[0])),
    )


def test_the_longest_prefix_decides(places, tmp_path):
    contents = {
        "one/a/1.jpg": b"one a 1",
        "two/a/1.jpg": b"two a 1",
        "one/a/deep/1.jpg": b"inner 1",
        "two/s-0.tar/003.jpg": PHOTOS[3][1],
        "two/s-1.tar/013.jpg": PHOTOS[13][1],
        f"{tmp_path}/loose.jpg": b"loose",
    }
    for again in (places, pickle.loads(pickle.dumps(places))):
        assert {path: again.read(path)[1] for path in contents} == contents
    stamps, _ = places.read("one/a/1.jpg")
    assert stamps == stamps_of((tmp_path / "one/a/1.jpg").stat())
    stamps, data = places.read("two/s-0.tar/003.jpg")
    assert stamps == (len(data), *stamps_of((tmp_path / "s-0.tar").stat())[1:])


@pytest.mark.parametrize(
    "path", ["two/s-0.tar/013.jpg", "one/none.jpg", "two/s-0.tar/", "nowhere/1.jpg", "two/s-2.tar/1.jpg"]
)
def test_what_is_not_there(places, path):
    with pytest.raises(FileNotFoundError):
        places.read(path)


def test_one_shard_alone_and_nothing_at_all(tmp_path):
    only = Places((shard_place(write_shard(tmp_path / "x.tar"), "x.tar/"),))
    assert only.read("x.tar/004.jpg")[1] == PHOTOS[4][1]
    for path in ("y.tar/004.jpg", "004.jpg"):
        with pytest.raises(FileNotFoundError):
            only.read(path)
    with pytest.raises(FileNotFoundError):
        Places(()).read("a.jpg")


def test_a_million_members_are_small():
    names = [f"{number:07d}.jpg" for number in range(1000)]
    numbers = np.arange(1000, dtype=np.int64)
    place = ShardPlace.of("x.tar/", "/x.tar", (0, 0, 0), names, 512 * numbers, numbers)
    assert sum(column.nbytes for column in (place.keys, place.offsets, place.sizes)) == 24 * 1000
    assert [int(place.sizes[row]) for row in map(place.row, names) if row is not None] == list(range(1000))
    assert place.row("x") is None


def test_few_shards_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MAX_OPEN_SHARDS", 2)
    monkeypatch.setattr(room, "_handles", room._Handles())
    files = [write_shard(tmp_path / f"{number}.tar", number, 5) for number in range(5)]
    places = Places(tuple(shard_place(file, f"{file.name}/") for file in files))
    for _ in range(2):
        for number, file in enumerate(files):
            assert places.read(f"{file.name}/{number:03d}.jpg")[1] == PHOTOS[number][1]
            assert len(room._handles.open) <= 2
    assert list(room._handles.open) == [os.path.realpath(file) for file in files[3:]]
    for descriptor in room._handles.open.values():
        os.close(descriptor)


def test_threads_and_forks_may_read_at_once(tmp_path):
    places = Places((shard_place(write_shard(tmp_path / "x.tar", 0, 30), "x.tar/"),))
    wrong: list[str] = []

    def read() -> None:
        for name, content in PHOTOS * 5:
            if places.read(f"x.tar/{name}")[1] != content:
                wrong.append(name)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer pythons warn of forks beside threads
            child = os.fork()
        if not child:
            read()
            os._exit(len(wrong))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for thread in threads:
        thread.join()
    assert (codes, wrong) == ([0, 0], [])


@pytest.mark.parametrize("change", ["cut", "replaced", "longer", "touched"])
def test_a_shard_that_is_another_by_now(tmp_path, change):
    file = write_shard(tmp_path / "x.tar")
    places = Places((shard_place(file, "x.tar/"),))
    assert places.read("x.tar/001.jpg")[1] == PHOTOS[1][1]
    if change == "cut":
        os.truncate(file, 2000)
    elif change == "longer":
        file.write_bytes(file.read_bytes() + bytes(512))
    elif change == "touched":
        os.utime(file, (1, 1))
    else:
        file.unlink()
        write_shard(file, 5)
    with pytest.raises(ShardChangedError):
        places.read("x.tar/001.jpg")


def test_a_shard_that_ends_early_under_an_old_index(tmp_path):
    file = write_shard(tmp_path / "x.tar")
    place = shard_place(file, "x.tar/")
    os.truncate(file, int(place.offsets.max()) + 10)
    size, changed, _, inode = stamps_of(file.stat())
    short = ShardPlace("x.tar/", place.file, (size, changed, inode), place.keys, place.offsets, place.sizes)
    with pytest.raises(ShardChangedError, match="ends early"):
        Places((short,)).read("x.tar/009.jpg")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    places = Places.folder(tmp_path)
    for name in ("pipe.jpg", "folder.jpg"):
        with pytest.raises(OSError):
            places.read(name)


def test_where_nothing_may_be_written(places, tmp_path):
    (tmp_path / "link").symlink_to("one")
    inside = [tmp_path / "one", tmp_path / "one/x/y", tmp_path / "link/x", tmp_path / "s-0.tar"]
    outside = [tmp_path, tmp_path / "one-more", tmp_path / "s-1.tar"]
    assert [places.holds(path) for path in inside + outside] == [True] * 4 + [False] * 3
