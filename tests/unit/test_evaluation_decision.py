"""The verdict: chosen on val under limits and a margin, with its reason, and fair among equals."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from crossed_kit import Population

from deitft.errors import DataError, UsageError
from deitft.evaluation.cost_words import COST_WORDS
from deitft.evaluation.decision import Candidate, Verdict, best_on_val, decide, pareto_front, undertrained
from deitft.evaluation.requirements import FIGURES, at_most

N = 400


def model(
    name: str, wrong: int, *, start: int = 0, latency: float | None = None, probe: int | None = None
) -> Candidate:
    """Three seeds that get the same ``wrong`` photos wrong, from ``start`` on; its probe the first ``probe``."""
    right = np.ones((3, N), dtype=bool)
    right[:, start : start + wrong] = False
    own = None if probe is None else np.arange(N) >= probe
    return Candidate(
        name=name, val=right, probe=own, figures={"latency_ms": latency, "size_mb": 10 * (latency or 1)}
    )


def statuses(verdict: Verdict) -> dict[str, str]:
    return {one.name: one.status for one in verdict.standings}


BIG = model("vit_b", 20, latency=12.0)
MIDDLE = model("deit_s", 24, start=10, latency=5.0)
SMALL = model("mobilenet", 80, latency=1.0)


def test_without_a_margin_the_best_is_chosen() -> None:
    verdict = decide([SMALL, BIG, MIDDLE])
    assert (verdict.chosen, verdict.best, verdict.reason) == ("vit_b", "vit_b", "best")
    assert verdict.sentences[0] == "vit_b is chosen: the best on 400 val photos (95.0 %)"
    assert {change.kind for change in verdict.changes} == {"margin", "photos"}
    assert [one.on_front for one in verdict.standings] == [True, True, True]
    json.dumps(verdict.record(), allow_nan=False)


def test_with_a_margin_the_cheapest_that_is_shown_to_be_within_it() -> None:
    verdict = decide([SMALL, BIG, MIDDLE], margin=0.04)
    assert (verdict.chosen, verdict.best, verdict.reason) == ("deit_s", "vit_b", "cheapest")
    within = "the shortest time for one photo (5 ms) of the models shown to be within 4.0 points of vit_b"
    assert verdict.sentences[0] == f"deit_s is chosen: {within} on 400 val photos"
    assert {one.name: one.not_inferior for one in verdict.standings} == {
        "mobilenet": False,
        "deit_s": True,
        "vit_b": None,
    }
    (change,) = verdict.changes
    assert (change.kind, change.model) == ("margin", "mobilenet")
    assert change.value == pytest.approx(0.15 + 1.966 * np.sqrt(0.1275 * 400 / 399 / 400), abs=1e-3)  # 60 of 400
    assert decide([SMALL, BIG, MIDDLE], margin=float(change.value or 0) + 1e-9).chosen == "mobilenet"
    assert decide([SMALL, BIG, MIDDLE], margin=float(change.value or 0) - 1e-9).chosen == "deit_s"


def test_being_the_same_so_far_is_not_being_shown_to_be_within() -> None:
    """One point fewer is not worse by 1.5 points, as far as one can see; nor is that shown by 400 photos."""
    verdict = decide([BIG, MIDDLE], margin=0.015)
    assert (verdict.chosen, verdict.reason) == ("vit_b", "best")
    assert (
        "no model with a shorter time for one photo was shown to be within 1.5 points of it"
        in verdict.sentences[0]
    )
    photos = next(change for change in verdict.changes if change.kind == "photos")
    assert photos.model == "deit_s"
    assert photos.value is not None
    assert photos.value > N
    assert "val photos would show it within the margin" in verdict.sentences[-1]


def test_limits_keep_out_and_say_what_they_cost() -> None:
    verdict = decide([SMALL, BIG, MIDDLE], limits=[at_most("latency_ms", "6ms")])
    assert verdict.chosen == "deit_s"
    assert statuses(verdict) == {"mobilenet": "inside", "vit_b": "outside", "deit_s": "chosen"}
    assert "vit_b is outside the limits: latency_ms is 12, wanted <= 6" in verdict.sentences
    assert "without the limit on the time for one photo it would be vit_b (12 ms)" in verdict.sentences
    both = decide([SMALL, BIG, MIDDLE], limits=[at_most("latency_ms", "6ms"), at_most("size_mb", "60MB")])
    assert "without the limits it would be vit_b" in both.sentences
    unknown = decide([model("new", 1), MIDDLE], limits=[at_most("latency_ms", "6ms")])
    assert unknown.chosen == "deit_s"
    assert "new is outside the limits: latency_ms is not known, wanted <= 6" in unknown.sentences
    nobody = decide([BIG, MIDDLE], limits=[at_most("latency_ms", "1ms")])
    assert (nobody.chosen, nobody.best, nobody.reason) == (None, None, "none")
    assert nobody.sentences[0] == "no model is chosen: none is within the limits and properly trained"
    assert decide([]).chosen is None


def test_a_model_below_its_own_probe_stays_outside() -> None:
    bad = model("vit_b", 20, latency=1.0, probe=4)
    verdict = decide([bad, SMALL])
    assert (verdict.chosen, statuses(verdict)["vit_b"]) == ("mobilenet", "undertrained")
    assert "vit_b is undertrained and outside the verdict: 95.0 % on val, its own frozen probe 99.0 %" in (
        verdict.sentences
    )
    assert [change.kind for change in verdict.changes] == ["training"]
    assert [one.on_front for one in verdict.standings] == [False, True]
    almost = model("vit_b", 20, latency=1.0, probe=18)  # below, but by no more than chance
    assert decide([almost, SMALL]).chosen == "vit_b"
    assert undertrained(almost.val, np.arange(N) >= 18) is None


def test_one_model_alone_and_equals() -> None:
    alone = decide([BIG])
    assert alone.sentences == ("vit_b is chosen: no other model is in the verdict",)
    twin = model("a_slower_twin", 20, latency=13.0)
    assert decide([twin, BIG]).chosen == "vit_b"
    assert decide([twin, BIG], margin=0.05).chosen == "vit_b"


def test_a_tie_is_called_one_and_says_what_broke_it() -> None:
    twin = model("a_slower_twin", 20, latency=13.0)
    tie = "vit_b is chosen: a tie with a_slower_twin on 400 val photos (95.0 %), broken by"
    assert decide([twin, BIG, SMALL]).sentences[0] == f"{tie} the shortest time for one photo (12 ms)"
    assert decide([twin, BIG], cost="size_mb").sentences[0] == f"{tie} the smallest weights (120 MB)"
    assert (
        decide([twin, BIG], margin=0.05)
        .sentences[0]
        .startswith(f"{tie} the shortest time for one photo (12 ms), ")
    )
    same = decide([BIG, model("a_twin", 20, start=30, latency=12.0)]).sentences[0]
    assert same.endswith("broken by the order of names, as the time for one photo is the same (12 ms)")
    unknown = decide([model(name, 20) for name in ("c", "b", "a")]).sentences[0]
    why = "broken by the order of names, as the time for one photo is not known"
    assert unknown == f"a is chosen: a tie with c and b on 400 val photos (95.0 %), {why}"


def test_a_cost_that_the_clock_cannot_tell_from_another_is_said_to_be_so() -> None:
    noise = "is within the noise of the measurement"
    first = dataclasses.replace(BIG, spreads={"latency_ms": 0.6})
    for latency, near in ((11.5, True), (11.3, False)):
        other = model("deit_s", 24, start=10, latency=latency)
        said = decide([first, other], margin=0.04).sentences[0]
        assert said.startswith(f"deit_s is chosen: the shortest time for one photo ({latency} ms) of the models")
        assert said.endswith(f"; the difference from vit_b (12 ms) {noise}") is near
        assert (noise in said) is near
        tied = decide([first, model("twin", 20, latency=latency)]).sentences[0]
        assert tied.startswith("twin is chosen: a tie with vit_b")
        assert (noise in tied) is near
    assert noise not in decide([first, other], margin=0.04, cost="size_mb").sentences[0]


def test_every_cost_that_can_be_asked_for_has_words() -> None:
    assert COST_WORDS.keys() == {name for name, figure in FIGURES.items() if not figure.higher_is_better}
    for name, words in COST_WORDS.items():
        candidates = [dataclasses.replace(one, figures={name: at}) for one, at in ((BIG, 0.3), (MIDDLE, 0.165))]
        said = decide(candidates, margin=0.04, cost=name).sentences[0]
        assert said.startswith(f"deit_s is chosen: the {words.least} ({words.amount(0.165)}) of the models"), said
        assert "_" not in said.replace("deit_s", "").replace("vit_b", "")
        assert words.less in decide(candidates, margin=0.001, cost=name).sentences[0]
    assert COST_WORDS["latency_ms"].amount(1234.5) == "1234 ms"
    assert COST_WORDS["calibration_error"].amount(0.03) == "3 %"


def test_what_cannot_be_decided() -> None:
    for margin, cost, said in (
        (1.0, "latency_ms", "margin"),
        (None, "photos_per_second", "no cost"),
        (None, "x", "no such"),
    ):
        with pytest.raises(UsageError, match=said):
            decide([BIG], margin=margin, cost=cost)
    with pytest.raises(DataError, match="400 and 300 photos"):
        decide([BIG, Candidate(name="other", val=np.ones((1, 300), dtype=bool))])


def test_the_front_is_what_nothing_beats() -> None:
    assert pareto_front([0.9, 0.8, 0.95, 0.9, 0.9], [2.0, 1.0, 9.0, 3.0, 2.0]) == (True, True, True, False, True)
    assert pareto_front([0.9, 0.9], [2.0, float("inf")]) == (True, False)
    assert pareto_front([], []) == ()
    draw = np.random.default_rng(0)
    scores, costs = draw.random(12), draw.integers(0, 5, 12).astype(float)
    front = pareto_front(scores.tolist(), costs.tolist())
    for place in range(12):
        beaten = (scores >= scores[place]) & (costs <= costs[place])
        assert front[place] == (beaten.sum() == 1)


def test_the_best_of_twenty_equal_models_is_reported_without_luck() -> None:
    """Chosen on val, its test top-1 is right within 0.3 points; val itself, or a choice on test, is not."""
    equal = Population(top1=(0.9,) * 20, seed_sd=0.0)
    drawn = equal.draw(np.random.default_rng(6), 400, 1, 341 + 372)
    chosen, seen, on_test = [], [], []
    for trial in range(400):
        candidates = [Candidate(name=f"{place}", val=rows[trial][:, :341]) for place, rows in enumerate(drawn)]
        best = best_on_val(candidates, "latency_ms")
        assert best is not None
        tests = [float(rows[trial][:, 341:].mean()) for rows in drawn]
        seen.append(best.top1)
        chosen.append(tests[int(best.name)])
        on_test.append(max(tests))
    assert abs(np.mean(chosen) - 0.9) < 0.003
    assert np.mean(seen) - 0.9 > 0.015
    assert np.mean(on_test) - 0.9 > 0.015


def test_the_verdict_takes_the_best_on_val() -> None:
    drawn = Population(top1=(0.85, 0.9, 0.9)).draw(np.random.default_rng(7), 8, 3, 100)
    for trial in range(8):
        candidates = [Candidate(name=f"{place}", val=rows[trial]) for place, rows in enumerate(drawn)]
        best = best_on_val(candidates, "latency_ms")
        assert best is not None
        assert decide(candidates).chosen == best.name
