"""A weights file as tensors, trusted in nothing (faults S1 and S6).

safetensors are read by hand: the header is checked whole before anything is allocated, and values are read
into memory of our own, never mapped: a file cut short while mapped kills the process. Foreign ``.pth`` files
go through ``torch.load`` with ``weights_only=True`` said aloud, because an environment variable can undo the
default; that happens in a process of its own, which writes what it found as safetensors.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import pickle
import pickletools
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from deitft.errors import DataError, MissingInputError
from deitft.models.apart import work_apart

HEADER_LIMIT = 16 * 1024 * 1024
"""Bytes of a safetensors header at most; DeiT-B's has 20 thousand."""
TENSOR_LIMIT = 20_000
PICKLE_LIMIT = 16 * 1024 * 1024
NAME_LIMIT = 512

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}
_INNER_NAMES = ("state_dict_ema", "model", "state_dict", "model_ema")
"""Where checkpoints keep their weights, first found wins. timm's average comes first, as in timm; DeiT's comes
last: its authors computed it and never evaluated it (facebookresearch/deit#67)."""
_PICKLED = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
_WHERE = "check where it comes from"
_CONVERTED = "model.safetensors"
_SAFE = "ask for a .safetensors file"


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name, on the CPU, in memory of their own.

    What the file is, is told from its content, not from its name. Checkpoints ``{"model": ...}``,
    ``{"state_dict": ...}`` and ``module.`` prefixes are unwrapped.

    Raises:
        MissingInputError: no such file (id WEIGHTS).
        DataError: it holds program code (id S1), or is damaged or hostile: sizes, types, names that appear
            twice, NaN, nothing but zeros (id S6).
    """
    if not path.is_file():
        raise MissingInputError(f"there is no weights file {path}", "check the path", id="WEIGHTS")
    state = _read_foreign(path) if _is_pickled(path) else _read_safetensors(path, path)
    _check_values(path, state)
    return state


def _is_pickled(path: Path) -> bool:
    """True for torch's own formats. A header's length may begin as a pickle or a zip does, so look past it."""
    with path.open("rb") as file:
        start = file.read(262)
    if len(start) > 8 and struct.unpack("<Q", start[:8])[0] <= HEADER_LIMIT and start[8:9] == b"{":
        return False
    return path.suffix in _PICKLED or start[:2] == b"PK" or start[:1] == b"\x80" or start[257:] == b"ustar"


def _fault(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}", _WHERE, id="S6", files=[str(path)])


# safetensors


def _read_safetensors(place: Path, path: Path) -> dict[str, Tensor]:
    """``path`` is what errors name."""
    size = place.stat().st_size
    with place.open("rb") as file:
        entries, begin = read_header(file, size, path)
        state = {}
        for name, dtype, shape, offset in entries:
            file.seek(begin + offset)
            state[name] = _read_tensor(file, name, dtype, shape, path)
    return state


def check_weights_file(path: Path) -> None:
    """Prove that a safetensors file is whole, by its header: no value is read.

    Raises:
        DataError: it is cut off or damaged (id S6).
    """
    with path.open("rb") as file:
        read_header(file, path.stat().st_size, path)


Entry = tuple[str, torch.dtype, tuple[int, ...], int]


def read_header(file: BinaryIO, size: int, path: Path) -> tuple[list[Entry], int]:
    """The checked header of a safetensors file of ``size`` bytes: entries in file order, and where values begin.

    Raises:
        DataError: anything in it is not as the format says (id S6). Nothing has been allocated by then.
    """
    first = file.read(8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
    if not 2 <= length <= min(HEADER_LIMIT, size - 8):
        raise _fault(path, f"not a safetensors file (header of {length} bytes in a file of {size})")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"the safetensors header is not valid ({error})") from error
    if not isinstance(header, dict):
        raise _fault(path, "the safetensors header is not a table of tensors")
    header.pop("__metadata__", None)
    if not 1 <= len(header) <= TENSOR_LIMIT:
        raise _fault(path, f"{len(header)} tensors (allowed 1 to {TENSOR_LIMIT})")
    entries = sorted((_entry(path, name, value) for name, value in header.items()), key=lambda item: item[3])
    end = 0
    for name, dtype, shape, offset in entries:
        if offset != end:
            raise _fault(path, f'"{name}" begins at byte {offset}, the tensor before it ends at {end}')
        end += math.prod(shape) * dtype.itemsize
    if 8 + length + end != size:
        raise _fault(path, f"{size} bytes, the header asks for {8 + length + end}")
    return entries, 8 + length


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'"{next(name for name in names if names.count(name) > 1)}" appears twice')
    return result


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _entry(path: Path, name: str, value: object) -> Entry:
    shown = name[:80]
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
        raise _fault(path, f"a tensor's name is not acceptable: {shown!r}")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _fault(path, f'"{shown}" is not described by dtype, shape and data_offsets')
    dtype = _DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise _fault(path, f'"{shown}" is of type {value["dtype"]!r} (allowed {", ".join(_DTYPES)})')
    shape, offsets = value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or len(shape) > 8 or not all(_whole(side) and side > 0 for side in shape):
        raise _fault(path, f'"{shown}" has the shape {str(shape)[:80]}')
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_whole, offsets)):
        raise _fault(path, f'"{shown}" has the offsets {str(offsets)[:80]}')
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise _fault(path, f'"{shown}": {offsets[1] - offsets[0]} bytes do not make the shape {shape}')
    return name, dtype, tuple(shape), offsets[0]


def _read_tensor(file: BinaryIO, name: str, dtype: torch.dtype, shape: tuple[int, ...], path: Path) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    bytes_of: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    space = memoryview(bytes_of)
    done = 0
    while done < len(space):
        count = file.readinto(space[done:])  # type: ignore[attr-defined]
        if not count:
            raise _fault(path, f'it ends within "{name}": was it cut short just now?')
        done += count
    return tensor


# .pth


def _read_foreign(path: Path) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory(prefix="deitft-weights-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        work_apart(convert_pickled, path, folder)
        if not (folder / _CONVERTED).is_file():
            raise _fault(path, "the process that read it ended without a word")
        return _read_safetensors(folder / _CONVERTED, path)


def convert_pickled(path: Path, folder: Path) -> None:
    """The tensors of a foreign file as safetensors in ``folder``. For a process that has nothing to lose.

    Raises:
        DataError: as ``read_state``.
    """
    state = _read_pickled(path)
    header: dict[str, dict[str, object]] = {}
    end = 0
    for name, tensor in state.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        kind = next(word for word, dtype in _DTYPES.items() if dtype == tensor.dtype)
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / _CONVERTED).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in state.values():
            bytes_of: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            file.write(memoryview(bytes_of))


def _read_pickled(path: Path) -> dict[str, Tensor]:
    _check_zip(path)
    # A file and not its path: torch hands paths that end in .safetensors to another reader. Namespace: DeiT's own
    # checkpoints hold their arguments.
    try:
        allowed = torch.serialization.safe_globals([argparse.Namespace])
        with path.open("rb") as file, allowed, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = _first_code(path)
        if name or re.search(r"GLOBAL \S|Can only (create|build)", str(error)):
            raise _code_error(path, name) from error
        raise _fault(path, "not a weights file that can be read") from error
    except Exception as error:  # damage shows in many ways, all of them mean the same
        raise _fault(path, "not a weights file that can be read") from error
    return _unwrap(path, value)


def _check_zip(path: Path) -> None:
    """torch stores, it never compresses: a compressed member is a bomb or another kind of file."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _fault(path, f"a damaged zip archive ({error})") from error
    if any("/code/" in member.filename for member in members):
        raise _code_error(path, "TorchScript")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _fault(path, "a compressed archive, not a weights file")
    if not any(member.filename.endswith("/data.pkl") for member in members):
        raise _fault(path, "a zip archive without weights in it")


def _code_error(path: Path, name: str) -> DataError:
    named = f" ({name})" if name else ""
    what = f"{path} contains program code{named}, not only weights"
    return DataError(what, _SAFE, id="S1", files=[str(path)])


def _first_code(path: Path) -> str:
    """The first function a pickle would call and weights do not need. Read, not run; empty where it is unclear."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            data = io.BytesIO(archive.read(member)[:PICKLE_LIMIT])
    else:
        with path.open("rb") as file:
            data = io.BytesIO(file.read(PICKLE_LIMIT))
    texts: list[str] = []
    try:
        while data.tell() < len(data.getbuffer()):  # the old format holds several pickles, one after another
            for opcode, argument, _ in pickletools.genops(data):
                name = ""
                if isinstance(argument, str) and opcode.name != "GLOBAL":
                    texts.append(argument)
                elif opcode.name == "GLOBAL":
                    name = str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    name = ".".join(texts[-2:])
                if name and name.partition(".")[0] not in ("torch", "collections", "argparse", "_codecs"):
                    return name if name.isprintable() and len(name) < 100 else ""
    except ValueError:  # not a pickle from here on
        pass
    return ""


def _unwrap(path: Path, value: object) -> dict[str, Tensor]:
    for name in _INNER_NAMES:
        if isinstance(value, Mapping) and isinstance(value.get(name), Mapping):
            value = value[name]
            break
    if not isinstance(value, Mapping) or not value:
        raise _fault(path, "holds no table of tensors")
    state: dict[str, Tensor] = {}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise _fault(path, f"{str(name)[:80]!r} is not a tensor but {type(tensor).__name__}")
        if name == "__metadata__":  # means something else in safetensors
            raise _fault(path, f"a tensor's name is not acceptable: {name!r}")
        state[_without_prefixes(name)] = _own_copy(path, name, tensor)
    if len(state) != len(value) or len(state) > TENSOR_LIMIT:
        raise _fault(path, f"{len(value)} tensors, of which some have the same name or are too many")
    return state


def _without_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _own_copy(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Dense and of a plain type, with memory of its own: views of one storage must not move together."""
    dense = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not dense or tensor.dtype not in _DTYPES.values():
        raise _fault(path, f'"{name}" is of type {tensor.dtype}, {tensor.layout} (want dense numbers)')
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise _fault(path, f'"{name}" claims more values than the file holds')
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _check_values(path: Path, state: Mapping[str, Tensor]) -> None:
    nothing = True
    for name, tensor in state.items():
        if tensor.is_floating_point():
            low, high = tensor.aminmax() if tensor.numel() else (tensor.sum(), tensor.sum())
            if not (torch.isfinite(low) and torch.isfinite(high)):
                kind = "NaN" if torch.isnan(low) else "infinite values"
                raise _fault(path, f'"{name}" contains {kind}')
            nothing = nothing and not (low or high)
    if nothing:
        raise _fault(path, "all weights are zero")
