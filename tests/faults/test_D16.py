"""D16: a photo deleted, changed or unreadable while training runs. Real files, real mounts, real system errors.

Whatever happened, the photo is named, no other takes its place, and once it is back the run goes on to the bits
of a run that nothing disturbed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from run_kit import Command, Zygote, fingerprints, record_of, words

import deitft
from deitft.core.records import parse_csv_text

HERE = {"threads": 1, "workers": 0}
AFTER = 6
"""Steps: the first of the three epochs is over, so every train photo was seen and will be again."""


@pytest.fixture
def mine(photos: Path, tmp_path: Path) -> Path:
    """The same photos, to be spoilt."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.fixture
def victim(whole: Path) -> str:
    """A train photo."""
    rows = parse_csv_text((whole / "splits.csv").read_text())
    return [row["path"] for row in rows if row["split"] == "train"][17]


def error_of(command: Command, code: int) -> str:
    assert command.wait(120) == code, command.err
    (line,) = command.errors
    return line


def saved_step(run: Path) -> int:
    """The newest checkpoint's step: the last full one before the error."""
    return max(int(folder.name.removeprefix("step-")) for folder in (run / "checkpoints").glob("step-*"))


def named(line: str, run: Path) -> None:
    """The line names the step that could not be taken, the one after the newest checkpoint; the record has it."""
    assert f", step {saved_step(run) + 1}" in line
    assert [error["id"] for error in record_of(run)["errors"]] == ["D16"]


def goes_on(run: Path, whole: Path) -> None:
    deitft.resume(run, **HERE)
    assert record_of(run)["status"] == "done"
    assert fingerprints(run) == fingerprints(whole)


def test_D16_a_a_photo_is_deleted(mine, victim, whole, tmp_path, zygote: Zygote):
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, f"rm {mine}/{victim}"))
    line = error_of(command, 74)
    assert line.startswith(f"deitft: error [D16]: {victim} disappeared during training (epoch ")
    assert line.endswith(") — restore it and run the same command with --resume")
    named(line, tmp_path / "a")
    shutil.copy2(whole.parents[1] / "photos" / victim, mine / victim)
    goes_on(tmp_path / "a", whole)


@pytest.mark.parametrize(("side", "during"), [("train", "training (epoch "), ("val", "evaluation")])
def test_D16_a_many_are_deleted_while_workers_read_ahead(
    mine, photos, whole, tmp_path, zygote: Zygote, side, during
):
    rows = parse_csv_text((whole / "splits.csv").read_text())
    gone = " ".join(str(mine / row["path"]) for row in rows if row["split"] == side)
    command = zygote.start(*words(mine, tmp_path, "a", workers="2"), at=("training", 2, f"rm {gone}"))
    said = error_of(command, 74)
    assert said.startswith("deitft: error [D16]: ")
    assert f" disappeared during {during}" in said
    assert said.endswith(" — restore it and run the same command with --resume")
    assert saved_step(tmp_path / "a") > 2
    shutil.copytree(photos, mine, dirs_exist_ok=True)
    goes_on(tmp_path / "a", whole)


def test_D16_b_another_photo_in_its_place_of_the_same_size_and_time(mine, victim, whole, tmp_path, zygote: Zygote):
    original = (mine / victim).read_bytes()
    other = min((path.read_bytes() for path in mine.rglob("*.jpg")), key=len)
    assert len(other) < len(original)
    (tmp_path / "other").write_bytes(other + bytes(len(original) - len(other)))
    (tmp_path / "stamp").touch()
    shutil.copystat(mine / victim, tmp_path / "stamp")
    swap = f"cat {tmp_path}/other > {mine}/{victim}; touch -r {tmp_path}/stamp {mine}/{victim}"
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, swap))
    line = error_of(command, 65)
    assert line.startswith(f"deitft: error [D16]: {victim} changed since the run began (epoch ")
    assert "; sha256 was " in line
    named(line, tmp_path / "a")
    (mine / victim).write_bytes(original)
    goes_on(tmp_path / "a", whole)


def test_D16_c_a_photo_that_may_not_be_read_any_more(mine, victim, whole, tmp_path, zygote: Zygote):
    shut = f"chmod 000 {mine}/{victim}"
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, shut), no_rights=True)
    line = error_of(command, 74)
    assert line.startswith(
        f"deitft: error [D16]: {victim} cannot be read any more (permission denied) during training"
    )
    named(line, tmp_path / "a")
    (mine / victim).chmod(0o644)
    goes_on(tmp_path / "a", whole)


def test_D16_d_the_whole_folder_is_unmounted(photos, whole, tmp_path, zygote: Zygote):
    root = tmp_path / "photos"
    root.mkdir()
    mounted = [f"mount -t tmpfs none {root}", f"cp -r {photos}/. {root}"]
    command = zygote.start(
        *words(root, tmp_path, "a"), before=mounted, own_mounts=True, at=("training", AFTER, f"umount -l {root}")
    )
    line = error_of(command, 74)
    assert " disappeared during training (epoch " in line
    named(line, tmp_path / "a")
    shutil.copytree(photos, root, dirs_exist_ok=True)
    goes_on(tmp_path / "a", whole)


def stumbling(path: Path, times: str, log: Path) -> str:
    """A shell command: from now on reads of this file fail, as often as ``times`` says (strace's ``when``)."""
    strace = f"strace -f -qq -p $PPID -P {path} -e trace=read -e inject=read:error=EIO:when={times} -o {log}"
    attached = "grep -q '^TracerPid:.[1-9]' /proc/$PPID/status && exit"
    return f"{strace} & for try in $(seq 100); do {attached}; sleep 0.05; done; exit 1"


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace makes reads fail, and is not here"
)


@needs_strace
def test_D16_e_a_disk_that_stumbles_once(mine, victim, whole, tmp_path, zygote: Zygote):
    """The same photo is read again, and nothing is different."""
    once = stumbling(mine / victim, "1", tmp_path / "calls")
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, once))
    assert command.wait(120) == 0, command.err
    assert (tmp_path / "calls").read_text().count("EIO") == 1
    assert fingerprints(tmp_path / "a") == fingerprints(whole)


@needs_strace
def test_D16_e_a_disk_that_does_not_come_back(mine, victim, whole, tmp_path, zygote: Zygote):
    for_ever = stumbling(mine / victim, "1+", tmp_path / "calls")
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, for_ever))
    line = error_of(command, 74)
    assert line.startswith(
        f"deitft: error [D16]: {victim} cannot be read any more (input/output error) during training"
    )
    assert (tmp_path / "calls").read_text().count("EIO") == 4  # the first time and three more
    named(line, tmp_path / "a")
    goes_on(tmp_path / "a", whole)


def test_D16_f_a_photo_is_cut_off(mine, victim, whole, tmp_path, zygote: Zygote):
    original = (mine / victim).read_bytes()
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, f"truncate -s 300 {mine}/{victim}"))
    line = error_of(command, 65)
    assert line.startswith(f"deitft: error [D16]: {victim} changed since the run began (epoch ")
    (mine / victim).write_bytes(original)
    goes_on(tmp_path / "a", whole)


def test_D16_control_other_files_may_come_and_go(mine, whole, tmp_path, zygote: Zygote):
    """What is not a photo of this run is none of its business."""
    busy = f"touch {mine}/hat/new.jpg; rm {mine}/hat/new.jpg; touch {mine}/hat"
    command = zygote.start(*words(mine, tmp_path, "a"), at=("training", AFTER, busy))
    assert command.wait(120) == 0, command.err
    assert command.errors == []
    assert fingerprints(tmp_path / "a") == fingerprints(whole)
    assert json.loads((tmp_path / "a" / "run.json").read_text())["errors"] == []
