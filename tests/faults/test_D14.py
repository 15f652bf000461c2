"""D14: non-image files and unknown extensions in class folders."""

from __future__ import annotations

import os
import socket

import pytest
from photo_kit import clean, jpeg, judge, put, read, write_classes

JUNK = {
    "shoes/.DS_Store": b"\0\0\0\1Bud1",
    "hats/.DS_Store": b"\0\0\0\1Bud1",
    ".DS_Store": b"\0\0\0\1Bud1",
    "shoes/._017.jpg": b"\0\5\x16\7" + bytes(60),
    "hats/._0.jpg": b"\0\5\x16\7" + bytes(60),
    "shoes/Thumbs.db": b"\xd0\xcf\x11\xe0",
    "shoes/notes.txt": b"notes",
    "shoes/x.JPG.txt": jpeg(70),
    "shoes/17.jpg.part": jpeg(71)[:300],
}
FOLDERS = {
    "shoes/.ipynb_checkpoints/17-checkpoint.jpg": jpeg(72),
    ".ipynb_checkpoints/x.jpg": jpeg(73),
    "shoes/@eaDir/thumb.jpg": jpeg(74),
    "@eaDir/shoes/thumb.jpg": jpeg(75),
    "__MACOSX/shoes/._017.jpg": b"\0\5\x16\7",
}


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 20, "hats": 20})
    clean(root, "D14")
    return root


def test_D14_junk_changes_nothing_but_is_named(root):
    before = read(root)
    for path, data in JUNK.items():
        put(root, path, data)
    catalog, findings = judge(root)
    findings.raise_errors()
    assert (catalog.paths, catalog.classes, catalog.fingerprint) == (
        before.paths,
        before.classes,
        before.fingerprint,
    )
    assert [(notice.id, notice.severity, notice.line) for notice in catalog.notices] == [
        (
            "D14",
            "warning",
            "ignored 9 files that are not photos (3 .DS_Store, 2 ._*, 4 others; list in check.json)",
        )
    ]
    assert catalog.notices[0].files == tuple(sorted(JUNK))


def test_D14_folders_of_other_programs_are_no_classes(root):
    before = read(root)
    for path, data in (JUNK | FOLDERS).items():
        put(root, path, data)
    catalog = read(root)
    assert (catalog.paths, catalog.classes, catalog.fingerprint) == (
        before.paths,
        before.classes,
        before.fingerprint,
    )
    ignored = dict(catalog.ignored)
    assert ignored["__MACOSX"] == "__MACOSX/"
    assert ignored["shoes/.ipynb_checkpoints"] == ".ipynb_checkpoints/"
    assert len(ignored) == len(JUNK) + len(FOLDERS)


def test_D14_a_pipe_does_not_block_and_a_socket_is_no_photo(root, monkeypatch):
    before = read(root)
    os.mkfifo(root / "shoes/pipe.jpg")
    os.mkfifo(root / "shoes/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        with monkeypatch.context() as here:
            here.chdir(root / "hats")  # the name of a socket must be short
            server.bind("s.jpg")
        catalog = read(root)
    assert catalog.paths == before.paths
    kind = "pipe, socket or device"
    assert catalog.ignored == (("hats/s.jpg", kind), ("shoes/pipe", kind), ("shoes/pipe.jpg", kind))


def test_D14_a_device_is_no_photo(root):
    try:
        os.mknod(root / "shoes/null.jpg", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node needs root")
    assert dict(read(root).ignored) == {"shoes/null.jpg": "pipe, socket or device"}
