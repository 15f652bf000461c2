"""S4: links among the photos, and rows of tables, that lead outside the root."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from photo_kit import clean, jpeg, refused, write_classes
from source_kit import look, refusal, tar_bytes, write_csv

from deitft.core.progress import Silent
from deitft.data import photo_cache, shard_index
from deitft.data.inspect import inspect
from deitft.data.photos import Lost, photo_set
from deitft.data.places import OutsideError
from deitft.data.scan import list_photos, scan
from deitft.errors import DataError


@pytest.mark.parametrize(
    ("link", "target"),
    [("a/passwd.jpg", "/etc/passwd"), ("a/passwd", "/etc/passwd"), ("c", "/etc"), ("a/deep", "../../outside")],
)
def test_S4_a_link_out_of_the_root_is_refused(tmp_path, link, target):
    write_classes(tmp_path / "outside", {"x": 1})
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a/inside.jpg").symlink_to("000.jpg")
    clean(root, "S4")
    (root / link).symlink_to(target)
    error = refused(root, skip_bad=True)
    assert (error.id, error.exit_code) == ("S4", 65)
    assert error.what == f"{link} is a link to a place outside {root}"


def test_S4_a_folder_with_a_name_that_only_begins_alike_is_outside(tmp_path):
    write_classes(tmp_path / "p-private", {"x": 1})
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a/x.jpg").symlink_to("../../p-private/x/000.jpg")
    assert refused(root).id == "S4"


# Tables

OUTSIDE = (
    "../../etc/passwd",
    "../secret/000.jpg",
    "a/../../secret/000.jpg",
    "/etc/passwd",
    "~/.ssh/id_rsa",
    "~",
    "file:///etc/passwd",
    "https://example.org/x.jpg",
    "\\\\host\\x",
    "C:\\x.jpg",
    "..",
)


@pytest.fixture
def root(tmp_path):
    write_classes(tmp_path / "secret", {".": 1})
    return write_classes(tmp_path / "p", {"a": 10, "b": 10})


ROWS = [(f"{name}/{number:03d}.jpg", name) for name in "ab" for number in range(10)]


@pytest.mark.parametrize("path", OUTSIDE)
def test_S4_a_row_that_leads_outside(root, path, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(look(write_csv(root / "labels.csv", ROWS))) == 20  # the control
    error = refusal(write_csv(root / "labels.csv", [*ROWS[:5], (path, "a"), *ROWS[5:], ("gone.jpg", "a")]))
    assert (error.id, error.exit_code) == ("S4", 65)
    assert error.line == (
        f"labels.csv row 7: {path} is outside {root} — move the photo inside, or name the folder that holds it "
        "with --root"
    )


def test_S4_a_path_that_turns_inside_or_names_the_root_is_inside(root):
    rows = [(f"b/../{ROWS[0][0]}", "a"), (f"./{ROWS[1][0]}", "a"), (str(root / ROWS[2][0]), "a"), *ROWS[3:]]
    assert look(write_csv(root / "labels.csv", rows)).paths == [path for path, _ in ROWS]


def test_S4_a_row_with_a_nul_byte(root):
    (root / "labels.csv").write_bytes(b"path,label\na/000.jpg\0../../etc/passwd,a\n")
    assert refusal(root / "labels.csv").exit_code == 65


@pytest.mark.parametrize("link", ["a/link.jpg", "a/folder/000.jpg"])
def test_S4_a_row_that_goes_through_a_link(root, link):
    if "folder" in link:
        (root / "a/folder").symlink_to("../../secret")
    else:
        (root / link).symlink_to("../../secret/000.jpg")
    error = refusal(write_csv(root / "labels.csv", [*ROWS, (link, "a")]))
    assert (error.id, error.what) == ("S4", f"labels.csv row 22: {link} is a link to a place outside {root}")
    (root / "a/inside.jpg").symlink_to("../b/000.jpg")
    assert len(look(write_csv(root / "labels.csv", [*ROWS, ("a/inside.jpg", "b")]))) == 21


def test_S4_a_shard_behind_a_link(root, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    content = tar_bytes([("1.jpg", jpeg(1)), ("1.cls", b"a"), ("2.jpg", jpeg(2)), ("2.cls", b"b")])
    (shards / "one.tar").write_bytes(content)
    assert len(look(shards)) == 2
    (tmp_path / "secret" / "two.tar").write_bytes(content)
    (shards / "two.tar").symlink_to("../secret/two.tar")
    error = refusal(shards)
    assert (error.id, error.what) == ("S4", f"two.tar is a link to a place outside {shards}")
    table = write_csv(tmp_path / "labels.csv", [("one.tar/1.jpg", "a"), ("two.tar/2.jpg", "b")])
    error = refusal(table, roots=[shards])
    assert (error.id, error.exit_code) == ("S4", 65)


# What is changed after the look


@pytest.mark.parametrize("what", ["photo", "folder"])
def test_S4_a_link_put_there_after_the_scan(root, what):
    catalog = scan(root, progress=Silent())
    assert inspect(catalog, workers=1, progress=Silent(), cache_dir=None).bad == {}  # the control
    if what == "photo":
        (root / "a/003.jpg").unlink()
        (root / "a/003.jpg").symlink_to("../../secret/000.jpg")
    else:
        (root / "a").rename(root.parent / "was-a")
        (root / "a").symlink_to("../was-a")
    with pytest.raises(DataError) as caught:
        inspect(catalog, workers=1, progress=Silent(), cache_dir=None)
    assert (caught.value.id, caught.value.exit_code) == ("S4", 65)
    path = "a/003.jpg" if what == "photo" else "a/000.jpg"
    assert caught.value.what == f"{path} leads to a place outside {root}"


def test_S4_a_link_put_there_while_training(root):
    photos = photo_set(scan(root, progress=Silent()), np.arange(20))
    (root / "a/003.jpg").unlink()
    (root / "a/003.jpg").symlink_to("../../secret/000.jpg")
    lost = photos.read(3)
    assert isinstance(lost, Lost)
    error = lost.error(during="training", place="epoch 2, step 310", hint="")
    assert (error.id, error.exit_code) == ("S4", 65)
    assert error.what == "a/003.jpg leads to a place outside the folder of photos by now (epoch 2, step 310)"
    assert not isinstance(photos.read(4), Lost)


def test_S4_a_link_put_there_before_prediction(root):
    listing = list_photos([root], progress=Silent())
    (root / "a/003.jpg").unlink()
    (root / "a/003.jpg").symlink_to("../../secret/000.jpg")
    with pytest.raises(OutsideError):
        listing.places.read(f"{root}/a/003.jpg")
    assert listing.places.read(f"{root}/a/004.jpg")[1] == (root / "a/004.jpg").read_bytes()
    named = list_photos([root / "a/003.jpg"], progress=Silent())  # what the user names is the user's to name
    assert named.places.read(f"{root}/a/003.jpg")[1] == (root.parent / "secret/000.jpg").read_bytes()


def test_S4_where_the_system_has_no_proc(root, monkeypatch):
    """The other way to know where an open file lies gives the same answers."""
    places = scan(root, progress=Silent()).places
    monkeypatch.setattr("deitft.data.places.sys.platform", "plan9")
    assert places.read("a/000.jpg")[1] == (root / "a/000.jpg").read_bytes()
    (root / "a/003.jpg").unlink()
    (root / "a/003.jpg").symlink_to("../../secret/000.jpg")
    with pytest.raises(OutsideError):
        places.read("a/003.jpg")


# The cache


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_S4_the_cache_is_its_owners_alone(tmp_path):
    shard = tmp_path / "data.tar"
    shard.write_bytes(tar_bytes([("1.jpg", jpeg(1)), ("1.cls", b"a"), ("2.jpg", jpeg(2)), ("2.cls", b"b")]))
    cache = tmp_path / "cache"
    inspect(scan(shard, progress=Silent(), cache_dir=cache), workers=1, progress=Silent(), cache_dir=cache)
    assert {path.parent.name for path in kept(cache)} >= {"photos", "shards"}
    assert {path.parent.stat().st_mode & 0o777 for path in kept(cache)} == {0o700}


def test_S4_a_planted_cache_is_not_believed(tmp_path, monkeypatch):
    """A link in the place of the cache, and files of somebody else."""
    shard = tmp_path / "data.tar"
    shard.write_bytes(tar_bytes([("1.jpg", jpeg(1)), ("1.cls", b"a"), ("2.jpg", jpeg(2)), ("2.cls", b"b")]))
    cache, planted = tmp_path / "cache", tmp_path / "planted"
    for _ in range(2):
        found = scan(shard, progress=Silent(), cache_dir=cache)
        inspect(found, workers=1, progress=Silent(), cache_dir=cache)
    file = next(path for path in kept(cache) if path.parent.name == "shards")
    stamps = shard_index.index_of(str(shard), "data.tar", cache).stamps
    assert shard_index._load(file, stamps) is not None
    photos = next(path for path in kept(cache) if path.parent.name == "photos")
    assert photo_cache.load(photos) is not None
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: 12345)
        assert shard_index._load(file, stamps) is None
        assert photo_cache.load(photos) is None
    planted.mkdir()
    file.rename(planted / file.name)
    file.symlink_to(planted / file.name)
    assert shard_index._load(file, stamps) is None
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(planted)
    (planted / file.name).unlink()
    assert len(scan(shard, progress=Silent(), cache_dir=cache)) == 2
    assert list(planted.iterdir()) == []
