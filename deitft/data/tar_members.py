"""The members of a tar file, read from their headers alone and believed in nothing (faults D20, S3).

No member is ever written to disk. What is refused: names that point outside, links, devices, pipes, sparse files,
set-user-id bits, more than two million members, members above 64 MiB. What is noticed: an archive that ends
early, a header that is damaged or zeroed, a missing end mark; python's ``tarfile`` takes the last three for the
end of the archive and loses the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from deitft.data.catalog import counted, shown
from deitft.errors import DataError

BLOCK = 512
MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 64 * 2**20
MAX_NAME = 4096
_MAX_EXTENDED = 2**20  # bytes of an extended header
_ZEROS = bytes(BLOCK)
_NEAR, _FAR = 2**18, 2**12  # bytes read at once where members are small, and where they are photos of a usual size
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\3\4": "zip",
}
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: where its content stands."""

    name: str
    offset: int
    size: int


def compression_of(start: bytes) -> str | None:
    """The name of the compression that a file's first bytes tell of."""
    return next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)


def read_members(descriptor: int, shard: str) -> Iterator[Member]:
    """The files of a tar in their order; folders are passed over. ``shard`` is its name for errors.

    Raises:
        DataError: torn or damaged (D20), hostile (S3).
    """
    return _Reader(descriptor, shard).members()


class _Reader:
    def __init__(self, descriptor: int, shard: str) -> None:
        self.descriptor, self.shard = descriptor, shard
        self.end = os.fstat(descriptor).st_size
        self.count = 0
        self._buffer, self._start, self._ahead = b"", 0, _NEAR

    def members(self) -> Iterator[Member]:
        at = 0
        extended: dict[str, str] = {}
        while True:
            header = self._block(at)
            if header is None or header == _ZEROS:
                self._check_end(at, header)
                return
            kind = header[156:157]
            name, size = self._name(header), self._size(header, at)
            content = at + BLOCK
            if kind in b"xgLK" and kind:
                more = self._extended(kind, content, size)
                extended |= {} if kind == b"g" else more
            else:
                name = extended.get("path", name)
                size = self._number(extended["size"], at) if "size" in extended else size
                extended = {}
                if self._is_file(header, kind, name):
                    yield self._member(name, content, size)
            at = content + -(-size // BLOCK) * BLOCK
            self._ahead = _NEAR if size < _NEAR // 4 else _FAR

    def _member(self, name: str, content: int, size: int) -> Member:
        self.count += 1
        if self.count > MAX_MEMBERS:
            self._hostile(f"has more than {MAX_MEMBERS:,} members")
        if size > MAX_MEMBER_BYTES:
            limit = f"{MAX_MEMBER_BYTES // 2**20} MiB"
            self._hostile(f'member "{shown(name)}" has {size:,} bytes (limit {limit})')
        if content + size > self.end:
            self._ends_early(content + size, self.count - 1)
        while name.startswith("./"):
            name = name[2:]
        return Member(name, content, size)

    def _is_file(self, header: bytes, kind: bytes, name: str) -> bool:
        """Whether this is a file; a folder is not, and everything else is refused."""
        self._check_name(name)
        if kind in _KINDS:
            self._hostile(f'member "{shown(name)}" is {_KINDS[kind]}')
        if kind == b"5" or (kind in (b"0", b"\0") and name.endswith("/")):
            return False
        if kind not in (b"0", b"\0", b"7"):
            self._hostile(f'member "{shown(name)}" is of an unknown kind ({shown(kind.decode("latin-1"))})')
        if self._octal(header[100:108], 0) & 0o6000:
            self._hostile(f'member "{shown(name)}" would run as another user')
        return True

    def _check_name(self, name: str) -> None:
        parts = name.rstrip("/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ".." in name.split("\\") or name[1:3] in (":\\", ":/"):
            self._hostile(f'member "{shown(name)}" points outside the archive')
        if not name or len(name) > MAX_NAME or "\0" in name:
            self._hostile(f"a member's name has {len(name):,} characters")

    def _extended(self, kind: bytes, at: int, size: int) -> dict[str, str]:
        """What a header in front of a member says about it: a longer name, a size."""
        if size > _MAX_EXTENDED:
            self._hostile(f"an extended header has {size:,} bytes")
        data = self._read(at, size)
        if len(data) < size:
            self._ends_early(at + size, self.count)
        if kind in (b"L", b"K"):
            return {"path": self._text(data.rstrip(b"\0"))} if kind == b"L" else {}
        found: dict[str, str] = {}
        while data:
            length, space, _ = data.partition(b" ")
            if not space or not length.isdigit() or not len(length) + 3 <= int(length) <= len(data):
                self._damaged(at - BLOCK)
            word, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
            data = data[int(length) :]
            if word.startswith(b"GNU.sparse"):
                self._hostile("a member is a sparse file")
            if word in (b"path", b"size"):
                found[word.decode()] = self._text(value)
        return found

    def _block(self, at: int) -> bytes | None:
        """A header that is whole: its checksum is right, or it is all zeros. None at the end of the file."""
        block = self._read(at, BLOCK)
        if not at:
            self._check_kind(block)
        if len(block) < BLOCK:
            if block.strip(b"\0"):
                self._ends_early(at + BLOCK, self.count)
            return None
        if block != _ZEROS and self._octal(block[148:156], at) not in _checksums(block):
            self._damaged(at)
        return block

    def _check_kind(self, start: bytes) -> None:
        if not start:
            self._torn("is empty")
        compressed = compression_of(start)
        if compressed:
            raise DataError(
                f"{shown(self.shard)} is compressed ({compressed}): single photos of it cannot be read",
                "unpack it to a plain tar, or its photos to a folder",
                id="D20",
                files=(self.shard,),
            )

    def _check_end(self, at: int, mark: bytes | None) -> None:
        """After the last member stand zeros and nothing else."""
        if mark is None:
            self._torn(f"ends early: {counted(self.count, 'file')} read and no end mark at byte {at:,}")
        place = at
        while piece := os.pread(self.descriptor, 2**20, place):
            if piece.strip(b"\0"):
                self._torn(f"has a hole at byte {at:,}: {counted(self.count, 'file')} read, more follow")
            place += len(piece)

    def _name(self, header: bytes) -> str:
        name = header[:100].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].partition(b"\0")[0] + b"/" + name
        return self._text(name)

    def _text(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            wrong = shown(name.decode("utf-8", "surrogateescape"))
            what = f'{shown(self.shard)}: the name of member "{wrong}" is not valid UTF-8'
            raise DataError(what, "rename it and pack again", id="D21", files=(self.shard,)) from None

    def _size(self, header: bytes, at: int) -> int:
        field = header[124:136]
        if field[0] & 0x80:  # a binary number
            size = int.from_bytes(field, "big", signed=True) + (0 if field[0] == 0xFF else 1 << 95)
            if not 0 <= size < 2**62:
                self._hostile(f"a member has {'a negative size' if size < 0 else f'{size:,} bytes'}")
            return size
        return self._octal(field, at)

    def _octal(self, field: bytes, at: int) -> int:
        digits = field.strip(b" \0")
        if digits.strip(b"01234567"):
            if digits.startswith(b"-"):
                self._hostile("a member has a negative size")
            self._damaged(at)
        return int(digits or b"0", 8)

    def _number(self, text: str, at: int) -> int:
        if text.startswith("-"):
            self._hostile("a member has a negative size")
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            self._damaged(at)
        return int(text)

    def _read(self, at: int, size: int) -> bytes:
        begin = at - self._start
        if begin < 0 or begin + size > len(self._buffer):
            self._buffer, self._start, begin = os.pread(self.descriptor, max(size, self._ahead), at), at, 0
        return self._buffer[begin : begin + size]

    def _damaged(self, at: int) -> NoReturn:
        self._torn(f"is damaged at byte {at:,}: {counted(self.count, 'file')} read")

    def _ends_early(self, wanted: int, whole: int) -> NoReturn:
        self._torn(f"ends early: {counted(whole, 'file')} read, the next needs {wanted:,} bytes of {self.end:,}")

    def _torn(self, how: str) -> NoReturn:
        raise DataError(f"{shown(self.shard)} {how}", "copy it again", id="D20", files=(self.shard,))

    def _hostile(self, how: str) -> NoReturn:
        hint = "do not use it, or pack it again from photos that you trust"
        raise DataError(f"{shown(self.shard)}: {how}", hint, id="S3", files=(self.shard,))


def _checksums(block: bytes) -> tuple[int, ...]:
    """The sum of a header's bytes with its checksum as spaces; old programs added signed bytes."""
    rest = block[:148] + block[156:]
    total = sum(rest) + 8 * 32
    high = sum(byte > 127 for byte in rest) if not rest.isascii() else 0
    return (total, total - 256 * high)
