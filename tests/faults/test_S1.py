"""S1: a weights file holds program code. It is refused by name, and the code does not run."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from models_kit import hub_folder, tiny

from deitft.errors import DataError
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
