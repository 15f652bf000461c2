"""Every error a user can meet: an id, an exit code, one line, and what to do next.

Ids are stable and documented in ``docs/reference/errors.md``. Raise the class of the right exit code with
the id of the fault; the command line prints ``deitft: error [ID]: what — what to do`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Severity = Literal["error", "warning", "info"]


class DeitftError(Exception):
    """Something the user can understand and mend.

    ``what`` says what is wrong and where, ``hint`` what to do next. ``files`` names the files concerned (all
    of them, the line names the first). ``details`` goes into ``run.json`` and ``check.json``.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        what: str,
        hint: str = "",
        *,
        id: str,
        files: Sequence[str] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.id = id
        self.files = tuple(files)
        self.details = dict(details or {})

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.hint, self.id, self.files, self.details))

    @property
    def line(self) -> str:
        """The one line a user reads, without the ``deitft: error [ID]:`` in front."""
        return f"{self.what} — {self.hint}" if self.hint else self.what

    def record(self) -> dict[str, object]:
        """The same as plain data, for ``run.json`` and ``check.json``."""
        return {
            "id": self.id,
            "severity": "error",
            "what": self.what,
            "hint": self.hint,
            "files": list(self.files),
            "details": self.details,
            "exit_code": self.exit_code,
        }


def _rebuild(
    kind: type[DeitftError],
    what: str,
    hint: str,
    id: str,
    files: Sequence[str],
    details: Mapping[str, object],
) -> DeitftError:
    """Unpickle: an error crosses a process border whole."""
    return kind(what, hint, id=id, files=files, details=details)


class UsageError(DeitftError):
    """The command line does not make sense."""

    exit_code = 2


class GateError(DeitftError):
    """A gate the user set said no."""

    exit_code = 3


class DataError(DeitftError):
    """Photos, labels, archives, weights or checkpoints cannot be accepted as they are."""

    exit_code = 65


class MissingInputError(DeitftError):
    """An input path is missing or empty."""

    exit_code = 66


class UnavailableError(DeitftError):
    """Weights, network or an optional part is not there."""

    exit_code = 69


class OutputError(DeitftError):
    """The output cannot be created; found before any data is read."""

    exit_code = 73


class StorageError(DeitftError):
    """A read or a write failed while running."""

    exit_code = 74


class RecipeError(DeitftError):
    """The recipe is wrong, or does not match the run being resumed. ``mistakes`` holds all of them."""

    exit_code = 78

    def __init__(
        self,
        what: str,
        hint: str = "",
        *,
        id: str = "RECIPE",
        files: Sequence[str] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(what, hint, id=id, files=files, details=details)


class StoppedError(DeitftError):
    """The run stopped early with its state saved; ``--resume`` goes on."""

    exit_code = 75


class InterruptError(StoppedError):
    """Ctrl-C: state saved, ``--resume`` goes on."""

    exit_code = 130


class TerminatedError(StoppedError):
    """SIGTERM: state saved, ``--resume`` goes on."""

    exit_code = 143


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something worth a line that stops nothing: a warning, or a fact counted in the report only."""

    id: str
    severity: Severity
    text: str
    hint: str = ""
    files: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The one line a user reads."""
        return f"{self.text} — {self.hint}" if self.hint else self.text

    def record(self) -> dict[str, object]:
        """The same as plain data."""
        return {
            "id": self.id,
            "severity": self.severity,
            "what": self.text,
            "hint": self.hint,
            "files": list(self.files),
            "details": dict(self.details),
        }
