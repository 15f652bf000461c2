"""The verbs that work, on generated photos with hostile names: stdout is data, stderr is harmless talk."""

from __future__ import annotations

import json
import re
from pathlib import Path

HOSTILE = {"[red]x\x1b[31m": 14, "=1+1": 14, "-rf\u202e": 14}
TINY = [
    "--no-pretrained",
    "--model",
    "deit_ti",
    "--threads",
    "1",
    "--workers",
    "0",
    "--no-probe",
    "--precision",
    "fp32",
]
FAST = ["--set", "train.length=2 steps", "--set", "train.batch=8", "--set", "model.image_size=32"]
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_S5_a_run_from_first_to_last_verb(call, make_photos, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos(HOSTILE)
    made = call("finetune", "photos", *TINY, *FAST, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["folder"] == "runs/finetune-1"
    assert "epoch" in made.err  # off a terminal: a line an epoch, no bar
    listed = call("runs")
    assert "finetune-1  done" in listed.out
    measured = call("evaluate", "runs/finetune-1", "photos", "--threads", "1", "--workers", "0")
    assert measured.code == 0, measured.err
    assert "Top-1" in measured.out
    named = call("predict", "runs/finetune-1", "photos", "--threads", "1", "--workers", "0", "--top", "2")
    assert named.code == 0, named.err
    assert len(named.out.splitlines()) == 42
    over = call("resume", "runs/finetune-1", "--quiet")
    assert (over.code, over.err) == (0, "")
    for said in (made, listed, measured, named, over):
        assert not OBEYED.search(said.out + said.err)


def test_a_mistake_in_every_verb_is_one_line(call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for words, code in (
        (["finetune", "nothing", *TINY], 66),
        (["finetune", "empty", *TINY], 66),
        (["finetune", "empty", *TINY, "--set", "optim.lrr=1"], 78),
        (["finetune", "empty", *TINY, "--time-limit", "soon"], 2),
        (["finetune", "empty", *TINY, "--device", "abacus"], 2),
        (["finetune", "empty", "--model", "deit_xxl"], 2),
        (["resume", "nothing"], 66),
        (["evaluate", "nothing", "empty"], 66),
        (["predict", "nothing", "empty"], 66),
    ):
        said = call(*words)
        assert said.code == code, (words, said.err)
        assert said.out == ""
        assert re.fullmatch(r"deitft: error \[[A-Z0-9]+\]: .+\n", said.err), (words, said.err)
    assert not (tmp_path / "runs").exists()
