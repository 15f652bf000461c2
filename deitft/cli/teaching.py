"""The options of verbs that may learn from a teacher; names equal the keywords of the Python functions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deitft.cli.completion import complete_models, complete_recipes
from deitft.cli.options import DATA, TRAINING

TEACHER = "Teacher"


class DistillName(StrEnum):
    """What is taken from the teacher: nothing, the class it names, all its probabilities."""

    none = "none"
    hard = "hard"
    soft = "soft"


class AdaptName(StrEnum):
    """How a teacher of other classes learns these."""

    finetune = "finetune"
    probe = "probe"


Distill = Annotated[
    DistillName | None,
    typer.Option(
        "--distill",
        metavar="KIND",
        help="learn from a teacher, too: the class it names (hard), all its probabilities (soft), none",
        rich_help_panel=TEACHER,
    ),
]
TeacherName = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="NAME|RUN|FILE",
        help="a model (or MODEL=FILE), which learns your classes first; a run that knows them; of many the mean",
        autocompletion=complete_models,
        rich_help_panel=TEACHER,
    ),
]
AdaptTeacher = Annotated[
    AdaptName | None,
    typer.Option(
        "--adapt-teacher",
        metavar="WAY",
        help="how a teacher of other classes learns yours: finetune (a model's default) or probe; its run is kept",
        rich_help_panel=TEACHER,
    ),
]
TeacherCacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--teacher-cache",
        metavar="DIR",
        help="keep what the teacher says of each view; a second run with the same views does not ask again",
        rich_help_panel=TEACHER,
    ),
]
PhotosIfAny = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="DATA...",
        help="folder of photos, table or tar shards, as for `finetune`; left out: embedded digits",
    ),
]
CacheViews = Annotated[
    int | None,
    typer.Option(
        "--cache-views",
        metavar="K",
        min=1,
        help="show the views of the first K epochs again and again: a small cache serves, an approximation",
        rich_help_panel=TEACHER,
    ),
]
CacheOfRun = Annotated[
    Path | None,
    typer.Option(
        "--teacher-cache",
        metavar="DIR",
        help="folder of the cache; left out: the run's own, else one inside the run",
        rich_help_panel=TEACHER,
    ),
]
Verify = Annotated[
    float | None,
    typer.Option(
        "--verify",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="fill nothing: compare this share of the steps with the teacher, and all chunks with their digests",
        rich_help_panel=TEACHER,
    ),
]
PricePerHour = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        metavar="PRICE",
        min=0.0,
        help="what an hour of one machine costs: `--dry-run` says what the run will, on all machines",
        rich_help_panel=TRAINING,
    ),
]
Unlabelled = Annotated[
    bool,
    typer.Option(
        "--unlabelled",
        metavar="",
        help="the photos have no labels: everything is learned from the teacher",
        rich_help_panel=DATA,
    ),
]
RecipeIfAny = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="a shipped recipe or a YAML file; left out: pretrain-deit, for the digits pretrain-small",
        autocompletion=complete_recipes,
        rich_help_panel=TRAINING,
    ),
]
