"""S6: hostile or damaged weights and config.json. Decided from the header, before anything is allocated."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from models_kit import hub_folder, tiny
from safetensors.torch import save_file

from deitft.errors import DataError, MissingInputError
from deitft.models import read_state as room
from deitft.models.read_state import read_header, read_state
from deitft.models.sources import find
from deitft.models.weights import load, preprocessing_of
from deitft.models.zoo import resolve

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}
ARCHITECTURE = "deit_tiny_patch16_224"


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def refused(path: Path, said: str) -> DataError:
    with pytest.raises(DataError, match=said) as caught:
        read_state(path)
    error = caught.value
    assert (error.id, error.exit_code) == ("S6", 65)
    assert str(path) in error.line
    assert "\n" not in error.line
    assert len(error.line) < 700
    return error


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_S6_control_every_kind_of_number(tmp_path: Path) -> None:
    """Without the fault: what safetensors writes, we read, bit for bit, into memory of our own."""
    state = {
        **STATE,
        **{f"as.{t}": torch.tensor([1, 2, 3]).to(t) for t in (torch.float64, torch.float16, torch.bfloat16)},
        "counter": torch.tensor(7),
        "small": torch.tensor([1, 2], dtype=torch.int32),
        "mask": torch.tensor([True, False]),
        "zeros": torch.zeros(3, 1, 2),
    }
    save_file(state, tmp_path / "m.safetensors", metadata={"format": "pt"})
    got = read_state(tmp_path / "m.safetensors")
    assert got.keys() == state.keys()
    assert all(torch.equal(got[name], state[name]) and got[name].dtype == state[name].dtype for name in state)
    (tmp_path / "m.safetensors").write_bytes(b"")  # not mapped: cutting the file does not move a value
    assert torch.equal(got["head.weight"], STATE["head.weight"])


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"a": {**ONE, "dtype": "F8_E4M3"}}, "type 'F8_E4M3'"),
        ({"a": {**ONE, "dtype": "I8"}}, "type 'I8'"),
        ({"a": {**ONE, "dtype": 3}}, "type 3"),
        ({"a": {**ONE, "shape": [3]}}, "8 bytes do not make the shape"),
        ({"a": {**ONE, "shape": [2**40, 2**40]}}, "do not make the shape"),
        ({"a": {**ONE, "shape": [-2]}}, "has the shape"),
        ({"a": {**ONE, "shape": [2.0]}}, "has the shape"),
        ({"a": {**ONE, "shape": [True, 2]}}, "has the shape"),
        ({"a": {**ONE, "shape": "2"}}, "has the shape"),
        ({"a": {**ONE, "shape": [0], "data_offsets": [0, 0]}}, "has the shape"),
        ({"a": {**ONE, "shape": [1] * 9}}, "has the shape"),
        ({"a": {**ONE, "data_offsets": [0]}}, "has the offsets"),
        ({"a": {**ONE, "data_offsets": [0, 1e300]}}, "has the offsets"),
        ({"a": {**ONE, "data_offsets": [-8, 0]}}, "has the offsets"),
        ({"a": {**ONE, "data_offsets": [8, 16]}}, "begins at byte 8"),
        ({"a": ONE, "b": ONE}, "begins at byte 0, the tensor before it ends at 8"),
        ({"a": {**ONE, "extra": 1}}, "is not described by"),
        ({"a": 5}, "is not described by"),
        ({"": ONE}, "name is not acceptable"),
        ({"a\x1b[31m": ONE}, "name is not acceptable"),
        ({"a" * 1000: ONE}, "name is not acceptable"),
        ([1, 2], "not a table"),
        ({}, "0 tensors"),
        ({"__metadata__": {"format": "pt"}}, "0 tensors"),
        (b'{"a": ', "not valid"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": 1}', '"a" appears twice'),
        (
            b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
            '"dtype" appears twice',
        ),
        (b"\xff\xfe", "not valid"),
        (b"[" * 100_000, "not valid"),
    ],
)
def test_S6_a_header(tmp_path: Path, header: Any, said: str) -> None:
    refused(raw(tmp_path / "m.safetensors", header, b"\0" * 8), said)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 0, 1, 10_000])
def test_S6_b_header_length(tmp_path: Path, length: int) -> None:
    refused(raw(tmp_path / "m.safetensors", {"a": ONE}, b"\0" * 8, length), "not a safetensors file")


def test_S6_c_a_hundred_thousand_empty_tensors(tmp_path: Path) -> None:
    header = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    refused(raw(tmp_path / "m.safetensors", header), "100000 tensors")


@pytest.mark.parametrize("content", [b"", b"\0", b"not weights at all", b"\0" * 4096])
def test_S6_d_no_safetensors_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    refused(tmp_path / "m.safetensors", "not a safetensors file")


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_S6_e_truncated_or_longer(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.safetensors"
    save_file(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    refused(path, "the header asks for")
    path.write_bytes(whole + b"\0" * cut)
    refused(path, "the header asks for")


def test_S6_f_truncated_while_it_is_read(tmp_path: Path) -> None:
    """The header was right a moment ago. An error, and not the SIGBUS of a mapped file."""
    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(1_000_000)}, path)  # more than a file object reads ahead
    with path.open("rb") as file:
        entries, begin = read_header(file, path.stat().st_size, path)
        path.write_bytes(path.read_bytes()[: begin + 4])
        name, dtype, shape, offset = entries[-1]
        file.seek(begin + offset)
        with pytest.raises(DataError, match="cut short"):
            room._read_tensor(file, name, dtype, shape, path)


@pytest.mark.parametrize(
    ("value", "said"), [(math.nan, "NaN"), (math.inf, "infinite values"), (-math.inf, "infinite values")]
)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_S6_g_not_finite(tmp_path: Path, value: float, said: str, kind: torch.dtype) -> None:
    bad = torch.ones(2, 3)
    bad[1, 2] = value
    save_file({**STATE, "head.weight": bad.to(kind)}, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", f'"head.weight" contains {said}')
    torch.save({**STATE, "head.weight": bad.to(kind)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", f'"head.weight" contains {said}')


def test_S6_h_nothing_but_zeros(tmp_path: Path) -> None:
    save_file({name: torch.zeros_like(value) for name, value in STATE.items()}, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "all weights are zero")


def test_S6_i_names_are_never_paths(tmp_path: Path) -> None:
    """A key like a path is a key: it loads nothing, opens nothing, and fits no model."""
    folder = hub_folder(tmp_path / "w", {"../../etc/passwd": torch.ones(2)}, ARCHITECTURE, "fb_in1k")
    with pytest.raises(DataError, match="1 are unknown") as caught:
        load(tiny(), find(resolve("deit_ti"), weights=str(folder)))
    assert caught.value.exit_code == 65


def test_S6_j_pth_of_hostile_shapes(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    base = torch.ones(4)
    cases = {
        "claims more values": {"a": torch.ones(1).expand(10**6)},
        "is not a tensor": {"a": "text"},
        "no table": [1, 2],
        "no table of tensors": {},
        "want dense numbers": {"a": torch.ones(2, dtype=torch.complex64)},
        "same name": {"module.a": base, "a": base},
    }
    for said, value in cases.items():
        torch.save(value, path)
        refused(path, said)


def test_S6_k_views_do_not_stay_tied(tmp_path: Path) -> None:
    whole = torch.arange(8.0) + 1
    torch.save({"state_dict": {"_orig_mod.module.a": whole[:4], "b": whole}}, tmp_path / "m.pth")
    state = read_state(tmp_path / "m.pth")
    state["a"].zero_()
    assert torch.equal(state["b"], whole)


@pytest.mark.parametrize(
    ("order", "want"),
    [
        (("model_ema", "model"), "model"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("model",), "model"),
    ],
)
def test_S6_k_which_of_a_checkpoints_weights(tmp_path: Path, order: tuple[str, ...], want: str) -> None:
    value = {name: {"a": torch.full((2,), float(number + 1))} for number, name in enumerate(order)}
    torch.save({**value, "epoch": 3}, tmp_path / "m.pth")
    assert torch.equal(read_state(tmp_path / "m.pth")["a"], value[want]["a"])


def test_S6_l_bombs_and_ruins(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"a": torch.zeros(1 << 16)}, path)
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in good.infolist():
            bomb.writestr(member.filename, good.read(member), zipfile.ZIP_DEFLATED)
    refused(tmp_path / "bomb.pth", "compressed")
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as other:
        other.writestr("readme.txt", "hello")
    refused(tmp_path / "other.pth", "without weights")
    data = path.read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "cut.pth", "not a weights file")
    directory = data.rfind(b"PK\x01\x02")
    (tmp_path / "ruin.pth").write_bytes(data[:directory] + b"XX" + data[directory + 2 :])
    refused(tmp_path / "ruin.pth", "damaged zip")
    for noise in (b"\x80\x02junk", b"\x80\x02\xff\xff", b"\x80\x02."):
        (tmp_path / "noise.bin").write_bytes(noise)
        refused(tmp_path / "noise.bin", "not a weights file")
    (tmp_path / "empty.pth").write_bytes(b"")
    refused(tmp_path / "empty.pth", "not a weights file")


def test_S6_m_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(MissingInputError) as caught:
            read_state(path)
        assert caught.value.exit_code == 66


HOSTILE = [
    ("architecture", "../../etc/passwd", "architecture is"),
    ("architecture", 5, "architecture is"),
    ("architecture", None, "architecture is"),
    ("label_names", "abc", "label_names"),
    ("label_names", [1, 2], "label_names"),
    ("pretrained_cfg", 5, "pretrained_cfg is not a table"),
    ("pretrained_cfg", {"tag": 7}, "tag is"),
    ("pretrained_cfg", {"license": "x" * 1000}, "license is"),
    ("pretrained_cfg", {"tag": "a\x1bb"}, "tag is"),
]


@pytest.mark.parametrize(("field", "value", "said"), HOSTILE)
def test_S6_n_config_json(tmp_path: Path, field: str, value: Any, said: str) -> None:
    folder = hub_folder(tmp_path / "w", STATE, ARCHITECTURE, "fb_in1k")
    config = json.loads((folder / "config.json").read_text())
    config[field] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=said) as caught:
        find(resolve("deit_ti"), weights=str(folder))
    assert caught.value.id == "S6"


@pytest.mark.parametrize("text", ['{"architecture": "a", "architecture": "b"}', "[]", "{", "[" * 100_000])
def test_S6_o_config_json_as_text(tmp_path: Path, text: str) -> None:
    folder = hub_folder(tmp_path / "w", STATE, ARCHITECTURE)
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError) as caught:
        find(resolve("deit_ti"), weights=str(folder))
    assert caught.value.id == "S6"


def test_S6_o_config_json_too_large(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "w", STATE, ARCHITECTURE)
    with (folder / "config.json").open("r+b") as file:
        file.truncate(9 * 1024 * 1024)
    with pytest.raises(DataError, match="limit"):
        find(resolve("deit_ti"), weights=str(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("std", [0, 0.2, 0.2]),
        ("mean", [math.nan, 0.5, 0.5]),
        ("mean", 0.5),
        ("input_size", [3, 1_000_000, 1_000_000]),
        ("input_size", [3, -1, -1]),
        ("input_size", [3, 224.0, 224.0]),
        ("input_size", [3, True, True]),
        ("input_size", "224"),
        ("input_size", None),
        ("crop_pct", 0),
        ("crop_pct", "0.9"),
        ("crop_mode", ["center"]),
        ("crop_mode", "spiral"),
        ("interpolation", "random"),
        ("interpolation", 3),
    ],
)
def test_S6_p_preprocessing(tmp_path: Path, field: str, value: Any) -> None:
    folder = hub_folder(tmp_path / "w", STATE, ARCHITECTURE, "fb_in1k", pretrained_cfg={field: value})
    choice = resolve("deit_ti")
    with pytest.raises(DataError, match=r"config\.json: preprocessing") as caught:
        preprocessing_of(find(choice, weights=str(folder)), choice)
    assert caught.value.id == "S6"


def test_S6_q_memory_is_bounded(tmp_path: Path) -> None:
    """Peak memory above what torch itself takes: less than 1.2 times the file and 40 MB."""
    path = tmp_path / "m.safetensors"
    save_file({f"t{i}": torch.ones(4_000_000) for i in range(5)}, path)  # 80 MB
    code = (
        "import sys; from pathlib import Path; from deitft.compute.limits import resident_peak; "
        "from deitft.models.read_state import read_state; before = resident_peak(); "
        "state = read_state(Path(sys.argv[1])); print(resident_peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.2 * path.stat().st_size + 40e6
