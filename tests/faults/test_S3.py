"""S3: archives that point outside, hold links and devices, or claim more than they may."""

from __future__ import annotations

import os
import tarfile
import time
import zipfile

import pytest
from photo_kit import jpeg, state_of
from source_kit import END, header, look, padded, refusal, samples, tar_bytes

from deitft.core.progress import Silent
from deitft.data import tar_members
from deitft.data.scan import scan
from deitft.errors import DataError

GOOD = tar_bytes(samples([(f"{number}.jpg", jpeg(number)) for number in range(4)], ["a", "b", "a", "b"]))


def shard_with(tmp_path, *blocks: bytes):
    """A shard that begins like the good one."""
    folder = tmp_path / "inside" / "shards"
    folder.mkdir(parents=True)
    (folder / "data.tar").write_bytes(GOOD)
    assert len(look(folder)) == 4  # the control
    start = len(GOOD.rstrip(b"\0")) + 512
    good = GOOD[: start - start % 512]
    (folder / "data.tar").write_bytes(good + b"".join(blocks) + END)
    return folder


def refused(tmp_path, *blocks: bytes) -> str:
    folder = shard_with(tmp_path, *blocks)
    before = state_of(tmp_path)
    error = refusal(folder)
    assert (error.id, error.exit_code, error.files) == ("S3", 65, ("data.tar",))
    assert state_of(tmp_path) == before  # nothing was written anywhere
    return error.what


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "a/../../evil.jpg",
        "/abs/evil.jpg",
        "..",
        "\\evil.jpg",
        "..\\evil.jpg",
        "C:\\evil.jpg",
        "C:/evil.jpg",
    ],
)
def test_S3_a_name_that_points_outside(tmp_path, name):
    what = refused(tmp_path, header(name.encode(), 4), padded(b"evil"))
    assert what == f'data.tar: member "{name}" points outside the archive'


@pytest.mark.parametrize("name", ["../evil/", "/abs/"])
def test_S3_a_folder_that_points_outside(tmp_path, name):
    assert "points outside the archive" in refused(tmp_path, header(name.encode(), 0, b"5"))


def test_S3_a_long_name_that_points_outside(tmp_path):
    long = b"../" * 40 + b"evil.jpg\0"
    blocks = header(b"././@LongLink", len(long), b"L"), padded(long), header(b"short.jpg", 4), padded(b"evil")
    assert "points outside the archive" in refused(tmp_path, *blocks)


def test_S3_an_extended_name_that_points_outside(tmp_path):
    record = b"path=../evil.jpg\n"
    record = b"%d " % (len(record) + 3) + record
    blocks = header(b"x", len(record), b"x"), padded(record), header(b"short.jpg", 4), padded(b"evil")
    assert "points outside the archive" in refused(tmp_path, *blocks)


def test_S3_a_prefix_that_points_outside(tmp_path):
    blocks = header(b"evil.jpg", 4, prefix=b".."), padded(b"evil")
    assert "points outside the archive" in refused(tmp_path, *blocks)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (b"1", "a hard link"),
        (b"2", "a symbolic link"),
        (b"3", "a device"),
        (b"4", "a device"),
        (b"6", "a pipe"),
        (b"S", "a sparse file"),
    ],
)
def test_S3_members_that_are_no_files(tmp_path, kind, word):
    what = refused(tmp_path, header(b"x.jpg", 0, kind, link=b"/etc/passwd"))
    assert what == f'data.tar: member "x.jpg" is {word}'


def test_S3_a_link_and_then_a_file_through_it(tmp_path):
    link, through = header(b"out", 0, b"2", link=b"../.."), header(b"out/evil.jpg", 4)
    assert "is a symbolic link" in refused(tmp_path, link, through, padded(b"evil"))


def test_S3_a_file_that_runs_as_another_user(tmp_path):
    assert "would run as another user" in refused(
        tmp_path, header(b"x.jpg", 4, mode=b"0004755\0"), padded(b"evil")
    )


def test_S3_an_unknown_kind(tmp_path):
    assert "is of an unknown kind (Z)" in refused(tmp_path, header(b"x.jpg", 0, b"Z"))


@pytest.mark.parametrize("field", [b"-0000000001\0", b"\xff" * 12])
def test_S3_a_negative_size(tmp_path, field):
    assert "negative size" in refused(tmp_path, header(b"x.jpg", 0, size_field=field))


def test_S3_a_negative_size_in_an_extended_header(tmp_path):
    record = b"size=-512\n"
    record = b"%d " % (len(record) + 3) + record
    blocks = header(b"x", len(record), b"x"), padded(record), header(b"x.jpg", 4), padded(b"evil")
    assert "negative size" in refused(tmp_path, *blocks)


def test_S3_ten_gigabytes_of_zeros(tmp_path):
    """Declared, as a hole in the file: refused by the header, not a byte of it is read."""
    folder = shard_with(tmp_path)
    with (folder / "data.tar").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        start = file.tell() - len(END)
        file.seek(start)
        file.write(header(b"zeros.jpg", 0, size_field=b"\x80" + (10 * 2**30).to_bytes(11, "big")))
        file.truncate(start + 512 + 10 * 2**30 + 1024)
    began = time.monotonic()
    with pytest.raises(DataError, match="10,737,418,240 bytes \\(limit 64 MiB\\)") as caught:
        scan(folder, progress=Silent())
    assert caught.value.id == "S3"
    assert time.monotonic() - began < 5


def test_S3_a_size_that_no_disk_has(tmp_path):
    assert "bytes" in refused(tmp_path, header(b"x.jpg", 0, size_field=b"\x80" + b"\xff" * 11))


def test_S3_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_members, "MAX_MEMBERS", 8)
    assert refused(tmp_path, header(b"x.txt", 0)) == "data.tar: has more than 8 members"


def test_S3_a_sparse_file_in_an_extended_header(tmp_path):
    record = b"GNU.sparse.size=99999999999\n"
    record = b"%d " % (len(record) + 3) + record
    blocks = header(b"x", len(record), b"x"), padded(record), header(b"x.jpg", 4), padded(b"evil")
    assert "a sparse file" in refused(tmp_path, *blocks)


def test_S3_an_extended_header_without_end(tmp_path):
    assert "an extended header has 2,000,000 bytes" in refused(
        tmp_path, header(b"x", 2_000_000, b"x"), bytes(2_000_384)
    )


def test_S3_a_name_of_a_million_letters(tmp_path):
    long = b"a" * 1_000_000
    blocks = header(b"././@LongLink", len(long), b"L"), padded(long), header(b"x.jpg", 4), padded(b"evil")
    assert refused(tmp_path, *blocks) == "data.tar: a member's name has 1,000,000 characters"


@pytest.mark.parametrize(
    "record", [b"99 path=x\n", b"x path=y\n", b"0 \n", b"12345678901234567890 a=b\n", b"9 path=x"]
)
def test_S3_an_extended_header_that_is_garbled_is_damage(tmp_path, record):
    folder = shard_with(
        tmp_path, header(b"x", len(record), b"x"), padded(record), header(b"x.jpg", 4), padded(b"evil")
    )
    error = refusal(folder)
    assert (error.id, "is damaged at byte" in error.what) == ("D20", True)


def test_S3_name_twins_and_names_that_are_not_utf_8(tmp_path):
    twins = header(b"3.jpg", 4) + padded(b"evil")
    assert refusal(shard_with(tmp_path / "a", twins)).id == "D20"
    error = refusal(shard_with(tmp_path / "b", header(b"\xff.jpg", 4), padded(b"evil")))
    assert (error.id, error.what) == ("D21", 'data.tar: the name of member "\\xff.jpg" is not valid UTF-8')


def test_S3_an_archive_in_the_archive_is_no_photo(tmp_path):
    """Nothing is unpacked: what is inside of it stays inside."""
    inner = tar_bytes([("../evil.jpg", b"evil")])
    folder = shard_with(tmp_path, header(b"inner.tar", len(inner)), padded(inner))
    before = state_of(tmp_path)
    catalog = look(folder)
    assert (len(catalog), catalog.ignored) == (4, (("data.tar/inner.tar", ".tar"),))
    assert state_of(tmp_path) == before


def test_S3_a_zip_bomb_is_not_opened(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.jpg", bytes(50_000_000))
    assert refusal(bomb).id == "D20"


def test_S3_the_control_of_these_tests(tmp_path):
    """``tarfile`` would write it outside; so these are the bytes of a real attack."""
    folder = shard_with(tmp_path, header(b"../evil.jpg", 4), padded(b"evil"))
    with tarfile.open(folder / "data.tar") as tar:
        tar.extractall(folder, filter="fully_trusted")
    assert (folder.parent / "evil.jpg").read_bytes() == b"evil"
