"""C3: the newest checkpoint is damaged. The one before it is taken, that is said, and the result is the same."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from training_kit import Run, fingerprint, resumed, stop_at, tiny_plan

from deitft.core.progress import Silent
from deitft.errors import DataError
from deitft.training.checkpoint import newest_good
from deitft.training.commit import DamagedError, verify

FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was stopped at steps 6, 9 and 12 and kept all three."""
    run = Run(tmp_path_factory.mktemp("run"), tiny_plan(keep_checkpoints=3))
    for step in (6, 9, 12):
        stop_at(run, step)
        run.fit()
        run = resumed(run)
    return run


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = Run(tmp_path_factory.mktemp("whole"), tiny_plan(keep_checkpoints=3))
    run.fit()
    return fingerprint(run.state)


@pytest.fixture
def run(three: Run, tmp_path: Path) -> Run:
    shutil.copytree(three.folder, tmp_path / "run")
    return Run(tmp_path / "run", three.plan)


def cut_tail(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[:-100])


def zero_tail(path: Path) -> None:
    data = (path / "optimizer.safetensors").read_bytes()
    (path / "optimizer.safetensors").write_bytes(data[:-100] + bytes(100))


def flip(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray((path / name).read_bytes())
        data[len(data) // 2] ^= 4
        (path / name).write_bytes(data)

    return damage


def file_to_folder(path: Path) -> None:
    (path / "state.json").unlink()
    (path / "state.json").mkdir()


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(cut_tail, "model.safetensors is 100 bytes short", id="a"),
        pytest.param(zero_tail, "optimizer.safetensors: sha256 differs", id="b"),
        pytest.param(lambda path: (path / "manifest.json").unlink(), "manifest.json is missing", id="c"),
        *(pytest.param(flip(name), f"{name}", id=f"d-{name}") for name in FILES),
        pytest.param(file_to_folder, "state.json is missing", id="e"),
        pytest.param(empty, "manifest.json is missing", id="f"),
    ],
)
def test_c3_falls_back_to_the_last_good_step(
    run: Run, wanted: str, damage: Callable[[Path], None], reason: str
) -> None:
    folder = run.keeper.folder
    damage(folder / "step-000012")
    again = resumed(run)
    (notice,) = again.progress.notices
    assert notice.id == "C3"
    assert notice.text.startswith("step 12 is damaged (")
    assert reason in notice.text
    assert notice.hint == "continuing from step 9, 3 steps are repeated"
    assert again.state.step == 9
    assert (folder / "step-000012.damaged").is_dir()
    assert not (folder / "step-000012").exists()
    progress = Silent()
    assert newest_good(folder, progress).step == 9  # never considered again
    assert progress.notices == []
    again.fit()
    assert fingerprint(again.state) == wanted


def test_c3_g_the_newest_two_are_bad(run: Run, wanted: str) -> None:
    cut_tail(run.keeper.folder / "step-000012")
    empty(run.keeper.folder / "step-000009")
    again = resumed(run)
    assert [notice.text[:7] for notice in again.progress.notices] == ["step 12", "step 9 "]
    assert again.state.step == 6
    again.fit()
    assert fingerprint(again.state) == wanted


def test_c4_all_are_bad_and_nothing_starts_from_scratch(run: Run) -> None:
    for path in run.keeper.folder.glob("step-*"):
        cut_tail(path)
    with pytest.raises(DataError, match=r"no usable checkpoint in .*run \(3 damaged\)") as caught:
        newest_good(run.keeper.folder, Silent())
    assert (caught.value.id, caught.value.exit_code) == ("C4", 65)
    assert len(list(run.keeper.folder.glob("step-??????"))) == 3  # the evidence stays where it is


def test_c3_control_without_damage_there_is_no_word(run: Run) -> None:
    assert resumed(run).progress.notices == []


def test_c1_an_unfinished_save_is_discarded_and_said(run: Run) -> None:
    import subprocess
    import sys

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    unfinished = run.keeper.folder / f".tmp-step-000013-{dead.pid}"
    shutil.copytree(run.keeper.folder / "step-000012", unfinished)
    again = resumed(run)
    assert again.progress.said == ["an unfinished save of step 13 was discarded"]
    assert again.state.step == 12
    assert not unfinished.exists()


def test_c3_every_flipped_bit_is_noticed(run: Run) -> None:
    """500 single bits anywhere in a checkpoint, manifest included."""
    path = run.keeper.folder / "step-000012"
    draw = random.Random(0)
    missed = []
    originals = {name: (path / name).read_bytes() for name in FILES}
    for _ in range(500):
        name = draw.choice(FILES)
        data = bytearray(originals[name])
        place = draw.randrange(len(data))
        data[place] ^= 1 << draw.randrange(8)
        (path / name).write_bytes(data)
        try:
            verify(path)
            missed.append((name, place))
        except DamagedError:
            pass
        (path / name).write_bytes(originals[name])
    assert missed == []
    assert verify(path).step == 12
