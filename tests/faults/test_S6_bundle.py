"""S6: a bundle with hostile values is refused in one line, before anything of its size is allocated."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from deitft.bundle.format import load_bundle, save_bundle
from deitft.core.files import sha256_bytes
from deitft.errors import DataError
from deitft.models.build import build
from deitft.recipe.preprocessing import Preprocessing

Json = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classifier = build("test_vit.r160_in1k", num_classes=3, image_size=48, seed=1)
    folder = tmp_path_factory.mktemp("good") / "best"
    save_bundle(
        folder,
        classifier=classifier,
        state=classifier.net.state_dict(),
        short_name=None,
        classes=["a", "b", "c"],
        preprocessing=Preprocessing(size=48),
        temperature=1.0,
        starting_weights={"kind": "none"},
        data={},
        metrics={},
        training={},
        card="",
    )
    return folder


@pytest.fixture
def bundle(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "best"))


def change(bundle: Path, name: str, how: Callable[[Json], object]) -> None:
    value = json.loads((bundle / name).read_text())
    how(value)
    (bundle / name).write_text(json.dumps(value))


def refusal(bundle: Path, *, at_once: bool = True) -> DataError:
    """The error of opening it; with ``at_once`` it must come before the weights are read."""
    if not at_once:
        opened = load_bundle(bundle)
        with pytest.raises(DataError) as caught:
            opened.state()
    else:
        with pytest.raises(DataError) as caught:
            load_bundle(bundle)
    error = caught.value
    assert (error.id, error.exit_code) == ("S6", 65)
    assert "\n" not in error.line
    assert len(error.line) < 600
    assert str(bundle) in error.what
    return error


COUNTS = [10**12, -1, 0, 1, 100_001, 3.0, True, "3", None, [3], 4]


@pytest.mark.parametrize("count", COUNTS, ids=str)
def test_S6_a_num_classes(count: object, bundle: Path) -> None:
    change(bundle, "config.json", lambda value: value.update(num_classes=count))
    what = refusal(bundle).what
    if count != 4:
        assert what.endswith(f"config.json: num_classes is {count!r} (allowed 2 to 100000)")


@pytest.mark.parametrize("size", [10**6, 2049, -16, 0, 47.5, True, "224", None, float("nan")], ids=str)
def test_S6_b_image_size(size: object, bundle: Path) -> None:
    change(bundle, "deitft.json", lambda value: value["preprocessing"].update(size=size))
    assert "preprocessing: size is" in refusal(bundle).what


@pytest.mark.parametrize(
    "size", [[3, 10**6, 10**6], [3, 48], "48", [3, 48, -48], [10**9, 48, 48], None, [3, 64, 64]], ids=str
)
def test_S6_b_timms_input_size(size: object, bundle: Path) -> None:
    change(bundle, "config.json", lambda value: value["pretrained_cfg"].update(input_size=size))
    assert "input_size is" in refusal(bundle).what


def test_S6_b_a_size_the_model_cannot_have(bundle: Path) -> None:
    change(bundle, "deitft.json", lambda value: value["preprocessing"].update(size=50))
    change(bundle, "config.json", lambda value: value["pretrained_cfg"].update(input_size=[3, 50, 50]))
    assert "not a multiple of" in refusal(bundle).what


CLASS_LISTS = {
    "duplicate": (["a", "b", "a"], "classes names 'a' twice"),
    "one": (["a"], "classes has 1 names"),
    "too many": ([str(index) for index in range(100_001)], "classes has 100001 names (allowed 2 to 100000)"),
    "long list": ([str(index) for index in range(100_000)], "num_classes is 3, but 100000 in deitft.json"),
    "empty name": (["a", "b", ""], "classes holds ''"),
    "long name": (["a", "b", "x" * 1001], "classes holds 'xxx"),
    "not text": (["a", "b", 7], "classes holds 7"),
    "not a list": ("abc", "classes is 'abc'"),
    "other order": (["b", "a", "c"], "label_names is ['a', 'b', 'c'], but ['b', 'a', 'c']"),
}


@pytest.mark.parametrize("case", CLASS_LISTS)
def test_S6_c_class_lists(case: str, bundle: Path) -> None:
    classes, reason = CLASS_LISTS[case]
    change(bundle, "deitft.json", lambda value: value.update(classes=classes))
    assert reason in refusal(bundle).what


NAMES = [
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "hf-hub:evil/model",
        "local-dir:/tmp/x",
        "http://x.y/z",
        "",
        "a\nb",
        None,
        7,
    ),
    *("no_such_model", "test_vit.no_such_tag", "__import__('os')"),
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_S6_d_model_names(name: object, bundle: Path) -> None:
    change(bundle, "deitft.json", lambda value: value.update(model=name))
    assert "model is" in refusal(bundle).what
    change(bundle, "deitft.json", lambda value: value.update(model="test_vit.r160_in1k"))
    change(bundle, "config.json", lambda value: value.update(architecture=name))
    assert "architecture is" in refusal(bundle).what


FIELDS = ["_target_", "auto_map", "trust_remote_code", "weights", "depth", "model_args", "a\x1b[31m"]


@pytest.mark.parametrize("field", FIELDS)
def test_S6_e_unknown_fields(field: str, bundle: Path) -> None:
    for name in ("deitft.json", "config.json"):
        change(bundle, name, lambda value: value.update({field: 10**9}))
        line = refusal(bundle).line
        assert f"{name}: unknown field" in line
        assert line.isprintable()
        change(bundle, name, lambda value: value.pop(field))
    load_bundle(bundle)


@pytest.mark.parametrize("field", ["url", "file", "hf_hub_id", "source", "state_dict", "_target_", "custom_load"])
def test_S6_e_weights_from_elsewhere(field: str, bundle: Path) -> None:
    change(bundle, "config.json", lambda value: value["pretrained_cfg"].update({field: "http://evil/x.pth"}))
    assert f"unknown field '{field}' in pretrained_cfg" in refusal(bundle).what


VALUES = {
    "std 0": (lambda value: value["preprocessing"].update(std=[0, 1, 1]), "std is"),
    "mean NaN": (lambda value: value["preprocessing"].update(mean=[float("nan"), 0, 0]), "mean is"),
    "mean of four": (lambda value: value["preprocessing"].update(mean=[0, 0, 0, 0]), "mean is"),
    "crop 0": (lambda value: value["preprocessing"].update(crop_share=0), "crop_share is"),
    "aspect": (lambda value: value["preprocessing"].update(aspect="../x"), "aspect is"),
    "preprocessing field": (lambda value: value["preprocessing"].update(hook="x"), 'unknown field "hook"'),
    "temperature 0": (lambda value: value.update(temperature=0), "temperature is 0"),
    "temperature NaN": (lambda value: value.update(temperature=float("nan")), "temperature is nan"),
    "temperature true": (lambda value: value.update(temperature=True), "temperature is True"),
    "temperature text": (lambda value: value.update(temperature="1"), "temperature is '1'"),
    "heads 2": (lambda value: value.update(heads=2, served="logit_mean"), "heads is 2, which"),
    "heads 3": (lambda value: value.update(heads=3), "heads 3 served as 'class'"),
    "sha256": (lambda value: value.update(sha256="../../x"), "sha256 is not"),
    "missing": (lambda value: value.pop("classes"), '"classes" is missing'),
    "metrics": (lambda value: value.update(metrics=[]), "metrics is []"),
    "format": (lambda value: value.update(format="other"), "\"format\" is 'other'"),
    "no format": (lambda value: value.pop("format"), '"format" is None'),
    "temperature of 400 digits": (lambda value: value.update(temperature=10**400), "temperature is 1000"),
    "std of 400 digits": (lambda value: value["preprocessing"].update(std=[10**400, 1, 1]), "preprocessing: "),
    "heads of 400 digits": (lambda value: value.update(heads=10**400), "heads 1000"),
    "version 0": (lambda value: value.update(version=0), "version is 0"),
    "version text": (lambda value: value.update(version="1"), "version is '1'"),
    "version true": (lambda value: value.update(version=True), "version is True"),
}


@pytest.mark.parametrize("case", VALUES)
def test_S6_f_values_out_of_range(case: str, bundle: Path) -> None:
    how, reason = VALUES[case]
    change(bundle, "deitft.json", how)
    assert reason in refusal(bundle).what


CONFIGS = {
    "std": (lambda value: value["pretrained_cfg"].update(std=[0, 0, 0]), "std is"),
    "mean": (lambda value: value["pretrained_cfg"].update(mean=None), "mean is None"),
    "num_classes": (lambda value: value["pretrained_cfg"].update(num_classes=1000), "pretrained_cfg.num_classes"),
    "pretrained_cfg": (lambda value: value.update(pretrained_cfg=[]), "pretrained_cfg is not an object"),
    "architecture": (lambda value: value.update(architecture="test_vit2"), "architecture is 'test_vit2', but"),
    "label_names": (lambda value: value.pop("label_names"), "label_names is None, but"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_S6_f_timm_is_told_nothing_else(case: str, bundle: Path) -> None:
    how, reason = CONFIGS[case]
    change(bundle, "config.json", how)
    assert reason in refusal(bundle).what


TEXTS = {
    "duplicate key": '{"format": "deitft-bundle", "format": "x"}',
    "not JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "empty": "",
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("name", ["deitft.json", "config.json"])
def test_S6_g_json_that_is_none(case: str, name: str, bundle: Path) -> None:
    text = TEXTS[case]
    (bundle / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    refusal(bundle)


def test_S6_g_json_too_large(bundle: Path) -> None:
    with (bundle / "deitft.json").open("r+b") as file:
        file.truncate(65 * 1024 * 1024)  # a hole: takes no room
    assert "limit" in refusal(bundle).what


def replace_weights(bundle: Path, how: Callable[[dict[str, torch.Tensor]], object], *, sign: bool = True) -> None:
    path = bundle / "model.safetensors"
    state = {name: value.clone() for name, value in load_file(path).items()}
    how(state)
    data = save(state)
    path.write_bytes(data)
    if sign:
        change(bundle, "deitft.json", lambda value: value.update(sha256=sha256_bytes(data)))


HEADERS = {
    "half": (lambda state: state.update({"head.bias": state["head.bias"].half()}), '"head.bias" is torch.float16'),
    "whole numbers": (lambda state: state.update({"head.bias": state["head.bias"].int()}), "is torch.int32"),
    "fp8": (lambda state: state.update({"head.bias": state["head.bias"].to(torch.float8_e4m3fn)}), "F8_E4M3"),
    "shape": (lambda state: state.update({"head.bias": torch.ones(4)}), "[4], the model has torch.float32 [3]"),
    "missing": (lambda state: state.pop("head.bias"), '"head.bias" is missing'),
    "extra": (lambda state: state.update(extra=torch.ones(1)), '"extra" does not belong to the model'),
    "path": (lambda state: state.update({"../../etc/passwd": torch.ones(1)}), "does not belong to the model"),
    "more": (lambda state: state.update(x=torch.ones(1), y=torch.ones(1)), "and 1 more such names"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_S6_h_weights_that_are_not_the_models(case: str, bundle: Path) -> None:
    how, reason = HEADERS[case]
    replace_weights(bundle, how)
    assert reason in refusal(bundle).what


def spoil(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    def how(state: dict[str, torch.Tensor]) -> None:
        state[name].view(-1)[-1] = value

    return how


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_S6_i_values_that_are_not_numbers(value: float, word: str, bundle: Path) -> None:
    replace_weights(bundle, spoil("head.weight", value))
    what = refusal(bundle, at_once=False).what
    assert '"head.weight" contains' in what
    assert word in what


def test_S6_i_nothing_but_zeros(bundle: Path) -> None:
    replace_weights(bundle, lambda state: [value.zero_() for value in state.values()])
    assert "all weights are zero" in refusal(bundle, at_once=False).what


def test_S6_j_sha256_mismatch(bundle: Path) -> None:
    replace_weights(bundle, spoil("head.weight", 0.5), sign=False)
    what = refusal(bundle, at_once=False).what
    assert "model.safetensors does not match its sha256 in deitft.json" in what


def test_S6_k_header_lies(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    data = path.read_bytes()
    for length in (2**63, 2**62, len(data), 0):
        path.write_bytes(struct.pack("<Q", length) + data[8:])
        assert "not a safetensors file" in refusal(bundle).what
    path.write_bytes(data[:-100])
    assert "the header asks for" in refusal(bundle).what
    path.write_bytes(b"")
    refusal(bundle)


def test_S6_k_a_flood_of_empty_tensors(bundle: Path) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"x{index}": entry for index in range(25_000)}).encode()
    (bundle / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "25000 tensors" in refusal(bundle).what


def test_S6_k_a_tensor_named_twice(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    data = path.read_bytes()
    assert data.count(b'"norm.bias"') == data.count(b'"head.bias"') == 1
    path.write_bytes(data.replace(b'"norm.bias"', b'"head.bias"'))
    assert '"head.bias" appears twice' in refusal(bundle).what


def test_S6_k_cut_short_after_it_was_opened(bundle: Path) -> None:
    opened = load_bundle(bundle)
    path = bundle / "model.safetensors"
    data = path.read_bytes()[:-1000]
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        opened.state()
    assert caught.value.id == "S6"


@contextlib.contextmanager
def room_for(extra: int) -> Iterator[None]:
    """Let this process ask for no more than ``extra`` bytes on top of what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_S6_l_nothing_of_the_claimed_size_is_allocated(bundle: Path) -> None:
    """100,000 classes of DeiT III-L would be 400 MB, its trunk 1.2 GB; the header says that they are not there."""
    classes = [str(index) for index in range(100_000)]
    config = {"input_size": [3, 2048, 2048], "num_classes": 100_000}
    name = "deit3_large_patch16_224"
    change(bundle, "deitft.json", lambda value: value.update(model=name, classes=classes))
    change(bundle, "deitft.json", lambda value: value["preprocessing"].update(size=2048))
    change(bundle, "config.json", lambda value: value["pretrained_cfg"].update(config))
    change(
        bundle,
        "config.json",
        lambda value: value.update(architecture=name, num_classes=100_000, label_names=classes),
    )
    # in a fresh process: one that has held gigabytes has free memory of its own, which no limit counts
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from test_S6_bundle import refusal, room_for\n"
        "with room_for(300 * 1024 * 1024):\n"
        "    try:\n"
        "        torch.empty(100_000, 1024).fill_(1)\n"
        "    except RuntimeError:\n"
        "        print('the limit holds: the head alone does not fit')\n"
        "    print(refusal(Path(sys.argv[1])).what)\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent), str(here.parents[1])])},
    )
    limit, what = done.stdout.splitlines() or ["", done.stderr]
    assert limit.startswith("the limit holds")
    assert "is missing" in what
