"""What contenders began with, in words, and who did not begin with the published weights of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe_helpers import MOBILENET, facts

from deitft.core.records import RunRecord
from deitft.recipe.load import load_recipe
from deitft.recipe.plan import resolve
from deitft.runs.compare_weights import other_weights, seen
from deitft.runs.finished import Contender, Finished
from deitft.runs.folder import RunFolder

STRANGE = {"model": "resnet10t.c3_in1k", "short_name": None}
PLAIN = {"kind": "folder", "architecture": "deit_tiny_patch16_224", "tag": "fb_in1k", "exact_tag": False}
TWO_TOKENS = {"model": "deit_tiny_distilled_patch16_224.fb_in1k", "short_name": "deit_ti"}
QUANTISED = {"kind": "folder", "architecture": "mobilenetv2_100", "tag": "tv_in1k_int8deq", "exact_tag": False}
FILE = {"kind": "file", "path": "/home/someone/a.pth", "architecture": "", "tag": None, "exact_tag": False}
OWN = {"kind": "run", "architecture": "mobilenetv2_100", "tag": "ra_in1k", "exact_tag": False}


def run(weights: dict[str, Any], **model: Any) -> Finished:
    plan = resolve(load_recipe("finetune"), facts(weights=weights, **model), seed=0)
    record = RunRecord(name="run", verb="finetune", command=[], status="done", started="2026-01-01")
    return Finished(RunFolder(Path("run")), record, plan)


@pytest.mark.parametrize(
    ("weights", "model", "words"),
    [
        ({"kind": "none"}, MOBILENET, "nothing"),
        ({"kind": "hub", "tag": "ra_in1k", "exact_tag": True}, MOBILENET, "ImageNet-1k"),
        (QUANTISED, MOBILENET, "ImageNet-1k (tv_in1k_int8deq)"),
        ({**QUANTISED, "tag": "fb_in22k_ft_in1k"}, MOBILENET, "ImageNet-21k, then 1k (fb_in22k_ft_in1k)"),
        ({**QUANTISED, "tag": "of_my_own"}, MOBILENET, "not known (of_my_own)"),
        (PLAIN, TWO_TOKENS, "ImageNet-1k"),
        ({"kind": "hub", "tag": "c3_in1k", "exact_tag": True}, STRANGE, "ImageNet-1k (c3_in1k)"),
        (FILE, MOBILENET, "not known"),
        (OWN, MOBILENET, "ImageNet-1k, then the photos of another run"),
        ({**OWN, "tag": None}, MOBILENET, "the photos of another run"),
    ],
)
def test_what_weights_have_seen_is_said_in_words(
    weights: dict[str, Any], model: dict[str, Any], words: str
) -> None:
    assert seen(run(weights, **model)) == words


def test_who_began_with_other_weights_than_the_published_is_named() -> None:
    published = Contender("vit_b", (run({"kind": "hub", "tag": "ra_in1k", "exact_tag": True}, **MOBILENET),))
    random = Contender("random", (run({"kind": "none"}, **MOBILENET),))
    assert other_weights([published, random]) == []
    others = [
        Contender(label, (run(weights, **model),))
        for label, weights, model in (
            ("deit_ti", PLAIN, TWO_TOKENS),
            ("mobilenetv2", QUANTISED, MOBILENET),
            ("again", OWN, MOBILENET),
            ("mine", FILE, MOBILENET),
        )
    ]
    (said,) = other_weights([published, *others])
    assert (
        "deit_ti began with deit_tiny_patch16_224.fb_in1k; mobilenetv2 began with mobilenetv2_100.tv_in1k_" in said
    )
    assert "again began with another run; mine began with the file a.pth. " in said
    assert said.endswith("The published figures are of other weights.")
    assert "vit_b" not in said
    assert "random" not in said
