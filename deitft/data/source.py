"""Source: what the user named as DATA. Nothing is looked at here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """Folders, tables of photos (CSV, Parquet) and tar shards, and how they are to be read.

    ``roots`` are the folders that the paths in a table begin at; the table's own folder where there are none.
    ``nested`` makes a class of every folder inside a class folder, its name joined with "/".
    ``group_by`` says what belongs together: a table's column, or a regular expression on file names.
    """

    paths: tuple[Path, ...]
    roots: tuple[Path, ...] = ()
    nested: bool = False
    group_by: str | None = None

    @classmethod
    def of(cls, data: str | Path | Source | Sequence[str | Path]) -> Source:
        """A source of one path or several; one that is a source already stays as it is."""
        if isinstance(data, Source):
            return data
        return cls(tuple(Path(path) for path in ([data] if isinstance(data, str | Path) else data)))

    def __str__(self) -> str:
        return " and ".join(str(path) for path in self.paths)

    def words(self) -> list[str]:
        """The words of a command line that name the same."""
        roots = [word for path in self.roots for word in ("--root", str(path))]
        nested = ["--nested"] if self.nested else []
        return [*map(str, self.paths), *roots, *nested, *(["--group-by", self.group_by] if self.group_by else [])]

    def relabelled(self, table: Path) -> Source:
        """The same photos with the labels of a table that has their paths as a catalog of this source has them."""
        bases = [path if path.is_dir() else path.parent for path in self.paths]
        return Source((table,), self.roots or tuple(dict.fromkeys(bases)))

    @property
    def name(self) -> str:
        """A short name, for titles."""
        return " and ".join(path.name or path.resolve().name for path in self.paths)

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders and files the photos come from: nothing may be written into them."""
        return (*self.paths, *self.roots)

    def resolve(self) -> Source:
        """The same with absolute paths."""
        paths = tuple(path.resolve() for path in self.paths)
        return replace(self, paths=paths, roots=tuple(path.resolve() for path in self.roots))

    def holds(self, place: Path) -> Path | None:
        """The folder of these that a path would lie in, if there is one."""
        real = place.resolve()
        for path in self.places:
            inside = path.resolve()
            if real == inside or inside in real.parents:
                return path
        return None

    def record(self) -> dict[str, object]:
        """The same as plain data; ``read`` makes a source of it again."""
        return {
            "paths": [str(path) for path in self.paths],
            "roots": [str(path) for path in self.roots],
            "nested": self.nested,
            "group_by": self.group_by,
        }

    @classmethod
    def read(cls, record: object, otherwise: str) -> Source:
        """A source from its record; ``otherwise`` is the one path of a run that kept no record of it."""
        if not isinstance(record, Mapping) or not isinstance(record.get("paths"), list):
            return cls((Path(otherwise),))
        roots, group_by = record.get("roots"), record.get("group_by")
        return cls(
            tuple(Path(str(path)) for path in record["paths"]),
            tuple(Path(str(path)) for path in roots) if isinstance(roots, list) else (),
            record.get("nested") is True,
            group_by if isinstance(group_by, str) else None,
        )
