"""Predictions: what is fused how, what is refused, and a file that comes back to the last bit."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deitft.errors import DataError
from deitft.evaluation.predictions import UNKNOWN, Predictions, load_predictions, softmax


def two_heads() -> Predictions:
    return Predictions(
        paths=("b/1.jpg", "a/2.jpg", "c/3.jpg"),
        labels=np.array([1, 0, UNKNOWN]),
        class_logits=np.array([[1, 2, 3], [0.1, -0.2, 0.3], [5, 5, 5]], dtype=np.float32),
        distill_logits=np.array([[3, 2, 0], [1, 1, 1], [1e-8, -7, 2]], dtype=np.float32),
    )


def test_softmax_is_a_probability_and_knows_large_logits() -> None:
    rows = softmax(np.array([[1000.0, 1000.0], [-1e30, 0.0], [1.0, 3.0]]), 2.0)
    assert rows == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0], [1 / (1 + np.e), np.e / (1 + np.e)]]))


def test_served_is_the_mean_of_the_logits() -> None:
    found = two_heads()
    assert found.logits()[0].tolist() == [2.0, 2.0, 1.5]
    assert found.logits("class")[0].tolist() == [1.0, 2.0, 3.0]
    assert found.logits("distill")[0].tolist() == [3.0, 2.0, 0.0]
    each = (softmax(found.class_logits) + softmax(found.distill_logits)) / 2
    assert found.softmax_sum() == pytest.approx(each)
    one = Predictions(paths=found.paths, labels=found.labels, class_logits=found.class_logits)
    assert (one.logits("distill") == one.logits()).all()
    assert (len(one), one.num_classes) == (3, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused_by_name(bad: float, tmp_path: Path) -> None:
    found = two_heads()
    found.distill_logits[1, 2] = bad  # type: ignore[index]
    assert found.logits("class").shape == (3, 3)
    for use in (found.logits, found.probabilities, found.softmax_sum):
        with pytest.raises(DataError, match=r"no number for 1 of 3 photos, first: a/2.jpg") as caught:
            use()
        assert caught.value.id == "N1"
        assert caught.value.files == ("a/2.jpg",)
    with pytest.raises(DataError):
        found.save(tmp_path / "p.csv", "abc")


def same(one: Predictions, other: Predictions) -> bool:
    if (one.distill_logits is None) != (other.distill_logits is None):
        return False
    second = one.distill_logits is None or one.distill_logits.tobytes() == other.distill_logits.tobytes()  # type: ignore[union-attr]
    return (
        one.paths == other.paths
        and one.labels.tolist() == other.labels.tolist()
        and one.class_logits.tobytes() == other.class_logits.tobytes()
        and second
    )


@given(
    logits=hnp.arrays(
        np.float32,
        (2, 3),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True),
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_saved_file_restores_every_bit(logits: np.ndarray, tmp_path: Path) -> None:
    found = Predictions(paths=("x", "y"), labels=np.array([2, UNKNOWN]), class_logits=logits / np.float32(4))
    found.save(tmp_path / "p.csv", ["a", "b", "c"], temperature=2.0)
    back, classes = load_predictions(tmp_path / "p.csv")
    assert classes == ("a", "b", "c")
    assert same(back, found)


NAMES = ["=1+1", "-rf", "path", "<img src=x onerror=alert(1)>", "a,b\n\r", "'quoted'", "café 👟", "logit:x", "7"]


def test_odd_names_come_back_and_no_text_cell_is_a_formula(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    found = Predictions(
        paths=tuple(f"{name}/{index}.jpg" for index, name in enumerate(NAMES)),
        labels=np.arange(len(NAMES)),
        class_logits=draw.normal(0, 5, (len(NAMES), len(NAMES))).astype(np.float32),
        distill_logits=draw.normal(0, 5, (len(NAMES), len(NAMES))).astype(np.float32),
    )
    path = tmp_path / "p.csv"
    found.save(path, NAMES)
    back, classes = load_predictions(path)
    assert list(classes) == NAMES
    assert same(back, found)
    with path.open(newline="") as file:
        for row in csv.reader(file):
            for cell in row:
                number = cell.removeprefix("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
                assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_the_file_reads_as_a_person_expects(tmp_path: Path) -> None:
    two_heads().save(tmp_path / "p.csv", ["hat", "shoe", "coat"], temperature=0.5)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:8] == [
        *("path", "label", "predicted", "confidence"),
        *("class_2", "probability_2", "class_3", "probability_3"),
    ]
    assert [row["label"] for row in rows] == ["shoe", "hat", ""]
    # of equals the first; softmax of (2, 2, 1.5) / 0.5
    assert (rows[0]["predicted"], rows[0]["class_2"]) == ("hat", "shoe")
    assert float(rows[0]["confidence"]) == pytest.approx(1 / (2 + np.exp(-1)), abs=1e-6)
    assert rows[1]["logit:shoe"] == "-0.2"


def test_of_equal_classes_the_first_is_named_first(tmp_path: Path) -> None:
    logits = np.random.default_rng(1).integers(0, 3, (4, 200)).astype(np.float32)
    equal = Predictions(paths=tuple("abcd"), labels=np.arange(4), class_logits=logits)
    equal.save(tmp_path / "p.csv", [f"c{index}" for index in range(200)])
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, values in zip(rows, logits, strict=True):
        first = sorted(range(200), key=lambda index: (-values[index], index))[:5]
        named = [row["predicted"], *(row[f"class_{rank}"] for rank in range(2, 6))]
        assert named == [f"c{index}" for index in first]


def test_rows_are_taken_in_the_order_asked() -> None:
    found = two_heads().rows(np.array([2, 0]))
    assert found.paths == ("c/3.jpg", "b/1.jpg")
    assert found.distill_logits is not None
    assert found.distill_logits[1].tolist() == [3.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it holds no row"),
        ("path,label\n1,2\n", 'no columns "logit:CLASS"'),
        ("path,label,logit:a,logit:b\nx,c,1,2\n", "no such column or class: 'c'"),
        ("path,label,logit:a,logit:b\nx,a,1,2\ny,a,1\n", "no such column or class: 'logit:b'"),
        ("label,logit:a,logit:b\na,1,2\n", "no such column or class: 'path'"),
        ("path,label,logit:a,logit:b\nx,a,1,two\n", "could not convert"),
    ],
)
def test_another_file_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match="is not a file of predictions") as caught:
        load_predictions(tmp_path / "p.csv")
    assert reason in caught.value.what
    assert caught.value.id == "PREDICTIONS"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DataError, match="is not a file of predictions"):
        load_predictions(tmp_path / "p.csv")
