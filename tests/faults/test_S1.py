"""S1: a weights file holds program code. It is refused by name, and the code does not run."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import resource
import signal
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from models_kit import hub_folder, tiny

from deitft.errors import DataError
from deitft.models import apart
from deitft.models import read_state as room
from deitft.models.read_state import read_state
from deitft.models.weights import find, load
from deitft.models.zoo import resolve

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}


class Payload:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.canary}'",)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def _zip_checkpoint(path: Path, value: object) -> None:
    torch.save(value, path)


def _old_checkpoint(path: Path, value: object) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def _old_pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value, protocol=0))


def _tar(path: Path, value: object) -> None:
    """torch's first format: a tar of pickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            data = pickle.dumps(value)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


NAMED = [
    (_zip_checkpoint, "weights.pt"),
    (_zip_checkpoint, "weights.pth"),
    (_zip_checkpoint, "pytorch_model.bin"),
    (_zip_checkpoint, "model.safetensors"),
    (_old_checkpoint, "weights.pt"),
    (_old_checkpoint, "model.safetensors"),
    (_pickle, "weights.pkl"),
    (_pickle, ".metadata"),
    (_old_pickle, "weights.pkl"),
]


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize(("write", "name"), NAMED, ids=lambda value: getattr(value, "__name__", value))
def test_S1_a_code_is_named_and_not_run(
    write: Callable, name: str, forced: bool, tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / name
    write(path, {**STATE, "extra": Payload(canary)})
    with pytest.raises(DataError) as caught:
        read_state(path)
    assert not canary.exists()
    assert (caught.value.id, caught.value.exit_code) == ("S1", 65)
    assert caught.value.line == (
        f"{path} contains program code (posix.system), not only weights — ask for a .safetensors file"
    )


def test_S1_a_the_canary_works(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same files do run code in careless hands."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    _zip_checkpoint(tmp_path / "weights.pt", {"extra": Payload(canary)})
    with pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        torch.load(tmp_path / "weights.pt")
    assert canary.exists()


@pytest.mark.parametrize("inside", ["torch.hub.load", "collections.ChainMap", "torch.nn.modules.linear.Linear"])
def test_S1_b_a_name_that_sounds_like_weights(inside: str, tmp_path: Path) -> None:
    module, _, name = inside.rpartition(".")
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X\x01\x00\x00\x00x\x85R.")
    with pytest.raises(DataError, match="contains program code") as caught:
        read_state(path)
    assert caught.value.id == "S1"


@pytest.mark.parametrize("forced", [False, True])
def test_S1_b_other_containers(
    tmp_path: Path, canary: Path, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    _tar(tmp_path / "legacy.pt", Payload(canary))
    np.savez(tmp_path / "arrays.npz", weights=np.array([Payload(canary)], dtype=object))
    _zip_checkpoint(tmp_path / "inner.pth", {"extra": Payload(canary)})
    for compression, name in ((zipfile.ZIP_STORED, "stored.zip"), (zipfile.ZIP_DEFLATED, "deflated.zip")):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            archive.write(tmp_path / "inner.pth", "inner.pth")
    for name in ("legacy.pt", "arrays.npz", "stored.zip", "deflated.zip"):
        with pytest.raises(DataError) as caught:
            read_state(tmp_path / name)
        assert caught.value.id in ("S1", "S6")
        assert str(tmp_path / name) in caught.value.line
    assert not canary.exists()


def test_S1_c_a_program_of_torch(tmp_path: Path) -> None:
    """TorchScript is a program too, whatever it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against TorchScript, and people have such files
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "model.pt"))
    with pytest.raises(DataError, match="contains program code") as caught:
        read_state(tmp_path / "model.pt")
    assert caught.value.id == "S1"


def test_S1_d_tensors_that_are_not_dense(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for odd in (torch.eye(3).to_sparse(), torch.eye(3, device="meta")):
        torch.save({"head.weight": odd}, path)
        with pytest.raises(DataError, match="want dense numbers") as caught:
            read_state(path)
        assert caught.value.exit_code == 65


def test_S1_e_deits_own_checkpoints_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """argparse.Namespace is on the list, and the list is ours alone: torch's stays as it was."""
    path = tmp_path / "deit.pth"
    torch.save({"model": STATE, "args": argparse.Namespace(lr=5e-4, model="deit"), "epoch": 299}, path)
    before = set(torch.serialization.get_safe_globals())
    for value in ("0", "1"):
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", value)
        state = read_state(path)
        assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert set(torch.serialization.get_safe_globals()) == before


def test_S1_f_through_the_door(tmp_path: Path, canary: Path) -> None:
    """As a user names them: a file, and a folder in the hub's layout with a foreign file in it."""
    choice = resolve("deit_ti")
    bare = tmp_path / "weights.pth"
    _zip_checkpoint(bare, Payload(canary))
    folder = hub_folder(tmp_path / "w", STATE, "deit_tiny_patch16_224", "fb_in1k")
    _zip_checkpoint(folder / "model.safetensors", Payload(canary))
    classifier = tiny()
    for named in (bare, folder):
        with pytest.raises(DataError) as caught:
            load(classifier, find(choice, weights=str(named)))
        assert caught.value.id == "S1"
    assert not canary.exists()


# The process apart


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file; whatever becomes of its reader, no process and no temporary file stays."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "begun").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    torch.save(STATE, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def nothing_stays(file: Path) -> None:
    assert list((file.parent / "temporary").iterdir()) == []
    begun = (file.parent / "begun").stat().st_mtime
    children = [child for child in psutil.Process().children() if child.create_time() > begun]
    assert not [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def test_S1_g_the_process_apart_is_limited(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = checkpoint.parent / "inside"
    before = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_CPU, resource.RLIMIT_AS)]

    def load(*given: object, **how: object) -> object:
        limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CORE, resource.RLIMIT_CPU)]
        room_left = resource.getrlimit(resource.RLIMIT_AS)[0] - psutil.Process().memory_info().vms
        inside.write_text(f"{os.getpid()} {limits} {0 < room_left < 2**30} {how['weights_only']}")
        return STATE

    monkeypatch.setattr(torch, "load", load)
    state = read_state(checkpoint)
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    pid, said = inside.read_text().split(" ", 1)
    assert int(pid) != os.getpid()
    assert said == "[0, 60] True True"
    after = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_CPU, resource.RLIMIT_AS)]
    assert after == before
    nothing_stays(checkpoint)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def endless() -> None:
    while True:
        pass


def greedy() -> None:
    bytearray(8 * 2**30)


def left() -> None:
    os._exit(0)


def fell() -> None:
    os._exit(3)


def lied() -> None:
    (next(Path(tempfile.gettempdir()).iterdir()) / "error.json").write_text("[1")
    os._exit(0)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (killed, r"the process that read it died \(killed, signal 9: often out of memory\)"),
        (endless, r"the process that read it died \(killed, signal 24: it took too long\)"),
        (greedy, "not a weights file that can be read"),
        (left, "the process that read it ended without a word"),
        (fell, r"the process that read it died \(exit status 3\)"),
        (lied, "said nothing that makes sense"),
    ],
)
def test_S1_g_whatever_a_file_makes_of_its_reader(
    end: Callable, words: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if torch's reader had a hole once more: one line, and this process goes on."""
    monkeypatch.setattr(torch, "load", lambda *given, **how: end())
    monkeypatch.setattr(apart, "SPARE_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(DataError, match=words) as caught:
        read_state(checkpoint)
    assert time.monotonic() - started < 30
    assert (caught.value.id, caught.value.exit_code) == ("S6", 65)
    assert str(checkpoint) in caught.value.line
    assert "\n" not in caught.value.line
    nothing_stays(checkpoint)


def test_S1_g_no_room_for_the_copy(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "_read_pickled", lambda path: full(path, path))
    with pytest.raises(DataError, match="No space left") as caught:
        read_state(checkpoint)
    assert "room for temporary files" in caught.value.line
    nothing_stays(checkpoint)


def test_S1_g_signals_are_for_the_process_that_waits(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches the whole group: the reader ignores it, who waits for it ends it."""

    def interrupted(*given: object, **how: object) -> object:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        if "wait" in os.environ:
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
        return STATE

    monkeypatch.setattr(torch, "load", interrupted)
    assert set(read_state(checkpoint)) == set(STATE)
    monkeypatch.setenv("wait", "1")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            read_state(checkpoint)
    finally:
        signal.signal(signal.SIGINT, before)
    nothing_stays(checkpoint)


def test_S1_g_a_name_that_means_something_else_in_safetensors(tmp_path: Path) -> None:
    torch.save({**STATE, "__metadata__": torch.ones(2)}, tmp_path / "weights.pth")
    with pytest.raises(DataError, match="__metadata__"):
        read_state(tmp_path / "weights.pth")


@pytest.mark.parametrize("old", [False, True])
def test_S1_g_control_a_big_file_fits(old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the file and a little is enough for the formats of torch."""
    monkeypatch.setattr(apart, "SPARE_BYTES", 32 * 2**20)
    state = {f"layer.{number}": torch.full((1024, 1024), float(number + 1)) for number in range(20)}
    torch.save({"model": state, "optimizer": {}}, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    read = read_state(tmp_path / "w.pth")
    assert all(torch.equal(read[name], state[name]) for name in state)
