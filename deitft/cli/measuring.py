"""The options of ``evaluate`` alone: a run or, in its place, ImageNet weights as they are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deitft.cli.completion import complete_models, complete_runs
from deitft.cli.options import MODEL


class CropName(StrEnum):
    """Whose centre crop photos get for weights as published."""

    timm = "timm"
    authors = "authors"


RunIfAny = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="run folder, or a bundle in it; left out with --model",
        autocompletion=complete_runs,
    ),
]
PhotosAfterRun = Annotated[
    list[Path] | None,
    typer.Argument(metavar="DATA...", help="folder of photos, table or tar shards, as for `finetune`"),
]
PublishedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="measure ImageNet weights as they are, without a run: short name or a timm name with its tag",
        autocompletion=complete_models,
        rich_help_panel=MODEL,
    ),
]
PublishedWeights = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="PATH", help="the weights of --model: a file, or a timm folder", rich_help_panel=MODEL
    ),
]
Crop = Annotated[
    CropName | None,
    typer.Option(
        "--crop",
        metavar="NAME",
        help="centre crop of --model's photos: timm (as it publishes the weights) or authors; left out: timm",
        rich_help_panel=MODEL,
    ),
]
