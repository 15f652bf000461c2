"""Requirements as they are typed: read with their units, judged, and every mistake named."""

from __future__ import annotations

import math

import pytest

from deitft.errors import UsageError
from deitft.evaluation.metrics import HIGHER_IS_BETTER
from deitft.evaluation.requirements import FIGURES, Requirement, at_most, judge, parse_requirements


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("top1>=0.9", [("top1", ">=", 0.9)]),
        (" top1 > 90 % ", [("top1", ">", 0.9)]),
        ("size_mb<=0.1GB", [("size_mb", "<=", 100.0)]),
        ("latency_ms<5ms,macro_f1>=.8", [("latency_ms", "<", 5.0), ("macro_f1", ">=", 0.8)]),
        ("gflops<=4 and calibration_error <= 5%", [("gflops", "<=", 4.0), ("calibration_error", "<=", 0.05)]),
        ("training_minutes<=1.5h", [("training_minutes", "<=", 90.0)]),
    ],
)
def test_what_can_be_asked_for(text: str, read: list[tuple[str, str, float]]) -> None:
    found = parse_requirements([text])
    assert [(one.name, one.sign, pytest.approx(one.value)) for one in found] == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latncy_ms<=5", "did you mean latency_ms"),
        ("banana>=5", "known are top1, top5"),
        ("nll<=0.5", 'no such figure: "nll"'),
        ("top1>=90", "write 0.9 or 90%"),
        ("top1<=0.9", "top1 is better when higher, write >="),
        ("latency_ms>=5", "latency_ms is better when lower, write <="),
        ("top1==0.9", "write >="),
        ("size_mb<=3ms", '"ms" is no unit of size_mb (known: mb, kb, gb)'),
        ("cost<=3EUR", '"eur" is no unit of cost'),
        ("top1>=much", '"much" is no number from 0 on'),
        ("top1>=nan", '"nan" is no number from 0 on'),
        ("0.9<=top1", '"0.9<=top1" is not a name'),
        ("", '"" is not a name'),
    ],
)
def test_what_cannot(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_requirements([text])
    assert said in caught.value.line
    assert caught.value.exit_code == 2


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_requirements(["top1>=90, tpo5>=0.9", "top1>=0.9", "latency_ms>1"])
    assert all(part in caught.value.line for part in ("write 0.9", "did you mean top5", "write <="))


def test_limits_are_requirements_too() -> None:
    assert at_most("latency_ms", "0.005s") == Requirement(name="latency_ms", sign="<=", value=5.0)
    with pytest.raises(UsageError, match="is no number from 0 on"):
        at_most("size_mb", "small")


def test_judged_at_the_border_and_where_nothing_is_known() -> None:
    wanted = parse_requirements(["top1>=0.9", "top5>0.99", "latency_ms<=5", "size_mb<=100", "macro_f1>=0.5"])
    seen = {"top1": 9 / 10, "top5": 0.99, "latency_ms": 7.25, "size_mb": None, "macro_f1": math.nan}
    outcomes = judge(wanted, seen)
    assert [outcome.met for outcome in outcomes] == [True, False, False, False, False]
    assert outcomes[2].sentence == "latency_ms is 7.25, wanted <= 5"
    assert outcomes[3].sentence == "size_mb is not known, wanted <= 100"
    assert judge(wanted[:1], {})[0].seen is None


def test_directions_are_those_of_the_metrics() -> None:
    known = {name: better for name, better in HIGHER_IS_BETTER.items() if name != "nll"}  # no table has it
    assert {name: FIGURES[name].higher_is_better for name in known} == known
    assert {"size_mb", "latency_ms", "memory_mb"} <= set(FIGURES)
