"""How a command line ends: one line, the right exit code, data on stdout and talk on stderr."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deitft import errors
from deitft.jobs import inventory

CLASSES = [
    item
    for item in vars(errors).values()
    if isinstance(item, type) and issubclass(item, errors.DeitftError) and item is not errors.DeitftError
]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `deitft models` meet an error inside its job."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(inventory, "models", fail)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_class_is_one_line_and_its_exit_code(kind, call, monkeypatch) -> None:
    failing(monkeypatch, kind("3 photos cannot be read", "mend them", id="D2"))
    said = call("models")
    assert said.code == kind.exit_code
    assert said.err == "deitft: error [D2]: 3 photos cannot be read — mend them\n"
    assert said.out == ""


def test_S5_an_error_that_names_hostile_files_stays_one_harmless_line(call, monkeypatch) -> None:
    name = "a\x1b]52;c;cm0=\x07\n\x9b31m\u202ejpg[/red][link=x]\udcff.png"
    failing(monkeypatch, errors.DataError(f"{name} cannot be read", id="D2"))
    said = call("models")
    assert said.err.count("\n") == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", said.err)
    assert "a\\x1b]52;c;cm0=\\x07\\n\\x9b31m\\u202ejpg[/red][link=x]\\udcff.png" in said.err


def test_a_traceback_only_with_debug(call, monkeypatch) -> None:
    failing(monkeypatch, errors.DataError("no", id="D2"))
    assert "Traceback" not in call("models").err
    shown = call("models", "--debug")
    assert "Traceback" in shown.err
    assert shown.err.endswith("deitft: error [D2]: no\n")
    assert call("--debug", "models").err.count("Traceback") == 1


def test_a_bug_keeps_its_traceback_in_a_file(call, monkeypatch) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    said = call("models")
    assert said.code == 70
    match = re.fullmatch(
        r"deitft: error \[BUG\]: ZeroDivisionError: division by zero — please report with `deitft env`; "
        r"traceback in (.+)\n",
        said.err,
    )
    assert match
    kept = Path(match.group(1))
    assert "ZeroDivisionError: division by zero" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    kept.unlink()


def test_a_bug_in_a_run_keeps_its_traceback_in_the_run_folder(call, monkeypatch, tmp_path) -> None:
    error = ZeroDivisionError("x")
    error.run_folder = tmp_path  # type: ignore[attr-defined]
    failing(monkeypatch, error)
    assert str(tmp_path / "traceback.txt") in call("models").err
    assert "ZeroDivisionError" in (tmp_path / "traceback.txt").read_text()


def test_a_bug_whose_traceback_cannot_be_kept_still_ends_in_one_line(call, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    failing(monkeypatch, ZeroDivisionError("x"))
    said = call("models")
    assert said.code == 70
    assert said.err.count("\n") == 1
    assert "run again with --debug" in said.err


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 74), (errno.EACCES, 74), (errno.ENOENT, 70)])
def test_what_the_system_refuses_is_not_called_our_bug(number, code, call, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(monkeypatch, OSError(number, os.strerror(number), "/some/file"))
    said = call("models")
    assert said.code == code
    assert said.err.startswith(f"deitft: error [{'IO' if code == 74 else 'BUG'}]: ")
    assert "/some/file" in said.err


def test_N4_ctrl_c_is_one_line_and_130(call, monkeypatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    said = call("models")
    assert (said.code, said.err) == (130, "deitft: error [N4]: stopped by Ctrl-C\n")


def test_N4_ctrl_c_while_training_says_how_to_go_on(call, monkeypatch) -> None:
    def fail(**asked: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deitft.jobs.finetune.finetune", fail)
    said = call("finetune", "photos")
    assert said.code == 130
    assert said.err.count("\n") == 1
    assert "`deitft resume RUN`" in said.err


def test_N4_a_real_ctrl_c_reaches_a_running_program(tmp_path) -> None:
    script = (
        "import sys, time; from deitft.jobs import inventory; from deitft.cli.app import main\n"
        "def models(): print('ready', flush=True); time.sleep(60)\n"
        "inventory.models = models; sys.argv = ['deitft', 'models']; sys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # as from a terminal, also where the tests themselves run in the background with SIGINT ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "deitft: error [N4]: stopped by Ctrl-C\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["finetun"], 'deitft has no verb "finetun" — did you mean "finetune"?'),
        (["runs", "rn"], 'deitft runs has no verb "rn" — did you mean "rm"?'),
        (["xyzzy"], 'deitft has no verb "xyzzy" — the verbs are finetune, '),
        (["finetune", "x", "--thread", "1"], "No such option: --thread — did you mean --threads?"),
        (["finetune"], "Missing argument 'DATA...' — see `deitft finetune --help`"),
        (["finetune", "x", "--seed", "ten"], "Invalid value for '--seed'"),
        (["finetune", "x", "--seed", "-1"], "Invalid value for '--seed'"),
        (["finetune", "x", "--precision", "int8"], "Invalid value for '--precision'"),
        (["predict", "run", "a.jpg", "--top", "0"], "Invalid value for '--top'"),
        (["models", "--\x1b[31m"], "No such option: --"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(words, line, call) -> None:
    said = call(*words)
    assert said.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"deitft: error [USAGE]: {line}")
    assert "\x1b" not in said.err


def test_version_and_help_are_data(call) -> None:
    from deitft.core.records import version_of

    assert call("--version") == type(call("--version"))(0, f"deitft {version_of('deitft')}\n", "")
    for words in ([], ["--help"], ["finetune", "--help"], ["runs", "--help"]):
        said = call(*words)
        assert (said.code, said.err) == (0, "")
        assert "Usage:" in said.out


def test_the_program_itself(program) -> None:
    said = program("models", "--json")
    assert (said.code, said.err) == (0, "")
    assert {item["short"] for item in json.loads(said.out)} >= {"deit_s", "deit_ti"}
    missing = program("runs", "rm", "nothing", "--yes")
    assert missing.code == 66
    assert missing.err.startswith("deitft: error [RUN]: ")


def test_a_terminal_that_only_knows_ascii_gets_escapes(program) -> None:
    said = program("nonsense", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert said.code == 2
    assert "\\u2014" in said.err


def test_a_reader_that_goes_away_is_no_error(tmp_path) -> None:
    script = f"set -o pipefail; {sys.executable} -m deitft models --json | true"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0 where all was written before the reader left


def test_a_closed_stdout_ends_with_141(tmp_path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "deitft", "--version"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["finetune", ""], "an empty word after finetune"),
        (["predict", "runs/a", ""], "an empty word after runs/a"),
        (["runs", "list", "--runs-dir="], "--runs-dir is empty"),
        (["runs", "list", "--runs-dir", ""], "an empty word after --runs-dir"),
    ],
)
def test_an_empty_word_is_no_path(words: list[str], what: str, call) -> None:
    """``deitft finetune "$PHOTOS"`` with a variable that is not set must not train on the folder one is in."""
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"deitft: error [USAGE]: {what} — a variable of the shell that is not set?\n"
