"""C5: a place that cannot be written to, or that another process works in, is told before any photo is read."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from photo_kit import untouched
from run_kit import Command, Zygote, finetune, fingerprints, record_of, signal_at, until, words

import deitft
from deitft.cli.app import main
from deitft.core.progress import Silent
from deitft.errors import TerminatedError
from deitft.runs.folder import RunFolder

HERE = {"device": "cpu", "threads": 1}
QUICK = ("model.image_size=32", "train.length=6 steps", "train.batch=16", "train.micro_batch=16")
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs the right to mount")


def refused(command: Command, code: int, id: str = "C5") -> str:
    """One line, the exit code, and nothing of the photos was looked at."""
    assert command.wait() == code
    (line,) = command.errors
    assert line.startswith(f"deitft: error [{id}]: ")
    assert "photos" not in command.err.replace(line, "")
    return line


@needs_root
def test_c5_a_read_only_file_system(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    place = tmp_path / "runs"
    place.mkdir()
    alone = [f"mount -t tmpfs none {place}", f"mount -o remount,ro {place}"]
    command = zygote.start(*words(photos, place, "a", *QUICK), before=alone, own_mounts=True)
    line = refused(command, 73)
    assert line == (
        f"deitft: error [C5]: cannot write to {place} (read-only file system) — "
        "choose another place with --runs-dir"
    )


def test_c5_b_a_folder_without_the_right_to_write(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    (tmp_path / "runs").mkdir(mode=0o555)
    command = zygote.start(*words(photos, tmp_path / "runs", "a", *QUICK), no_rights=ROOT)
    assert "(permission denied)" in refused(command, 73)
    assert list((tmp_path / "runs").iterdir()) == []


def test_c5_c_a_file_in_the_place(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("mine")
    for place in (tmp_path / "runs", tmp_path / "runs" / "deeper"):
        assert main(words(photos, place, "a", *QUICK)) == 73
        err = capsys.readouterr().err
        assert re.fullmatch(r"deitft: error \[C5\]: cannot write to .*\n", err)
    assert (tmp_path / "runs").read_text() == "mine"


def test_c5_inside_the_photos(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with untouched(photos):
        for place in (photos, photos / "runs", photos / "hat" / ".." / "x"):
            assert main(words(photos, place, "a", *QUICK)) == 73
            assert capsys.readouterr().err.startswith("deitft: error [C5]: the runs folder ")


def test_c5_d_a_missing_parent_is_made(photos: Path, tmp_path: Path) -> None:
    run = finetune(photos, tmp_path / "a" / "b" / "runs", "c", *QUICK).folder
    assert run is not None
    assert record_of(run)["status"] == "done"


def test_c5_e_a_run_that_another_process_works_on(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """The second one is told by whom, and the first one is not disturbed."""
    first = zygote.start(*words(photos, tmp_path, "a"), at=("training", 2, "sleep 3"))
    run = tmp_path / "a"
    until(lambda: (run / "run.json").exists(), 60, "the run does not begin")
    for line in (["resume", str(run)], [*words(photos, tmp_path, "a"), "--resume"], ["runs", "rm", "a", "--yes"]):
        more = ["--runs-dir", str(tmp_path)] if line[0] == "runs" else []
        second = zygote.start(*line, *more)
        said = refused(second, 75)
        assert re.search(
            rf"in use by process {first.pid} on host \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", said
        )
    assert first.wait() == 0
    assert record_of(run)["status"] == "done"
    assert not (run / "lock").exists()


def test_c5_f_what_a_dead_process_left_is_taken_over_with_a_line(
    photos: Path, tmp_path: Path, zygote: Zygote
) -> None:
    command = zygote.start(*words(photos, tmp_path, "a", *QUICK), at=("training", 2, "signal SIGKILL"))
    assert command.wait() == -signal.SIGKILL
    run = tmp_path / "a"
    assert (run / "lock").read_text().split()[0] == str(command.pid)
    progress = Silent()
    deitft.resume(run, progress=progress, **HERE)
    assert f"a was left by process {command.pid}, which is gone: taken over" in progress.said
    assert not (run / "lock").exists()


def test_c5_f_the_number_of_a_dead_process_may_be_used_again(photos: Path, tmp_path: Path) -> None:
    """The file names a process that lives, but it is not the one that wrote it: nobody holds the lock."""
    with pytest.raises(TerminatedError):
        finetune(photos, tmp_path, "a", *QUICK, progress=signal_at("training", 2, signal.SIGTERM))
    run = tmp_path / "a"
    (run / "lock").write_text(f"{os.getppid()} host 2025-01-01T00:00:00+00:00\n")
    assert deitft.resume(run, **HERE).status == "done"


def test_c5_control_nobody_is_in_the_way(whole: Path, photos: Path, tmp_path: Path) -> None:
    progress = Silent()
    run = finetune(photos, tmp_path, "a", progress=progress).folder
    assert run is not None
    assert not any("taken over" in text for text in progress.said)
    assert fingerprints(run) == fingerprints(whole)
    with RunFolder(run).locked(), RunFolder(whole).locked():
        assert (run / "lock").exists()
    assert not (run / "lock").exists()


@needs_root
def test_c5_a_finished_run_on_a_read_only_disk_can_still_be_used(
    whole: Path, photos: Path, tmp_path: Path, zygote: Zygote
) -> None:
    place = tmp_path / "archive"
    shutil.copytree(whole, place)
    alone = [f"mount --bind {place} {place}", f"mount -o remount,ro,bind {place}"]
    photo = sorted(photos.rglob("*.jpg"))[0]
    command = zygote.start("predict", place, photo, "--threads", "1", before=alone, own_mounts=True)
    assert command.wait() == 0
    done = zygote.start("resume", place, before=alone, own_mounts=True)
    assert done.wait() == 0
    assert "finished" in done.err


@needs_root
def test_c5_an_unfinished_run_on_a_read_only_disk(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    with pytest.raises(TerminatedError):
        finetune(photos, tmp_path, "a", *QUICK, progress=signal_at("training", 2, signal.SIGTERM))
    place = tmp_path / "a"
    alone = [f"mount --bind {place} {place}", f"mount -o remount,ro,bind {place}"]
    assert "(read-only file system)" in refused(zygote.start("resume", place, before=alone, own_mounts=True), 73)


@needs_root
def test_c5_h_turned_read_only_while_it_trains(photos: Path, tmp_path: Path, zygote: Zygote) -> None:
    """As a full disk: training goes on with a warning; the save at the end is the error (C2, exit 74)."""
    run = tmp_path / "a"
    act = f"mkdir -p {run}/checkpoints; mount -t tmpfs -o ro none {run}/checkpoints"
    command = zygote.start(*words(photos, tmp_path, "a", *QUICK), own_mounts=True, at=("training", 2, act))
    assert command.wait() == 74
    (error,) = command.errors
    assert error.startswith("deitft: error [C2]: could not save step 6, read-only file system in ")
    assert "deitft: warning [C2]: could not save step " in command.err
    assert record_of(run)["status"] == "failed"
    assert deitft.resume(run, **HERE).status == "done"  # the disk is well again
