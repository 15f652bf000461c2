"""What the teacher said of each view, on disk, so that it is paid for once.

A view is a function of (seed, epoch, sample, repeat) and mixing one of (seed, step); the place of a view in the
run is (step, row). So an answer is stored by its place: one uint16 for a hard label, 0.77 GB for ImageNet's 300
epochs. The header says of which views the answers are: photos, order, augmentation, mixing, sizes, teachers. A
cache of other views is refused, field by field.

A cache is a folder: ``header.json`` and chunks of some steps, each written whole with a digest over it. Several
processes may fill one cache: each writes its own answers, and no others', under its own name (``run-1``,
``fill-0``), and reading joins them. So the files together hold each answer about once, however many write.

The header also says how the answers were computed: device, threads, how many views at once. A process that
computes otherwise reads and adds nothing, so that what the header says is true of every answer in the cache.

Legend: B views a step, K classes kept a view (soft), C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.files import canonical_json, read_json, replacing, sha256_bytes, write_json
from deitft.errors import DataError, OutputError, RecipeError
from deitft.recipe.plan_types import Plan

HEADER = "header.json"
CACHE_VERSION = 2
VIEWS_A_CHUNK = 65_536
_DIGEST = 16
_MAGIC = b"deitft teacher\x02\n"
_BOX = np.dtype("<u4")
"""Before a chunk's answers: of which steps and rows they are, as four numbers."""
_AROUND = len(_MAGIC) + 4 * _BOX.itemsize + _DIGEST

Words = npt.NDArray[np.void]
Box = tuple[slice, slice]


def word_type(kept: int, precision: str, classes: int) -> np.dtype[np.void]:
    """One view's answer: classes [max(kept, 1)], and for soft targets their log-probabilities (f2 or f4).

    A class takes two bytes, with more than 65,535 classes four: the largest number says that nobody has asked yet.
    """
    number = "<u2" if classes <= np.iinfo(np.uint16).max else "<u4"
    fields: list[tuple[str, str, tuple[int, ...]]] = [("classes", number, (max(kept, 1),))]
    if kept:
        fields.append(("log", "<f2" if precision == "fp16" else "<f4", (kept,)))
    return np.dtype(fields)


def unknown_words(shape: tuple[int, ...], type: np.dtype[np.void]) -> Words:
    """Places where nobody has asked yet."""
    words = np.zeros(shape, type)
    words["classes"] = np.iinfo(words["classes"].dtype).max
    return words


def known_words(words: Words) -> npt.NDArray[np.bool_]:
    """For each place whether there is an answer."""
    known: npt.NDArray[np.bool_] = words["classes"][..., 0] != np.iinfo(words["classes"].dtype).max
    return known


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """Of which views the answers are. ``views`` must be equal to be used; ``exact`` must be for the same bits.

    ``kept``: classes kept a view, 0 for hard labels; ``precision`` of the kept log-probabilities; ``classes``: how
    many there are.
    """

    views: Mapping[str, Any]
    exact: Mapping[str, Any]
    batch: int
    kept: int
    precision: str
    classes: int

    def record(self) -> dict[str, Any]:
        """Plain data, for ``header.json``."""
        return {
            "version": CACHE_VERSION,
            "views": dict(self.views),
            "exact": dict(self.exact),
            "batch": self.batch,
            "kept": self.kept,
            "precision": self.precision,
        }

    @property
    def type(self) -> np.dtype[np.void]:
        """What one view's answer is."""
        return word_type(self.kept, self.precision, self.classes)

    @property
    def steps_a_chunk(self) -> int:
        """Steps that one file holds."""
        return max(1, VIEWS_A_CHUNK // self.batch)

    def bytes_for(self, steps: int) -> int:
        """Size on disk of the answers of so many steps, beside which the header is small."""
        chunks = math.ceil(steps / self.steps_a_chunk)
        return steps * self.batch * self.type.itemsize + chunks * _AROUND


def header_of(
    plan: Plan,
    photos_digest: str,
    *,
    labels_digest: str = "",
    kept: int = 0,
    precision: str = "fp32",
    share: int | None = None,
) -> CacheHeader:
    """The header of a plan's cache. ``photos_digest``: of the train photos' contents and order; ``labels_digest``:
    of their labels, where the draw depends on them; ``share``: rows of the batch that one process has, or all.
    """
    distill = plan.distill
    assert distill is not None, "a cache is for a plan with a teacher"
    record = plan.record()
    views = {
        "photos": photos_digest,
        "labels": labels_digest,
        "classes": sha256_bytes(canonical_json(plan.classes)),
        **{name: record[name] for name in ("seed", "balance", "batch", "train_size", "preprocessing")},
        "full_size_from_step": plan.full_size_from_step if plan.train_size != plan.preprocessing.size else 0,
        "augment": record["augment"],
        "mixing": record["mixing"],
        "cache_views": distill.cache_views,
        "kind": distill.kind,
        "teachers": [
            {"sha256": one.sha256, "columns": list(one.columns), "preprocessing": one.preprocessing.record()}
            for one in distill.teachers
        ],
    }
    exact = {name: record[name] for name in ("device", "precision", "threads")}
    exact["teacher_batch"] = teacher_batch(plan.micro_batch, share or plan.batch)
    return CacheHeader(views, exact, plan.batch, kept, precision, len(plan.classes))


def teacher_batch(micro_batch: int, share: int) -> dict[str, int]:
    """What the teacher sees at once: so many images, of so many rows that are cut into such parts.

    Where the parts are equal it does not matter how many there are: 16 at once are 16 of 16 in any process.
    """
    images = min(micro_batch, share)
    return {"images": images, "of": share if share % images else images}


class TeacherCache:
    """Answers by place, read and written by chunk. ``part`` names the writer where there are several.

    ``inexact`` says how this process computes otherwise than the header has it, "" where it does not. Then nothing
    is written.
    """

    def __init__(self, folder: Path, header: CacheHeader, *, part: str = "run-0") -> None:
        """Open a cache, or begin one.

        Raises:
            RecipeError: it holds answers for other views (id CACHE); every difference is named.
            DataError: its header cannot be read (id CACHE).
            OutputError: the folder cannot be made (exit 73).
        """
        self.folder, self.header, self.part = folder, header, part
        self.inexact = ""
        self._number: int | None = None
        self._words = self._own = np.empty(0, header.type)
        self._changed = False
        self._open()

    def _open(self) -> None:
        stored = stored_header(self.folder, self.header)
        if stored is not None:
            self.inexact = "; ".join(compare(stored, self.header.record(), part="exact"))
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {self.folder}: {error.strerror}", "name another folder", id="CACHE"
            ) from error
        write_json(self.folder / HEADER, self.header.record())

    def read(self, step: int) -> Words:
        """The answers of a step, [B]; ``known_words`` says where there are any."""
        place = self._turn_to(step)
        words: Words = self._words[place]
        return words

    def write(self, step: int, first_row: int, words: Words) -> None:
        """Keep answers of a step's rows, in memory until the chunk is left or ``flush``; not where ``inexact``."""
        if self.inexact:
            return
        place = self._turn_to(step)
        for kept in (self._words, self._own):
            kept[place, first_row : first_row + len(words)] = words
        self._changed = True

    def flush(self) -> None:
        """Write what this process has answered; what was written under its name meanwhile stays."""
        if self._number is None or not self._changed:
            return
        path = self.folder / f"{self._number:06d}.{self.part}.chunk"
        if path.is_file():
            _fill_up(self._own, *_chunk(path, self._number, self.header))
        box = _box_of(known_words(self._own))
        body = np.array([edge for side in box for edge in (side.start, side.stop)], _BOX).tobytes()
        body += self._own[box].tobytes()
        with replacing(path) as file:
            file.write(_MAGIC + body + _digest(self._number, body))
        self._changed = False

    def known_steps(self, total: int) -> npt.NDArray[np.bool_]:
        """For each step up to ``total`` whether every view of it has an answer."""
        known = np.zeros(total, dtype=np.bool_)
        for number in range(math.ceil(total / self.header.steps_a_chunk)):
            if any(self.folder.glob(f"{number:06d}.*.chunk")):
                first = number * self.header.steps_a_chunk
                here = known[first : first + self.header.steps_a_chunk]
                here[:] = known_words(self._load(number)[: len(here)]).all(axis=1)
        return known

    def damaged(self) -> list[Path]:
        """The chunks that are not what was written, in order."""
        found = []
        for path in sorted(self.folder.glob("*.chunk")):
            try:
                _chunk(path, int(path.name.partition(".")[0]), self.header)
            except (DataError, ValueError):
                found.append(path)
        return found

    def bytes_on_disk(self) -> int:
        """Size of its chunks as they are."""
        return sum(path.stat().st_size for path in self.folder.glob("*.chunk"))

    def _turn_to(self, step: int) -> int:
        number, place = divmod(step, self.header.steps_a_chunk)
        if number != self._number:
            self.flush()
            self._words, self._own, self._number = self._load(number), self._empty(), number
        return place

    def _empty(self) -> Words:
        return unknown_words((self.header.steps_a_chunk, self.header.batch), self.header.type)

    def _load(self, number: int) -> Words:
        """A chunk [steps, B], joined from every process that wrote of it."""
        words = self._empty()
        for path in sorted(self.folder.glob(f"{number:06d}.*.chunk")):
            _fill_up(words, *_chunk(path, number, self.header))
        return words


def _fill_up(words: Words, box: Box, more: Words) -> None:
    """Put answers where there are none."""
    here = words[box]
    new = known_words(more) & ~known_words(here)
    here[new] = more[new]


def _box_of(known: npt.NDArray[np.bool_]) -> Box:
    """The smallest range of steps and rows that holds all answers."""
    sides = (np.flatnonzero(known.any(axis=axis)) for axis in (1, 0))
    steps, rows = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return steps, rows


def stored_header(folder: Path, header: CacheHeader) -> Mapping[str, Any] | None:
    """What the cache in a folder says of itself, None where there is none yet. Writes nothing.

    Raises:
        RecipeError: it holds answers for other views (id CACHE); every difference is named.
        DataError: its header cannot be read (id CACHE).
        OutputError: the folder holds something else (id CACHE).
    """
    path = folder / HEADER
    if not path.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"{folder} holds something else", "name an empty folder", id="CACHE")
        return None
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("version") != CACHE_VERSION:
        raise DataError(
            f"{path} is not the header of a teacher's cache of version {CACHE_VERSION}",
            "name another folder",
            id="CACHE",
        )
    differences = compare(stored, header.record())
    if differences:
        raise RecipeError(
            f"{folder} holds a teacher's answers for other views: {'; '.join(differences)}",
            "name another --teacher-cache, or repeat the settings it was made with",
            id="CACHE",
            details={"differences": differences},
        )
    return stored


def _digest(number: int, body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST, salt=number.to_bytes(8, "little")).digest()


def _chunk(path: Path, number: int, header: CacheHeader) -> tuple[Box, Words]:
    """What a chunk's file holds, checked: of which steps of the chunk and which rows, and the answers.

    Raises:
        DataError: damaged, or not such a chunk (id CACHE).
    """
    data = path.read_bytes()
    body = data[len(_MAGIC) : -_DIGEST]
    if len(data) >= _AROUND and data.startswith(_MAGIC) and data[-_DIGEST:] == _digest(number, body):
        first, last, left, right = (int(edge) for edge in np.frombuffer(body, _BOX, 4))
        steps, rows = last - first, right - left
        fits = last <= header.steps_a_chunk and right <= header.batch
        if fits and len(data) == _AROUND + steps * rows * header.type.itemsize:
            words = np.frombuffer(body, header.type, offset=4 * _BOX.itemsize)
            return (slice(first, last), slice(left, right)), words.reshape(steps, rows)
    raise DataError(f"{path} is damaged", "delete it: the teacher is asked again", id="CACHE", files=[str(path)])


def compare(stored: Mapping[str, Any], wanted: Mapping[str, Any], *, part: str = "views") -> list[str]:
    """The fields that differ, as "name: stored -> wanted", those inside tables by dotted name."""
    found = []
    if part == "views":
        names = ("batch", "kept", "precision")
        found = [
            _difference(name, stored.get(name), wanted[name]) for name in names if stored.get(name) != wanted[name]
        ]
    before, after = _flat(stored.get(part)), _flat(wanted[part])
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            found.append(_difference(name, before.get(name), after.get(name)))
    return found


def _difference(name: str, stored: object, wanted: object) -> str:
    return f"{name}: {str(stored)[:40]} -> {str(wanted)[:40]}"


def _flat(value: object, name: str = "") -> dict[str, object]:
    """Leaves of a table by dotted name; lists of anything but tables are leaves, as JSON gives them back."""
    if isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
        value = {str(number): item for number, item in enumerate(value)}
    if isinstance(value, Mapping):
        inner = (_flat(item, f"{name}.{key}" if name else str(key)) for key, item in value.items())
        return {key: leaf for part in inner for key, leaf in part.items()}
    return {name: canonical_json(value).decode()}
