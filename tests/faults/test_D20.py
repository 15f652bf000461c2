"""D20: tar shards that are torn, incomplete, or not what was packed."""

from __future__ import annotations

import gzip
import tarfile
import zipfile

import pytest
from photo_kit import jpeg, write_classes
from source_kit import END, header, labels_of, look, padded, refusal, samples, tar_bytes

import deitft
from deitft.core.progress import Silent
from deitft.data.inspect import inspect
from deitft.errors import DataError

PHOTOS = [(f"{number:06d}.jpg", jpeg(number, (24, 20))) for number in range(20)]
LABELS = ["cat" if number % 2 else "dog" for number in range(20)]
MEMBERS = samples(PHOTOS, LABELS)
WHOLE = tar_bytes(MEMBERS)


@pytest.fixture
def shard(tmp_path):
    """The control: the same shard without a fault."""
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "data-000.tar").write_bytes(WHOLE)
    found = look(folder)
    assert (found.notices, found.classes, len(found)) == ((), ("cat", "dog"), 20)
    return folder / "data-000.tar"


@pytest.fixture
def packed(tmp_path):
    """Eight shards with their index; the control is that they are taken."""
    deitft.pack(write_classes(tmp_path / "p", {"cat": 40, "dog": 40}, size=(640, 480)), tmp_path / "s", shard_mb=1)
    shards = sorted((tmp_path / "s").glob("*.tar"))
    assert len(shards) >= 4
    assert len(look(tmp_path / "s")) == 80
    return tmp_path / "s"


def torn(shard, data: bytes) -> DataError:
    shard.write_bytes(data)
    error = refusal(shard.parent)
    assert (error.id, error.exit_code, error.files) == ("D20", 65, (shard.name,))
    return error


def member_place(shard, name: str) -> tuple[int, int]:
    """(where the header of a member begins, where its content does)."""
    with tarfile.open(shard) as tar:
        member = tar.getmember(name)
        return member.offset, member.offset_data


def test_D20_a_cut_in_a_member(shard):
    start = member_place(shard, "000012.jpg")[1]
    error = torn(shard, WHOLE[: start + 100])
    end = start + len(PHOTOS[12][1])
    assert error.line == (
        f"data-000.tar ends early: 24 files read, the next needs {end:,} bytes of {start + 100:,} — copy it again"
    )


def test_D20_a_cut_in_a_header(shard):
    start = member_place(shard, "000012.jpg")[0]
    assert "data-000.tar ends early: 24 files read" in torn(shard, WHOLE[: start + 300]).what


def test_D20_b_cut_between_two_members(shard):
    """Every member left is whole: only the end mark tells."""
    start = member_place(shard, "000012.jpg")[0]
    cut = torn(shard, WHOLE[:start])
    assert cut.what == f"data-000.tar ends early: 24 files read and no end mark at byte {start:,}"
    with tarfile.open(shard) as tar:
        assert len(tar.getmembers()) == 24  # what python says of it


def test_D20_every_cut_is_noticed_or_loses_nothing(shard):
    """A property: at any length the shard is refused, or has all photos."""
    refused = []
    for length in range(0, len(WHOLE), 173):
        shard.write_bytes(WHOLE[:length])
        try:
            found = look(shard.parent)
        except DataError as error:
            refused.append(error.id)
        else:
            assert len(found) == 20
            assert not WHOLE[length:].strip(b"\0")
    assert set(refused) == {"D20"}


def test_D20_c_a_header_of_zeros(shard):
    start = member_place(shard, "000012.jpg")[0]
    error = torn(shard, WHOLE[:start] + bytes(512) + WHOLE[start + 512 :])
    assert error.what == f"data-000.tar has a hole at byte {start:,}: 24 files read, more follow"
    with tarfile.open(shard) as tar:
        assert len(tar.getmembers()) == 24  # and no error


@pytest.mark.parametrize("place", [0, 100, 124, 130, 148, 156, 300])
def test_D20_c_a_damaged_header(shard, place):
    start = member_place(shard, "000012.jpg")[0] + place
    damaged = WHOLE[:start] + bytes([WHOLE[start] ^ 0x11]) + WHOLE[start + 1 :]
    assert "data-000.tar is damaged at byte" in torn(shard, damaged).what


def test_D20_d_a_photo_without_its_class(shard):
    left_out = {"000003.cls", "000007.cls"}
    error = torn(shard, tar_bytes([member for member in MEMBERS if member[0] not in left_out]))
    assert error.what == 'data-000.tar: photo "000003.jpg" has no class, no "000003.cls" (2 such photos)'


def test_D20_d_a_class_without_its_photo(shard):
    error = torn(shard, tar_bytes([member for member in MEMBERS if member[0] != "000003.jpg"]))
    assert error.what == 'data-000.tar: sample "000003" has a class and no photo'


@pytest.mark.parametrize("text", [b"", b" \n", b"\xff", b"a\0b", b"x" * 2000])
def test_D20_d_a_class_that_is_none(shard, text):
    members = [(name, text if name == "000003.cls" else content) for name, content in MEMBERS]
    assert torn(shard, tar_bytes(members)).what == "data-000.tar: 000003.cls holds no name or number of a class"


def test_D20_e_two_members_of_one_name(shard):
    twice = [*MEMBERS[:7], ("000003.jpg", jpeg(99)), *MEMBERS[7:]]
    assert torn(shard, tar_bytes(twice)).what == 'data-000.tar has two members of the name "000003.jpg"'
    two = [*MEMBERS[:7], ("000003.png", jpeg(99)), *MEMBERS[7:]]
    assert torn(shard, tar_bytes(two)).what == 'data-000.tar: sample "000003" has 2 photos'


def test_D20_f_members_of_a_sample_apart(shard):
    apart = [*MEMBERS[:6], *MEMBERS[7:], MEMBERS[6]]
    assert MEMBERS[6][0] == "000003.jpg"
    error = torn(shard, tar_bytes(apart))
    assert error.what in (
        'data-000.tar: sample "000003" has a class and no photo',
        'data-000.tar: the members of sample "000003" do not stand one after the other',
    )
    apart = [*MEMBERS[:7], *MEMBERS[8:], MEMBERS[7]]
    error = torn(shard, tar_bytes(apart))
    assert error.what == 'data-000.tar: the members of sample "000003" do not stand one after the other'


def test_D20_g_a_shard_is_missing(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    for number in range(8):
        (folder / f"train-{number:05d}.tar").write_bytes(WHOLE)
    assert len(look(folder)) == 160
    (folder / "train-00003.tar").unlink()
    error = refusal(folder)
    assert (error.id, error.exit_code, error.files) == ("D20", 66, ("train-00003.tar",))
    assert error.what == f"{folder} has 7 of 8 shards, not train-00003.tar"
    assert len(look(*sorted(folder.glob("*.tar")))) == 140  # named one by one, they are what is wanted


def test_D20_g_the_names_tell_how_many_there_are(tmp_path):
    for number in (0, 1, 2):
        (tmp_path / f"part-{number}-of-4.tar").write_bytes(WHOLE)
    assert refusal(tmp_path).files == ("part-3-of-4.tar",)
    (tmp_path / "part-3-of-4.tar").write_bytes(WHOLE)
    assert len(look(tmp_path)) == 80


def test_D20_g_dates_are_no_row(tmp_path):
    for day in ("20260101", "20260518"):
        (tmp_path / f"{day}.tar").write_bytes(WHOLE)
    assert len(look(tmp_path)) == 40


def test_D20_g_the_index_tells_of_the_last_one(packed):
    last = sorted(packed.glob("*.tar"))[-1]
    last.unlink()
    assert (refusal(packed).exit_code, refusal(packed).files) == (66, (last.name,))


@pytest.mark.parametrize("name", ["data-000.tar", "data-000.tar.gz", "data.tgz", "data.zip"])
def test_D20_h_compressed(shard, name):
    shard.unlink()
    file = shard.with_name(name)
    if name.endswith(".zip"):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../evil.jpg", b"")
    else:
        file.write_bytes(gzip.compress(WHOLE))
    error = refusal(file)
    assert (error.id, error.exit_code) == ("D20", 65)
    assert (
        f"compressed{' archive' if name != 'data-000.tar' else ''} ({'zip' if 'zip' in name else 'gzip'})"
        in error.what
    )


def test_D20_an_empty_shard(shard):
    assert torn(shard, b"").what == "data-000.tar is empty"
    shard.write_bytes(END)
    assert (refusal(shard.parent).id, refusal(shard.parent).exit_code) == ("D1", 66)


def test_D20_a_torn_shard_is_measured_by_the_index(packed):
    shard = sorted(packed.glob("*.tar"))[1]
    listed = sum(row.startswith(shard.name) for row in (packed / "index.csv").read_text().splitlines())
    shard.write_bytes(shard.read_bytes()[:3000])
    error = refusal(packed)
    assert error.id == "D20"
    assert error.what.endswith(f"(index.csv lists {listed} photos)")


def test_D20_another_shard_than_the_index_lists(packed):
    first, second = sorted(packed.glob("*.tar"))[:2]
    first.write_bytes(second.read_bytes())
    assert "is not the one that index.csv lists" in refusal(packed).what


def test_D20_a_shard_that_the_index_does_not_list(packed):
    (packed / "more.tar").write_bytes(WHOLE)
    assert refusal(packed).what == "more.tar is not in index.csv beside it"


def test_D20_one_byte_of_a_photo_is_another(packed, tmp_path):
    """Every decoder takes it: only the sha256 tells, the first time and when it is remembered."""
    shard = sorted(packed.glob("*.tar"))[0]
    catalog = look(packed)
    name = next(path.rpartition("/")[2] for path in catalog.paths if path.startswith(shard.name))
    place = member_place(shard, name)[1]
    data = bytearray(shard.read_bytes())
    data[place + 7] ^= 1  # the version of its JFIF header
    shard.write_bytes(data)
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        with pytest.raises(DataError) as caught:
            inspect(look(packed), workers=1, progress=Silent(), cache_dir=cache)
        assert (caught.value.id, caught.value.files) == ("D20", (f"{shard.name}/{name}",))


@pytest.mark.parametrize("row", ["shard,member,bytes,sha256,label,group,path\nx.tar,a.jpg,ten,00,cat,,p\n"])
def test_D20_an_index_that_cannot_be_read(shard, row):
    (shard.parent / "index.csv").write_text(row)
    assert refusal(shard.parent).what == "index.csv row 2: not a size and a sha256"


def test_D20_an_index_of_somebody_else_is_no_index(shard):
    (shard.parent / "index.csv").write_text("number,name\n1,cat\n")
    assert len(look(shard.parent)) == 20


def test_D20_class_names_beside_the_shards(shard):
    members = samples(PHOTOS, [str(number % 3) for number in range(20)])
    shard.write_bytes(tar_bytes(members))
    assert look(shard.parent).classes == ("0", "1", "2")
    names = shard.parent / "classes.txt"
    names.write_text("cat\ndog\nbird\n")
    assert look(shard.parent).classes == ("bird", "cat", "dog")
    assert labels_of(look(shard.parent))["data-000.tar/000002.jpg"] == "bird"
    for text, wrong in (
        ("cat\ndog\n", 'photo "000002.jpg" is of class "2", which classes.txt does not have'),
        ("cat\n\ndog\n", "classes.txt has an empty line"),
        ("cat\ndog\ncat\n", 'classes.txt has "cat" twice'),
    ):
        names.write_text(text)
        assert wrong in refusal(shard.parent).what
        assert refusal(shard.parent).id == "D20"
    names.write_bytes(b"\xff\n")
    assert refusal(shard.parent).what == "classes.txt is not UTF-8"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_D20_long_and_foreign_names_in_every_format(tmp_path, format):
    """The control of the reader: what ``tarfile`` writes and reads is read the same."""
    names = [
        "a/b/c.jpg",
        "caf\u00e9.jpg",
        "./d.jpg",
        *(["x" * 200 + ".jpg"] if format != tarfile.USTAR_FORMAT else []),
    ]
    names += ["d" * 90 + "/" + "e" * 90 + ".jpg"]
    photos = [(name, jpeg(number)) for number, name in enumerate(names)]
    shard = tmp_path / "data.tar"
    shard.write_bytes(tar_bytes(samples(photos, ["a", "b"] * 2 + ["a"] * (len(names) - 4)), format))
    catalog = look(tmp_path)
    assert set(catalog.paths) == {f"data.tar/{name.removeprefix('./')}" for name in names}
    contents = {f"data.tar/{name.removeprefix('./')}": content for name, content in photos}
    assert {path: catalog.places.read(path)[1] for path in catalog.paths} == contents


def test_D20_old_headers_and_folders(tmp_path):
    """Without a magic word, as before 1988; a folder as a name that ends with a slash; junk of other programs."""
    data = header(b"photos/", kind=b"\0", magic=b"\0" * 8)
    for name, content in samples([("photos/1.jpg", jpeg(1)), ("photos/2.jpg", jpeg(2))], ["a", "b"]):
        data += header(name.encode(), len(content), kind=b"\0", magic=b"\0" * 8) + padded(content)
    data += header(b"photos/more/", kind=b"5")
    for name in (b"._1.jpg", b"__MACOSX/1.jpg", b"readme.txt"):
        data += header(name, 1) + padded(b"x")
    (tmp_path / "old.tar").write_bytes(data + END)
    catalog = look(tmp_path)
    assert catalog.paths == ["old.tar/photos/1.jpg", "old.tar/photos/2.jpg"]
    assert dict(catalog.ignored) == {
        "old.tar/._1.jpg": "._*",
        "old.tar/__MACOSX/1.jpg": ".jpg",
        "old.tar/readme.txt": ".txt",
    }
    assert [notice.id for notice in catalog.notices] == ["D14"]
