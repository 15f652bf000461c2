"""C12: what differs from the run that was saved is shown field by field, and refused unless it is allowed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from photo_kit import jpeg
from run_kit import Zygote, fails, finetune, record_of, signal_at, words, write_photos
from small_net import SMALL

import deitft
from deitft.cli.app import main
from deitft.core.files import read_json
from deitft.core.records import parse_csv_text
from deitft.errors import RecipeError, TerminatedError
from deitft.recipe.plan import read_plan

QUICK = ("model.image_size=32", "train.length=6 steps", "train.batch=16", "train.micro_batch=16", "optim.lr=5e-4")


@pytest.fixture(scope="module")
def begun(place: Path) -> Path:
    """A folder with photos and a run on them that was stopped at a step."""
    folder = place / "C12"
    write_photos(folder / "photos", 20)
    with pytest.MonkeyPatch.context() as patch, fails(TerminatedError, "N3"):
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        progress = signal_at("training", 3, signal.SIGTERM)
        finetune(folder / "photos", folder / "runs", "a", *QUICK, progress=progress)
    return folder


@pytest.fixture
def mine(begun: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run and its photos, put back as they were after the test (a plan names its photos by their place)."""
    kept = begun.with_name("C12-kept")
    if not kept.exists():
        shutil.copytree(begun, kept)
    for name in ("photos", "runs"):
        shutil.rmtree(begun / name)
        shutil.copytree(kept / name, begun / name)
    monkeypatch.chdir(begun)
    return begun


class Said:
    """What a command line came to."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *line: object) -> None:
        capsys.readouterr()
        self.code = main([str(word) for word in line])
        self.out, self.err = capsys.readouterr()
        self.errors = [text for text in self.err.splitlines() if re.match(r"deitft: error \[", text)]

    def refused(self) -> str:
        """The one line that refuses."""
        assert self.code == 78, self.err
        (line,) = self.errors
        assert line.startswith("deitft: error [C12]: this is not the run you saved — ")
        assert self.out == ""
        return line


def again(folder: Path, *settings: str, **options: str) -> list[str]:
    """The command line of the run with --resume; a setting takes the place of the one it had."""
    asked = dict(setting.split("=", 1) for setting in (*QUICK, *settings))
    changed = [f"{name}={value}" for name, value in asked.items()]
    return words(folder / "photos", folder / "runs", "a", *changed, resume="", **options)


def state(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("setting", "field", "change"),
    [
        ("optim.lr=1e-3", "optim.lr", "0.0005 -> 0.001"),
        ("train.length=8 steps", "total_steps", "6 -> 8"),
        ("train.batch=32", "batch", "16 -> 32"),
        ("model.image_size=48", "preprocessing.size", "32 -> 48"),
        ("augment.flip=0.0", "augment.flip", "0.5 -> 0.0"),
        ("mixing.mixup=0.3", "mixing.mixup", "0.2 -> 0.3"),
        ("ema.decay=0.9", "ema_decay", "None -> 0.9"),
        ("train.patience=3", "patience", "None -> 3"),
        ("loss.label_smoothing=0.0", "loss.label_smoothing", "0.1 -> 0.0"),
    ],
)
def test_c12_a_changed_setting_is_named_old_and_new(
    setting: str, field: str, change: str, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(mine / "runs" / "a")
    line = Said(capsys, *again(mine, setting)).refused()
    assert f"{field}: {change}" in line
    assert "--allow-changed " in line
    assert field.rsplit(".", 1)[-1] in line.rsplit("--allow-changed ", 1)[1].split(",")
    assert state(mine / "runs" / "a") == before


@pytest.mark.parametrize(
    ("option", "value", "change"),
    [
        ("seed", "1", "seed: 0 -> 1"),
        ("model", "vit_ti", f"model: {SMALL} -> vit_tiny_patch16_224"),
        ("precision", "bf16", "precision: fp32 -> bf16"),
    ],
)
def test_c12_a_changed_option_is_named(
    option: str, value: str, change: str, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [word for word in again(mine) if word not in ("--model", SMALL, "--precision", "fp32")]
    options = {"model": SMALL, "precision": "fp32"} | {option: value}
    for name, text in options.items():
        line += [f"--{name}", text]
    assert change in Said(capsys, *line).refused()


def test_c12_all_differences_in_one_line(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine / "photos" / "hat" / "0003.jpg").write_bytes(jpeg(77))
    line = Said(capsys, *again(mine, "optim.lr=1e-3", "augment.flip=0.0")).refused()
    assert "optim.lr: 0.0005 -> 0.001; augment.flip: 0.5 -> 0.0; data: photos 1 changed (hat/0003.jpg)" in line
    assert line.endswith("--allow-changed lr,flip,data")


def change(photos: Path) -> str:
    (photos / "hat" / "0003.jpg").write_bytes(jpeg(77))
    return "data: photos 1 changed (hat/0003.jpg)"


def change_without_a_trace(photos: Path) -> str:
    """Same size, same time of change: only the content tells."""
    file = photos / "hat" / "0003.jpg"
    other = bytearray(file.read_bytes())
    other[-40] ^= 1
    before = file.stat()
    file.write_bytes(other)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "data: photos 1 changed (hat/0003.jpg)"


def add(photos: Path) -> str:
    for number in (5, 6):
        (photos / "shoe" / f"new-{number}.jpg").write_bytes(jpeg(number))
    return "data: photos 2 added (shoe/new-5.jpg)"


def remove(photos: Path) -> str:
    (photos / "dress" / "0000.jpg").unlink()
    return "data: photos 1 gone (dress/0000.jpg)"


def relabel(photos: Path) -> str:
    (photos / "dress" / "0000.jpg").rename(photos / "hat" / "moved.jpg")
    return "data: photos 1 added (hat/moved.jpg), 1 gone (dress/0000.jpg)"


def add_class(photos: Path) -> str:
    write_photos(photos, 10, classes=("belt",), first=500)
    return 'classes: "belt" is new'


def rename_class(photos: Path) -> str:
    (photos / "dress").rename(photos / "gown")
    return 'classes: "dress" is gone, "gown" is new'


@pytest.mark.parametrize("alter", [change, change_without_a_trace, add, remove, relabel, add_class, rename_class])
def test_c12_changed_photos_are_counted_and_named(alter, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = alter(mine / "photos")
    before = state(mine / "runs" / "a")
    for line in (["resume", mine / "runs" / "a"], again(mine)):
        assert said in Said(capsys, *line).refused()
    assert state(mine / "runs" / "a") == before


def test_c12_control_without_changes_it_goes_on(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What may differ freely: workers, threads, how often it logs and saves, where the recipe lies."""
    recipe = mine / "copy.yaml"
    shutil.copy(mine / "runs" / "a" / "recipe.yaml", recipe)
    line = ["finetune", "photos", "--resume", "--recipe", recipe, "--model", SMALL, "--no-pretrained"]
    line += ["--precision", "fp32", "--threads", "1", "--workers", "1"]
    line += ["--set", "train.save_every=9m", "--set", "train.keep_checkpoints=1"]
    said = Said(capsys, *line)
    assert (said.code, said.errors) == (0, []), said.err
    assert "C12" not in said.err
    assert record_of(mine / "runs" / "a")["allowed_changes"] == []


def test_c12_what_is_allowed_goes_on_and_is_written_down(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = mine / "runs" / "a"
    said = Said(capsys, *again(mine, "optim.lr=1e-3", "augment.flip=0.0", allow_changed="lr"))
    assert "augment.flip: 0.5 -> 0.0" in said.refused()
    assert "optim.lr" not in said.err
    said = Said(capsys, *again(mine, "optim.lr=1e-3", allow_changed="lr"), "--json")
    assert said.code == 0, said.err
    assert read_plan(run / "plan.json").optim.lr == 1e-3
    assert record_of(run)["allowed_changes"] == ["optim.lr: 0.0005 -> 0.001"]
    assert "optim.lr: 0.0005 -&gt; 0.001" in (run / "report.html").read_text()
    assert "lr: 0.001" in (run / "recipe.yaml").read_text()
    logged = re.findall(r"step (\d+) loss .* lr (\S+)", (run / "train.log").read_text())
    assert float(dict(logged)["6"]) != 0


def test_c12_photos_that_stay_keep_their_side(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With changed photos allowed no test photo moves into train, whatever it is called now."""
    run, photos = mine / "runs" / "a", mine / "photos"
    stored = parse_csv_text((run / "splits.csv").read_text())
    before = {row["sha256"]: row["split"] for row in stored}
    # sides that no rule gives, as --splits FILE would
    turned = {
        row["path"]: {"train": "test", "test": "train"}.get(row["split"], row["split"]) for row in stored[:30]
    }
    rows = [row | {"split": turned.get(row["path"], row["split"])} for row in stored]
    text = "path,label,split,sha256\n" + "".join(
        f"{row['path']},{row['label']},{row['split']},{row['sha256']}\n" for row in rows
    )
    (run / "splits.csv").write_text(text)
    sides = {row["sha256"]: row["split"] for row in rows}
    assert sides != before
    (photos / "hat" / "0000.jpg").rename(photos / "hat" / "renamed.jpg")
    add(photos)
    said = Said(capsys, "resume", run, "--allow-changed", "data")
    assert said.code == 0, said.err
    now = parse_csv_text((run / "splits.csv").read_text())
    assert len(now) == 62
    assert all(row["split"] == sides[row["sha256"]] for row in now if row["sha256"] in sides)
    assert len([row for row in now if row["sha256"] in sides]) == 60
    plan, check = read_plan(run / "plan.json"), read_json(run / "check.json")
    assert isinstance(check, dict)
    assert plan.photos == check["photos"]
    assert sum(plan.train_counts) == plan.photos["train"]
    assert plan.data_fingerprint == check["fingerprint"]
    (allowed,) = record_of(run)["allowed_changes"]
    assert allowed == "data: photos 3 added (hat/renamed.jpg), 1 gone (hat/0000.jpg)"
    assert allowed in (run / "report.html").read_text()


def test_c12_other_starting_weights_are_refused_before_the_first_step(
    shared: Path, photos: Path, tmp_path: Path, zygote: Zygote, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(shared / "weights" / "vit_tiny_patch16_224", weights / "vit_tiny_patch16_224")
    line = words(photos, tmp_path / "runs", "a", *QUICK)
    line = [word for word in line if word not in ("--no-pretrained", "--model", SMALL)]
    line += ["--model", "vit_ti", "--weights-dir", str(weights), "--no-probe", "--set", "model.head_start=random"]
    assert zygote.start(*line, at=("training", 0, "signal SIGKILL")).wait() == -signal.SIGKILL
    file = weights / "vit_tiny_patch16_224" / "model.safetensors"
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    said = Said(capsys, "resume", tmp_path / "runs" / "a")
    assert "starting weights" in said.refused()


def test_c12_as_a_program(mine: Path, zygote: Zygote) -> None:
    """The whole of it as a person meets it: a process, its exit code, its one line."""
    done = zygote.start(*again(mine, "optim.lr=1e-3"))
    assert done.wait() == 78
    assert done.out == ""
    (said,) = [text for text in done.err.splitlines() if "error" in text]
    what, how = "optim.lr: 0.0005 -> 0.001", "repeat the old settings, or --allow-changed lr"
    assert said == f"deitft: error [C12]: this is not the run you saved — {what} — {how}"
    assert "Traceback" not in done.err


def test_c12_the_error_is_told_to_programs_too(mine: Path) -> None:
    (mine / "photos" / "hat" / "0003.jpg").write_bytes(jpeg(77))
    with fails(RecipeError, "C12") as caught:
        deitft.resume(mine / "runs" / "a")
    assert json.loads(json.dumps(caught.value.record()))["details"] == {
        "changes": {"data": "photos 1 changed (hat/0003.jpg)"}
    }
