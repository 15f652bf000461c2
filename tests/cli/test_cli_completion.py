"""Completion for the shell: verbs, models, recipes, runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deitft.cli.app import main


@pytest.fixture
def complete(capsys, monkeypatch):
    """What bash is offered for an unfinished command line."""

    def offers(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_DEITFT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as ended:
            main([])
        assert ended.value.code in (0, None)
        return capsys.readouterr().out.split()

    return offers


def test_verbs(complete) -> None:
    assert complete("deitft f") == ["finetune"]
    assert complete("deitft runs r") == ["rm"]


def test_models_by_short_name(complete) -> None:
    assert complete("deitft finetune photos --model deit_") == ["deit_ti", "deit_s", "deit_b", "deit_b_384"]


def test_recipes(complete) -> None:
    assert "finetune" in complete("deitft finetune photos --recipe fine")
    assert "finetune" in complete("deitft recipes show fine")
    assert complete("deitft recipes show zzz") == []


def test_runs(complete, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/finetune-1", "runs/finetune-2", "elsewhere/other-1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text(json.dumps({}))
    (tmp_path / "runs/not-a-run").mkdir()
    assert complete("deitft evaluate runs/") == ["runs/finetune-1", "runs/finetune-2"]
    assert complete("deitft resume runs/finetune-2") == ["runs/finetune-2"]
    assert complete("deitft predict elsewhere/o") == ["elsewhere/other-1"]
    assert complete("deitft runs rm fin") == ["finetune-1", "finetune-2"]
