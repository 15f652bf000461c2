from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from photo_kit import encoded, jpeg, picture, put, untouched, write_classes
from PIL import Image

from deitft.core.progress import Silent, StopFlag
from deitft.data import inspect as room
from deitft.data import photo_cache, photo_reader
from deitft.data.catalog import BadPhoto, Catalog
from deitft.data.colour import PhotoNote
from deitft.data.inspect import default_cache_dir, inspect
from deitft.data.photo_cache import PhotoFacts
from deitft.data.places import Places
from deitft.data.scan import scan
from deitft.errors import InterruptError, OutputError, StorageError


def look(root: Path, cache: Path | None = None, workers: int = 1) -> Catalog:
    with untouched(root):
        return inspect(scan(root, progress=Silent()), workers=workers, progress=Silent(), cache_dir=cache)


@pytest.fixture
def mixed(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 3, "b": 2})
    turned = Image.Exif()
    turned[0x0112] = 6
    put(root, "a/turned.jpg", encoded(picture(9, (30, 20)), exif=turned))
    put(root, "b/cut.jpg", jpeg(8)[:400])
    put(root, "b/png.jpg", encoded(picture(7), "PNG"))
    return root


def test_what_reading_tells(mixed):
    catalog = look(mixed)
    assert catalog.inspected
    for path, digest in zip(catalog.paths, catalog.digests, strict=True):
        assert digest == hashlib.sha256((mixed / path).read_bytes()).digest()
    row = catalog.paths.index("a/turned.jpg")
    assert (catalog.widths[row], catalog.heights[row]) == (20, 30)
    cut = catalog.paths.index("b/cut.jpg")
    assert catalog.bad == {cut: BadPhoto("D2", "file ends early at byte 400")}
    assert {catalog.paths[row]: note for row, note in enumerate(catalog.notes.tolist()) if note} == {
        "b/png.jpg": PhotoNote.WRONG_EXTENSION
    }
    assert catalog.select([cut, row]).bad == {0: catalog.bad[cut]}
    assert catalog.without([cut]).bad == {}


def test_workers_do_not_change_the_answer(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 70, "b": 40}, size=(9, 8))
    one, three = look(root), look(root, workers=3)
    assert one.fingerprint == three.fingerprint
    assert one.digests.tolist() == three.digests.tolist()
    assert one.widths.tolist() == three.widths.tolist() == [9] * 110


def test_contents_number_equal_bytes(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 2, "b": 1})
    put(root, "b/copy.jpg", (root / "a/001.jpg").read_bytes())
    catalog = look(root)
    numbers = catalog.contents
    assert numbers[1] == numbers[3]
    assert len(set(numbers.tolist())) == 3
    assert scan(root, progress=Silent()).contents.tolist() == [-1] * 4


def test_the_second_look_reads_nothing(mixed, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = look(mixed, cache)
    assert [path.name for path in (cache / "photos").iterdir()] == [
        photo_cache.cache_file(cache, Places.folder(mixed)).name
    ]
    assert (cache / "photos").stat().st_mode & 0o077 == 0
    monkeypatch.setattr(room, "_pool", None)  # any reading would fail
    again = look(mixed, cache)
    assert again.fingerprint == first.fingerprint
    assert (again.bad, again.notes.tolist()) == (first.bad, first.notes.tolist())
    assert again.heights.tolist() == first.heights.tolist()


def test_only_what_changed_is_read_again(mixed, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    look(mixed, cache)
    asked: list[str] = []
    answers = room._answers

    def counting(pool, paths, chunks, ahead, stop):
        for rows, answer in answers(pool, paths, chunks, ahead, stop):
            asked.extend(paths[row] for row in rows.tolist())
            yield rows, answer

    monkeypatch.setattr(room, "_answers", counting)
    put(mixed, "b/cut.jpg", jpeg(8))
    put(mixed, "a/new.jpg", jpeg(77))
    (mixed / "a/000.jpg").unlink()
    catalog = look(mixed, cache)
    assert sorted(asked) == ["a/new.jpg", "b/cut.jpg"]
    assert catalog.bad == {}
    assert catalog.fingerprint == look(mixed).fingerprint


def test_other_content_of_the_same_size_and_time_is_noticed(mixed, tmp_path):
    """`touch -r` puts back the time of the content, never that of the entry (fault D16 b)."""
    cache = tmp_path / "cache"
    before = look(mixed, cache)
    file = mixed / "a/000.jpg"
    status, data = file.stat(), bytearray(file.read_bytes())
    data[-20] ^= 1
    with file.open("r+b") as same:
        same.write(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert look(mixed, cache).digests[0] != before.digests[0]


def damage_bytes(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def with_arrays(**changed: object):
    def change(file: Path) -> None:
        with np.load(file) as stored:
            arrays = dict(stored)
        arrays |= changed
        out = io.BytesIO()
        np.savez(out, **{name: value for name, value in arrays.items() if value is not None})
        file.write_bytes(out.getvalue())

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:500]),
        lambda file: file.write_bytes(b"\x80\x04\x95 a pickle is not read"),
        with_arrays(version=np.frombuffer(b"0 0 old", np.uint8)),
        with_arrays(notes=None),
        with_arrays(notes=np.zeros(3, np.uint16)),
        with_arrays(stamps=np.zeros((8, 4), np.float64)),
        with_arrays(bad=np.frombuffer(b'{"99": ["D2", "x"]}', np.uint8)),
        with_arrays(bad=np.frombuffer(b"[1]", np.uint8)),
        with_arrays(paths=np.array([b"x"], object)),
        damage_bytes,
    ],
)
def test_a_cache_that_cannot_be_used_is_rebuilt(mixed, tmp_path, damage):
    cache = tmp_path / "cache"
    first = look(mixed, cache)
    file = photo_cache.cache_file(cache, Places.folder(mixed))
    damage(file)
    again = look(mixed, cache)
    assert again.fingerprint == first.fingerprint
    assert again.bad == first.bad
    assert photo_cache.load(file) is not None


def test_a_cache_that_cannot_be_written_is_said(mixed, tmp_path):
    cache = put(tmp_path, "cache", b"a file where a folder should be")
    progress = Silent()
    catalog = inspect(scan(mixed, progress=progress), workers=1, progress=progress, cache_dir=cache)
    assert catalog.inspected
    assert [notice.id for notice in progress.notices] == ["CACHE"]
    assert "the next run reads all photos again" in progress.notices[0].line


def test_the_cache_never_lies_in_the_photos(mixed):
    with pytest.raises(OutputError, match="lies inside the photos") as caught:
        look(mixed, mixed / "a" / "cache")
    assert (caught.value.id, caught.value.exit_code) == ("CACHE", 73)


def test_default_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "deitft"


def test_facts_of_other_orders_are_found_by_path():
    old = PhotoFacts.unknown(["c", "b", "a"])
    old.stamps[:] = [[3, 3, 3, 3], [2, 2, 2, 2], [1, 1, 1, 1]]
    old.notes[:] = [30, 20, 10]
    old.stamps[0] = photo_cache.UNKNOWN
    old.bad = {0: BadPhoto("D2", "c"), 2: BadPhoto("D3", "a")}
    new = PhotoFacts.unknown(["a", "b", "c", "d"])
    new.take_from(old, np.arange(1, 5), np.array([[1] * 3, [2, 2, 9], [3] * 3, [4] * 3]))
    assert new.known.tolist() == [True, False, False, False]
    assert (new.notes.tolist(), new.bad) == ([10, 0, 0, 0], {0: BadPhoto("D3", "a")})


def test_a_photo_that_vanishes_or_cannot_be_opened_is_bad_and_asked_again(mixed, tmp_path):
    catalog = scan(mixed, progress=Silent())
    (mixed / "a/000.jpg").unlink()
    cache = tmp_path / "cache"
    seen = inspect(catalog, workers=1, progress=Silent(), cache_dir=cache)
    assert seen.bad[0] == BadPhoto("D2", "no such file or directory")
    assert (seen.digests[0], seen.contents[0]) == (b"", -1)
    put(mixed, "a/000.jpg", jpeg(1))
    assert 0 not in look(mixed, cache).bad


def test_a_pipe_put_in_the_place_of_a_photo_does_not_block(mixed):
    catalog = scan(mixed, progress=Silent())
    (mixed / "a/000.jpg").unlink()
    os.mkfifo(mixed / "a/000.jpg")
    seen = inspect(catalog, workers=1, progress=Silent(), cache_dir=None)
    assert seen.bad[0] == BadPhoto("D2", "not a file any more")


def test_a_stop_keeps_what_was_read(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 90, "b": 90}, size=(9, 8))
    cache, stop = tmp_path / "cache", StopFlag()

    class Stopping(Silent):
        def task(self, title, total=None, *, unit=""):
            task = super().task(title, total, unit=unit)
            task.enter_result.advance = lambda count=1, **_: setattr(stop, "reason", "SIGINT")
            return task

    with pytest.raises(
        InterruptError, match=r"stopped by Ctrl-C, \d+ of 180 photos read and remembered"
    ) as caught:
        inspect(scan(root, progress=Silent()), workers=1, progress=Stopping(), cache_dir=cache, stop=stop)
    assert caught.value.exit_code == 130
    facts = photo_cache.load(photo_cache.cache_file(cache, Places.folder(root)))
    assert facts is not None
    assert 0 < facts.known.sum() < 180
    assert look(root, cache).fingerprint == look(root).fingerprint


def test_a_dead_reader_is_an_error_that_says_so(mixed, monkeypatch):
    monkeypatch.setattr(photo_reader, "examine", lambda data, **_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(StorageError, match="a process that read photos died") as caught:
        look(mixed)
    assert (caught.value.id, caught.value.exit_code) == ("N5", 74)


def test_readers_end_when_their_parent_is_killed(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 40, "b": 40}, size=(9, 8))
    script = textwrap.dedent("""
        import sys, time
        from deitft.core.progress import Silent
        from deitft.data import photo_reader
        from deitft.data.inspect import inspect
        from deitft.data.scan import scan
        def slow(data, **_):
            import os
            os.write(1, b"%d\\n" % os.getpid())  # in one piece: two write at once
            time.sleep(30)
        photo_reader.examine = slow
        inspect(scan(sys.argv[1], progress=Silent()), workers=2, progress=Silent(), cache_dir=None)
    """)
    with subprocess.Popen([sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        readers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    deadline = time.monotonic() + 10
    while any(is_running(reader) for reader in readers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_real_photos_are_all_good_and_remembered(shared, tmp_path):
    root = shared / "data" / "clothing-small"
    catalog = scan(root, progress=Silent())
    some = catalog.select(np.arange(0, len(catalog), 40))
    seen = inspect(some, workers=2, progress=Silent(), cache_dir=tmp_path)
    assert seen.bad == {}
    assert not seen.notes.any()
    start = time.perf_counter()
    again = inspect(some, workers=2, progress=Silent(), cache_dir=tmp_path)
    assert time.perf_counter() - start < 0.2
    assert again.fingerprint == seen.fingerprint
