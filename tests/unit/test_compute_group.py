"""Who is who, and who has which rows; nothing is opened here."""

from __future__ import annotations

import itertools

import pytest
from models_kit import tiny
from stream_sample import train_plan

from deitft.compute.group import ALONE, Group
from deitft.compute.rank import Rank, rank_here
from deitft.errors import RecipeError, UsageError
from deitft.models.build import build
from deitft.runs.together import check_shares, trains_in_one, turn_of

WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


def test_the_environment_says_who_is_who() -> None:
    assert rank_here({}) == Rank()
    assert rank_here({"MASTER_ADDR": "a", "LOCAL_RANK": "3"}) == Rank(), "no word of several processes"
    assert rank_here({**WHOLE, "WORLD_SIZE": "1", "RANK": "0"}) == Rank(), "one process opens nothing"
    assert rank_here(WHOLE) == Rank(1, 4, 1, 4)
    assert rank_here({**WHOLE, "LOCAL_WORLD_SIZE": "2"}) == Rank(1, 4, 1, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": ""}, "RANK is not set"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "MASTER_ADDR, MASTER_PORT are not set"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is not set"),
        ({"RANK": "4"}, "process 4 of 4"),
        ({"RANK": "one"}, "whole numbers"),
    ],
)
def test_half_an_environment_is_one_line(changes: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        rank_here({name: value for name, value in {**WHOLE, **changes}.items() if value})
    assert caught.value.id == "PROCESSES"
    assert "\n" not in caught.value.line


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6, 12])
def test_rows_are_equal_shares_that_cut_no_pair(world: int) -> None:
    shares = [Group(Rank(rank, world)).rows(24, paired=True) for rank in range(world)]
    assert [row for share in shares for row in range(24)[share]] == list(range(24))
    assert all(share.start % 2 == 0 for share in shares)


@pytest.mark.parametrize(
    ("batch", "world", "paired", "choices"),
    [(16, 3, False, "1, 2, 4, 8 or 16"), (18, 2, True, "1, 3 or 9"), (2, 4, False, "1 or 2")],
)
def test_c11_a_batch_that_cannot_be_shared_out(batch: int, world: int, paired: bool, choices: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Group(Rank(0, world)).rows(batch, paired=paired)
    assert caught.value.id == "C11"
    assert f"choose {choices} processes" in caught.value.line


def test_one_process_may_have_any_batch() -> None:
    assert ALONE.rows(7, paired=True) == slice(0, 7), "an odd batch is the mixing's own business"


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("photos", [0, 1, 2, 7, 97])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_n6_every_photo_has_its_turn_once(world: int, photos: int, batch: int) -> None:
    turns = [turn_of(Group(Rank(rank, world)), photos, batch).tolist() for rank in range(world)]
    assert sorted(itertools.chain(*turns)) == list(range(photos))


def test_batchnorm_needs_gpus_where_several_processes_train() -> None:
    two, plan = Group(Rank(0, 2)), train_plan(model="resnet10t.c3_in1k")
    with pytest.raises(RecipeError, match="has BatchNorm, which in 2 processes") as caught:
        check_shares(plan, build("resnet10t", num_classes=3), two)
    assert caught.value.id == "MODEL"
    check_shares(plan, build("resnet10t", num_classes=3), ALONE)
    frozen = build("resnet10t", num_classes=3)
    frozen.freeze("head")
    check_shares(plan, frozen, two)
    check_shares(plan, tiny(classes=3), two)
    assert trains_in_one("resnet10t", two, "cpu")
    assert not trains_in_one("resnet10t", two, "cuda")
