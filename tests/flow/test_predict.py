"""Photos -> answers: files and folders, bad ones among them, a file of answers that goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from photo_kit import untouched
from run_kit import CLASSES, Zygote, fails, finetune, signal_at, write_photos
from safetensors.torch import load_file, save_file

import deitft
from deitft.cli.app import main
from deitft.core.files import sha256_file
from deitft.core.progress import Silent, SilentTask, Task
from deitft.core.records import parse_csv_text
from deitft.data import stream
from deitft.data.loading import fetch
from deitft.errors import DataError, MissingInputError, OutputError, StorageError, TerminatedError
from deitft.evaluation.predictions import load_predictions
from deitft.runs import predicting

HERE = {"device": "cpu", "threads": 1, "workers": 0}


@pytest.fixture
def some(photos: Path, tmp_path: Path) -> Path:
    """Nine photos in a folder with a subfolder."""
    root = tmp_path / "some"
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))[::11]):
        target = root / ("more" if number % 2 else "") / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def rows_of(file: Path) -> list[dict[str, str]]:
    return parse_csv_text(file.read_bytes().decode())


def test_the_answers_of_the_run_in_the_order_asked(whole: Path, photos: Path) -> None:
    written, _ = load_predictions(whole / "predictions.csv")
    paths = [photos / path for path in written.paths][::-1]
    table = deitft.predict(whole, paths, top=2, **HERE)
    assert [row["path"] for row in table.rows] == [str(path) for path in paths]
    labels = [CLASSES[number] for number in written.logits().argmax(1)][::-1]
    assert [row["label"] for row in table.rows] == labels
    for row in table.rows:
        assert row["top"][0][0] == row["label"]
        assert len(row["top"]) == 2
        assert row["top"][0][1] == row["probability"] >= row["top"][1][1]


def test_python_and_the_command_line_say_the_same(
    whole: Path, some: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with untouched(some):
        assert main(["predict", str(whole), str(some), "--json", "--threads", "1", "--workers", "0"]) == 0
        printed = json.loads(capsys.readouterr().out)
        paths = [row["path"] for row in printed["predictions"]]
        answers = deitft.load(whole, **HERE).predict(paths)
    assert printed["classes"] == list(CLASSES)
    assert len(paths) == len(set(paths)) == 9
    assert [answer.label for answer in answers] == [row["label"] for row in printed["predictions"]]
    np.testing.assert_allclose(
        [answer.probability for answer in answers],
        [row["probability"] for row in printed["predictions"]],
        atol=1e-6,
    )
    for answer in answers:
        assert answer.probabilities.sum() == pytest.approx(1)
        assert answer.top(CLASSES, 3)[0] == (answer.label, answer.probability)


def test_for_people_a_line_a_photo(whole: Path, some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["predict", str(whole), str(some), "--top", "1", "--threads", "1", "--workers", "0"]
    assert main(line) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert all(any(f"  {name} " in text for name in CLASSES) and text.endswith("%") for text in lines)


def test_a_bad_file_in_a_folder_is_listed_and_the_others_go_on(
    whole: Path, some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = len(deitft.predict(whole, [some], **HERE).rows)
    (some / "bad.jpg").write_bytes(b"<!doctype html>")
    (some / "notes.txt").write_text("no photo")
    progress = Silent()
    table = deitft.predict(whole, [some], progress=progress, **HERE)
    assert len(table.rows) == good
    assert [row["path"] for row in table.failed] == [str(some / "bad.jpg")]
    assert [notice.files for notice in progress.notices if notice.id == "D3"] == [(str(some / "bad.jpg"),)]
    out = tmp_path / "answers.csv"
    assert main(["predict", str(whole), str(some), "--out", str(out), "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert len(rows_of(out)) == good
    assert "Not readable" in said.out
    assert said.err.count("deitft: warning [D3]: ") == 1


def test_a_bad_file_that_was_named_is_an_error(
    whole: Path, some: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (some / "bad.jpg").write_bytes((some / "0.jpg").read_bytes()[:300])
    code = main(["predict", str(whole), str(some / "0.jpg"), str(some / "bad.jpg"), "--threads", "1"])
    said = capsys.readouterr()
    assert code == 65
    assert said.out == ""
    assert [text for text in said.err.splitlines() if "error" in text] == said.err.splitlines()[-1:]
    assert said.err.splitlines()[-1].startswith("deitft: error [D2]: ")
    assert "bad.jpg" in said.err
    with fails(DataError, "D2"):
        deitft.load(whole, **HERE).predict([some / "bad.jpg"])


def test_paths_that_are_not_there(whole: Path, some: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong in ([some, tmp_path / "nothing"], [tmp_path / "empty"], []):
        with fails(MissingInputError, "D1"):
            deitft.predict(whole, wrong, **HERE)
    assert deitft.load(whole, **HERE).predict([]) == []
    with fails(MissingInputError, "D1"):
        deitft.load(whole, **HERE).predict([some / "nothing.jpg"])


# A file of answers


def test_a_file_of_answers_goes_on_where_a_kill_left_it(
    whole: Path, photos: Path, tmp_path: Path, zygote: Zygote
) -> None:
    """The file ends up as if nothing had happened; a photo is asked once, but for the chunk that was lost."""
    control, out = tmp_path / "control.csv", tmp_path / "answers.csv"
    deitft.predict(whole, [photos], out=control, **HERE)
    assert len(rows_of(control)) == 96
    line = ["predict", whole, photos, "--out", out, "--threads", "1", "--workers", "0"]
    patch = {"deitft.runs.predicting.CHUNK": 20}
    command = zygote.start(*line, patch=patch, at=("looking at photos", 41, "signal SIGKILL"))
    assert command.wait() == -signal.SIGKILL
    assert len(rows_of(out)) == 40
    rest = control.read_bytes()[out.stat().st_size :]
    for half in (b"", rest[:1], rest[:30], rest[: rest.index(b"\n")]):
        copy = tmp_path / "copy.csv"
        copy.write_bytes(out.read_bytes() + half)
        shutil.copy(f"{out}.json", f"{copy}.json")
        table = deitft.predict(whole, [photos], out=copy, **HERE)
        assert (table.reused, table.rows) == (40, [])
        assert copy.read_bytes() == control.read_bytes()
    assert deitft.predict(whole, [photos], out=copy, **HERE).reused == 96
    assert copy.read_bytes() == control.read_bytes()


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_killed_in_the_first_line(whole: Path, some: Path, tmp_path: Path, cut: int) -> None:
    out = tmp_path / "answers.csv"
    out.write_bytes(b"path,label,probability,label_2,probability_2\n"[:cut])
    assert deitft.predict(whole, [some], out=out, top=2, **HERE).reused == 0
    assert len(rows_of(out)) == 9


def test_a_signal_ends_it_between_photos(
    whole: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "CHUNK", 40)
    out = tmp_path / "answers.csv"
    with fails(TerminatedError, "N3") as caught:
        deitft.predict(
            whole, [photos], out=out, progress=signal_at("looking at photos", 41, signal.SIGTERM), **HERE
        )
    assert len(rows_of(out)) == 40
    assert f"72 of 96 photos were looked at; 40 answers are in {out}" in caught.value.what
    assert deitft.predict(whole, [photos], out=out, **HERE).reused == 40
    assert len({row["path"] for row in rows_of(out)}) == len(rows_of(out)) == 96


def test_names_with_line_breaks_quotes_and_formulas(whole: Path, some: Path, tmp_path: Path) -> None:
    names = ["=1+1.jpg", "a,b.jpg", 'say "hi".jpg', "two\nlines.jpg", "car\rriage.jpg", "'quoted.jpg", "é👟.jpg"]
    for name in names:
        shutil.copy(some / "0.jpg", some / name)
    out = tmp_path / "answers.csv"
    deitft.predict(whole, [some], out=out, **HERE)
    paths = [row["path"] for row in rows_of(out)]
    assert {Path(path).name for path in paths} >= set(names)
    assert len(paths) == 9 + len(names)
    data = out.read_bytes()
    cut = data.index(b"two\nlines") + 5  # in the middle of a file name
    out.write_bytes(data[:cut])
    deitft.predict(whole, [some], out=out, **HERE)
    assert out.read_bytes() == data


def test_a_name_that_is_not_text_keeps_its_bytes(whole: Path, some: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(some) + b"/\xff\xfe.jpg"))
    shutil.copy(some / "0.jpg", odd)
    with fails(DataError, "D21"):
        deitft.predict(whole, [some], **HERE)
    out = tmp_path / "answers.csv"
    deitft.predict(whole, [odd], out=out, **HERE)  # named, it is what was asked for
    assert os.fsencode(odd) + b"," in out.read_bytes()
    assert deitft.predict(whole, [odd], out=out, **HERE).reused == 1
    assert main(["predict", str(whole), str(odd), "--json", "--threads", "1"]) == 0


def test_a_file_of_something_else_is_left_alone(whole: Path, some: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    for text in ("dear diary\n", "path,label\na.jpg,hat\n", "path,label,probability\na,b\nc,d,1\n", "x", '"\x00'):
        out.write_text(text)
        with fails(OutputError, "OUT"):
            deitft.predict(whole, [some], out=out, top=1, **HERE)
        assert out.read_text() == text
    deitft.predict(whole, [some], out=tmp_path / "two.csv", top=2, **HERE)
    with fails(OutputError, "OUT"):  # other columns
        deitft.predict(whole, [some], out=tmp_path / "two.csv", top=3, **HERE)


def test_answers_of_two_models_do_not_mix(whole: Path, some: Path, tmp_path: Path) -> None:
    others = write_photos(tmp_path / "others", 14, classes=("cat", "dog", "hat"))
    settings = ("model.image_size=32", "train.length=1 steps", "train.batch=8")
    run = finetune(others, tmp_path / "runs", "a", *settings).folder
    assert run is not None
    out = tmp_path / "answers.csv"
    deitft.predict(run, [some], out=out, **HERE)
    before = out.read_bytes()
    with fails(OutputError, "OUT") as caught:
        deitft.predict(whole, [some], out=out, **HERE)
    assert "answers of another model" in caught.value.what
    assert out.read_bytes() == before


def test_another_model_of_the_same_classes_does_not_take_up_the_answers(
    whole: Path, some: Path, tmp_path: Path
) -> None:
    """A folder is trained on again, and the same command follows: old answers are not the new model's."""
    out = tmp_path / "answers.csv"
    deitft.predict(whole, [some / "0.jpg"], out=out, **HERE)
    before = out.read_bytes()
    again = tmp_path / "again"
    shutil.copytree(whole / "best", again)
    assert deitft.predict(again, [some], out=tmp_path / "other.csv", **HERE).fresh == 9
    assert deitft.predict(again, [some / "0.jpg"], out=out, **HERE).reused == 1  # the same bundle elsewhere
    manifest = json.loads((again / "deitft.json").read_text())
    weights = load_file(again / "model.safetensors")
    weights["head.bias"] += 1
    save_file(weights, again / "model.safetensors", metadata={"format": "pt"})
    retrained = {"sha256": sha256_file(again / "model.safetensors")}
    colder = {"temperature": manifest["temperature"] * 1.5}
    for change, word in ((retrained, "weights"), (retrained | colder, "weights, temperature")):
        (again / "deitft.json").write_text(json.dumps(manifest | change))
        with fails(OutputError, "OUT") as caught:
            deitft.predict(again, [some], out=out, **HERE)
        assert f"answers of another model (with other {word})" in caught.value.what
        assert out.read_bytes() == before
    deitft.predict(again, [some], out=tmp_path / "again.csv", **HERE)


def test_answers_that_do_not_say_whose_they_are_are_not_taken_up(whole: Path, some: Path, tmp_path: Path) -> None:
    out, note = tmp_path / "answers.csv", tmp_path / "answers.csv.json"
    deitft.predict(whole, [some / "0.jpg"], out=out, **HERE)
    before = out.read_bytes()
    kept = note.read_bytes()
    note.unlink()
    with fails(OutputError, "OUT") as caught:
        deitft.predict(whole, [some], out=out, **HERE)
    assert "answers.csv.json is not beside it" in caught.value.what
    for other in ("{}", "mine", '{"format": "deitft answers", "model": 1}'):
        for name in (out, tmp_path / "new.csv"):
            Path(f"{name}.json").write_text(other)
            with fails(OutputError, "OUT"):
                deitft.predict(whole, [some], out=name, **HERE)
        assert note.read_text() == other
        assert not (tmp_path / "new.csv").exists()
    assert out.read_bytes() == before
    note.write_bytes(kept)
    assert deitft.predict(whole, [some], out=out, **HERE).reused == 1
    out.unlink()  # what is left of earlier answers does not hinder new ones
    assert deitft.predict(whole, [some], out=out, **HERE).reused == 0


def test_how_many_answers_were_there_is_said(
    whole: Path, some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["predict", str(whole), "--out", str(tmp_path / "answers.csv"), "--threads", "1", "--workers", "0"]
    assert main([*line, str(some / "0.jpg")]) == 0
    assert "there already" not in "".join(capsys.readouterr())
    assert main([*line, str(some / "more")]) == 0  # others: none of these was there
    assert "there already" not in "".join(capsys.readouterr())
    assert main([*line, str(some)]) == 0
    said = capsys.readouterr()
    assert "Photos   9 (5 were there already)" in said.out
    assert "5 of 9 photos were there already" in said.err
    assert main([*line, str(some), "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["answered"], printed["reused"]) == (0, 9)


@pytest.mark.parametrize("workers", [0, 2])
def test_many_photos_are_one_task_and_one_crew(
    whole: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """How far, of how many, however the file is written; bad photos count. The same answers as in one piece."""
    some = tmp_path / "some"
    shutil.copytree(photos, some)
    (some / "hat" / "bad.jpg").write_bytes(b"<!doctype html>")
    here = {**HERE, "workers": workers}
    one = deitft.predict(whole, [some], out=tmp_path / "one.csv", **here)
    monkeypatch.setattr(predicting, "CHUNK", 33)
    crews: list[int] = []
    monkeypatch.setattr(stream, "fetch", lambda *a, **k: crews.append(k["workers"]) or fetch(*a, **k))
    heard = Heard()
    table = deitft.predict(whole, [some], out=tmp_path / "parts.csv", progress=heard, **here)
    assert heard.moved == {("looking at photos", 97): 97}
    assert crews == [workers]
    assert (table.fresh, len(table.failed)) == (one.fresh, len(one.failed)) == (96, 1)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


class Heard(Silent):
    """How far each task with an end came."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: dict[tuple[str, int], int] = {}

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None, *, unit: str = "") -> Iterator[Task]:
        heard = self

        class Moving(SilentTask):
            def advance(self, count: int = 1, **shown: float | str) -> None:
                if total is not None:
                    heard.moved[title, total] = heard.moved.get((title, total), 0) + count

        yield Moving()


def test_a_place_that_cannot_be_had_is_told_before_a_photo_is_opened(
    whole: Path, some: Path, tmp_path: Path
) -> None:
    for out in (tmp_path / "nothing" / "answers.csv", tmp_path):
        with fails(OutputError, "OUT") as caught:
            progress = Silent()
            deitft.predict(whole, [some], out=out, progress=progress, **HERE)
        assert caught.value.exit_code == 73
        assert progress.said == []
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["/dev/full", "/dev/zero", "/dev/null", "pipe"])
def test_answers_go_to_a_file_and_not_to_a_device(whole: Path, some: Path, tmp_path: Path, name: str) -> None:
    """A device may never end when it is read; nobody reads the pipe."""
    os.mkfifo(tmp_path / "pipe")
    with fails(OutputError, "OUT") as caught:
        deitft.predict(whole, [some], out=tmp_path / name, **HERE)
    assert "not a file" in caught.value.what


def test_a_full_disk_is_told_and_what_is_written_counts(
    whole: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real refusal of the system: a file may not grow beyond so many bytes."""
    import resource

    monkeypatch.setattr(predicting, "CHUNK", 20)
    out = tmp_path / "answers.csv"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with fails(StorageError, "OUT") as caught:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
            deitft.predict(whole, [photos], out=out, **HERE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.exit_code == 74
    assert deitft.predict(whole, [photos], out=out, **HERE).reused > 0
    assert len({row["path"] for row in rows_of(out)}) == len(rows_of(out)) == 96


def test_answers_are_not_written_among_the_photos(whole: Path, some: Path) -> None:
    with untouched(some), fails(OutputError, "C5") as caught:
        deitft.predict(whole, [some], out=some / "more" / "answers.csv", **HERE)
    assert caught.value.exit_code == 73
