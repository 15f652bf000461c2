"""A folder is there whole and proven, or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deitft.errors import DataError
from deitft.training.commit import (
    MANIFEST,
    DamagedError,
    clear_leftovers,
    commit,
    facts_of,
    listed,
    remove,
    set_aside,
    verify,
)

FILES = {"model.safetensors": b"weights" * 100, "state.json": b'{"step": 3}'}


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(parent: Path, step: int = 3, kind: str = "step") -> Path:
    parent.mkdir(exist_ok=True)
    contents = [(name, lambda data=data: data) for name, data in FILES.items()]
    return commit(parent, kind, step, contents, {"plan": "abc"})


def test_what_is_committed_is_proven_and_read_back(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert path == tmp_path / "step-000003"
    assert inside(tmp_path) == ["step-000003"]
    found = verify(path)
    assert (found.kind, found.step, dict(found.facts)) == ("step", 3, {"plan": "abc"})
    assert {name: found.read(name) for name in found.digests} == FILES
    assert facts_of(path) == {"plan": "abc"}
    assert found.size == sum(map(len, FILES.values()))


def test_it_needs_no_torch() -> None:
    code = "import sys, deitft.training.commit; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "state.json").write_bytes(b'{"step": 4}'), "state.json: sha256 differs"),
        (lambda path: (path / "state.json").write_bytes(b"{}"), "state.json is 9 bytes short"),
        (lambda path: (path / "state.json").write_bytes(b"x" * 99), "state.json: size differs"),
        (lambda path: (path / "state.json").unlink(), "state.json is missing"),
        (lambda path: (path / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda path: (path / MANIFEST).write_text("{"), "manifest.json is not valid JSON"),
        (lambda path: (path / MANIFEST).write_text("[]"), "manifest.json lists no files"),
        (lambda path: [item.unlink() for item in path.iterdir()], "manifest.json is missing"),
    ],
)
def test_every_damage_is_named(tmp_path: Path, damage, words: str) -> None:
    path = write(tmp_path)
    damage(path)
    with pytest.raises(DamagedError, match=words):
        verify(path)


def test_a_file_in_a_folders_or_a_links_place_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path)
    (path / "state.json").unlink()
    (path / "state.json").mkdir()
    with pytest.raises(DamagedError, match="missing"):
        verify(path)
    (path / "state.json").rmdir()
    (tmp_path / "elsewhere").write_bytes(FILES["state.json"])
    (path / "state.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedError, match="missing"):
        verify(path)


def forge(path: Path, **changes: object) -> None:
    """A manifest that is true to itself, but says something else."""
    from deitft.core.files import canonical_json, sha256_bytes

    body = json.loads((path / MANIFEST).read_text())
    del body["sha256"]
    body.update(changes)
    (path / MANIFEST).write_text(json.dumps({**body, "sha256": sha256_bytes(canonical_json(body))}))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ".hidden"])
def test_a_manifest_cannot_name_a_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    path = write(tmp_path)
    forge(path, files={name: {"size": 1, "sha256": "0" * 64}})
    with pytest.raises(DamagedError, match="not a file of its folder"):
        verify(path)


def test_a_checkpoint_of_another_step_or_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.rename(tmp_path / "step-000009")
    with pytest.raises(DamagedError, match="belongs to step 3"):
        verify(tmp_path / "step-000009")
    forge(tmp_path / "step-000009", step=9, version=99)
    with pytest.raises(DamagedError, match="version 99"):
        verify(tmp_path / "step-000009")
    forge(tmp_path / "step-000009", version=1, files={"state.json": "x"})
    with pytest.raises(DamagedError, match="not a file of its folder"):
        verify(tmp_path / "step-000009")


def test_what_changes_between_proof_and_use_is_noticed(tmp_path: Path) -> None:
    found = verify(write(tmp_path))
    (found.path / "state.json").write_bytes(b'{"step": 4}')
    with pytest.raises(DataError, match="changed while it was read"):
        found.read("state.json")
    with pytest.raises(DataError, match="has no other"):
        found.read("other")


def test_lists_are_by_number_and_hold_only_what_is_committed(tmp_path: Path) -> None:
    for step in (3, 20, 100, 1000000):
        write(tmp_path, step)
    write(tmp_path, 7, "best")
    (tmp_path / "step-000900.damaged").mkdir()
    (tmp_path / ".tmp-step-000901-1").mkdir()
    (tmp_path / "step-000902").write_text("a file")
    assert [step for step, _ in listed(tmp_path, "step")] == [1000000, 100, 20, 3]
    assert [step for step, _ in listed(tmp_path, "best")] == [7]
    assert listed(tmp_path / "nowhere", "step") == []


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    write(tmp_path)
    dead = dead_process()
    for name in (f".tmp-step-000004-{dead}", f".pruned-step-000002-{dead}", f".tmp-step-000005-{os.getppid()}"):
        (tmp_path / name).mkdir()
    (tmp_path / f".del-step-000003-{dead}").mkdir()
    assert clear_leftovers(tmp_path) == ["step-000004"]
    assert inside(tmp_path) == [f".tmp-step-000005-{os.getppid()}", "step-000003"]
    assert clear_leftovers(tmp_path / "nowhere") == []


def test_a_folder_that_was_to_be_replaced_comes_back_if_its_successor_never_came(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.rename(tmp_path / f".del-step-000003-{dead_process()}")
    assert clear_leftovers(tmp_path) == []
    assert verify(path).step == 3


def test_a_failed_write_leaves_nothing_and_the_older_folder_stays(tmp_path: Path) -> None:
    path = write(tmp_path)

    def full() -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        commit(tmp_path, "step", 3, [("a", lambda: b"1"), ("b", full)], {})
    assert inside(tmp_path) == ["step-000003"]
    assert verify(path).read("state.json") == FILES["state.json"]


def test_setting_aside_never_overwrites(tmp_path: Path) -> None:
    names = [set_aside(write(tmp_path), "damaged").name for _ in range(3)]
    assert names == ["step-000003.damaged", "step-000003.damaged-2", "step-000003.damaged-3"]


def test_removing_leaves_nothing_under_any_name(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / f".pruned-step-000003-{os.getpid()}").mkdir()
    remove(path)
    assert inside(tmp_path) == []
