"""What is there? Models, recipes, runs, and the machine they run on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deitft.core.files import write_text
from deitft.core.records import RunRecord, environment
from deitft.core.units import format_bytes
from deitft.errors import DeitftError, MissingInputError, OutputError, UsageError
from deitft.runs.folder import RunFolder, list_runs

if TYPE_CHECKING:
    from deitft.models.zoo import ZooEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows for people, and the same as plain data for programs. ``remarks`` stand below the rows."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    data: Any
    remarks: tuple[str, ...] = field(default=())

    def record(self) -> Any:
        """Plain data for ``--json``."""
        return self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values for people, and the same as plain data."""

    pairs: Sequence[tuple[str, str]]
    data: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return self.data

    def summary(self) -> Sequence[tuple[str, str]]:
        """(name, text) rows for people."""
        return self.pairs


def models() -> Table:
    """Every model with a short name: size, what it has seen, its published score with the source of it."""
    from deitft.models.zoo import ZOO

    rows, data = [], []
    for entry in ZOO:
        rows.append(
            (
                entry.short,
                f"{entry.parameters / 1e6:.1f} M",
                format_bytes(entry.weights_mb * 1e6),
                str(entry.size),
                published(entry),
                entry.seen,
                entry.license,
                "–" if entry.epochs is None else str(entry.epochs),
                entry.tag,
            )
        )
        data.append({**asdict(entry), "weights_mb": round(entry.weights_mb, 1)})
    columns = ("model", "params", "weights", "pixels", "top-1 %", "has seen", "licence", "epochs", "timm name")
    remark = "top-1: on ImageNet-1k's validation photos @ pixels, as published; --json names the source of each"
    return Table(columns=columns, rows=rows, data=data, remarks=(remark,))


def published(entry: ZooEntry) -> str:
    """A model's published top-1 with the pixels it was measured at, and how where it has no classifier."""
    if entry.top1 is None:
        return "–"
    size = "" if entry.top1_size is None else f" @ {entry.top1_size}"
    how = "" if entry.top1_how == "own classifier" else f", {entry.top1_how}"
    return f"{entry.top1:.1f}{size}{how}"


def recipes() -> Table:
    """The shipped recipes."""
    from deitft.recipe.load import shipped_recipes

    found = shipped_recipes()
    return Table(
        columns=("recipe", "what it is"),
        rows=[(info.name, info.title) for info in found],
        data=[
            {"name": info.name, "title": info.title, "path": info.path, "header": info.header} for info in found
        ],
    )


def recipe_text(name: str) -> str:
    """One shipped recipe, or a recipe file, as it stands, comments too; it is read as a recipe first.

    Raises:
        RecipeError: no such recipe, or mistakes in it.
    """
    from deitft.recipe.load import load_recipe, shipped_recipes

    load_recipe(name)
    shipped = {info.name: Path(info.path) for info in shipped_recipes()}
    return shipped.get(name, Path(name)).read_text("utf-8")


def recipe_record(name: str) -> dict[str, Any]:
    """One recipe as plain data, every field with its value."""
    from deitft.recipe.load import load_recipe

    values: dict[str, Any] = load_recipe(name).model_dump(mode="json")
    return values


def copy_recipe(name: str, to: Path | None = None, *, force: bool = False) -> Path:
    """Write a recipe to a file of the user's, to change it there. Without ``to``: ``NAME.yaml`` here.

    Raises:
        OutputError: the file is there already (id EXISTS), or cannot be written (id C5).
    """
    text = recipe_text(name)
    target = to or Path(f"{Path(name).stem}.yaml")
    if target.is_dir():
        target /= f"{Path(name).stem}.yaml"
    if target.exists() and not force:
        raise OutputError(f"{target} is already there", "name another file, or add --force", id="EXISTS")
    try:
        write_text(target, text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {target} ({reason})", "name another file", id="C5") from error
    return target


def runs(runs_dir: Path = Path("runs")) -> Table:
    """Every run below ``runs_dir``, oldest first; one whose record cannot be read is shown as broken."""
    rows, data = [], []
    for folder, record in list_runs(runs_dir):
        if isinstance(record, DeitftError):
            rows.append((folder.name, "broken", "", "", "", record.what, ""))
            data.append({"name": folder.name, "path": folder.path, "status": "broken", "error": record.record()})
            continue
        score = _score(record)
        rows.append(
            (
                folder.name,
                record.status,
                "" if score is None else f"{100 * score:.1f}",
                record.model,
                record.recipe,
                record.started.replace("T", " ").removesuffix("+00:00"),
                record.verb,
            )
        )
        data.append({"path": folder.path} | {name: getattr(record, name) for name in RunRecord.__slots__})
    columns = ("run", "status", "test top-1 %", "model", "recipe", "started (UTC)", "verb")
    return Table(columns=columns, rows=rows, data=data, remarks=() if rows else (f"no runs in {runs_dir}",))


def _score(record: RunRecord) -> float | None:
    """The test top-1 of a finished run, in 0..1."""
    value = record.result.get("top1") if record.result.get("split") == "test" else None
    return float(value) if isinstance(value, int | float) else None


def find_run(name: str, runs_dir: Path = Path("runs")) -> RunFolder:
    """A run of ``runs_dir`` by its name, or by a path that ends there.

    Raises:
        UsageError: the path leads anywhere else (id RUN); a link is never followed.
        MissingInputError: there is no such run (id RUN, exit 66).
    """
    typed = Path(name)
    path = runs_dir / name if len(typed.parts) == 1 else typed
    inside = path.parent.resolve() == runs_dir.resolve() and path.name not in ("", "..")
    if not inside or path.is_symlink():
        raise UsageError(f"{name} is not a run in {runs_dir}", "name a run that `deitft runs` lists", id="RUN")
    if not (path / "run.json").is_file():
        raise MissingInputError(f"no run {name} in {runs_dir}", "see `deitft runs` for what is there", id="RUN")
    return RunFolder(path)


def size_of(folder: RunFolder) -> int:
    """Bytes of all files of a run."""
    total = 0
    for place, _, names in os.walk(folder.path):
        total += sum((Path(place) / name).lstat().st_size for name in names)
    return total


def remove_run(folder: RunFolder) -> None:
    """Delete a run folder and all that is in it. It leaves the list at once, whatever happens meanwhile.

    Raises:
        StoppedError: another process works on it (id C5).
    """
    doomed = folder.path.with_name(f".del-{folder.name}-{os.getpid()}")
    with folder.locked():
        folder.path.rename(doomed)
    (doomed / "run.json").unlink()  # what is left of it by a kill from here on is no run any more
    shutil.rmtree(doomed)


def env() -> Facts:
    """What a bug report needs: versions, system, processor, memory, the device. No names of yours."""
    import psutil
    import torch

    from deitft.compute.device import choose

    machine = choose("auto", threads=None, workers=None)
    base = environment()
    versions = base["versions"]
    assert isinstance(versions, dict)
    memory = psutil.virtual_memory()
    data: dict[str, Any] = {
        **base,
        "device": machine.device,
        "device_name": machine.name,
        "devices": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "precision": machine.precision,
        "threads": machine.threads,
        "workers": machine.workers,
        "memory_bytes": memory.total,
        "memory_free_bytes": memory.available,
        "weights_dir_set": "DEITFT_WEIGHTS_DIR" in os.environ,
    }
    pairs = [(name, version or "not installed") for name, version in versions.items()]
    pairs += [
        ("python", str(base["python"])),
        ("system", f"{base['system']} ({base['machine']})"),
        ("processor", f"{base['processor']}, {base['cores']} cores"),
        ("memory", f"{format_bytes(memory.total)}, {format_bytes(memory.available)} free"),
        ("device", f"{machine.device} ({machine.name})"),
        ("precision", machine.precision),
        ("threads, workers", f"{machine.threads}, {machine.workers}"),
        ("cuda", torch.version.cuda or "none"),
    ]
    return Facts(pairs=pairs, data=data)
