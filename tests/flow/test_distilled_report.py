"""A distilled run says what its token learned: in metrics.json and on its page, of real predictions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_kit import CLASSES, finetune

from deitft.core.files import read_json
from deitft.evaluation.predictions import load_predictions
from deitft.reporting.report_data import Estimate
from deitft.runs.token_figures import TokenFigures, token_part

QUICK = ("model.image_size=32", "train.batch=16", "train.full_size_from=0", "mixing.chance=0", "augment.erasing=0")
COLOURS = {"dress": (190, 60, 60), "hat": (60, 190, 60), "shoe": (60, 60, 190)}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos whose class is their colour: a teacher learns it in a few steps. Some are labelled wrongly."""
    root = tmp_path_factory.mktemp("colours")
    names = list(COLOURS)
    for number, name in enumerate(names):
        (root / name).mkdir()
        for photo in range(24):
            colour = COLOURS[names[(number + (photo % 6 == 0)) % 3]]
            pixels = np.random.default_rng((number, photo)).normal(colour, 30, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{photo:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    place = tmp_path_factory.mktemp("distilled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        long = ("train.length=16 steps", "optim.lr=0.003", "augment.policy=none")
        teacher = finetune(colours, place, "teacher", *QUICK, *long, model="resnet10t").folder
        short = ("train.length=6 steps", "train.validate_every=6 steps")
        folder = finetune(colours, place, "student", *QUICK, *short, teacher=str(teacher), distill="hard").folder
    assert folder is not None
    return folder


def token_of(run: Path) -> dict[str, Any]:
    return dict(read_json(run / "metrics.json")["token"])


def test_the_figures_are_those_of_the_predictions(run: Path) -> None:
    found, classes = load_predictions(run / "predictions.csv")
    token = token_of(run)
    assert classes == CLASSES
    assert token["n"] == len(found)
    said = {name: found.logits(head).argmax(1) for name, head in (("class", "class"), ("distill", "distill"))}
    said |= {"both": found.logits().argmax(1), "label": found.labels}
    for one, first in said.items():
        for other, second in said.items():
            assert token["disagreement"][one][other] == pytest.approx(np.mean(first != second))
    gain = np.mean(said["distill"] == found.labels) - np.mean(said["class"] == found.labels)
    assert token["gains"]["distill-class"]["difference"] == pytest.approx(gain)


def test_the_teacher_is_the_one_that_was_asked(run: Path) -> None:
    token = token_of(run)
    teacher, _ = load_predictions(run.parent / "teacher" / "predictions.csv")
    student, _ = load_predictions(run / "predictions.csv")
    assert set(teacher.paths) == set(student.paths), "the same seed holds out the same photos"
    place = {path: row for row, path in enumerate(teacher.paths)}
    said = teacher.logits().argmax(1)[[place[path] for path in student.paths]]
    assert token["teacher_top1"] == pytest.approx(np.mean(said == student.labels))
    assert token["disagreement"]["teacher"]["both"] == pytest.approx(np.mean(said != student.logits().argmax(1)))
    assert token["apart"] == int((said != student.labels).sum())
    for by_label, by_teacher in token["sides"].values():
        assert by_label + by_teacher <= token["apart"]


def test_the_cosines_are_there_layer_by_layer(run: Path) -> None:
    token = token_of(run)
    assert len(token["layers"]) == 5, "four blocks, and what the heads see"
    assert token["cosine_photos"] == token["n"]
    assert all(-1 <= value <= 1 for value in [token["cosine_in"], *token["layers"]])


def test_the_page_says_it(run: Path) -> None:
    page = (run / "report.html").read_text()
    (section,) = re.findall(r'<section id="token">.*?</section>', page, re.DOTALL)
    for words in (
        "What the token learned",
        "both (mean of logits)",
        "both (sum of softmaxes)",
        "teacher",
        "As the",
    ):
        assert words in section
    assert f"{100 * token_of(run)['disagreement']['teacher']['class']:.1f}" in section
    assert 'id="token"' not in (run.parent / "teacher" / "report.html").read_text(), (
        "a run without a teacher has nothing to say"
    )


def test_a_teacher_that_is_gone_is_said_and_the_rest_stands(run: Path) -> None:
    values = token_of(run) | {"teacher_top1": None, "teacher_interval": None, "apart": 0, "sides": {}}
    names = ("label", "class", "distill", "both")
    table = {one: {other: values["disagreement"][one][other] for other in names} for one in names}
    values |= {"disagreement": table, "note": "The teacher could not be asked: it is gone.", "gains": {}}
    part = token_part(TokenFigures(**values))
    assert part.teacher == Estimate(None, reason="The teacher could not be asked: it is gone.")
    assert "teacher" not in part.voices
    assert part.sides == []
