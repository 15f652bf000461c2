"""metrics.csv, train.log, and other people's dashboards."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from training_kit import tiny_plan

from deitft.core.progress import Silent
from deitft.core.records import parse_csv_text
from deitft.errors import Notice, UnavailableError, UsageError
from deitft.training.log import CsvLog, RunLog, check_loggers, open_loggers, scores_beside_bar


def rows(path: Path) -> list[dict[str, str]]:
    return parse_csv_text(path.read_text())


def test_a_row_a_validation_and_a_resumed_run_drops_what_it_takes_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLog(path, after_step=0)
    for step in (5, 10, 15):
        log.row({"step": step, "val_loss": -0.123456789 * step, "best": "raw"})
    whole = path.read_text()
    again = CsvLog(path, after_step=10)
    again.row({"step": 15, "val_loss": -0.123456789 * 15, "best": "raw"})
    assert path.read_text() == whole
    assert [row["step"] for row in rows(path)] == ["5", "10", "15"]
    assert rows(path)[0]["val_loss"] == "-0.617284"
    CsvLog(path, after_step=0).row({"step": 5, "val_loss": 1.0, "best": ""})
    assert len(rows(path)) == 1


def test_new_columns_leave_old_rows_empty(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "metrics.csv", after_step=0)
    log.row({"step": 1, "a": 1.0})
    log.row({"step": 2, "a": float("nan"), "b": 2.0})
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "1", "a": "1.0", "b": ""},
        {"step": "2", "a": "nan", "b": "2.0"},
    ]


def test_train_log_has_windows_validations_and_warnings(tmp_path: Path) -> None:
    progress = Silent()
    log = RunLog(tmp_path, progress=progress)
    log.window(3, {"loss": 0.5})
    log.validation(5, {"step": 5, "raw_top1": 0.75}, {"raw_top1": 0.75})
    notice = Notice(id="N1", severity="warning", text="a step was skipped")
    log.warn(notice)
    log.close()
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert lines[0].endswith(" step 3 loss 0.5")
    assert lines[1].endswith(" step 5 val raw_top1 0.75")
    assert lines[2].endswith("warning [N1]: a step was skipped")
    assert progress.notices == [notice]


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.log").mkdir()
    (tmp_path / "metrics.csv").mkdir()
    progress = Silent()
    log = RunLog(tmp_path, progress=progress)
    log.window(1, {"loss": 1.0})
    log.validation(2, {"step": 2}, {})
    log.window(3, {"loss": 1.0})
    assert [notice.id for notice in progress.notices] == ["C2"]


class Broken:
    """A dashboard whose service is away."""

    def row(self, kind: str, step: int, values: object) -> None:
        raise ConnectionError("no route")

    def close(self) -> None:
        raise AssertionError("it was let go")


def test_a_dashboard_that_fails_is_named_and_let_go(tmp_path: Path) -> None:
    progress = Silent()
    log = RunLog(tmp_path, progress=progress, loggers=[Broken()])
    log.window(1, {"loss": 1.0})
    log.window(2, {"loss": 1.0})
    log.close()
    assert [notice.text for notice in progress.notices] == ["Broken failed (no route) and gets no more rows"]


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    (logger,) = open_loggers(["tensorboard", "tensorboard"], tmp_path, name="run", config={})
    logger.row("train", 3, {"loss": 0.5})
    logger.row("val", 5, {"raw_top1": 0.75})
    logger.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(3, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("val/raw_top1")] == [(5, 0.75)]


def test_an_unknown_dashboard_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot log to") as caught:
        open_loggers(["excel"], tmp_path, name="run", config={})
    assert "tensorboard, wandb, mlflow" in caught.value.hint


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_named_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"tensorboard": "torch.utils.tensorboard"}.get(name, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnavailableError, match="not installed") as caught:
        open_loggers([name], tmp_path, name="run", config={})
    assert caught.value.exit_code == 69
    assert caught.value.hint == f'pip install "deitft[{name}]"'


def test_wandb_is_called_as_it_documents_and_a_resumed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service cannot be reached from a test: this pins the calls, which were tried against wandb offline."""
    seen: list[tuple[str, object]] = []

    def init(**arguments: object) -> object:
        seen.append(("init", arguments["id"]))
        return SimpleNamespace(
            id=arguments["id"] or "abc",
            log=lambda values, step: seen.append(("log", (values, step))),
            finish=lambda: seen.append(("finish", None)),
        )

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):
        (logger,) = open_loggers(["wandb"], tmp_path, name="run", config=tiny_plan().record())
        logger.row("train", 3, {"loss": 0.5})
        logger.close()
    assert [what for what in seen if what[0] == "init"] == [("init", None), ("init", "abc")]
    assert ("log", ({"train/loss": 0.5}, 3)) in seen
    assert seen[-1] == ("finish", None)


def test_mlflow_is_called_as_it_documents_and_a_resumed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above: the calls were tried against mlflow with a local store."""
    seen: list[tuple[str, object]] = []

    def start_run(run_id: str | None, run_name: str | None) -> object:
        seen.append(("start", (run_id, run_name)))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "r1"))

    module = ModuleType("mlflow")
    calls = {
        "set_experiment": lambda name: seen.append(("experiment", name)),
        "start_run": start_run,
        "log_dict": lambda values, name: seen.append(("plan", name)),
        "log_metrics": lambda values, step: seen.append(("log", (values, step))),
        "end_run": lambda: seen.append(("end", None)),
    }
    for name, call in calls.items():
        setattr(module, name, call)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    for _ in range(2):
        (logger,) = open_loggers(["mlflow"], tmp_path, name="run", config=tiny_plan().record())
        logger.row("val", 5, {"raw_top1": 0.5})
        logger.close()
    assert [what for what in seen if what[0] == "start"] == [("start", (None, "run")), ("start", ("r1", None))]
    assert ("log", ({"val/raw_top1": 0.5}, 5)) in seen
    assert [what[0] for what in seen].count("plan") == 1


def test_a_dashboard_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mlflow")

    def unreachable(name: str) -> None:
        raise ConnectionError("no route to host\nand a long tail")

    module.set_experiment = unreachable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    with pytest.raises(UnavailableError) as caught:
        open_loggers(["mlflow"], tmp_path, name="run", config={})
    assert caught.value.what == "mlflow cannot be used (no route to host)"


def test_a_missing_library_is_found_out_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    check_loggers([])
    with pytest.raises(UnavailableError, match="mlflow is not installed") as caught:
        check_loggers(["mlflow"])
    assert caught.value.id == "EXTRA"


def test_the_bar_shows_the_better_of_weights_and_average() -> None:
    verdicts = [{"top1": 0.5, "top5": 0.91, "loss": 1.0}, {"top1": 0.625, "top5": 0.9, "loss": 2.0}]
    assert scores_beside_bar(tiny_plan(), verdicts) == {"val top-1": "62.5%", "val top-5": "91.0%"}
    assert scores_beside_bar(tiny_plan(unlabelled=("val",)), verdicts[:1]) == {
        "agreement top-1": "50.0%",
        "agreement top-5": "91.0%",
    }
    assert scores_beside_bar(tiny_plan(), []) == {}
