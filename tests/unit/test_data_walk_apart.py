"""Walked by several processes, folders hold what one process finds in them."""

from __future__ import annotations

import os

import pytest
from photo_kit import jpeg, put, untouched, write_classes

from deitft.core.progress import Silent
from deitft.data import walk_apart
from deitft.data.catalog import Catalog
from deitft.data.scan import scan
from deitft.errors import DataError


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 3, "b/deep/er": 4, "c": 2, "d": 1, "e\u0301": 2})
    put(root, "b/notes.txt", b"x")
    put(root, "c/.DS_Store", b"x")
    put(root, "c/@eaDir/x.jpg", jpeg(3))
    put(root, "d/bare", jpeg(4))
    (root / "b/again").symlink_to("../a")
    (root / "c/one.jpg").symlink_to("../d/000.jpg")
    (root / "linked").symlink_to("c")
    (root / "empty").mkdir()
    return root


def columns(catalog: Catalog) -> tuple[object, ...]:
    texts = [notice.line for notice in catalog.notices]
    stamps = catalog.stamps.tolist()
    return (
        catalog.paths,
        catalog.classes,
        catalog.labels.tolist(),
        catalog.ignored,
        texts,
        stamps,
        catalog.fingerprint,
    )


@pytest.fixture
def processes(monkeypatch):
    """Two or more processes from the first photo on; how many folders were walked by them."""
    apart = walk_apart._apart
    walked: list[int] = []

    def counted(root, folders, processes):
        walked.append(len(folders))
        return apart(root, folders, 2)

    monkeypatch.setattr(walk_apart, "_apart", counted)
    monkeypatch.setattr(walk_apart, "_processes", lambda folders: min(2, folders))
    monkeypatch.setattr(walk_apart, "ALONE", 1)
    return walked


def test_the_same_catalog(root, processes, monkeypatch):
    with untouched(root):
        several = scan(root, progress=Silent())
    assert processes == [6]
    monkeypatch.setattr(walk_apart, "ALONE", 10**9)
    alone = scan(root, progress=Silent())
    assert processes == [6]
    assert columns(several) == columns(alone)
    assert len(alone) == 3 + 4 + 2 + 1 + 2 + 2


@pytest.mark.parametrize("answer", [None, "met"])
def test_what_cannot_be_walked_apart_is_walked_again(root, processes, monkeypatch, answer):
    """A process that was killed; a folder that two of them have met."""
    monkeypatch.setattr(walk_apart, "ALONE", 10**9)
    alone = scan(root, progress=Silent())
    monkeypatch.setattr(walk_apart, "ALONE", 1)
    if answer is None:
        monkeypatch.setattr(walk_apart, "_apart", lambda *words: None)
    else:
        monkeypatch.setattr(walk_apart, "_are_apart", lambda *words: False)
    assert columns(scan(root, progress=Silent())) == columns(alone)


def test_a_process_that_is_killed_is_noticed(root, monkeypatch):
    monkeypatch.setattr(walk_apart.Walker, "walk", lambda self, folder: os.kill(os.getpid(), 9))
    assert walk_apart._apart(str(root), ["a", "b"], 2) is None


def test_errors_come_whole(root, processes):
    (root / "d/out.jpg").symlink_to("/etc/passwd")
    with pytest.raises(DataError) as caught:
        scan(root, progress=Silent())
    assert (caught.value.id, caught.value.files) == ("S4", ("d/out.jpg",))


def test_few_photos_need_no_processes(root, monkeypatch):
    monkeypatch.setattr(walk_apart, "_apart", None)
    assert len(scan(root, progress=Silent())) == 14
    assert walk_apart._processes(1) == 1
