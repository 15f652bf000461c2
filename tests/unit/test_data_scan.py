from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photo_kit import encoded, jpeg, picture, put, untouched, write_classes

from deitft.core.progress import Silent
from deitft.data.catalog import NONE, TEST, TRAIN, VAL, Catalog, counted, normal, shown
from deitft.data.found import Found, in_order
from deitft.data.scan import SPLIT_SPELLINGS, list_photos
from deitft.data.scan import scan as scan_with
from deitft.data.walk import Listed, Walker, ignored_notices
from deitft.errors import DataError, MissingInputError, StorageError


def scan(root: Path | str) -> Catalog:
    with untouched(Path(root)):
        return scan_with(root, progress=Silent())


def test_class_folders(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 2, "hats": 1})
    catalog = scan(root)
    assert catalog.paths == ["hats/000.jpg", "shoes/000.jpg", "shoes/001.jpg"]
    assert (catalog.classes, catalog.labels.tolist()) == (("hats", "shoes"), [0, 1, 1])
    assert catalog.given.tolist() == [NONE] * 3
    status = (root / "shoes/001.jpg").stat()
    assert catalog.sizes[2] == status.st_size
    assert catalog.stamps[2].tolist() == [status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    assert (catalog.notices, catalog.ignored, catalog.root, catalog.inspected) == ((), (), root, False)
    assert [array.dtype.str for array in (catalog.labels, catalog.given, catalog.sizes, catalog.notes)] == [
        "<i4",
        "|i1",
        "<i8",
        "<u2",
    ]


def test_photos_at_any_depth_belong_to_the_class_on_top(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 1, "shoes/red/old": 2, "hats/new": 1})
    catalog = scan(root)
    assert catalog.paths[-1] == "shoes/red/old/001.jpg"
    assert catalog.classes == ("hats", "shoes")
    assert np.bincount(catalog.labels).tolist() == [1, 3]


@pytest.mark.parametrize("word", [word for word, side in SPLIT_SPELLINGS.items() if side == TRAIN])
@pytest.mark.parametrize("style", [str.lower, str.upper, str.title])
def test_split_folders_in_every_spelling(tmp_path, word, style):
    others = [word for word, side in SPLIT_SPELLINGS.items() if side != TRAIN]
    for other in others:
        root = tmp_path / other
        write_classes(
            root, {f"{style(word)}/a": 2, f"{style(word)}/b": 1, f"{style(other)}/b": 1, f"{style(other)}/a": 1}
        )
        catalog = scan(root)
        assert catalog.classes == ("a", "b")
        assert sorted(catalog.given.tolist()) == [TRAIN] * 3 + [SPLIT_SPELLINGS[other]] * 2
        for path, side in zip(catalog.paths, catalog.given, strict=True):
            assert side == (TRAIN if path.startswith(style(word)) else SPLIT_SPELLINGS[other])
    assert {SPLIT_SPELLINGS[other] for other in others} == {VAL, TEST}


def test_train_alone_is_a_split(tmp_path):
    catalog = scan(write_classes(tmp_path / "p", {"train/a": 1, "train/b": 2}))
    assert (catalog.classes, catalog.given.tolist()) == (("a", "b"), [TRAIN] * 3)


def test_classes_called_like_splits(tmp_path):
    """Vehicles may be called train; then photos lie right in that folder."""
    catalog = scan(write_classes(tmp_path / "p", {"train": 2, "bus": 1, "test": 1}))
    assert (catalog.classes, set(catalog.given.tolist())) == (("bus", "test", "train"), {NONE})
    catalog = scan(write_classes(tmp_path / "q", {"train/steam": 2, "bus": 1}))
    assert catalog.classes == ("bus", "train")
    catalog = scan(write_classes(tmp_path / "r", {"val/x": 2, "bus": 1}))
    assert catalog.classes == ("bus", "val")


@pytest.mark.parametrize(
    ("folders", "id", "text"),
    [
        (("train/a", "train/b", "Training/a"), "LAYOUT", 'has two folders for one split: "Training", "train"'),
        (
            ("train/a", "test/a", "extra/b"),
            "LAYOUT",
            'has the split folders "test", "train" and beside them "extra"',
        ),
        (("val/a", "val/b", "test/a"), "D9", 'has "test", "val" but no train folder'),
    ],
)
def test_layouts_that_are_not_guessed_at(tmp_path, folders, id, text):
    root = write_classes(tmp_path / "p", dict.fromkeys(folders, 1))
    with pytest.raises(DataError) as caught:
        scan(root)
    assert (caught.value.id, caught.value.exit_code) == (id, 65)
    assert text in caught.value.line


def test_unpacked_one_folder_too_deep(tmp_path):
    root = write_classes(tmp_path / "p", {"products/a": 1, "products/b": 1})
    with pytest.raises(DataError, match="only one class") as caught:
        scan(root)
    assert caught.value.hint.endswith(f"did you mean {root}/products?")


def test_files_beside_the_class_folders_are_named(tmp_path):
    root = write_classes(tmp_path / "p", {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1})
    put(root, "loose.jpg", jpeg())
    put(root, "README.txt", b"hello")
    put(root, "train/loose.png", jpeg())
    catalog = scan(root)
    assert len(catalog) == 4
    assert catalog.ignored == (
        ("README.txt", ".txt"),
        ("loose.jpg", "outside the class folders"),
        ("train/loose.png", "outside the class folders"),
    )
    assert [(notice.text, notice.files) for notice in catalog.notices] == [
        (
            "2 photos lie outside the class folders and are not used, first: loose.jpg",
            ("loose.jpg", "train/loose.png"),
        ),
        ("ignored 1 file that is not a photo (1 .txt; list in check.json)", ("README.txt",)),
    ]
    assert catalog.notices[1].details["reasons"] == ["not a photo: .txt"]


def test_order_is_that_of_code_points_on_every_machine(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"1": 1, "10": 1, "2": 1, "Z": 1, "a": 1, "é": 1, "e\u0301a": 1})
    first = scan(root)
    assert first.classes == ("1", "10", "2", "Z", "a", "é", "éa")
    listing = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            with listing(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    again = scan_with(root, progress=Silent())
    assert (again.paths, again.classes, again.fingerprint) == (first.paths, first.classes, first.fingerprint)


def test_extensions_and_files_without_one(tmp_path):
    root = write_classes(tmp_path / "p", {"b": 1})
    for name in ("1.JPG", "2.jpeg", "3.jpe", "4.JFIF", "5.png", "6.webp", "7.gif", "8.bmp", "9.tif", "10.TIFF"):
        put(root, f"a/{name}", b"content is looked at later")
    for name in ("11.avif", "12.HEIC", "13.heif"):
        put(root, f"a/{name}", b"")
    put(root, "a/photo", encoded(picture(), "PNG"))
    put(root, "a/notes", b"just text")
    put(root, "a/movie.mp4", b"")
    catalog = scan(root)
    assert (catalog.labels == 0).sum() == 14
    assert catalog.ignored == (("a/movie.mp4", ".mp4"), ("a/notes", "without extension"))


def test_a_link_to_a_photo_inside_is_a_photo(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1})
    (root / "b/link.jpg").symlink_to("../a/000.jpg")
    (root / "b/notes.txt").symlink_to("/etc/hostname")  # not a photo: never followed, only ignored
    (root / "b/nowhere.jpg").symlink_to("gone.jpg")
    catalog = scan(root)
    assert catalog.paths == ["a/000.jpg", "b/000.jpg", "b/link.jpg"]
    assert catalog.ignored == (("b/notes.txt", ".txt"), ("b/nowhere.jpg", "broken link"))


@pytest.mark.parametrize("kind", ["photo", "class", "nested", "split"])
def test_links_that_leave_the_root_are_refused(tmp_path, kind):
    outside = write_classes(tmp_path / "outside", {"c": 2})
    root = write_classes(tmp_path / "p", {"train/a": 1, "train/b": 1, "train/c": 1})
    link, target = {
        "photo": ("train/a/x.jpg", outside / "c/000.jpg"),
        "class": ("train/d", outside / "c"),
        "nested": ("train/a/more", outside / "c"),
        "split": ("val", outside),
    }[kind]
    (root / link).symlink_to(target)
    with pytest.raises(DataError, match=f"{link} is a link to a place outside") as caught:
        scan(root)
    assert (caught.value.id, caught.value.exit_code) == ("S4", 65)


def test_a_root_that_is_a_link_is_no_escape(tmp_path):
    write_classes(tmp_path / "real", {"a": 1, "b": 1})
    (tmp_path / "link").symlink_to("real")
    catalog = scan(tmp_path / "link")
    assert (len(catalog), catalog.root) == (2, tmp_path / "link")
    assert catalog.fingerprint == scan(tmp_path / "real").fingerprint


def test_each_real_folder_is_read_once_and_by_its_real_place(tmp_path):
    root = write_classes(tmp_path / "p", {"b": 2, "c/deep": 1})
    (root / "a").symlink_to("b")  # comes first by name
    (root / "b/loop").symlink_to("..")
    (root / "c/x").symlink_to("../b")
    catalog = scan(root)
    assert catalog.paths == ["b/000.jpg", "b/001.jpg", "c/deep/000.jpg"]
    twice = [notice for notice in catalog.notices if notice.id == "D17"]
    assert [notice.text for notice in twice] == ["followed a (and 2 more) back to a folder already read, ignored"]


def test_a_link_to_a_folder_not_read_otherwise_is_followed(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1, ".store/inner": 2})
    put(root, ".store/.hidden/x.jpg", jpeg())
    (root / ".store/inside.jpg").symlink_to("inner/000.jpg")
    (root / "b/more").symlink_to("../.store")
    catalog = scan(root)
    assert [path for path in catalog.paths if path.startswith("b/")] == [
        "b/000.jpg",
        "b/more/inner/000.jpg",
        "b/more/inner/001.jpg",
        "b/more/inside.jpg",
    ]
    assert catalog.labels.tolist() == [0, 1, 1, 1, 1]


def test_links_inside_split_folders_belong_to_their_class(tmp_path):
    root = write_classes(tmp_path / "p", {"train/a": 1, "train/b": 1, "train/.more": 1, "val/a": 1, "val/b": 1})
    (root / "train/b/more").symlink_to("../.more")
    catalog = scan(root)
    row = catalog.paths.index("train/b/more/000.jpg")
    assert (catalog.classes[catalog.labels[row]], catalog.given[row]) == ("b", TRAIN)


def test_an_unreadable_folder_stops(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1})
    opening = os.open

    def refuse(path: str, *rest: int) -> int:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return opening(path, *rest)

    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, which may read everything
    with pytest.raises(StorageError, match=r"cannot read the folder .*/b \(permission denied\)"):
        scan_with(root, progress=Silent())


def test_a_folder_that_may_be_listed_and_not_entered_stops(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1})
    asking = os.stat

    def refuse(path: str, **more: object) -> os.stat_result:
        if "dir_fd" in more:
            raise PermissionError(13, "Permission denied", path)
        return asking(path, **more)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(StorageError, match=r"cannot read the folder .*/p/a \(permission denied\)"):
        scan_with(root, progress=Silent())


def test_an_inode_above_half_the_numbers_is_kept(tmp_path):
    """As some network and overlay file systems have them."""
    photos = Listed()
    for inode in (5, 2**63, 2**64 - 1):
        status = SimpleNamespace(st_size=7, st_mtime_ns=1, st_ctime_ns=2, st_ino=inode)
        photos.add("x.jpg", cast("os.stat_result", status))
    assert photos.table()[:, 3].tolist() == [5, -(2**63), -1]
    assert photos.table().astype(np.uint64)[:, 3].tolist() == [5, 2**63, 2**64 - 1]
    assert photos.table()[:, 0].tolist() == [7, 7, 7]


@given(
    st.lists(st.text("ab/é\u0301Z ", min_size=1, max_size=5), unique=True, min_size=1, max_size=12), st.randoms()
)
def test_photos_come_in_one_order_whatever_the_order_they_were_found_in(names, random):
    def found(paths: list[str]) -> Found:
        numbers = np.array([[names.index(path)] * 4 for path in paths], np.int64)
        groups = [f"g{names.index(path)}" for path in paths]
        return Found(
            paths=paths, numbers=numbers, owners=numbers[:, 0], folders=[], places=(), origin=(), groups=groups
        )

    mixed = random.sample(names, len(names))
    expected = sorted(names, key=lambda name: (normal(name), name))
    for one in (in_order(found(mixed)), in_order(found(expected))):
        assert one.paths == expected
        rows = [names.index(path) for path in expected]
        assert (one.numbers[:, 3].tolist(), one.owners.tolist()) == (rows, rows)
        assert one.groups == [f"g{row}" for row in rows]


def test_a_photo_that_goes_while_listing_is_not_listed(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"a": 2, "b": 1})
    scanned = os.scandir

    @contextlib.contextmanager
    def losing(folder: int) -> Iterator[list[os.DirEntry[str]]]:
        with scanned(folder) as entries:
            there = list(entries)
        (root / "a/001.jpg").unlink(missing_ok=True)
        yield there

    monkeypatch.setattr(os, "scandir", losing)
    assert scan_with(root, progress=Silent()).paths == ["a/000.jpg", "b/000.jpg"]


def test_a_link_to_a_photo_that_goes_while_listing_is_not_listed(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 2})

    class Gone:
        name = "000.jpg"

        def stat(self) -> os.stat_result:
            raise FileNotFoundError

    walker = Walker(str(root))
    walker._add_file("000.jpg", "a/000.jpg", Gone())  # type: ignore[arg-type]
    assert (walker.photos.paths, walker.ignored) == ([], [])


def test_fingerprint_follows_names_labels_and_sides(tmp_path):
    one = scan(write_classes(tmp_path / "1", {"a": 2, "b": 1}))
    assert one.fingerprint == scan(write_classes(tmp_path / "2", {"a": 2, "b": 1})).fingerprint
    others = [{"a": 1, "b": 2}, {"a": 2, "c": 1}, {"train/a": 2, "train/b": 1}]
    prints = [scan(write_classes(tmp_path / f"x{index}", other)).fingerprint for index, other in enumerate(others)]
    assert len({one.fingerprint, *prints}) == 4
    assert one.fingerprint == one.select(np.array([2, 0, 1])).fingerprint


def test_list_photos(tmp_path):
    root = write_classes(tmp_path / "p", {"b": 1, "a/deep": 2})
    named = put(tmp_path, "any.bin", b"named by the user, so it is taken")
    put(root, "notes.txt", b"")
    (root / "a/loop").symlink_to("..")
    progress = Silent()
    with untouched(root):
        found = list_photos([named, root, root / "b/000.jpg"], progress=progress)
    expected = [named, root / "a/deep/000.jpg", root / "a/deep/001.jpg", root / "b/000.jpg"]
    assert found.paths == list(map(str, expected))
    assert [found.places.read(path)[1] for path in found.paths] == [path.read_bytes() for path in expected]
    assert found.named == {str(named), str(root / "b/000.jpg")}
    assert [notice.id for notice in progress.notices] == ["D14", "D17"]
    with pytest.raises(MissingInputError, match="no such file or folder"):
        list_photos([root / "none.jpg"], progress=progress)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match=r"no photos found under .*empty") as caught:
        list_photos([tmp_path / "empty"], progress=progress)
    assert caught.value.exit_code == 66


def test_a_socket_is_ignored(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1})
    monkeypatch.chdir(root / "a")  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jpg")
        catalog = scan_with(root, progress=Silent())
    assert catalog.ignored == (("a/s.jpg", "pipe, socket or device"),)


def test_words_for_what_was_ignored():
    assert "check.json" not in ignored_notices([("a/x.txt", ".txt")], listed=False)[0].text
    one = ignored_notices([("a/x.txt", ".txt")])
    assert one[0].text == "ignored 1 file that is not a photo (1 .txt; list in check.json)"
    many = ignored_notices([(str(index), kind) for index, kind in enumerate("aaabbcd")])
    assert many[0].text == "ignored 7 files that are not photos (3 a, 2 b, 2 others; list in check.json)"
    assert many[0].details["kinds"] == {"a": 3, "b": 2, "c": 1, "d": 1}
    assert len(many[0].details["reasons"]) == 7


def test_shown_normal_counted():
    assert shown("plain é 日本") == "plain é 日本"
    assert shown("a\x1b[31m\n\u202e\udcff\U000e0001") == "a\\x1b[31m\\n\\u202e\\xff\\U000e0001"
    assert normal("e\u0301") == "é"
    assert (counted(1, "photo"), counted(2000, "photo"), counted(2, "is", "are")) == (
        "1 photo",
        "2,000 photos",
        "2 are",
    )


def test_select_and_without_keep_rows_together(tmp_path):
    catalog = scan(write_classes(tmp_path / "p", {"a": 3, "b": 2}))
    part = catalog.without([0, 4])
    assert part.paths == ["a/001.jpg", "a/002.jpg", "b/000.jpg"]
    assert (part.labels.tolist(), part.sizes.tolist()) == ([0, 0, 1], catalog.sizes[[1, 2, 3]].tolist())
    assert len(catalog.without([])) == 5


def test_the_classes_of_a_finished_model(tmp_path):
    """To evaluate, folders are matched by name; not every class need be there, nor train."""
    root = write_classes(tmp_path / "p", {"test/b": 2, "test/c": 1})
    with untouched(root):
        catalog = scan_with(root, progress=Silent(), classes=("c", "a", "b"))
    assert (catalog.classes, catalog.labels.tolist()) == (("c", "a", "b"), [2, 2, 0])
    assert catalog.given.tolist() == [TEST] * 3
    assert catalog.notices == ()
    one = scan_with(write_classes(tmp_path / "q", {"b": 2}), progress=Silent(), classes=("a", "b"))
    assert (one.labels.tolist(), one.given.tolist()) == ([1, 1], [NONE, NONE])


def test_classes_that_a_finished_model_does_not_know(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 1, "y": 1, "z": 1})
    with pytest.raises(DataError) as caught:
        scan_with(root, progress=Silent(), classes=("a", "b"))
    assert (caught.value.id, caught.value.files) == ("D9", ("y", "z"))
    assert caught.value.what == 'the photos have a class the model does not know: "y" (and 1 more)'
    (tmp_path / "empty/a").mkdir(parents=True)
    with pytest.raises(MissingInputError, match="no photos found under"):
        scan_with(tmp_path / "empty", progress=Silent(), classes=("a", "b"))


def test_junk_behind_links_is_junk(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1, ".cache": 1})
    (root / "a/@eaDir").symlink_to("../.cache")
    (root / "loop.jpg").symlink_to("loop.jpg")
    assert scan(root).ignored == (
        (".cache", ".cache/"),
        ("a/@eaDir", "@eaDir/"),
        ("loop.jpg", "outside the class folders"),
    )
