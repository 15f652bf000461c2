"""Pages are run: what README.md, docs/guides/ and docs/concepts/ show is what happens.

- A ``console`` block: each line that begins with ``$ `` is a command, run as it stands; the lines below it are
  what it says, talk before data, where ``…`` stands for anything and lines may be left out. It must end with 0,
  unless one of these lines is an error. A line ``^C`` presses Ctrl-C as soon as the run has begun.
- A ``python`` block is run; the blocks of a page share their names.
- A ``yaml`` block whose first line is ``# NAME.yaml`` becomes that file.
- Any other block (``sh``, ``text``, none) is only shown.

Each page starts in a folder of its own with ``photos/``, ``more-photos/`` (two folders of classes), ``new/``
(loose photos), ``weights/`` (one model in timm's layout) and, but for the README, a finished run
``runs/finetune-1``. So that a page takes seconds, ``small`` makes what trains small, where the page does not say
otherwise.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deitft.cli.app import main

SMALL = {
    "--model": "deit_ti",
    "--no-pretrained": None,
    "--no-probe": None,
    "--threads": "1",
    "--workers": "0",
}
SMALL_FIELDS = {"model.image_size": "32", "train.length": "2 steps", "train.length_factor": "1"}
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page that the text begins at."""

    kind: str
    text: str
    line: int


@dataclass
class Command:
    """A command of a console block, the lines it says, and whether Ctrl-C is pressed."""

    text: str
    line: int
    says: list[str] = field(default_factory=list)
    interrupted: bool = False


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page."""
    return [Block(match[1], match[2], page.count("\n", 0, match.start(2)) + 1) for match in BLOCK.finditer(page)]


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ "):
            found.append(Command(line[2:], number))
        elif found and not found[-1].says and found[-1].text.endswith("\\"):
            found[-1].text = found[-1].text[:-1].rstrip() + " " + line.strip()
        elif not found:
            raise ValueError(f"line {number}: a console block begins with a command")
        elif line == "^C":
            found[-1].interrupted = True
        elif line.strip():
            found[-1].says.append(line)
    return found


def small(words: list[str], environment: Mapping[str, str]) -> list[str]:
    """A command of ``deitft`` with the small settings, where it does not say otherwise."""
    verb = words[0] if words else ""
    trains = verb == "finetune" or (verb == "compare" and "--models" in words)
    if not trains and verb not in ("resume", "evaluate", "predict"):
        return words
    names = dict(SMALL) if trains else {name: SMALL[name] for name in ("--threads", "--workers")}
    if verb == "compare":
        del names["--model"], names["--no-probe"]  # it has options of its own
    weights = {"--weights", "--weights-dir", "--pretrained"} & set(words) or "DEITFT_WEIGHTS_DIR" in environment
    added = []
    for name, value in names.items():
        if name in words or (name == "--no-pretrained" and weights):
            continue
        added += [name] if value is None else [name, value]
    if trains:
        said = {word.partition("=")[0] for word in words}
        if "linear-probe" in words:
            said.add("train.length")  # it has no steps
        for name, value in SMALL_FIELDS.items():
            if name not in said and not (name.startswith("train.") and "train.length" in said):
                added += ["--set", f"{name}={value}"]
    return [*words, *added]


class Page:
    """One page at work in a folder of its own."""

    def __init__(self, file: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.file = file
        self.capture = capture
        self.names: dict[str, Any] = {"__name__": "page"}
        self.ran = 0

    def run(self) -> None:
        """Every block, in order."""
        for block in blocks(self.file.read_text("utf-8")):
            if block.kind == "console":
                for command in commands(block):
                    self._command(command)
            elif block.kind == "python":
                self.ran += 1
                code = compile("\n" * (block.line - 1) + block.text, str(self.file), "exec")
                exec(code, self.names)  # noqa: S102 - the page is ours
                self.capture.readouterr()
            elif block.kind == "yaml" and (named := re.match(r"# ([\w.-]+\.yaml)\n", block.text)):
                Path(named[1]).write_text(block.text, "utf-8")

    def _command(self, command: Command) -> None:
        self.ran += 1
        self.capture.readouterr()
        code, output = self._carry_out(command)
        where = f"{self.file.name}:{command.line}: $ {command.text}\n"
        failing = any(line.startswith("deitft: error") for line in command.says)
        assert (code != 0) == failing, f"{where}ended with {code}:\n{output}"
        missing = missing_line(command.says, output)
        assert missing is None, f"{where}does not say\n  {missing}\nbut\n{output}"

    def _carry_out(self, command: Command) -> tuple[int, str]:
        """Exit code, and all that was said: stderr, then stdout."""
        given = re.match(r"((?:\w+=\S+ +)*)deitft( .*|$)", command.text)
        if not given:
            done = subprocess.run(
                ["bash", "-c", command.text], capture_output=True, text=True, timeout=120, env=shell(), check=False
            )
            return done.returncode, done.stderr + done.stdout
        own, piped = split_pipe(given[2])
        variables = dict(word.split("=", 1) for word in given[1].split())
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            words = small(shlex.split(own), os.environ)
            patch.setattr(sys, "argv", ["deitft", *words])
            with ctrl_c(words) if command.interrupted else contextlib.nullcontext():
                code = main(words)
        out, err = self.capture.readouterr()
        if piped:
            shown = subprocess.run(
                ["bash", "-c", f"cat {piped}"], input=out, capture_output=True, text=True, timeout=120, check=True
            )
            out = shown.stdout
        return code, err + out


OpenPage = Callable[..., Page]


def split_pipe(text: str) -> tuple[str, str]:
    """A command line, and from its first ``|`` or ``>`` on what the shell does with its output."""
    lexer = shlex.shlex(text, posix=False, punctuation_chars="|>")
    lexer.whitespace_split = True
    at = 0
    for token in lexer:
        at = text.index(token, at)
        if token in ("|", ">"):
            return text[:at], text[at:]
        at += len(token)
    return text, ""


def shell() -> dict[str, str]:
    """The environment of a command that is not ours: our python first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def missing_line(says: list[str], output: str) -> str | None:
    """The first line that was not said, or not in this order; None where all were."""
    rest = iter(" ".join(line.split()) for line in output.splitlines())
    for line in says:
        parts = [re.escape(part) for part in " ".join(line.split()).split("…")]
        if not any(re.fullmatch(".*".join(parts), said) for said in rest):
            return line
    return None


@contextlib.contextmanager
def ctrl_c(words: list[str]) -> Iterator[None]:
    """Press Ctrl-C when a new run has its folder, with the handler in place."""
    runs = Path("runs")
    before = set(runs.glob("*/run.json"))
    over = threading.Event()

    def wait_and_press() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not over.is_set():
            if set(runs.glob("*/run.json")) - before:
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait_and_press, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
