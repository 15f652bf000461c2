"""models, recipes, runs, env: for people and as JSON."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deitft.core.records import RunRecord
from deitft.recipe.load import load_recipe, shipped_recipes


def make_run(runs_dir: Path, name: str, **more: object) -> Path:
    folder = runs_dir / name
    folder.mkdir(parents=True)
    started = f"2025-01-0{len(list(runs_dir.iterdir()))}T12:00:00+00:00"
    values = {"verb": "finetune", "command": ["deitft"], "status": "done", "started": started, "model": "deit_s"}
    RunRecord(name=name, **{**values, **more}).write(folder)
    (folder / "best").mkdir()
    (folder / "best" / "model.safetensors").write_bytes(b"0" * 1000)
    return folder


def test_models_for_people_and_programs(call) -> None:
    said = call("models")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split("  ")[0] == "model"
    row = next(line for line in lines if line.startswith("deit_s "))
    for cell in ("22.4 M", "89.7 MB", "224", "81.2 @ 224", "ImageNet-1k", "300", "apache-2.0"):
        assert cell in row
    assert "deit_small_distilled_patch16_224.fb_in1k" in row
    assert "linear probe" in next(line for line in lines if line.startswith("dino_s "))
    data = {item["short"]: item for item in json.loads(call("models", "--json").out)}
    assert len(data) == len(lines) - 1
    assert data["deit_s"]["top1"] == pytest.approx(81.2, abs=0.05)
    assert data["deit_s"]["source"]


def test_recipes_list_show_copy(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [info.name for info in shipped_recipes()]
    assert "finetune" in names
    for words in (["recipes"], ["recipes", "list"]):
        listed = call(*words).out
        assert all(f"\n{name} " in listed or f"\n{name}\n" in listed for name in names)
    for words in (
        ["recipes", "list", "--json"],
        ["recipes", "--json"],
        ["recipes", "--quiet", "--json", "--debug"],
    ):
        assert [item["name"] for item in json.loads(call(*words).out)] == names
    said = call("recipes", "--json", "show", "finetune")  # it would be dropped in silence
    assert (said.code, said.out) == (2, "")
    assert "--json stands before the verb — write it behind `deitft recipes show`" in said.err

    shown = call("recipes", "show", "finetune").out
    original = next(info.path for info in shipped_recipes() if info.name == "finetune").read_text()
    assert shown == original
    every_field = json.loads(call("recipes", "show", "finetune", "--json").out)
    assert every_field == load_recipe("finetune").model_dump(mode="json")

    copied = call("recipes", "copy", "finetune", "mine.yaml")
    assert (copied.code, copied.out) == (0, "mine.yaml\n")
    assert Path("mine.yaml").read_text() == original
    again = call("recipes", "copy", "finetune", "mine.yaml")
    assert again.code == 73
    assert again.err.startswith("deitft: error [EXISTS]: mine.yaml is already there")
    Path("mine.yaml").write_text("name: mine\n")
    assert call("recipes", "show", "mine.yaml").out == "name: mine\n"
    assert json.loads(call("recipes", "copy", "finetune", "mine.yaml", "--force", "--json").out) == {
        "path": "mine.yaml"
    }
    assert Path("mine.yaml").read_text() == original
    assert call("recipes", "copy", "finetune").out == "finetune.yaml\n"
    Path("folder").mkdir()
    assert call("recipes", "copy", "finetune", "folder").out == "folder/finetune.yaml\n"


def test_a_recipe_that_is_not_there_or_wrong(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("recipes", "show", "finetunes")
    assert said.code == 78
    assert "did you mean" in said.err
    assert "finetune" in said.err
    Path("bad.yaml").write_text("optim:\n  lrr: 1\ntrain:\n  batch: -1\n")
    wrong = call("recipes", "show", "bad.yaml")
    assert wrong.code == 78
    assert wrong.err.count("\n") == 1
    assert "lrr" in wrong.err
    assert "batch" in wrong.err
    assert call("recipes", "copy", "finetune", "no/such/folder/x.yaml").code == 73


def test_runs_are_listed_broken_ones_too(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = call("runs")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no runs in runs\n")
    assert call("runs", "list", "--quiet").err == ""
    make_run(Path("runs"), "finetune-1", result={"split": "test", "top1": 0.912})
    make_run(Path("runs"), "finetune-2", status="stopped")
    make_run(Path("runs"), "hostile\x1b[31m")
    (Path("runs") / "broken").mkdir()
    (Path("runs") / "broken" / "run.json").write_text('{"name": 1')
    said = call("runs", "list")
    assert (said.code, said.err) == (0, "")
    assert "\x1b" not in said.out
    rows = {line.split()[0]: line for line in said.out.splitlines()}
    assert "done" in rows["finetune-1"]
    assert "91.2" in rows["finetune-1"]
    assert "2025-01-01 12:00:00" in rows["finetune-1"]
    assert "stopped" in rows["finetune-2"]
    assert "broken" in rows["broken"]
    assert "not valid JSON" in rows["broken"]
    data = {item["name"]: item for item in json.loads(call("runs", "list", "--json").out)}
    for words in (["runs", "--json"], ["runs", "--runs-dir", "../elsewhere", "--json"], ["runs", "--json", "-q"]):
        here = call(*words)
        assert (here.code, here.err) == (0, "")
        assert {item["name"] for item in json.loads(here.out)} == (set() if "../elsewhere" in words else set(data))
    assert data["finetune-1"]["result"] == {"split": "test", "top1": 0.912}
    assert data["broken"]["error"]["id"] == "S6"


def test_rm_deletes_what_was_named_and_nothing_else(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept, doomed = make_run(Path("runs"), "finetune-1"), make_run(Path("runs"), "finetune-2")
    asked = call("runs", "rm", "finetune-2")
    assert asked.code == 2  # nobody to ask
    assert "add --yes" in asked.err
    assert doomed.is_dir()
    said = call("runs", "rm", "finetune-2", "--yes", "--json")
    assert said.code == 0
    (removed,) = json.loads(said.out)["removed"]
    assert removed["path"] == "runs/finetune-2"
    assert removed["bytes"] > 1000
    assert sorted(path.name for path in Path("runs").iterdir()) == ["finetune-1"]
    elsewhere = call("runs", "--runs-dir", "elsewhere", "rm", "finetune-1", "--yes")
    assert elsewhere.code == 2  # else the run of that name would go that is here
    assert "--runs-dir stands before the verb" in elsewhere.err
    assert kept.is_dir()
    assert call("runs", "rm", "runs/finetune-1", "--yes").code == 0
    assert not kept.exists()


def test_a_run_that_is_named_twice_is_removed_once(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept, _ = make_run(Path("runs"), "finetune-1"), make_run(Path("runs"), "finetune-2")
    said = call("runs", "rm", "finetune-2", "runs/finetune-2/", "finetune-2", "--yes", "--json")
    assert said.code == 0
    assert len(json.loads(said.out)["removed"]) == 1
    assert list(Path("runs").iterdir()) == [kept]


@pytest.mark.parametrize(
    "wrong",
    [{"started": 5}, {"result": []}, {"seed": "x"}, {"status": None}, {"data": 1}, {"version": [1]}],
)
def test_a_run_record_with_values_of_another_kind_is_broken(wrong, call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs"), "finetune-1")
    odd = make_run(Path("runs"), "odd")
    record = json.loads((odd / "run.json").read_text())
    (odd / "run.json").write_text(json.dumps(record | wrong))
    said = call("runs")
    assert (said.code, said.err) == (0, "")
    assert [line.split()[:2] for line in said.out.splitlines()[1:]] == [["odd", "broken"], ["finetune-1", "done"]]
    for words in (["resume", odd], ["runs", "list", "--json"]):
        assert call(*words).code == (65 if words[0] == "resume" else 0)


@pytest.mark.parametrize("name", ["..", ".", "../photos", "/", "a/b", "runs/../photos", "link", "", "runs"])
def test_rm_never_leaves_the_runs_folder(name: str, call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs"), "finetune-1")
    victim = make_run(tmp_path, "photos")
    (tmp_path / "runs" / "link").symlink_to(victim)
    said = call("runs", "rm", name, "--yes")
    assert said.code in (2, 66)
    assert said.err.count("\n") == 1
    assert victim.is_dir()
    assert (tmp_path / "runs" / "finetune-1").is_dir()


def test_rm_of_several_is_all_or_nothing_when_one_is_missing(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs"), "finetune-1")
    assert call("runs", "rm", "finetune-1", "finetune-9", "--yes").code == 66
    assert Path("runs/finetune-1").is_dir()


def test_rm_leaves_a_run_alone_that_a_process_works_on(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(Path("runs"), "finetune-1")
    script = (
        "import sys, time; from pathlib import Path; from deitft.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(run)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        said = call("runs", "rm", "finetune-1", "--yes")
        other.kill()
    assert said.code == 75
    assert said.err.startswith(f"deitft: error [C5]: runs/finetune-1 is in use by process {other.pid} ")
    assert (run / "run.json").is_file()
    assert call("runs", "rm", "finetune-1", "--yes").code == 0  # that process is gone, its file is not


@contextlib.contextmanager
def asked(tmp_path: Path, *names: str, sigint: Any = signal.default_int_handler) -> Iterator[tuple[Any, int]]:
    """``runs rm`` at work on a terminal of its own, and our end of that; both are gone afterwards."""

    def begin() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, sigint)

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deitft", "runs", "rm", *names],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=begin,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(ours: int, wanted: bytes, seconds: float = 60) -> bytes:
    """What the terminal shows, up to some words of it."""
    seen, end = b"", time.monotonic() + seconds
    while wanted not in seen:
        assert select.select([ours], [], [], max(0, end - time.monotonic()))[0], seen
        seen += os.read(ours, 1000)
    return seen


@pytest.mark.parametrize(
    ("answer", "gone", "code"),
    [
        (b"y\n", True, 0),
        (b"YES\n", True, 0),
        (b"what\ny\n", True, 0),
        (b"\n", False, 0),
        (b"n\n", False, 0),
        (b"\x03", False, 130),
        (b"y\x03", False, 130),
        (b"\x04", False, 130),
    ],
)
def test_rm_asks_on_a_terminal(answer: bytes, gone: bool, code: int, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "finetune-1")
    with asked(tmp_path, "finetune-1") as (process, ours):
        assert b"delete runs/finetune-1 (" in read_until(ours, b"?")
        os.write(ours, answer)
        assert process.wait(timeout=30) == code
        assert b"Traceback" not in os.read(ours, 10000)
    assert run.exists() is not gone


@pytest.mark.parametrize("answers", [b"\x03", b"y\n"])
@pytest.mark.parametrize("sigint", [signal.SIG_DFL, signal.SIG_IGN])
def test_ctrl_c_at_any_question_ends_at_once_and_deletes_nothing(
    answers: bytes, sigint: Any, tmp_path: Path
) -> None:
    """Also where the program was started with SIGINT ignored, as shells start what runs in the background."""
    for name in ("finetune-1", "finetune-2"):
        make_run(tmp_path / "runs", name)
    with asked(tmp_path, "finetune-1", "finetune-2", sigint=sigint) as (process, ours):
        read_until(ours, b"finetune-1 (")
        os.write(ours, answers)
        if answers != b"\x03":
            read_until(ours, b"finetune-2 (")
            os.write(ours, b"\x03")
        sent = time.monotonic()
        assert process.wait(timeout=30) == 130
        assert time.monotonic() - sent < 5
        said = os.read(ours, 10000)
    assert b"deitft: error [N4]: stopped by Ctrl-C" in said
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_other_signals_do_not_end_a_question(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "finetune-1")
    with asked(tmp_path, "finetune-1") as (process, ours):
        read_until(ours, b"?")
        for _ in range(3):
            process.send_signal(signal.SIGWINCH)
            process.send_signal(signal.SIGCONT)
        os.write(ours, b"y\n")
        assert process.wait(timeout=30) == 0
    assert not run.exists()


def test_env_for_bug_reports(call, monkeypatch) -> None:
    monkeypatch.setenv("DEITFT_WEIGHTS_DIR", "/home/somebody/secret")
    said = call("env")
    assert said.code == 0
    names = {line.split("  ")[0] for line in said.out.splitlines()}
    assert {
        "deitft",
        "torch",
        "timm",
        "python",
        "system",
        "processor",
        "memory",
        "device",
        "threads, workers",
    } <= names
    text = call("env", "--json").out
    data = json.loads(text)
    assert data["device"]
    assert data["threads"] >= 1
    assert data["memory_bytes"] > 1e8
    assert data["weights_dir_set"] is True
    assert "somebody" not in text + said.out
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4
