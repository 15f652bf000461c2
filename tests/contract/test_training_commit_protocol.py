"""The order on disk: killed before any single call of a save, nothing that was reported is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deitft.training.commit import MANIFEST, clear_leftovers, listed, verify

SERVER = """
# Forks a child a try. The child's own calls are counted, and it kills itself before number n.
import io, json, os, signal, sys
from pathlib import Path
from deitft.training import commit as room

calls, log = [0], []
def hooked(module, name, limit):
    real = getattr(module, name)
    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        what = args[0] if args else ""
        if name == "fsync":
            what = os.readlink(f"/proc/self/fd/{{what}}")
        log.append([name, str(what), str(args[1]) if name == "rename" else ""])
        return real(*args, **kwargs)
    setattr(module, name, call)

def save(folder, step, text, limit, pipe):
    for module, name in ((io, "open"), *((os, name) for name in (
            "fsync", "rename", "replace", "mkdir", "unlink", "rmdir"))):
        hooked(module, name, limit)
    files = [("model.safetensors", lambda: text * 50), ("state.json", lambda: text)]
    room.commit(folder, "step", step, files, {{}})
    os.write(pipe, b"saved")
    for _, path in room.listed(folder, "step")[2:]:
        room.remove(path)
    if limit == 0:
        Path({log!r}).write_text(json.dumps(log))
    os._exit(0)

step, limits = {step}, iter(range(0, 1000))
results = []
for limit in limits:
    folder = Path({parent!r}) / f"try-{{limit}}"
    folder.mkdir()
    for old in (1, 2):
        room.commit(folder, "step", old, [("state.json", lambda: b"old")], {{}})
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        save(folder, step, b"new", limit, writer)
    os.close(writer)
    status = os.waitpid(process, 0)[1]
    results.append([limit, status, os.read(reader, 5).decode()])
    os.close(reader)
    if limit and status == 0:
        break
print(json.dumps(results))
"""


def run(tmp_path: Path, step: int) -> tuple[list[tuple[int, int, str]], list[list[str]]]:
    log = tmp_path / "log.json"
    code = SERVER.format(step=step, parent=str(tmp_path), log=str(log))
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout), json.loads(log.read_text())


@pytest.mark.parametrize("step", [3, 2])
def test_killed_before_every_call_of_a_save(tmp_path: Path, step: int) -> None:
    """``step`` 3 is a new one, 2 replaces one that is there. Old ones are deleted after it."""
    results, _ = run(tmp_path, step)
    killed = [limit for limit, status, _ in results if status]
    assert len(killed) > 15
    for limit, _, reported in results:
        folder = tmp_path / f"try-{limit}"
        clear_leftovers(folder)
        found = [(number, verify(path)) for number, path in listed(folder, "step")]
        assert found, limit
        newest, content = found[0][0], found[0][1].read("state.json")
        if reported:
            assert (newest, content) == (step, b"new"), limit
        else:
            assert (newest, content) in [(2, b"old"), (step, b"new")], limit
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def misordered(log: list[list[str]]) -> list[str]:
    """What a power cut could lose, from the order of calls; empty if nothing."""
    found = []
    commits = [n for n, (name, what, to) in enumerate(log) if name == "rename" and to.endswith("step-000003")]
    if len(commits) != 1:
        return ["not committed by one rename"]
    at = commits[0]
    temporary = log[at][1]
    synced = [what for name, what, _ in log[:at] if name == "fsync"]
    written = [
        what for name, what, _ in log[:at] if name == "open" and what.startswith(temporary) and what not in synced
    ]
    found += [f"{what} is not synced before the rename" for what in written]
    if temporary not in synced:
        found.append("the folder is not synced before the rename")
    files = list(dict.fromkeys(what for what in synced if what.startswith(f"{temporary}/")))
    if not files or not files[-1].endswith(MANIFEST):
        found.append("the manifest is not the last file")
    after = [what for name, what, _ in log[at:] if name == "fsync"]
    if str(Path(temporary).parent) not in after:
        found.append("the parent is not synced after the rename")
    prunes = [n for n, (name, what, to) in enumerate(log) if name == "rename" and ".pruned-" in to]
    parents = [n for n, (name, what, _) in enumerate(log) if n > at and name == "fsync"]
    if not prunes or not parents or prunes[0] < parents[0]:
        found.append("old ones are deleted before the new one is durable")
    return found


def test_everything_is_synced_before_it_counts(tmp_path: Path) -> None:
    _, log = run(tmp_path, 3)
    assert misordered(log) == []
    # The check is seen red: every sync that is left out is noticed.
    places = {what for name, what, _ in log if name == "fsync"}
    assert len(places) == 5
    for place in places:
        broken = [entry for entry in log if not (entry[0] == "fsync" and entry[1] == place)]
        assert misordered(broken), place
