"""A state as named tensors and plain numbers, and back: strict about every name, shape and type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deitft.errors import DataError
from deitft.training.commit import Committed, Content
from deitft.training.state import Best, Guard, Meter, TrainState

MODEL, EMA, OPTIMIZER, STATE = "model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"
STATE_VERSION = 1
_HEX = re.compile(r"-?0x[0-9a-f]+\.?[0-9a-f]*p[+-]\d+|-?inf|nan")


def _misfit(what: str) -> DataError:
    return DataError(what, "resume with the settings the run was started with", id="C10")


def exact(value: Any) -> Any:
    """Plain data with every float as hexadecimal text: JSON then holds it bit for bit, NaN too."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): exact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return value


def inexact(value: Any) -> Any:
    """The reader of ``exact``."""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return float.fromhex(value)
    if isinstance(value, Mapping):
        return {name: inexact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [inexact(item) for item in value]
    return value


def _bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """safetensors of tensors on any device, in any layout; shared memory is written once a name."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        item = tensor.detach().cpu().contiguous()
        plain[name] = item.clone() if item.untyped_storage().data_ptr() in seen else item
        seen.add(item.untyped_storage().data_ptr())
    data: bytes = safetensors.torch.save(plain)
    return data


def model_contents(model: nn.Module) -> list[Content]:
    """The weights alone, under the names of ``model.state_dict()``."""
    return [(MODEL, lambda: _bytes(model.state_dict()))]


def state_contents(state: TrainState, facts: Mapping[str, Any]) -> list[Content]:
    """Everything, as files: weights, their average, the optimizer's moments, and ``state.json``."""
    contents = model_contents(state.model)
    ema = state.ema
    if ema is not None:
        contents.append((EMA, lambda: _bytes(ema.tensors)))
    contents.append((OPTIMIZER, lambda: _bytes(optimizer_tensors(state.optimizer))))
    record = json.dumps(exact({**state_record(state), **facts}), indent=1).encode()
    contents.append((STATE, lambda: record))
    return contents


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """``state/<parameter name>/<moment>``, and a group's own counters as ``group/<its first parameter>/...``.

    By name, not by position: a change in the order of groups cannot give one parameter another's moments.
    """
    tensors: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for moment, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"state/{name}/{moment}"] = value
        for field, value in group.items():
            if isinstance(value, Tensor):
                tensors[f"group/{group['names'][0]}/{field}"] = value
    return tensors


def state_record(state: TrainState) -> dict[str, Any]:
    """All scalars of a state, as plain data."""
    plain = (int, float, str, bool, list, tuple)
    best = state.best
    return {
        "version": STATE_VERSION,
        "step": state.step,
        "stale": state.stale,
        "validated_step": state.validated_step,
        "images_seen": state.images_seen,
        "seconds_trained": state.seconds_trained,
        "best": None if best is None else {name: getattr(best, name) for name in Best.__slots__},
        "guard": state.guard.record(),
        "since_validation": state.since_validation.record(),
        "scaler": None if state.scaler is None else state.scaler.state_dict(),
        "optimizer": type(state.optimizer).__name__,
        "moments": sorted(optimizer_tensors(state.optimizer)),
        "groups": [
            {name: value for name, value in group.items() if name != "params" and isinstance(value, plain)}
            for group in state.optimizer.param_groups
        ],
    }


def _shape(tensor: Tensor) -> str:
    return " x ".join(str(side) for side in tensor.shape) or "one number"


def _fit(what: str, saved: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    """The same names, shapes and types on both sides, or an error that names the first that differs."""
    for name in [*here, *saved]:
        if name not in saved or name not in here:
            side = "is not in the checkpoint" if name not in saved else "is in the checkpoint, but not here"
            raise _misfit(f'{what} the model: "{name}" {side}')
        old, new = saved[name], here[name]
        if old.shape != new.shape:
            raise _misfit(f'{what} the model: "{name}" is {_shape(old)} in the checkpoint, {_shape(new)} here')
        if old.dtype != new.dtype:
            raise _misfit(f'{what} the model: "{name}" is {old.dtype} in the checkpoint, {new.dtype} here')


def read_tensors(checkpoint: Committed, name: str) -> dict[str, Tensor]:
    """The tensors of one file, proven and copied into memory (never mapped: the file may be cut under us)."""
    tensors: dict[str, Tensor] = safetensors.torch.load(checkpoint.read(name))
    return tensors


def read_record(checkpoint: Committed) -> dict[str, Any]:
    """``state.json``.

    Raises:
        DataError: of a version this program does not read, or an entry is missing (id C10).
    """
    record = inexact(json.loads(checkpoint.read(STATE)))
    if record.get("version") != STATE_VERSION:
        raise DataError(
            f"{checkpoint.path} has state version {record.get('version')!r}, this is deitft for {STATE_VERSION}",
            "use the deitft it was saved with",
            id="C10",
        )
    return dict(record)


@torch.no_grad()
def load_model(model: nn.Module, checkpoint: Committed) -> None:
    """Put saved weights in.

    Raises:
        DataError: a name, shape or type differs (id C10), or the file changed (id C4).
    """
    saved, here = read_tensors(checkpoint, MODEL), model.state_dict()
    _fit("saved weights do not fit", saved, here)
    for name, tensor in here.items():
        tensor.copy_(saved[name])


@torch.no_grad()
def load_state(state: TrainState, checkpoint: Committed) -> None:
    """Make ``state`` what it was. Group settings (learning rate, decay) stay the plan's: only moments are loaded.

    Raises:
        DataError: anything that was saved does not fit, or anything that is needed was not saved (id C10).
    """
    record = read_record(checkpoint)
    try:
        _load_optimizer(state.optimizer, record, read_tensors(checkpoint, OPTIMIZER))
        load_model(state.model, checkpoint)
        _load_ema(state, checkpoint)
        _load_scaler(state, record["scaler"])
        state.step, state.stale = record["step"], record["stale"]
        state.validated_step, state.images_seen = record["validated_step"], record["images_seen"]
        state.seconds_trained = record["seconds_trained"]
        state.best = None if record["best"] is None else Best(**record["best"])
        state.guard = Guard.new(state.device)
        state.guard.load(record["guard"])
        state.since_validation = Meter()
        state.since_validation.load(record["since_validation"], state.device)
    except (KeyError, TypeError) as error:
        raise _misfit(f"{checkpoint.path / STATE} lacks an entry ({error})") from error


def _load_ema(state: TrainState, checkpoint: Committed) -> None:
    if (EMA in checkpoint.digests) != (state.ema is not None):
        there = "keeps" if EMA in checkpoint.digests else "does not keep"
        raise _misfit(f"the saved run {there} a running average of the weights (ema), this one differs")
    if state.ema is not None:
        saved = read_tensors(checkpoint, EMA)
        _fit("the saved running average does not fit", saved, state.ema.tensors)
        state.ema.load(saved)


def _load_scaler(state: TrainState, saved: Mapping[str, Any] | None) -> None:
    if (saved is None) != (state.scaler is None):
        raise _misfit("the saved run and this one differ in fp16 loss scaling (train.precision)")
    if state.scaler is not None and saved:
        state.scaler.load_state_dict(dict(saved))


def _load_optimizer(optimizer: Optimizer, record: Mapping[str, Any], saved: Mapping[str, Tensor]) -> None:
    here = type(optimizer).__name__
    if record["optimizer"] != here:
        raise _misfit(f"the saved run used {record['optimizer']}, this one uses {here}")
    if sorted(saved) != record["moments"]:
        raise _misfit("optimizer.safetensors does not hold the moments that state.json lists")
    parameters = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    trained = {name for group in record["groups"] for name in group["names"]}
    for name in sorted(trained ^ set(parameters)):
        where = "in the checkpoint" if name in trained else "here"
        raise _misfit(f'optimizer state does not fit the model: "{name}" is trained {where} only')
    optimizer.state.clear()
    for key, tensor in saved.items():
        kind, rest = key.split("/", 1)
        name, field = rest.rsplit("/", 1)
        if kind == "group":
            _load_group_counter(optimizer, name, field, tensor)
            continue
        parameter = parameters[name]
        if tensor.dim() and tensor.shape != parameter.shape:
            raise _misfit(
                f'optimizer state does not fit the model: "{name}" is {_shape(tensor)} in the checkpoint, '
                f"{_shape(parameter)} here"
            )
        optimizer.state[parameter][field] = _like(tensor, parameter)


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A moment on the parameter's device and in its memory layout, which fused kernels take for granted."""
    if not tensor.dim():
        return tensor.to(parameter.device)
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)


def _load_group_counter(optimizer: Optimizer, name: str, field: str, tensor: Tensor) -> None:
    for group in optimizer.param_groups:
        if name in group["names"]:
            group[field] = tensor.clone()
