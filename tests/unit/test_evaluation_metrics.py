"""Metrics: against sklearn, by what must not change them, and as numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference

from deitft.core.files import write_json
from deitft.errors import DataError
from deitft.evaluation.calibration import calibrated_loss, calibration_error
from deitft.evaluation.metrics import (
    HIGHER_IS_BETTER,
    Metrics,
    evaluate,
    validation_scores,
)
from deitft.evaluation.predictions import Predictions
from deitft.evaluation.scores import (
    balanced_accuracy_score,
    confusion_matrix,
    macro_f1_score,
    majority_score,
    per_class,
    top_k_score,
)
from deitft.evaluation.statistics import wilson_interval

CLASSES = tuple(f"class {index}" for index in range(8))


def drawn(
    n: int = 240, classes: int = 8, seed: int = 0, *, heads: int = 2, missing: tuple[int, ...] = ()
) -> Predictions:
    draw = np.random.default_rng(seed)
    here = [index for index in range(classes) if index not in missing]
    labels = draw.choice(here, n)
    logits = draw.normal(0, 1.5, (n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 2
    return Predictions(
        paths=tuple(f"{index:05d}.jpg" for index in draw.permutation(n)),
        labels=labels,
        class_logits=logits,
        distill_logits=logits + draw.normal(0, 1, logits.shape).astype(np.float32) if heads == 2 else None,
    )


def test_scores_equal_sklearn() -> None:
    found = drawn(missing=(3,))
    labels, logits = found.labels, found.logits()
    predicted = logits.argmax(axis=1)
    present = np.unique(labels)
    for k in (1, 2, 5):
        expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=range(8))
        assert top_k_score(logits, labels, k) == pytest.approx(expected)
    assert (
        confusion_matrix(labels, predicted, 8) == reference.confusion_matrix(labels, predicted, labels=range(8))
    ).all()
    macro = reference.f1_score(labels, predicted, labels=present, average="macro")
    assert macro_f1_score(labels, predicted, 8) == pytest.approx(macro)
    recall = reference.recall_score(labels, predicted, labels=present, average="macro")
    assert balanced_accuracy_score(labels, predicted, 8) == pytest.approx(recall)
    expected_rows = reference.precision_recall_fscore_support(labels, predicted, labels=range(8), zero_division=0)
    for row, precision, recall, f1, n in zip(per_class(labels, predicted, CLASSES), *expected_rows, strict=True):
        assert row.n == n
        if n:
            assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))


def test_scores_golden() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 0])
    assert confusion_matrix(labels, predicted, 4).tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0] * 4]
    assert balanced_accuracy_score(labels, predicted, 4) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert macro_f1_score(labels, predicted, 4) == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)
    assert majority_score(labels, 0) == 0.5


def test_top_k_is_clipped_and_ties_go_to_the_first_class() -> None:
    logits = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert top_k_score(logits, np.array([0, 1]), 1) == 1.0
    assert top_k_score(logits, np.array([1, 2]), 1) == 0.0
    assert top_k_score(logits, np.array([1, 2]), 2) == 1.0
    assert top_k_score(logits, np.array([2, 0]), 5) == 1.0


def test_a_class_without_photos_reads_n_a() -> None:
    rows = per_class(np.array([0, 0, 1]), np.array([0, 2, 0]), ("a", "b", "c"))
    assert (rows[2].n, rows[2].predicted, rows[2].precision, rows[2].recall, rows[2].f1) == (
        0,
        1,
        None,
        None,
        None,
    )
    assert rows[2].recall_interval is None
    assert (rows[1].n, rows[1].precision, rows[1].recall, rows[1].f1) == (1, None, 0.0, 0.0)
    assert rows[1].precision_interval is None
    assert rows[0].recall_interval == wilson_interval(1, 2)
    assert rows[0].precision_interval == wilson_interval(1, 2)


@pytest.fixture(scope="module")
def judged() -> Metrics:
    return evaluate(drawn(), CLASSES, temperature=1.7, draws=200)


def test_every_figure_of_evaluate_is_the_formula_on_what_is_served(judged: Metrics) -> None:
    found = drawn()
    labels, predicted = found.labels, found.logits().argmax(axis=1)
    assert (judged.n, judged.temperature) == (240, 1.7)
    right = predicted == labels
    for name, temperature in (("calibration_error", 1.7), ("calibration_error_before", 1.0)):
        confidence = found.probabilities(temperature).max(axis=1)
        assert getattr(judged, name) == pytest.approx(calibration_error(confidence, right))
    assert judged.reliability != judged.reliability_before
    assert judged.present == 8
    assert judged.top1 == pytest.approx(reference.accuracy_score(labels, predicted))
    assert judged.top5 == pytest.approx(top_k_score(found.logits(), labels, 5))
    assert judged.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert judged.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert judged.nll == pytest.approx(reference.log_loss(labels, found.probabilities(1.7)), rel=1e-6)
    assert judged.nll_before == pytest.approx(reference.log_loss(labels, found.probabilities()), rel=1e-6)
    assert judged.majority == pytest.approx(np.bincount(labels).max() / 240)
    assert judged.intervals["top1"] == wilson_interval(int((labels == predicted).sum()), 240)
    assert sum(row.count for row in judged.reliability) == 240
    assert judged.confusion.sum() == 240
    for name, (low, high) in judged.intervals.items():
        assert low <= getattr(judged, name) <= high, name
        assert 0 < high - low < 0.25, name


def test_each_head_is_judged_beside_what_is_served(judged: Metrics) -> None:
    found = drawn()
    assert judged.heads is not None
    assert set(judged.heads) == {"class", "distill", "both", "softmax_sum"}
    assert judged.heads["both"].top1 == judged.top1
    assert judged.heads["both"].nll == judged.nll_before
    for head in ("class", "distill"):
        predicted = found.logits(head).argmax(axis=1)
        assert judged.heads[head].top1 == pytest.approx(reference.accuracy_score(found.labels, predicted))
    summed = found.softmax_sum()
    assert judged.heads["softmax_sum"].nll == pytest.approx(reference.log_loss(found.labels, summed), rel=1e-6)
    assert judged.heads["softmax_sum"].top1 == pytest.approx((summed.argmax(1) == found.labels).mean())
    same = found.logits("class").argmax(1) == found.logits("distill").argmax(1)
    assert judged.agreement == pytest.approx(same.mean())
    alone = evaluate(drawn(heads=1), CLASSES, draws=20)
    assert (alone.heads, alone.agreement) == (None, None)


def test_mistakes_are_sorted_and_point_at_their_photo(judged: Metrics) -> None:
    found = drawn()
    probabilities = found.probabilities(1.7)
    wrong = np.flatnonzero(probabilities.argmax(1) != found.labels)
    assert len(judged.worst) == min(50, len(wrong))
    for row in judged.worst:
        assert found.paths[row.index] == row.path
        assert CLASSES[found.labels[row.index]] == row.label
        assert CLASSES[probabilities[row.index].argmax()] == row.predicted != row.label
        assert row.confidence == pytest.approx(probabilities[row.index].max())
        assert row.own == pytest.approx(probabilities[row.index, found.labels[row.index]])
    sure = [row.confidence for row in judged.worst]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] == pytest.approx(probabilities[wrong].max())
    doubted = [row.own for row in judged.label_errors]
    assert doubted == sorted(doubted)
    assert doubted[0] == pytest.approx(probabilities[wrong, found.labels[wrong]].min())
    top = judged.confused[0]
    off = judged.confusion - np.diag(np.diag(judged.confusion))
    assert top.count == off.max()
    assert top.share == pytest.approx(off.max() / judged.confusion[CLASSES.index(top.label)].sum())


def plain(metrics: Metrics) -> dict[str, object]:
    record = metrics.record()
    for name in ("worst", "label_errors"):
        for row in record[name]:
            row.pop("index")
    return record


def test_the_order_of_the_photos_changes_nothing(judged: Metrics) -> None:
    found = drawn()
    order = np.random.default_rng(9).permutation(len(found))
    again = evaluate(found.rows(order), CLASSES, temperature=1.7, draws=200)
    ours, theirs = plain(judged), plain(again)
    for name in ours:
        assert ours[name] == theirs[name], name


def test_the_order_of_the_classes_changes_no_score() -> None:
    found, order = drawn(), np.random.default_rng(8).permutation(8)
    renamed = Predictions(
        paths=found.paths,
        labels=np.argsort(order)[found.labels],
        class_logits=found.class_logits[:, order],
        distill_logits=found.distill_logits[:, order] if found.distill_logits is not None else None,
    )
    one = evaluate(found, CLASSES, draws=50)
    other = evaluate(renamed, [CLASSES[index] for index in order], draws=50)
    for name in HIGHER_IS_BETTER:
        assert getattr(one, name) == pytest.approx(getattr(other, name)), name
    for name, ends in one.intervals.items():
        assert ends == pytest.approx(other.intervals[name]), name


def test_d9_a_missing_class_is_named_and_the_rest_judged_as_if_it_were_not_there() -> None:
    found = drawn(missing=(0,), heads=1)
    whole = evaluate(found, CLASSES, split="val", draws=30)
    assert whole.present == 7
    notice = whole.notices[0]
    assert notice.id == "D9"
    assert notice.line == (
        'val has no photos of "class 0" — its row shows n/a and macro averages use 7 of 8 classes'
    )
    answered = found.rows(np.flatnonzero(found.class_logits.argmax(1) != 0))
    without = Predictions(
        paths=answered.paths, labels=answered.labels - 1, class_logits=answered.class_logits[:, 1:]
    )
    ours = evaluate(answered, CLASSES, draws=30)
    theirs = evaluate(without, CLASSES[1:], draws=30)
    assert (ours.macro_f1, ours.balanced_accuracy, ours.top1) == pytest.approx(
        (theirs.macro_f1, theirs.balanced_accuracy, theirs.top1)
    )
    many = evaluate(drawn(missing=(0, 5, 6)), CLASSES, draws=20).notices[0]
    assert many.text == 'test has no photos of "class 0" and 2 more'
    assert many.details["classes"] == ["class 0", "class 5", "class 6"]


def test_unknown_labels_are_counted_and_not_judged() -> None:
    found = drawn(60)
    labels = found.labels.copy()
    labels[::3] = -1
    part = Predictions(
        paths=found.paths, labels=labels, class_logits=found.class_logits, distill_logits=found.distill_logits
    )
    known = np.flatnonzero(labels >= 0)
    judged = evaluate(part, CLASSES, draws=30)
    assert (judged.n, judged.unlabelled) == (40, 20)
    assert plain(judged)["top1"] == plain(evaluate(found.rows(known), CLASSES, draws=30))["top1"]
    assert judged.worst[0].path == part.paths[judged.worst[0].index]
    assert judged.notices[-1].text == "20 photos without a label are not judged"
    with pytest.raises(DataError, match="no these photo has a label"):
        evaluate(part.rows(np.arange(0, 60, 3)), CLASSES, split="these")


def test_few_classes_have_no_top_five_and_say_why() -> None:
    judged = evaluate(drawn(classes=5), CLASSES[:5], draws=20)
    assert judged.top5 is None
    assert "top5" not in judged.intervals
    assert [notice.id for notice in judged.notices] == ["TOP5"]


def test_n1_logits_that_are_not_numbers_are_refused_not_argmaxed() -> None:
    found = drawn(30)
    found.class_logits[4, 2] = np.nan
    for judge in (lambda: evaluate(found, CLASSES), lambda: validation_scores(found)):
        with pytest.raises(DataError) as caught:
            judge()
        assert caught.value.id == "N1"
        assert caught.value.files == (found.paths[4],)


def test_other_class_names_are_refused() -> None:
    with pytest.raises(DataError, match="8 columns for 7 classes"):
        evaluate(drawn(20), CLASSES[:7])


def test_all_right_is_not_proof_of_perfection() -> None:
    labels = np.arange(40) % 8
    perfect = Predictions(
        paths=tuple(map(str, range(40))), labels=labels, class_logits=np.eye(8, dtype=np.float32)[labels] * 9
    )
    judged = evaluate(perfect, CLASSES, draws=30)
    assert judged.macro_f1 == judged.balanced_accuracy == judged.top1 == 1.0
    for name in ("top1", "macro_f1", "balanced_accuracy"):
        assert judged.intervals[name] == wilson_interval(40, 40)
    grouped = evaluate(perfect, CLASSES, draws=30, groups=[index // 4 for index in range(40)])
    assert grouped.intervals["top1"] == wilson_interval(10, 10)
    assert judged.worst == judged.confused == ()


def test_groups_widen_the_intervals() -> None:
    found = drawn(60, heads=1)
    repeated = found.rows(np.repeat(np.arange(60), 6))
    copies = Predictions(
        paths=tuple(f"{index:04d}" for index in range(360)),
        labels=repeated.labels,
        class_logits=repeated.class_logits,
    )
    alone = evaluate(copies, CLASSES, draws=300)
    grouped = evaluate(copies, CLASSES, draws=300, groups=np.repeat(np.arange(60), 6))
    for name in ("top1", "top5", "macro_f1", "balanced_accuracy"):
        widths = [high - low for low, high in (alone.intervals[name], grouped.intervals[name])]
        assert widths[1] > 1.5 * widths[0], name
        assert getattr(alone, name) == getattr(grouped, name)


def test_the_constant_answer_is_the_majority_of_train_where_it_is_known() -> None:
    found = drawn(60)
    least = int(np.bincount(found.labels, minlength=8).argmin())
    judged = evaluate(found, CLASSES, draws=20, majority_class=least)
    assert judged.majority_class == CLASSES[least]
    assert judged.majority == pytest.approx((found.labels == least).mean())


def test_the_record_is_plain_json_and_the_matrix_can_be_made_again(judged: Metrics, tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", judged.record())
    back = json.loads((tmp_path / "metrics.json").read_text())
    assert back["version"] == 1
    matrix = np.zeros((8, 8), dtype=int)
    for row, column, count in back["confusion"]:
        matrix[row, column] = count
    assert (matrix == judged.confusion).all()
    assert set(back) == {"version", *Metrics.__slots__}
    assert back["intervals"]["top1"] == list(judged.intervals["top1"])
    assert back["heads"]["both"]["top1"] == judged.top1


def test_validation_scores_are_those_a_run_is_steered_by() -> None:
    found = drawn()
    judged = evaluate(found, CLASSES, draws=20)
    assert validation_scores(found) == pytest.approx(
        {
            "top1": judged.top1,
            "top5": judged.top5,
            "balanced_accuracy": judged.balanced_accuracy,
            "loss": judged.nll_before,
            "calibrated_loss": calibrated_loss(found.logits(), found.labels),
        }
    )


def test_validation_knows_the_first_five_of_six_classes() -> None:
    labels = np.arange(6)
    logits = np.tile(np.arange(6, dtype=np.float32), (6, 1))  # class 5 first, class 0 last: not among five
    scores = validation_scores(Predictions(paths=tuple("abcdef"), labels=labels, class_logits=logits))
    assert scores["top5"] == pytest.approx(5 / 6)
    assert scores["top1"] == pytest.approx(1 / 6)


def test_the_calibrated_loss_does_not_see_how_large_logits_are() -> None:
    """Label smoothing and mixing make every answer unsure: that alone must not decide between two models."""
    found = drawn(heads=1)
    timid = replace(found, class_logits=found.class_logits / 5)
    one, other = validation_scores(found), validation_scores(timid)
    assert other["calibrated_loss"] == pytest.approx(one["calibrated_loss"], rel=1e-5)
    assert other["loss"] != pytest.approx(one["loss"], rel=0.05)
