"""Figures of samples, and the verdict on the clock."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from deitft.evaluation.cost import (
    CostReport,
    CostSettings,
    Memory,
    ModelCost,
    best_batch,
    noise_of,
    report_from,
    throughput_of,
    timing_of,
)

STEADY = [[0.010, 0.011, 0.012]] * 3 + [[0.010, 0.0112, 0.013]] * 3


def model(**more: object) -> ModelCost:
    given = {
        "bundle": "a",
        "sha256": "0" * 64,
        "model": "m",
        "image_size": 32,
        "parameters": 7,
        "weights_bytes": 28,
    }
    return ModelCost(**(given | more))  # type: ignore[arg-type]


def test_a_timing_is_of_all_calls_and_its_spread_of_the_rounds() -> None:
    found = timing_of(STEADY)
    calls = 1000 * np.ravel(STEADY)
    assert (found.calls, found.rounds) == (18, 6)
    assert found.p50 == pytest.approx(np.median(calls))
    assert found.p95 == pytest.approx(np.percentile(calls, 95))
    assert found.passes == pytest.approx((11.0, 11.2))
    assert found.spread == pytest.approx(0.2)
    twice = timing_of([[2 * value for value in row] for row in STEADY])
    assert twice.p95 == pytest.approx(2 * found.p95)
    assert twice.spread == pytest.approx(2 * found.spread)


def test_rounds_may_have_different_numbers_of_calls() -> None:
    assert timing_of([[0.01], [0.01, 0.03, 0.01], [0.01], [0.01, 0.01]]).p50 == pytest.approx(10)


def test_photos_a_second_are_of_whole_batches() -> None:
    found = throughput_of([[0.5], [0.5, 0.4, 0.6], [0.25], [0.5]], 8, [(1, 4.0), (8, 16.0)], "the limit of 8")
    assert found.images_per_second == 16
    assert found.passes == (16, 24)
    assert found.tried == ((1, 4.0), (8, 16.0))


def test_a_quiet_machine_is_believed() -> None:
    quiet = model(latency=timing_of(STEADY), photo=timing_of(STEADY))
    assert noise_of([quiet], load=(0.1, 0.2), others=0.02).reasons == ()
    assert not noise_of([quiet], load=None, others=None).noisy


def test_rounds_that_differ_are_noise_and_the_figure_is_named() -> None:
    wide = timing_of([[0.010], [0.012], [0.010], [0.012], [0.010], [0.012], [0.010], [0.012]])
    found = noise_of([model(latency=wide)], load=None, others=None)
    assert found.reasons == ("model-only latency of a: rounds spread over 18%",)


def test_passes_that_do_not_agree_are_noise() -> None:
    drift = replace(timing_of([[0.010]] * 2 + [[0.0104]] * 2), spread=0.1)
    (reason,) = noise_of([model(photo=drift)], load=None, others=None).reasons
    assert reason == "photo-to-answer latency of a: 10 ms in the first pass, 10.4 in the second"
    assert not noise_of([model(photo=replace(drift, spread=0.5))], load=None, others=None).noisy
    halved = throughput_of([[1.0]] * 5 + [[0.5]] * 3, 4, [(4, 4.0)], "")
    assert noise_of([model(throughput=halved)], load=None, others=None).noisy


def test_other_processes_are_a_reason_by_themselves() -> None:
    found = noise_of([model()], load=(3.0, 3.1), others=0.5)
    assert found.noisy
    assert found.reasons == ("other processes used 50% of the cores",)


def test_the_best_batch_is_the_smallest_that_is_as_good() -> None:
    assert best_batch([(1, 10.0), (2, 19.0), (4, 19.5), (8, 18.0)]) == 2
    assert best_batch([(1, 10.0), (2, 19.0), (4, 25.0)]) == 4
    assert best_batch([(1, 10.0)]) == 1


def test_a_report_comes_back_from_json() -> None:
    full = model(
        flops=12,
        latency=timing_of(STEADY),
        photo=timing_of(STEADY),
        throughput=throughput_of(STEADY, 2, [(1, 3.0)], "the limit of 1"),
        memory=Memory(
            how="resident", base_bytes=1, loading_bytes=2, one_bytes=3, best_bytes=4, includes_loading=False
        ),
    )
    failed = model(error={"id": "S6", "what": "damaged"})
    report = CostReport(
        models=(full, failed),
        settings=CostSettings(rounds=6),
        machine={"device": "cpu", "threads": 1},
        counter="some",
        photos=16,
        measured="2026-01-01T00:00:00+00:00",
        noise=noise_of([full], load=(1.0, 2.0), others=0.3),
    )
    plain = json.loads(json.dumps(report.record()))
    assert report_from(plain) == report
    with pytest.raises(ValueError, match="version"):
        report_from(plain | {"version": 99})


@pytest.mark.parametrize("wrong", [{"rounds": 3}, {"rounds": 5}, {"batch_limit": 0}, {"slice_seconds": -1.0}])
def test_settings_that_measure_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rounds is even"):
        CostSettings(**wrong)  # type: ignore[arg-type]
