"""Every pair in plain words: corrected for many, with what is missing."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from crossed_kit import Population
from statsmodels.stats.multitest import multipletests

from deitft.evaluation.model_difference import compare_models
from deitft.evaluation.model_pairs import all_pairs, amount, needed_text, p_text, seed_note
from deitft.evaluation.power import PhotosNeeded, mcnemar_power


def some_models(seeds: int = 3) -> dict[str, np.ndarray]:
    drawn = Population(top1=(0.8, 0.93, 0.92), seed_sd=0.003).draw(np.random.default_rng(5), 1, seeds, 372)
    return dict(zip(("resnet50", "deit_s", "vit_b"), (rows[0] for rows in drawn), strict=True))


def test_pairs_are_corrected_and_named_better_first() -> None:
    models = some_models()
    pairs = all_pairs(models)
    assert {frozenset((pair.a, pair.b)) for pair in pairs} == {
        frozenset(names) for names in (("deit_s", "vit_b"), ("deit_s", "resnet50"), ("vit_b", "resnet50"))
    }
    assert all(models[pair.a].mean() >= models[pair.b].mean() for pair in pairs)
    raw = [compare_models(models[pair.a], models[pair.b]).p for pair in pairs]
    assert [pair.p for pair in pairs] == pytest.approx(multipletests(raw, method="holm")[1].tolist())
    json.dumps([pair.record() for pair in pairs], allow_nan=False)


def test_a_sentence_for_each_case() -> None:
    pairs = {frozenset((pair.a, pair.b)): pair for pair in all_pairs(some_models(1))}
    won, open_ = pairs[frozenset(("deit_s", "resnet50"))], pairs[frozenset(("deit_s", "vit_b"))]
    assert re.fullmatch(
        r"deit_s beats resnet50 by \d+\.\d points \(\d+\.\d to \d+\.\d, p < 0\.001\)", won.sentence
    )
    assert re.fullmatch(
        r"\w+ and \w+ cannot be told apart on 372 photos; some [\d,]+0 would be needed", open_.sentence
    )
    assert open_.needed is not None
    assert open_.needed.photos is not None
    shares = open_.found.only_a / 372, open_.found.only_b / 372
    assert mcnemar_power(open_.needed.photos, *shares, open_.needed.alpha) == pytest.approx(0.8, abs=0.01)
    assert open_.needed.alpha == 0.05  # the other two pairs are settled
    same = some_models()["vit_b"]
    (tied,) = all_pairs({"one": same, "two": same})
    assert tied.sentence == "one and two cannot be told apart on 372 photos: they got equally many right"


def test_what_would_settle_it() -> None:
    models = some_models()
    found = compare_models(models["deit_s"], models["vit_b"])
    needed = PhotosNeeded(photos=None, more_seeds=(7, 2251), power=0.8, alpha=0.05)
    said = "with 3 seeds each no number of photos would be enough"
    assert needed_text(found, needed) == f"{said}, with 7 seeds each some 2,300 would"
    assert needed_text(found, dataclasses.replace(needed, more_seeds=None)) == said
    far = dataclasses.replace(needed, photos=20001)
    assert needed_text(dataclasses.replace(found, seeds_a=1), far).startswith(
        "with 1 and 3 seeds some 21,000 would"
    )
    alone = dataclasses.replace(found, seed_part="left out", seeds_a=1, seeds_b=1)
    nothing = dataclasses.replace(needed, more_seeds=None)
    assert needed_text(alone, nothing) == "no number of photos would be enough"


def test_a_pair_that_only_the_correction_keeps_apart_is_not_told_apart() -> None:
    """The sentence must not claim it, and must ask for more photos than there are."""
    right = np.ones((1, 200), dtype=bool)
    models = {}
    for place, name in enumerate("abcd"):
        models[name] = right.copy()
        models[name][0, 40 * place : 40 * place + (0, 6, 8, 14)[place]] = False
    pairs = all_pairs(models)
    assert any(pair.found.p < 0.05 <= pair.p for pair in pairs)
    left = sum(pair.p >= 0.05 for pair in pairs)
    assert left > 1
    for pair in pairs:
        assert pair.told_apart == (pair.p < 0.05 and pair.found.low > 0)
        assert pair.needed is None or pair.needed.alpha == 0.05 / left
        if pair.needed is not None:
            assert pair.needed.photos is None or pair.needed.photos > 200


def test_seeds_that_are_not_in_the_figures_are_spoken_of() -> None:
    models = some_models()
    one, three = models["deit_s"][:1], models["vit_b"]
    assert seed_note([compare_models(three, three)]) is None
    assert "taken from the other" in str(seed_note([compare_models(one, three), compare_models(three, three)]))
    assert "another training" in str(seed_note([compare_models(one, one), compare_models(one, three)]))


def test_numbers_as_they_are_said() -> None:
    assert [amount(share) for share in (0.01, 0.021, -0.0001, -0.012)] == [
        "1.0 point",
        "2.1 points",
        "0.0 points",
        "-1.2 points",
    ]
    assert [p_text(p) for p in (0.0004, 0.0021, 0.0312, 1.0)] == ["p < 0.001", "p = 0.002", "p = 0.03", "p = 1.00"]
