"""C10: everything a run is goes into a checkpoint, and comes back only where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from training_kit import KeyedStream, Run, TinyNet, fingerprint, nan_target, resumed, scores, stop_at, tiny_plan

from deitft.core.files import canonical_json, sha256_bytes
from deitft.core.progress import Silent
from deitft.core.records import parse_csv_text
from deitft.errors import DataError
from deitft.training.checkpoint import newest_good, restore
from deitft.training.commit import verify
from deitft.training.loop import TrainingDiverged
from deitft.training.state import Guard, Meter, new_state

POISON = {2: nan_target, 6: nan_target, 7: nan_target}


def plan(**changes: Any):
    settings = {"precision": "fp16", "patience": 9, "total_steps": 16, "validate_every": 5, **changes}
    return tiny_plan(**settings)


def trace(run: Run) -> tuple[str, list[tuple[str, str]]]:
    """What must be the same: the final state, and each epoch's numbers."""
    rows = parse_csv_text((run.folder / "metrics.csv").read_text())
    return fingerprint(run.state), [(row["step"], row["train_loss"]) for row in rows]


def worse_and_worse(run: Run) -> Any:
    return lambda model, stop: {**scores(model, stop), "top1": 1 - run.state.step / 100}


OPTIMIZERS = ("adamw", "sgd", "lamb")


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Any]:
    """A run stopped at step 8, in the middle of warm-up, of an epoch and of a row of skipped steps; and the
    trace of the same run that was not stopped. Its best is the first it looked at."""
    settings = plan(optim_name=request.param, optim_warmup_steps=9)
    whole = Run(tmp_path_factory.mktemp("whole"), settings, poison=POISON)
    whole.validate = worse_and_worse(whole)
    whole.fit()
    stopped = Run(tmp_path_factory.mktemp("stopped"), settings, poison=POISON)
    stopped.validate = worse_and_worse(stopped)
    stop_at(stopped, 8)
    stopped.fit()
    return stopped, trace(whole)


def fresh_scaler(run: Run) -> None:
    run.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)


def drop_moment(name: str) -> Callable[[Run], None]:
    def forget(run: Run) -> None:
        for state in run.state.optimizer.state.values():
            if name in state:
                state[name].zero_()

    return forget


def forget_group_step(run: Run) -> None:
    for group in run.state.optimizer.param_groups:
        group["step"].zero_()


def forget_ema(run: Run) -> None:
    fresh = new_state(run.plan, TinyNet())
    run.state.ema = fresh.ema


FORGET: dict[str, tuple[tuple[str, ...], Callable[[Run], None]]] = {
    "raw weights": ((), lambda run: run.state.model.load_state_dict(TinyNet().state_dict())),
    "norm statistics": ((), lambda run: run.state.model.norm.reset_running_stats()),
    "average": ((), forget_ema),
    "average's step": ((), lambda run: setattr(run.state.guard, "applied", torch.tensor(0))),
    "first moment": (("adamw", "lamb"), drop_moment("exp_avg")),
    "second moment": (("adamw", "lamb"), drop_moment("exp_avg_sq")),
    "moment's step": (("adamw",), drop_moment("step")),
    "group's step": (("lamb",), forget_group_step),
    "momentum": (("sgd",), drop_moment("momentum_buffer")),
    "step": ((), lambda run: setattr(run.state, "step", 7)),
    "scaler": ((), fresh_scaler),
    "best": ((), lambda run: setattr(run.state, "best", None)),
    "stale": ((), lambda run: setattr(run.state, "stale", 5)),
    "guard": ((), lambda run: setattr(run.state, "guard", Guard.new("cpu"))),
    "epoch's sums": ((), lambda run: setattr(run.state, "since_validation", Meter())),
    "images": ((), lambda run: setattr(run.state, "images_seen", 0)),
}


def going_on(run: Run, folder: Path) -> Run:
    """The run resumed at step 8; what it saves goes elsewhere, so that the next test finds step 8 again."""
    again = resumed(run)
    assert again.state.step == 8
    again.validate = worse_and_worse(again)
    again.stream = KeyedStream(again.plan, poison=POISON)
    again.keeper.folder = folder
    return again


CASES = [(name, item) for item, (only, _) in FORGET.items() for name in only or OPTIMIZERS]


@pytest.mark.parametrize("runs", OPTIMIZERS, indirect=True)
def test_c10_control_nothing_forgotten(runs: tuple[Run, Any], tmp_path: Path) -> None:
    run, wanted = runs
    again = going_on(run, tmp_path)
    assert again.state.guard.record()["in_row"] == 2
    again.fit()
    assert trace(again) == wanted


@pytest.mark.parametrize(("runs", "item"), CASES, indirect=["runs"])
def test_c10_whatever_is_forgotten_shows(runs: tuple[Run, Any], item: str, tmp_path: Path) -> None:
    """The negative control of exact resume: each item matters, and the comparison sees it."""
    run, wanted = runs
    again = going_on(run, tmp_path)
    FORGET[item][1](again)
    try:
        again.fit()
    except TrainingDiverged:
        return  # step 8 taken twice is a third skipped step in a row
    assert trace(again) != wanted


def rewrite(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a file of a checkpoint and its manifest with it: only the meaning can tell."""
    file = path / name
    if name.endswith(".json"):
        record = json.loads(file.read_text())
        change(record)
        data = json.dumps(record).encode()
    else:
        tensors = safetensors.torch.load(file.read_bytes())
        change(tensors)
        data = safetensors.torch.save(tensors)
    file.write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": sha256_bytes(data)}
    del manifest["sha256"]
    manifest["sha256"] = sha256_bytes(canonical_json(manifest))
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def saved(tmp_path: Path) -> Run:
    run = Run(tmp_path, tiny_plan())
    stop_at(run, 7)
    run.fit()
    return run


def refused(run: Run, match: str, *, settings: Any = None, model: nn.Module | None = None) -> None:
    state = new_state(settings or run.plan, model or TinyNet())
    before = run.progress
    with pytest.raises(DataError, match=match) as caught:
        restore(state, newest_good(run.keeper.folder, before))
    assert (caught.value.id, caught.value.exit_code) == ("C10", 65)


ENTRIES = (
    *("step", "stale", "validated_step", "images_seen", "seconds_trained", "best", "guard", "since_validation"),
    *("scaler", "optimizer", "moments", "groups", "version"),
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_c10_a_missing_entry_is_refused(saved: Run, entry: str) -> None:
    rewrite(saved.keeper.folder / "step-000007", "state.json", lambda record: record.pop(entry))
    refused(saved, "lacks an entry|state version None")


def test_c10_every_entry_of_the_record_is_needed(saved: Run) -> None:
    record = json.loads((saved.keeper.folder / "step-000007" / "state.json").read_text())
    assert set(record) - {"plan"} == set(ENTRIES)


@pytest.mark.parametrize(
    ("file", "tensor"),
    [
        ("model.safetensors", "mid.weight"),
        ("model.safetensors", "norm.running_var"),
        ("ema.safetensors", "mid.weight"),
        ("optimizer.safetensors", "state/mid.weight/exp_avg"),
        ("optimizer.safetensors", "state/mid.weight/step"),
    ],
)
def test_c10_a_missing_or_added_tensor_is_refused(saved: Run, file: str, tensor: str) -> None:
    path = saved.keeper.folder / "step-000007"
    rewrite(path, file, lambda tensors: tensors.pop(tensor))
    refused(saved, "is not in the checkpoint|does not hold the moments")
    rewrite(path, file, lambda tensors: tensors.update({tensor: torch.zeros(1), "x/y/z": torch.zeros(1)}))
    refused(saved, "here|does not hold the moments")


def test_c10_other_shapes_are_named(saved: Run) -> None:
    refused(
        saved,
        'optimizer state does not fit the model: "(stem|mid|head|head_dist|norm).*" is .*6.* in the checkpoint, '
        ".*8.* here",
        model=TinyNet(width=8),
    )

    def narrow(tensors: dict[str, torch.Tensor]) -> None:
        tensors["mid.weight"] = tensors["mid.weight"][:, :3].contiguous()

    path = saved.keeper.folder / "step-000007"
    rewrite(path, "model.safetensors", narrow)
    refused(saved, 'saved weights do not fit the model: "mid.weight" is 6 x 3 in the checkpoint, 6 x 6 here')


def test_c10_another_type_is_named(saved: Run) -> None:
    def halve(tensors: dict[str, torch.Tensor]) -> None:
        tensors["mid.weight"] = tensors["mid.weight"].half()

    rewrite(saved.keeper.folder / "step-000007", "model.safetensors", halve)
    refused(saved, "float16 in the checkpoint, torch.float32 here")


class Renamed(TinyNet):
    """The same network with one layer under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = self.mid
        del self.mid


def test_c10_a_renamed_parameter_is_named(saved: Run) -> None:
    refused(saved, '"mid.bias" is trained in the checkpoint only', model=Renamed())


def test_c10_what_is_trained_must_be_the_same(saved: Run) -> None:
    model = TinyNet()
    model.stem.requires_grad_(False)
    refused(saved, '"stem.bias" is trained in the checkpoint only', model=model)


def test_c10_other_machinery_is_refused(saved: Run) -> None:
    refused(saved, "used AdamW, this one uses SGD", settings=tiny_plan(optim_name="sgd"))
    refused(saved, "running average", settings=tiny_plan(ema_decay=None))
    refused(saved, "fp16 loss scaling", settings=tiny_plan(precision="fp16"))


def test_c10_swapped_groups_change_nothing(saved: Run) -> None:
    """Moments go by name: torch's own loading would give one parameter another's."""
    state = new_state(saved.plan, TinyNet())
    state.optimizer.param_groups.reverse()
    for group in state.optimizer.param_groups:
        order = sorted(range(len(group["names"])), key=lambda place: group["names"][place])
        group["names"] = [group["names"][place] for place in order]
        group["params"] = [group["params"][place] for place in order]
    restore(state, newest_good(saved.keeper.folder, Silent()))
    assert fingerprint(state) == fingerprint(saved.state)


def test_c10_the_plans_settings_win_over_the_saved_ones(saved: Run) -> None:
    """torch's own loading silently brings the old learning rate and decay back."""
    state = new_state(tiny_plan(optim_weight_decay=0.2), TinyNet())
    restore(state, newest_good(saved.keeper.folder, Silent()))
    assert {group["weight_decay"] for group in state.optimizer.param_groups} == {0.0, 0.2}


def test_c10_tied_and_strided_tensors_come_back(tmp_path: Path) -> None:
    class Tied(TinyNet):
        def __init__(self) -> None:
            super().__init__()
            self.head_dist.weight = self.head.weight
            self.to(memory_format=torch.channels_last)

    one = Run(tmp_path, tiny_plan(channels_last=True), model=Tied())
    stop_at(one, 7)
    one.fit()
    other = new_state(one.plan, Tied())
    restore(other, newest_good(one.keeper.folder, Silent()))
    assert fingerprint(other) == fingerprint(one.state)
    moment = other.optimizer.state[other.model.stem.weight]["exp_avg"]
    assert moment.stride() == other.model.stem.weight.stride()
    assert verify(one.keeper.folder / "step-000007").step == 7
