"""A process that has imported everything and trained nothing: each command line is a fork of it.

The real command line in a process of its own, without the seconds that imports take. Requests and answers are
lines of JSON; see ``run_kit.Zygote``. (A process that has run a backward pass cannot be forked: torch refuses.)
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

HEAVY = (
    "deitft.runs.train",
    "deitft.runs.resume",
    "deitft.runs.evaluating",
    "deitft.runs.predicting",
    "deitft.runs.checking",
    "albumentations",
    "matplotlib.backends.backend_svg",
    "small_net",
)


class Children:
    """The command lines at work, and how those ended that have."""

    def __init__(self) -> None:
        self.codes: dict[int, int | None] = {}

    def begin(self) -> int:
        """A fork, answered for once it leads a session of its own: from then on a signal to its group is for it
        alone. 0 in the child."""
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ready)
            os.setsid()
            os.close(tell)
            return 0
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        self.codes[pid] = None
        return pid

    def code(self, pid: int, *, block: bool = False) -> int | None:
        """Exit code, negative for a signal; None while it works. It can be asked for again and again."""
        if self.codes[pid] is None:
            ended, status = os.waitpid(pid, 0 if block else os.WNOHANG)
            self.codes[pid] = os.waitstatus_to_exitcode(status) if ended else None
        return self.codes[pid]

    def end(self) -> None:
        """Nobody outlives the tests."""
        for pid in self.codes:
            if self.code(pid) is None:
                os.killpg(pid, signal.SIGKILL)
                self.code(pid, block=True)


def serve() -> dict[str, Any] | None:
    """Answer requests until stdin ends. In a forked child: the request it is to carry out."""
    children = Children()
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if "wait" in request:
                answer = children.code(request["wait"])
            else:
                answer = children.begin()
                if answer == 0:
                    children.codes.clear()
                    return dict(request)
            print(json.dumps(answer), flush=True)
    except BrokenPipeError:  # the tests are gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        children.end()
    return None


def become(request: dict[str, Any]) -> None:
    """A process as a shell would start it: own session, own output, own environment, default signals."""
    if request["tty"]:
        files = [os.open(request["tty"], os.O_RDWR)] * 3  # the first terminal a session opens is its own
    else:
        mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        files = [os.open("/dev/null", os.O_RDONLY), os.open(request["out"], mode), os.open(request["err"], mode)]
    for target, file in enumerate(files):
        os.dup2(file, target)
    # python looks once, at the start, whether its streams can seek
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if request["own_mounts"]:
        unshare_mounts()
    for command in request["before"]:
        subprocess.run(command, check=True, shell=True)
    # whoever started the tests may ignore or hold back some, as shells do for what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if request["no_rights"]:
        give_up_rights()
    sys.argv = ["deitft", *request["words"]]
    for name, value in request["patch"].items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    if request["at"]:
        watch_progress(*request["at"])


def unshare_mounts() -> None:
    """What is mounted from here on is seen by this process and its children alone."""
    new_namespace, private, recursive = 0x20000, 1 << 18, 1 << 14
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, private | recursive, None):
        raise OSError(ctypes.get_errno(), "cannot have mounts of its own")


def give_up_rights() -> None:
    """From here on a file's mode holds for root, too."""
    get, set_, both = 125, 126, (1 << 1) | (1 << 2)  # capget, capset; DAC_OVERRIDE, DAC_READ_SEARCH
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    rights = (ctypes.c_uint32 * 6)()
    if libc.syscall(get, header, rights):
        raise OSError(ctypes.get_errno(), "cannot read the rights")
    rights[0] &= ~both
    rights[1] &= ~both
    if libc.syscall(set_, header, rights):
        raise OSError(ctypes.get_errno(), "cannot give up rights")


def watch_progress(title: str, count: int, act: str) -> None:
    """Do something when a task of this title has moved so far: send a signal, or run a shell command."""
    from run_kit import Watched

    from deitft.cli import work

    opened = work.open_progress

    def acting() -> None:
        if act.startswith("signal "):
            number = getattr(signal, act.split()[1])
            for pause in (0.4, 0) if "twice" in act else (60,) if "slow" in act else (0,):
                os.killpg(0, number) if "group" in act else os.kill(os.getpid(), number)
                time.sleep(pause)
        else:
            subprocess.run(act, shell=True, check=True)

    @contextlib.contextmanager
    def watched(**how: Any) -> Iterator[Any]:
        with opened(**how) as progress:
            yield Watched(progress, title, count, acting)

    work.open_progress = watched


def main() -> int:
    """The zygote, and each of its children."""
    for name in HEAVY:
        importlib.import_module(name)
    if os.environ.get("GUARD_OFF"):
        importlib.import_module("guards_off").take_away(os.environ["GUARD_OFF"])
    from deitft.cli.app import main as command_line

    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it
    print("ready", flush=True)
    request = serve()
    if request is None:
        os._exit(0)  # python would take torch apart first
    become(request)
    if request["call"]:
        module, _, name = request["call"].partition(":")
        return int(getattr(importlib.import_module(module), name)(*request["words"]) or 0)
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
