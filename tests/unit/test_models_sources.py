"""Where weights are looked for, in which order, and what a place says about itself."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from models_kit import hub_folder
from safetensors.torch import save_file

from deitft.core.files import sha256_file
from deitft.core.progress import Silent
from deitft.errors import DataError, MissingInputError, UnavailableError, UsageError
from deitft.models import downloading
from deitft.models.at_hand import first_at_hand
from deitft.models.sources import WeightSource, find, read_hub_config
from deitft.models.weights import preprocessing_of
from deitft.models.zoo import WEIGHT_FILES, resolve
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.printing import PrintProgress

STATE = {"head.weight": torch.ones(2, 2)}
TWO, PLAIN = "deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224"


def test_the_order_of_a_weights_folder(tmp_path: Path) -> None:
    """architecture.tag, architecture, then the plain variant's: each only where the one before is absent."""
    choice = resolve("deit_ti")
    names = [f"{TWO}.fb_in1k", TWO, f"{PLAIN}.fb_in1k", PLAIN]
    for name in reversed(names):
        hub_folder(tmp_path / name, STATE, name.partition(".")[0], "fb_in1k")
        source = find(choice, weights_dir=tmp_path)
        assert source.path == tmp_path / name / "model.safetensors"
        assert source.kind == "folder"
        assert source.exact_tag == name.startswith(TWO)
        assert source.architecture == name.partition(".")[0]


@pytest.mark.parametrize("file", WEIGHT_FILES)
def test_every_name_of_a_weights_file_is_found_and_known_to_be_at_hand(tmp_path: Path, file: str) -> None:
    hub_folder(tmp_path / PLAIN, STATE, PLAIN, "fb_in1k")
    assert first_at_hand(["mobilenetv2"], tmp_path) is None
    (tmp_path / PLAIN / "model.safetensors").rename(tmp_path / PLAIN / file)
    assert find(resolve("deit_ti"), weights_dir=tmp_path).path == tmp_path / PLAIN / file
    assert first_at_hand(["mobilenetv2", "deit_ti"], tmp_path) == "deit_ti"


def test_a_one_token_model_has_no_plain_variant(tmp_path: Path) -> None:
    hub_folder(tmp_path / TWO, STATE, TWO, "fb_in1k")
    with pytest.raises(UnavailableError):
        find(resolve("deit_tiny_patch16_224.fb_in1k"), weights_dir=tmp_path)


def test_the_folders_own_tag_wins_and_is_said(shared: Path) -> None:
    source = find(resolve("mobilenetv2"), weights_dir=shared / "weights")
    assert (source.tag, source.exact_tag, source.license) == ("tv_in1k_int8deq", False, "bsd-3-clause")
    assert source.name == "mobilenetv2_100.tv_in1k_int8deq"
    assert preprocessing_of(source, resolve("mobilenetv2")).interpolation == "bilinear"


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_folder(tmp_path / "env" / PLAIN, STATE, PLAIN, "fb_in1k")
    monkeypatch.setenv("DEITFT_WEIGHTS_DIR", str(tmp_path / "env"))
    choice = resolve("deit_ti")
    assert find(choice).path == tmp_path / "env" / PLAIN / "model.safetensors"
    hub_folder(tmp_path / "arg" / TWO, STATE, TWO, "fb_in1k")
    assert find(choice, weights_dir=tmp_path / "arg").path.parent == tmp_path / "arg" / TWO, "the argument wins"


def test_weights_that_are_named(tmp_path: Path) -> None:
    choice = resolve("deit_ti")
    folder = hub_folder(tmp_path / "any name", STATE, TWO, "fb_in1k")
    for named in (folder, folder / "model.safetensors"):
        source = find(choice, weights=str(named))
        assert (source.kind, source.exact_tag, source.license) == ("folder", True, "apache-2.0")
    bare = tmp_path / "checkpoint.pth"
    torch.save(STATE, bare)
    source = find(choice, weights=str(bare))
    assert (source.kind, source.path, source.tag, source.exact_tag) == ("file", bare, None, False)
    assert preprocessing_of(source, choice).mean == Preprocessing().mean


def test_a_run_folder_gives_its_best(tmp_path: Path) -> None:
    choice = resolve("deit_ti")
    names = ["boot", "hat"]
    last = hub_folder(tmp_path / "run" / "last", STATE, TWO, "fb_in1k", label_names=names)
    assert find(choice, weights=str(tmp_path / "run")).path.parent == last
    best = hub_folder(tmp_path / "run" / "best", STATE, TWO, "fb_in1k", label_names=names)
    source = find(choice, weights=str(tmp_path / "run"))
    assert (source.kind, source.path.parent, source.classes) == ("run", best, ("boot", "hat"))
    assert not source.exact_tag, "a fine-tuned model is not the published one"
    (best / "deitft.json").write_text("{}")
    for named in (best, best / "model.safetensors"):
        source = find(choice, weights=str(named))
        assert (source.kind, source.tag, source.exact_tag) == ("run", "fb_in1k", False), "nor by its own name"


def test_other_files_of_the_hub_layout(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / PLAIN, STATE, PLAIN, "fb_in1k")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"holds no model\.safetensors"):
        find(resolve("deit_ti"), weights=str(folder))
    torch.save(STATE, folder / "pytorch_model.bin")
    assert find(resolve("deit_ti"), weights=str(folder)).path.name == "pytorch_model.bin"


@pytest.mark.parametrize(
    ("wanted", "held", "fits"),
    [
        ("deit_b_384", "deit_base_distilled_patch16_224", True),
        ("deit_b_384", "deit_base_patch16_384", True),
        ("deit_ti", "vit_tiny_patch16_224", False),
        ("deit_ti", "deit_small_patch16_224", False),
        ("vit_ti", "deit_tiny_patch16_224", False),
    ],
)
def test_another_model_is_refused_by_name(tmp_path: Path, wanted: str, held: str, fits: bool) -> None:
    folder = hub_folder(tmp_path / "w", STATE, held, "fb_in1k")
    if fits:
        assert find(resolve(wanted), weights=str(folder)).architecture == held
        return
    with pytest.raises(DataError, match=f"holds {held}") as caught:
        find(resolve(wanted), weights=str(folder))
    assert (caught.value.id, caught.value.exit_code) == ("WEIGHTS", 65)


def test_places_that_are_not_there(tmp_path: Path) -> None:
    choice = resolve("deit_ti")
    with pytest.raises(MissingInputError) as caught:
        find(choice, weights=str(tmp_path / "nowhere"))
    assert (caught.value.id, caught.value.exit_code) == ("WEIGHTS", 66)
    with pytest.raises(MissingInputError, match="no weights folder"):
        find(choice, weights_dir=tmp_path / "nowhere")
    (tmp_path / "weights" / TWO).mkdir(parents=True)
    with pytest.raises(MissingInputError, match=r"holds no config\.json"):
        find(choice, weights_dir=tmp_path / "weights")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no config\.json"):
        find(choice, weights=str(tmp_path / "empty"))


def test_none_is_only_on_request() -> None:
    source = find(resolve("deit_ti"), pretrained=False)
    assert (source.kind, source.path, source.record()) == ("none", None, {"kind": "none"})
    with pytest.raises(UsageError, match="contradict") as caught:
        find(resolve("deit_ti"), weights="x", pretrained=False)
    assert caught.value.exit_code == 2


def test_the_record_names_the_content(tmp_path: Path) -> None:
    source = find(resolve("deit_ti"), weights=str(hub_folder(tmp_path / "w", STATE, PLAIN, "fb_in1k")))
    record = source.record()
    assert json.loads(json.dumps(record)) == record
    assert record["sha256"] == sha256_file(source.path)
    assert (record["architecture"], record["exact_tag"]) == (PLAIN, False)
    assert WeightSource(kind="file", architecture="x").name == "x"


# The hub. Its client reads the environment once, at import: the tests set what it read.


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_hubs_cache_is_read_offline(hub_cache: Path) -> None:
    choice = resolve("deit_ti")
    snapshot = hub_cache / f"models--timm--{choice.timm_name}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    save_file(STATE, snapshot / "model.safetensors")
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    source = find(choice)
    assert (source.kind, source.path) == ("hub", snapshot / "model.safetensors")
    assert (source.exact_tag, source.tag, source.license) == (True, "fb_in1k", "apache-2.0")
    assert preprocessing_of(source, choice).crop_share == 0.9


WAYS_OUT = ("--weights", "--weights-dir", "DEITFT_WEIGHTS_DIR", "--no-pretrained")


def _ends_in_one_line_with_the_ways_out(error: UnavailableError) -> bool:
    line = error.line
    return (
        error.id == "WEIGHTS" and error.exit_code == 69 and "\n" not in line and all(w in line for w in WAYS_OUT)
    )


def test_offline_and_not_cached(hub_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE is set") as caught:
        find(resolve("deit_ti"), weights_dir=tmp_path)
    assert _ends_in_one_line_with_the_ways_out(caught.value)
    assert f"nothing in {tmp_path}" in caught.value.line


def test_a_hub_that_does_not_answer(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: refused at once
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        find(resolve("deit_ti"))
    assert _ends_in_one_line_with_the_ways_out(caught.value)


def test_an_address_that_is_none(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    with pytest.raises(UnavailableError, match="does not answer"):
        find(resolve("deit_ti"))


CONTENT = b"weights, as far as the hub is concerned"


class _Hub(http.server.BaseHTTPRequestHandler):
    """A hub in miniature: one file of DeiT-Ti, and nothing of any other model."""

    def _answer(self, body: bool) -> None:
        wanted = self.path.endswith("/model.safetensors") and "deit_tiny_distilled" in self.path
        self.send_response(200 if wanted else 404)
        if wanted:
            self.send_header("ETag", '"1234"')
            self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(CONTENT) if wanted else 0))
        self.end_headers()
        if body and wanted:
            self.wfile.write(CONTENT)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", address)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_hub_is_asked_last_and_gives_the_file(hub: None, hub_cache: Path) -> None:
    source = find(resolve("deit_ti"))
    assert source.kind == "hub"
    assert source.path.read_bytes() == CONTENT
    assert hub_cache in source.path.parents


def test_a_download_is_said_and_has_a_bar_of_ours(
    hub: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is shown is ours alone, though the hub's bars are on: they would draw into the live display."""
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", False)
    monkeypatch.setenv("TQDM_POSITION", "-1")  # the hub's own way to draw off a terminal
    monkeypatch.setattr(downloading, "MEGABYTE", 10)
    lines = io.StringIO()
    source = find(resolve("deit_ti"), progress=PrintProgress(lines, every=0))
    name, hub_address = resolve("deit_ti").timm_name, os.environ["HF_ENDPOINT"]
    assert lines.getvalue().splitlines() == [
        f"downloading {name} (23.6 MB) from {hub_address}",
        f"downloading: {len(CONTENT) // 10} of {len(CONTENT) // 10} MB",
    ]
    assert capfd.readouterr() == ("", "")
    assert find(resolve("deit_ti"), progress=(quiet := Silent())) == source
    assert quiet.said == []  # it is in the cache


def test_a_download_that_begins_again_and_one_that_is_shown_twice() -> None:
    lines = io.StringIO()
    with contextlib.ExitStack() as stack:
        bar = downloading._bars_of(PrintProgress(lines, every=0), stack)
        with bar(desc="written", total=5_000_000, unit="B") as written, bar(desc="came", total=5_000_000) as came:
            for count in (2_500_000, -2_500_000, 600_000, 600_000, 3_800_000):
                came.update(5_000_000)
                written.update(count)
                written.set_postfix_str("1 MB/s", refresh=False)
                written.refresh()
    assert [line.split()[1] for line in lines.getvalue().splitlines()] == ["2", "0", "1", "5"]


def test_a_client_that_takes_no_bar_still_downloads(hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = huggingface_hub.hf_hub_download

    def older(repo_id: str, filename: str, *, etag_timeout: float) -> str:
        return str(real(repo_id, filename, etag_timeout=etag_timeout))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", older)
    assert find(resolve("deit_ti"), progress=Silent()).path.read_bytes() == CONTENT


def test_a_hub_without_the_model(hub: None) -> None:
    with pytest.raises(UnavailableError, match="downloading them failed") as caught:
        find(resolve("deit_s"))
    assert _ends_in_one_line_with_the_ways_out(caught.value)


def test_a_model_nobody_publishes() -> None:
    with pytest.raises(UnavailableError, match="no place to get them from"):
        find(resolve("davit_giant"))


# config.json


def test_config_of_the_old_layout(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": PLAIN, "tag": "x", "mean": [0.5, 0.5, 0.5]}))
    config = read_hub_config(tmp_path)
    assert (config["pretrained_cfg"]["tag"], config["classes"]) == ("x", None)


def test_preprocessing_follows_the_weights(tmp_path: Path) -> None:
    details = {
        "input_size": [3, 192, 192],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "crop_mode": "border",
    }
    choice = resolve("deit_ti")
    folder = hub_folder(tmp_path / "w", STATE, PLAIN, pretrained_cfg=details)
    assert preprocessing_of(find(choice, weights=str(folder)), choice) == Preprocessing(
        size=192, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), interpolation="bilinear", crop_share=0.8, aspect="pad"
    )
    none = find(choice, pretrained=False)
    assert preprocessing_of(none, choice) == Preprocessing()
    folder = hub_folder(tmp_path / "v", STATE, PLAIN, pretrained_cfg={"crop_pct": None, "crop_mode": "squash"})
    got = preprocessing_of(find(choice, weights=str(folder)), choice)
    assert (got.crop_share, got.aspect, got.size) == (0.875, "squash", 32)


def test_timms_defaults_for_other_weights() -> None:
    for name in ("vit_ti", "clip_b", "efficientnet_b5", "dinov2_s"):
        choice = resolve(name)
        from deitft.models.registry import pretrained_config

        config = pretrained_config(choice.timm_name)
        got = preprocessing_of(find(choice, pretrained=False), choice)
        assert (got.mean, got.std, got.crop_share) == (config["mean"], config["std"], config["crop_pct"])
        assert got.size == choice.entry.size
