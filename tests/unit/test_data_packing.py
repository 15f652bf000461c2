from __future__ import annotations

import json
import os
import tarfile
from hashlib import sha256

import pytest
from photo_kit import encoded, jpeg, picture, put, untouched, write_classes
from run_kit import fails
from source_kit import look

import deitft
from deitft.cli.app import main
from deitft.core.progress import Silent, StopFlag
from deitft.core.records import parse_csv_text
from deitft.data import packing, tar_members
from deitft.errors import DataError, OutputError, StorageError, TerminatedError


@pytest.fixture
def root(tmp_path):
    """Photos of several kinds, a copy, an empty file, a name without extension, and junk."""
    root = write_classes(tmp_path / "p", {"shoes": 12, "hats": 12})
    put(root, "shoes/deep/x.PNG", encoded(picture(90), "PNG"))
    put(root, "hats/wrong.jpg", encoded(picture(91), "PNG"))
    put(root, "hats/bare", jpeg(92))
    put(root, "hats/empty.jpg", b"")
    put(root, "hats/copy.jpg", (root / "hats/000.jpg").read_bytes())
    put(root, "hats/Thumbs.db", b"x")
    return root


def test_every_byte_and_every_label_is_there(root, tmp_path):
    out = tmp_path / "made/shards"
    with untouched(root):
        result = deitft.pack(root, out)
    found, packed = look(root), look(out)
    rows = {f"{row['shard']}/{row['member']}": row for row in parse_csv_text((out / "index.csv").read_text())}
    assert set(rows) == set(packed.paths)
    assert sorted(row["path"] for row in rows.values()) == found.paths
    for path in packed.paths:
        row = rows[path]
        _, data = packed.places.read(path)
        assert data == (root / row["path"]).read_bytes()
        assert (int(row["bytes"]), row["sha256"]) == (len(data), sha256(data).hexdigest())
    classes = {path: packed.classes[label] for path, label in zip(packed.paths, packed.labels, strict=True)}
    assert {path: row["label"] for path, row in rows.items()} == classes
    extensions = {row["path"]: path.rpartition(".")[2] for path, row in rows.items()}
    assert extensions["shoes/deep/x.PNG"] == "png"
    assert extensions["hats/wrong.jpg"] == extensions["hats/bare"] == "jpg"
    assert result.record() == {
        "out": str(out),
        "photos": 29,
        "classes": ("hats", "shoes"),
        "shards": [{"name": "shard-00000.tar", "photos": 29, "bytes": (out / "shard-00000.tar").stat().st_size}],
    }
    assert result.summary()[0] == ("Photos", "29 of 2 classes")


def test_any_reader_of_webdatasets_finds_them(root, tmp_path):
    """Sample by sample, as WebDataset reads: photo, then class; and the classes come mixed."""
    deitft.pack(root, tmp_path / "s")
    names = (tmp_path / "s/classes.txt").read_text().split("\n")[:-1]
    with tarfile.open(tmp_path / "s/shard-00000.tar", "r|") as tar:
        members = [(member.name, tar.extractfile(member).read(), member) for member in tar]
    assert {(member.mode, member.uid, member.mtime, member.isreg()) for _, _, member in members} == {
        (0o644, 0, 0, True)
    }
    order = []
    for (photo, _, _), (label, text, _) in zip(members[::2], members[1::2], strict=True):
        assert photo.partition(".")[0] == label.partition(".")[0]
        assert label.endswith(".cls")
        order.append(names[int(text)])
    assert order != sorted(order)
    assert len(set(order[:8])) == 2


def test_the_same_photos_give_the_same_shards(root, tmp_path):
    for name in ("one", "two"):
        deitft.pack(root, tmp_path / name, shard_mb=1)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_shards_are_about_as_large_as_asked(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 30, "b": 30}, size=(640, 480))
    result = deitft.pack(root, tmp_path / "s", shard_mb=1)
    sizes = [size for _, _, size in result.packed.shards]
    assert len(sizes) > 2
    assert max(sizes) < 1_200_000
    assert min(sizes[:-1]) > 700_000
    assert [name for name, _, _ in result.packed.shards] == [
        f"shard-{number:05d}.tar" for number in range(len(sizes))
    ]


def test_splits_are_in_the_names_and_groups_in_the_list(tmp_path):
    root = write_classes(tmp_path / "p", {"train/a": 3, "train/b": 3, "valid/a": 2, "test/b": 2})
    result = deitft.pack(root, tmp_path / "s", group_by=r"(\d)\.jpg$")
    assert [(name, count) for name, count, _ in result.packed.shards] == [
        ("train-00000.tar", 6),
        ("val-00000.tar", 2),
        ("test-00000.tar", 2),
    ]
    rows = parse_csv_text((tmp_path / "s/index.csv").read_text())
    assert all(row["group"] == row["path"][-5] for row in rows)
    assert sorted(look(tmp_path / "s").groups.tolist()) == sorted("0120120101")


def test_packing_again(root, tmp_path):
    """Shards are data as any other: packed once more, nothing but names has changed."""
    deitft.pack(root, tmp_path / "one")
    deitft.pack(tmp_path / "one", tmp_path / "two", shard_mb=1)
    digests = [
        sorted(
            (row["sha256"], row["label"]) for row in parse_csv_text((tmp_path / name / "index.csv").read_text())
        )
        for name in ("one", "two")
    ]
    assert digests[0] == digests[1]


def test_places_that_are_refused(root, tmp_path):
    (tmp_path / "full").mkdir()
    put(tmp_path, "full/x", b"mine")
    put(tmp_path, "file", b"mine")
    for out, id in (
        (root / "s", "C5"),
        (root, "C5"),
        (tmp_path / "full", "EXISTS"),
        (tmp_path / "file", "EXISTS"),
    ):
        with untouched(root), fails(OutputError, id):
            deitft.pack(root, out)
    with fails(OutputError, "C5"):
        deitft.pack(root, tmp_path / "file" / "s")
    assert (tmp_path / "full/x").read_bytes() == b"mine"
    (tmp_path / "empty").mkdir()
    assert deitft.pack(root, tmp_path / "empty").packed.photos == 29


def test_nothing_is_left_where_a_photo_is_lost(root, tmp_path, monkeypatch):
    catalog = look(root)
    for change, words in (
        (lambda path: path.unlink(), "cannot be read (no such file or directory)"),
        (lambda path: path.write_bytes(b"shorter"), "changed while it was packed"),
    ):
        path = root / "hats/003.jpg"
        before = path.read_bytes()
        change(path)
        with fails(StorageError, "D16") as caught, Silent().task("") as task:
            packing.pack(catalog, tmp_path / "s", shard_bytes=10**9, task=task, stop=StopFlag())
        assert caught.value.what == f"hats/003.jpg {words}"
        assert [path.name for path in tmp_path.iterdir()] == ["p"]
        path.write_bytes(before)


def test_a_shard_that_changes_while_it_is_packed_again(root, tmp_path):
    deitft.pack(root, tmp_path / "one")
    catalog = look(tmp_path / "one")
    os.truncate(tmp_path / "one/shard-00000.tar", 5000)
    with fails(StorageError, "D16"), Silent().task("") as task:
        packing.pack(catalog, tmp_path / "two", shard_bytes=10**9, task=task, stop=StopFlag())


def test_a_stop_leaves_nothing(root, tmp_path):
    stop = StopFlag()
    stop.reason = "SIGTERM"
    with fails(TerminatedError, "N3"), Silent().task("") as task:
        packing.pack(look(root), tmp_path / "s", shard_bytes=10**9, task=task, stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_what_no_shard_can_hold(root, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAX_MEMBER_BYTES", 1000)
    with fails(DataError, "D20") as caught:
        deitft.pack(root, tmp_path / "s")
    assert "have more than 0 MiB, first: " in caught.value.what
    assert tar_members.MAX_MEMBER_BYTES == 64 * 2**20
    monkeypatch.undo()
    put(root, "new\nline/1.jpg", jpeg(5))
    with fails(DataError, "D21") as caught:
        deitft.pack(root, tmp_path / "s")
    assert caught.value.what == 'the name of class "new\\nline" cannot stand in a line of classes.txt'


def test_on_the_command_line(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["pack", "p", "s", "--shard-mb", "1", "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["photos"], said["classes"]) == (29, ["hats", "shoes"])
    assert main(["pack", "p", "s"]) == 73
    assert "deitft: error [EXISTS]: s is there already" in capsys.readouterr().err
    assert main(["pack", "s", "p", "both", "--nested"]) == 0
    assert "58 of 3 classes" in capsys.readouterr().out  # shoes/deep is one of its own
    assert main(["pack", "p"]) == 2
    assert main(["pack", "p", "t", "--shard-mb", "0"]) == 2
    assert not (tmp_path / "t").exists()
