"""What a run writes down while it goes: rows a person opens later, lines, and other people's dashboards."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from deitft.core.files import write_text
from deitft.core.progress import Progress
from deitft.core.records import csv_text, now, parse_csv_text
from deitft.errors import DeitftError, Notice, UnavailableError, UsageError
from deitft.recipe.plan_types import Plan

Kind = Literal["train", "val"]
Row = Mapping[str, float | str]


class Logger(Protocol):
    """Somewhere else that rows go. Called once a log window and once a validation, never in between."""

    def row(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one window ("train") or one validation ("val")."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


def _number(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _rounded(value: float | str) -> float | str:
    """Six significant digits: what a person compares, and the same after being read back."""
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


class CsvLog:
    """``metrics.csv``: one row a validation, rewritten durably each time (it stays small).

    Rows after ``after_step`` are dropped when it is opened: a resumed run takes those steps again.
    """

    def __init__(self, path: Path, *, after_step: int) -> None:
        self._path = path
        self._rows: list[dict[str, float | str]] = []
        if path.is_file():
            rows = [
                {name: _number(cell) for name, cell in row.items()} for row in parse_csv_text(path.read_text())
            ]
            self._rows = [row for row in rows if float(row.get("step") or 0) <= after_step]

    def row(self, values: Row) -> None:
        """Add a row. New columns may appear; older rows are empty there.

        Raises:
            OSError: it could not be written.
        """
        self._rows.append({name: _rounded(value) for name, value in values.items()})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        write_text(self._path, csv_text(self._rows, columns))


class RunLog:
    """All a run's writing: ``metrics.csv``, ``train.log``, the screen's warnings and other dashboards.

    Nothing here stops a run: what cannot be written is said once, and training goes on.
    """

    def __init__(
        self, folder: Path, *, progress: Progress, loggers: Sequence[Logger] = (), after_step: int = 0
    ) -> None:
        self._csv = CsvLog(folder / "metrics.csv", after_step=after_step)
        self._lines = folder / "train.log"
        self._progress = progress
        self._loggers = list(loggers)
        self._silent = False

    def line(self, text: str) -> None:
        """A line of ``train.log``, with the time in front."""
        try:
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(f"{now()} {text}\n")
        except OSError as error:
            self._cannot_write(error)

    def warn(self, notice: Notice) -> None:
        """A warning for the screen and ``train.log``."""
        self._progress.warn(notice)
        self.line(f"warning [{notice.id}]: {notice.line}")

    def window(self, step: int, values: Mapping[str, float]) -> None:
        """One log window of training."""
        self.line(f"step {step} " + " ".join(f"{name} {value:.6g}" for name, value in values.items()))
        self._pass_on("train", step, values)

    def validation(self, step: int, row: Row, values: Mapping[str, float]) -> None:
        """One validation: ``row`` for ``metrics.csv``, its numbers ``values`` for the dashboards."""
        self.line(f"step {step} val " + " ".join(f"{name} {value:.6g}" for name, value in values.items()))
        try:
            self._csv.row(row)
        except OSError as error:
            self._cannot_write(error)
        self._pass_on("val", step, values)

    def close(self) -> None:
        """Close the dashboards."""
        for logger in self._loggers:
            logger.close()

    def _pass_on(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        for logger in list(self._loggers):
            try:
                logger.row(kind, step, values)
            except Exception as error:  # noqa: BLE001  somebody else's service must not end a training run
                self._loggers.remove(logger)
                self.warn(
                    Notice(
                        id="LOG",
                        severity="warning",
                        text=f"{type(logger).__name__} failed ({error}) and gets no more rows",
                        hint="metrics.csv and train.log go on",
                    )
                )

    def _cannot_write(self, error: OSError) -> None:
        if not self._silent:
            self._silent = True
            reason = (error.strerror or str(error)).lower()
            self._progress.warn(
                Notice(
                    id="C2",
                    severity="warning",
                    text=f"cannot write {error.filename or self._lines.parent} ({reason})",
                    hint="training goes on; free some space",
                )
            )


class TensorBoardLog:
    """Event files under ``<run>/tensorboard``."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        writer = _load("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._writer = writer(str(folder / "tensorboard"))

    def row(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Scalars ``train/loss``, ``val/top1`` …"""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write out what is buffered."""
        self._writer.close()


class WandbLog:
    """A Weights & Biases run, called as the run folder; a resumed run goes on with the same one."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        wandb = _load("wandb", "wandb")
        marker = folder / "wandb-id"
        known = marker.read_text().strip() if marker.is_file() else None
        self._run = wandb.init(
            project="deitft", name=name, dir=str(folder), config=dict(config), id=known, resume="allow"
        )
        if known is None:
            write_text(marker, f"{self._run.id}\n")

    def row(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Numbers ``train/loss``, ``val/top1`` … of a step."""
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()


class MlflowLog:
    """An MLflow run in the experiment ``deitft``; where it goes is MLflow's own setting."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        self._mlflow = _load("mlflow", "mlflow")
        self._mlflow.set_experiment("deitft")
        marker = folder / "mlflow-id"
        known = marker.read_text().strip() if marker.is_file() else None
        run = self._mlflow.start_run(run_id=known, run_name=None if known else name)
        if known is None:
            write_text(marker, f"{run.info.run_id}\n")
            self._mlflow.log_dict(dict(config), "plan.json")

    def row(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Numbers ``train/loss``, ``val/top1`` … of a step."""
        self._mlflow.log_metrics({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Mark the run as ended."""
        self._mlflow.end_run()


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _not_installed(extra) from error


def _not_installed(extra: str) -> UnavailableError:
    return UnavailableError(f"{extra} is not installed", f'pip install "deitft[{extra}]"', id="EXTRA")


LOGGERS: Mapping[str, Callable[[Path, str, Mapping[str, Any]], Logger]] = {
    "tensorboard": TensorBoardLog,
    "wandb": WandbLog,
    "mlflow": MlflowLog,
}


def check_loggers(names: Sequence[str]) -> None:
    """What is asked for is installed: told before a photo is opened.

    Raises:
        UnavailableError: it is not (id EXTRA).
    """
    for word in names:
        if word in LOGGERS and word not in sys.modules and importlib.util.find_spec(word) is None:
            raise _not_installed(word)


def open_loggers(names: Sequence[str], folder: Path, *, name: str, config: Mapping[str, Any]) -> list[Logger]:
    """Dashboards by name, for a run folder. Nothing is sent anywhere unless one is asked for.

    Raises:
        UsageError: no such dashboard (id LOG).
        UnavailableError: its library is not installed (id EXTRA), or it cannot be reached (id LOG); exit 69.
    """
    unknown = [word for word in names if word not in LOGGERS]
    if unknown:
        raise UsageError(f'cannot log to "{unknown[0]}"', f"choose from {', '.join(LOGGERS)}", id="LOG")
    return [_open(word, folder, name, config) for word in dict.fromkeys(names)]


def _open(word: str, folder: Path, name: str, config: Mapping[str, Any]) -> Logger:
    try:
        return LOGGERS[word](folder, name, config)
    except DeitftError:
        raise
    except Exception as error:  # whatever somebody else's service raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnavailableError(
            f"{word} cannot be used ({reason})", f"mend its settings, or leave --log-to {word} out", id="LOG"
        ) from error


def shown_scores(which: str, scores: Mapping[str, float], by: str) -> str:
    """A validation in a line: top-1 and top-5, which people know, and the score that decides."""
    names = [name for name in dict.fromkeys(("top1", "top5", by)) if name in scores]
    return " ".join([which, *(f"{name.replace('_', ' ')} {scores[name]:.4g}" for name in names)])


def scores_beside_bar(plan: Plan, verdicts: Collection[Mapping[str, float]]) -> dict[str, str]:
    """Top-1 and top-5 of the newest validation, of the weights or of their average: the higher one."""
    word = "agreement" if "val" in plan.unlabelled else "val"
    names = {"top1": f"{word} top-1", "top5": f"{word} top-5"}
    seen = {name: [scores[name] for scores in verdicts if name in scores] for name in names}
    return {names[name]: f"{max(values):.1%}" for name, values in seen.items() if values}


def score_column(plan: Plan, which: str, name: str) -> str:
    """A val score's name in ``metrics.csv``. Without labels it is agreement with the teacher, and called so."""
    return f"{which}_agreement_{name}" if "val" in plan.unlabelled else f"{which}_{name}"


def whose_word(plan: Plan) -> str:
    """What val photos are compared with, for the line of a validation."""
    return "val, agreement with the teacher:" if "val" in plan.unlabelled else "val"
