"""A folder of photos -> a run: what it leaves, what it claims, and the same bits again."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_kit import untouched
from run_kit import CLASSES, EXACT, STEPS, fails, finetune, fingerprints, record_of
from small_net import SMALL

import deitft
from deitft.cli.app import main
from deitft.core.files import read_json, sha256_file
from deitft.core.progress import Silent, Task
from deitft.core.records import parse_csv_text
from deitft.data.digits import write_digits
from deitft.errors import DataError, OutputError, RecipeError
from deitft.evaluation.predictions import load_predictions
from deitft.recipe.load import load_recipe
from deitft.recipe.plan import read_plan
from deitft.runs import report_photos, run_report

FOLDER = {
    *("recipe.yaml", "plan.json", "run.json", "splits.csv", "quarantine.csv", "check.json"),
    *("metrics.csv", "train.log", "predictions.csv", "predictions-val.csv", "metrics.json", "report.html"),
    *("checkpoints", "best", "last"),
}
BUNDLE = {"config.json", "deitft.json", "model.safetensors", "README.md"}
QUICK = ("model.image_size=32", "train.length=3 steps", "train.batch=16")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_leaves_exactly_these_files(whole: Path) -> None:
    assert names(whole) == FOLDER
    assert names(whole / "best") == names(whole / "last") == BUNDLE
    kept = names(whole / "checkpoints")
    assert f"step-{STEPS:06d}" in kept
    assert all(re.fullmatch(r"(step|best)-\d{6}", name) for name in kept)
    assert len([name for name in kept if name.startswith("step")]) <= 2
    assert [path for path in whole.parent.rglob("*") if path.name.startswith(".")] == []


def test_the_record_says_what_ran_and_what_came_of_it(whole: Path, photos: Path) -> None:
    record = record_of(whole)
    assert record["status"] == "done"
    assert (record["verb"], record["model"], record["seed"], record["errors"]) == ("finetune", SMALL, 0, [])
    assert record["data"]["path"] == str(photos)
    assert sum(record["data"]["photos"].values()) == 96
    assert record["environment"]["versions"]["torch"]
    assert record["result"]["steps"] == STEPS
    assert record["result"]["ended"] == "finished"
    assert 0 < record["seconds"]["training"] <= record["seconds"]["whole command"]
    assert 0 < record["seconds"]["saving"] < record["seconds"]["training"]
    assert record["started"] <= record["ended"]


def test_recipe_and_plan_can_be_read_back(whole: Path) -> None:
    assert load_recipe(str(whole / "recipe.yaml")) == load_recipe("finetune", overrides=EXACT).model_copy(
        update={"model": load_recipe(str(whole / "recipe.yaml")).model}
    )
    plan = read_plan(whole / "plan.json")
    assert (plan.total_steps, plan.batch, plan.micro_batch, plan.model) == (STEPS, 16, 8, SMALL)
    assert '"auto"' not in json.dumps({name: value for name, value in plan.record().items() if name != "asked"})


def test_the_claim_is_of_test_and_the_choice_of_val(whole: Path) -> None:
    metrics, record = read_json(whole / "metrics.json"), record_of(whole)
    assert isinstance(metrics, dict)
    splits = parse_csv_text((whole / "splits.csv").read_text())
    of = {name: {row["path"] for row in splits if row["split"] == name} for name in ("train", "val", "test")}
    assert not (of["train"] & of["val"] | of["train"] & of["test"] | of["val"] & of["test"])
    test, classes = load_predictions(whole / "predictions.csv")
    val, _ = load_predictions(whole / "predictions-val.csv")
    assert set(test.paths) == of["test"]
    assert set(val.paths) == of["val"]
    assert classes == CLASSES
    for found, name in ((test, "test"), (val, "val")):
        right = found.logits().argmax(1) == found.labels
        assert metrics[name]["top1"] == pytest.approx(right.mean())
        assert metrics[name]["n"] == len(found)
    assert metrics["claim_split"] == record["result"]["split"] == "test"
    assert record["result"]["top1"] == metrics["test"]["top1"]
    rows = parse_csv_text((whole / "metrics.csv").read_text())
    losses = {
        (float(row["step"]), which): float(row[f"{which}_calibrated_loss"])
        for row in rows
        for which in ("raw", "ema")
    }
    step, which = min(losses, key=lambda place: losses[place])
    assert (record["result"]["best_step"], record["result"]["best_which"]) == (step, which)
    scores = {float(row["step"]): float(row[f"{which}_top1"]) for row in rows}
    assert record["result"]["val_top1"] == pytest.approx(scores[step], abs=1e-6)


def test_splits_name_every_photo_with_its_content(whole: Path, photos: Path) -> None:
    rows = parse_csv_text((whole / "splits.csv").read_text())
    assert {row["path"] for row in rows} == {str(path.relative_to(photos)) for path in photos.rglob("*.jpg")}
    for row in rows[::7]:
        assert row["sha256"] == sha256_file(photos / row["path"])
        assert row["label"] == row["path"].split("/")[0]


def test_the_report_shows_the_figure_of_the_record(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert f"{record_of(whole)['result']['top1']:.1%}".removesuffix("%").rstrip("0").rstrip(".") in page
    assert all(name in page for name in CLASSES)


def test_R2_nothing_is_written_into_the_data(photos: Path, tmp_path: Path) -> None:
    with untouched(photos):
        finetune(photos, tmp_path / "runs", "a", *QUICK)


def test_the_same_again_gives_the_same_bits_and_another_seed_others(
    whole: Path, photos: Path, tmp_path: Path
) -> None:
    again = finetune(photos, tmp_path, "again", workers=1).folder
    assert again is not None
    assert fingerprints(again) == fingerprints(whole)  # and with a worker
    other = finetune(photos, tmp_path, "other", seed=1).folder
    assert other is not None
    ours, theirs = fingerprints(other), fingerprints(whole)
    assert all(ours[file] != theirs[file] for file in ("best/model.safetensors", "last/model.safetensors"))


def test_the_micro_batch_changes_rounding_only(whole: Path, photos: Path, tmp_path: Path) -> None:
    settings = [text for text in EXACT if "micro" not in text]
    wide = finetune(photos, tmp_path, "wide", *settings, "train.micro_batch=16").folder
    assert wide is not None
    one, other = (load_predictions(run / "predictions-val.csv")[0].logits() for run in (wide, whole))
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_digits_are_learnt(tmp_path: Path) -> None:
    """A real task: from random weights well above guessing, on photos that training has not seen."""
    digits = write_digits(tmp_path / "digits")
    for folder in digits.iterdir():
        if int(folder.name) > 4:
            shutil.rmtree(folder)
        else:
            for file in sorted(folder.iterdir())[60:]:
                file.unlink()
    settings = ("train.length=3 epochs", "train.batch=16", "train.micro_batch=16", "optim.lr=1e-3")
    views = ("augment.policy=none", "augment.crop=none", "augment.flip=0.0")
    run = finetune(digits, tmp_path / "runs", "a", "model.image_size=32", *settings, *views)
    result = run.record()["result"]
    low, _ = result["intervals"]["top1"]
    assert low > 0.35  # guessing: 0.2


def test_a_recipe_with_given_splits_and_no_test_photos_says_so(photos: Path, tmp_path: Path) -> None:
    rows = [
        {"path": str(path.relative_to(photos)), "split": "val" if number % 4 == 0 else "train"}
        for number, path in enumerate(sorted(photos.rglob("*.jpg")))
    ]
    table = tmp_path / "splits.csv"
    table.write_text("path,split\n" + "".join(f"{row['path']},{row['split']}\n" for row in rows))
    run = finetune(photos, tmp_path, "a", *QUICK, splits=table)
    assert run.folder is not None
    assert run.record()["result"]["split"] == "val"
    assert "There are no test photos" in (run.folder / "report.html").read_text()


def test_bad_photos_are_left_out_by_name(tmp_path: Path, make_photos) -> None:
    photos = make_photos({"a": 60, "b": 60})
    (photos / "a" / "0007.jpg").write_bytes((photos / "a" / "0007.jpg").read_bytes()[:200])
    progress = Silent()
    run = finetune(photos, tmp_path / "runs", "a", *QUICK, progress=progress).folder
    assert run is not None
    assert [row["path"] for row in parse_csv_text((run / "quarantine.csv").read_text())] == ["a/0007.jpg"]
    assert "a/0007.jpg" not in (run / "splits.csv").read_text()
    assert "a/0007.jpg" not in (run / "predictions.csv").read_text()
    assert [notice.id for notice in progress.notices if notice.severity == "warning"] == ["D2"]
    assert any(finding["id"] == "D2" for finding in record_of(run)["findings"])
    with fails(DataError, "D2"):
        finetune(photos, tmp_path / "runs", "b", *QUICK, strict=True)


def test_a_name_that_is_taken_is_refused_before_anything_is_read(whole: Path, photos: Path) -> None:
    before = sha256_file(whole / "run.json")
    with fails(OutputError, "RUN"):
        finetune(photos, whole.parent, whole.name)
    assert sha256_file(whole / "run.json") == before


def test_runs_are_numbered_and_listed_with_their_score(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["finetune", str(photos), "--model", "vit_ti", "--no-pretrained", "--threads", "1", "--workers", "0"]
    for setting in QUICK:
        line += ["--set", setting]
    assert main([*line, "--json", "--quiet"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["folder"] == "runs/finetune-1"
    assert main(["runs", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["finetune-1"]
    assert main(["runs"]) == 0
    assert f"finetune-1  done    {100 * made['result']['top1']:.1f}" in re.sub(
        r" +", lambda match: match[0] if len(match[0]) < 3 else "    ", capsys.readouterr().out
    )


def test_N1_a_learning_rate_that_explodes_is_one_line_and_leaves_nothing_that_is_not_a_number(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["finetune", str(photos), "--model", "deit_ti", "--no-pretrained", "--threads", "1", "--workers", "0"]
    line += ["--runs-dir", str(tmp_path), "--name", "a", "--set", "optim.lr=1e6", "--set", "optim.warmup=1 steps"]
    line += ["--set", "model.image_size=32", "--set", "train.length=60 steps", "--set", "train.save_every=1s"]
    code = main([*line, "--precision", "fp32"])
    said = [text for text in capsys.readouterr().err.splitlines() if "error" in text]
    record = record_of(tmp_path / "a")
    assert code == 78
    assert len(said) == 1
    assert said[0].startswith("deitft: error [N1]: ")
    assert "lower optim.lr" in said[0]
    assert record["status"] == "failed"
    assert [error["id"] for error in record["errors"]] == ["N1"]
    assert not (tmp_path / "a" / "best").exists()
    for path in (tmp_path / "a").rglob("*"):
        if path.suffix in (".json", ".csv"):
            assert not re.search(r"\b(nan|inf|infinity)\b", path.read_text(), re.IGNORECASE), path
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            assert all(tensor.isfinite().all() for tensor in load_file(path).values()), path


class Titled(Silent):
    """A progress that keeps what its bars are called, and how far they go."""

    def task(self, title: str, total: int | None = None, *, unit: str = "") -> AbstractContextManager[Task]:
        self.said.append(f"[{title}: {total} {unit}]")
        return super().task(title, total, unit=unit)


@pytest.fixture(scope="module")
def progress_of_probed() -> Titled:
    return Titled()


@pytest.fixture(scope="module")
def probed(
    shared: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory, progress_of_probed: Titled
) -> Path:
    """A linear probe on real weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        run = finetune(
            photos,
            tmp_path_factory.mktemp("runs"),
            "probe",
            "model.image_size=64",
            model="vit_ti",
            recipe="linear-probe",
            pretrained=True,
            weights_dir=shared / "weights",
            progress=progress_of_probed,
        ).folder
    assert run is not None
    return run


class TestRealWeights:
    """Pretrained weights of a real model on a few photos."""

    def test_the_linear_probe_scores_what_the_baseline_says(self, probed: Path) -> None:
        """The heads are solved, not trained: the model that is handed over is the baseline of ``probe.json``."""
        probe, metrics, plan = (read_json(probed / name) for name in ("probe.json", "metrics.json", "plan.json"))
        assert isinstance(probe, dict)
        assert isinstance(metrics, dict)
        assert isinstance(plan, dict)
        assert (plan["total_steps"], plan["head_start"]) == (0, "probe")
        assert metrics["test"]["top1"] == probe["top1"]
        assert metrics["probe"] == probe
        assert probe["train_photos"] == plan["photos"]["train"]

    def test_no_step_shows_no_bar_no_views_and_no_curves(self, probed: Path, progress_of_probed: Titled) -> None:
        bars = [text for text in progress_of_probed.said if text.startswith("[")]
        assert bars
        assert not [text for text in bars if ": 0 " in text or text.startswith("[training")]
        page, probe = (probed / "report.html").read_text(), read_json(probed / "probe.json")
        assert isinstance(probe, dict)
        assert (
            "No step was trained: the heads were solved on the frozen features of "
            f"{probe['train_photos']} train photos, by logistic regression; "
            f"the penalty C = {probe['penalty_c'][0]:g} was chosen on val."
        ) in page
        assert 'id="views"' not in page
        assert "Learning rate" not in page

    def test_the_linear_probe_is_a_bundle_like_any_other(self, probed: Path, photos: Path) -> None:
        written, _ = load_predictions(probed / "predictions.csv")
        answers = deitft.load(probed, device="cpu").predict([photos / path for path in written.paths])
        assert [CLASSES.index(answer.label) for answer in answers] == written.logits().argmax(1).tolist()
        assert sha256_file(probed / "best" / "model.safetensors") == sha256_file(
            probed / "last" / "model.safetensors"
        )

    def test_frozen_layers_are_those_of_the_weights(self, probed: Path, shared: Path) -> None:
        from safetensors.torch import load_file

        ours = load_file(probed / "best" / "model.safetensors")
        theirs = load_file(shared / "weights" / "vit_tiny_patch16_224" / "model.safetensors")
        same = [name for name, tensor in ours.items() if "head" not in name and "pos_embed" not in name]
        assert len(same) > 100
        assert all(ours[name].equal(theirs[name]) for name in same)

    def test_two_tokens_start_from_plain_weights_and_say_what_was_taken(
        self, shared: Path, photos: Path, tmp_path: Path
    ) -> None:
        progress = Silent()
        run = finetune(
            photos,
            tmp_path,
            "a",
            *QUICK,
            model="deit_ti",
            pretrained=True,
            weights_dir=shared / "weights",
            progress=progress,
        ).folder
        assert run is not None
        assert record_of(run)["model"] == read_plan(run / "plan.json").short_name == "deit_ti"
        assert any("deit_tiny_patch16_224" in text for text in progress.said)
        record = read_json(run / "plan.json")
        assert isinstance(record, dict)
        weights = shared / "weights" / "deit_tiny_patch16_224" / "model.safetensors"
        assert record["weights"]["sha256"] == sha256_file(weights)
        assert Path(record["weights"]["path"]).is_absolute()
        metrics = read_json(run / "metrics.json")
        assert isinstance(metrics, dict)
        assert set(metrics["test"]["heads"]) == {"class", "distill", "both", "softmax_sum"}
        assert len(metrics["probe"]["penalty_c"]) == 2  # one regression a head


def test_every_mistake_of_a_recipe_in_one_error(photos: Path, tmp_path: Path) -> None:
    """Wrong form, a transform and a model that are not there."""
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(
        "model: {name: deit_z}\noptim: {lrr: 1}\n"
        "augment: {policy: albumentations, albumentations: [{Rotatee: {limit: 3}}]}\n"
    )
    with fails(RecipeError, "RECIPE") as caught:
        deitft.finetune(photos, recipe=recipe, runs_dir=tmp_path / "runs")
    mistakes = " / ".join(caught.value.details["mistakes"])
    for word in ("deit_z", "lrr", "Rotatee"):
        assert word in mistakes
    assert caught.value.exit_code == 78


def test_the_report_shows_what_steps_were_given(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The pictures are those of the training stream, in the size, the boxes and the mixes of their step."""
    seen: list[Any] = []
    really = report_photos.views
    monkeypatch.setattr(run_report, "views", lambda *given: seen.extend(really(*given)) or seen)
    mixed = ("mixing.mixup=0.8", "mixing.chance=1.0", "augment.erasing=1.0", "train.train_size=16")
    run = finetune(photos, tmp_path, "a", "model.image_size=32", "train.length=8 steps", "train.batch=8", *mixed)
    assert run.folder is not None
    assert [step.step for step in seen] == [1, 3, 6, 8]
    plan = read_plan(run.folder / "plan.json")
    assert [step.side for step in seen] == [plan.size_at(step.step - 1) for step in seen]
    assert any(" + " in name for step in seen for name in step.names)
    assert all(len(step.views) == len(step.names) == 6 for step in seen)
    page = (run.folder / "report.html").read_text()
    assert page.count("pixels a side") == 4
