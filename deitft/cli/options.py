"""The options that verbs share: one name, one meaning, one help text each.

Every name equals the keyword of the verb's Python function; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deitft.cli.completion import complete_models, complete_recipes, complete_run_names, complete_runs

# A flag takes no value: its metavar is empty, else the help would show a type beside it.
DATA, MODEL, TRAINING, MACHINE, OUTPUT = "Data", "Model", "Training", "Machine", "Output"


class PrecisionName(StrEnum):
    """What the arithmetic of the model may run in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class SplitName(StrEnum):
    """Which photos to evaluate on."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


class LogTarget(StrEnum):
    """Where numbers may go beside the run folder."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


# What is read
Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA...",
        help="folder of photos: one folder a class, or train/, val/ and test/ of those; a table (CSV, Parquet) of "
        "path and label; tar shards; or several of these",
    ),
]
PhotosOrFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTOS...", help="photos, folders of photos, tar shards, tables (CSV, Parquet) of paths"
    ),
]
Root = Annotated[
    list[Path] | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="folder that the paths in a table begin at; left out: the table's own; may be repeated",
        rich_help_panel=DATA,
    ),
]
Nested = Annotated[
    bool,
    typer.Option(
        "--nested",
        metavar="",
        help="folders inside a class folder are classes, too: shoes/boots",
        rich_help_panel=DATA,
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="WHAT",
        help="keep together in the split what has one value here: a table's column, or a regular expression on "
        "file names",
        rich_help_panel=DATA,
    ),
]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="run folder, or a bundle in it", autocompletion=complete_runs),
]
ResumableRun = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="run folder, or RUN/checkpoints/step-N to go back to", autocompletion=complete_runs
    ),
]
SplitsFile = Annotated[
    Path | None,
    typer.Option(
        "--splits", metavar="FILE", help="splits.csv that says which photo goes where", rich_help_panel=DATA
    ),
]
Split = Annotated[
    SplitName | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="train, val, test or all; left out: test where there is one, else all",
        rich_help_panel=DATA,
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", metavar="", help="any bad photo stops the command", rich_help_panel=DATA)
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", metavar="", help="leave bad photos out by name, however many", rich_help_panel=DATA
    ),
]
MaxPixels = Annotated[
    str | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="a photo must have fewer, as 200M; left out: 100M",
        rich_help_panel=DATA,
    ),
]
AllowLeak = Annotated[
    bool,
    typer.Option(
        "--allow-leak",
        metavar="",
        help="go on although test photos are also in train; the report says so",
        rich_help_panel=DATA,
    ),
]

# What is named
RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="shipped recipe, or a YAML file", autocompletion=complete_recipes),
]
Target = Annotated[Path | None, typer.Argument(metavar="FILE", help="file to write; left out: RECIPE.yaml here")]
RunNames = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="names as `deitft runs` lists them", autocompletion=complete_run_names),
]

# The model
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="short name (`deitft models`) or a timm name with its tag; left out: the recipe's",
        autocompletion=complete_models,
        rich_help_panel=MODEL,
    ),
]
LookModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="look for wrong labels with this model's features, or with none; left out: a small model whose "
        "weights are at hand",
        autocompletion=complete_models,
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="PATH",
        help="start from this file, timm folder, run or bundle",
        rich_help_panel=MODEL,
    ),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option(
        "--weights-dir",
        metavar="DIR",
        envvar="DEITFT_WEIGHTS_DIR",
        show_envvar=True,
        help="folder of weights to look in before any download",
        rich_help_panel=MODEL,
    ),
]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained/--no-pretrained",
        metavar="",
        help="start from pretrained weights, or from random ones",
        rich_help_panel=MODEL,
    ),
]

# Training
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="shipped recipe (`deitft recipes`) or a YAML file",
        autocompletion=complete_recipes,
        rich_help_panel=TRAINING,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="change one field of the recipe, as --set optim.lr=1e-4; may be repeated",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="what all chance is drawn from", rich_help_panel=TRAINING)
]
TimeLimit = Annotated[
    str | None,
    typer.Option(
        "--time-limit", metavar="TIME", help="for the whole command, as 30m or 1h30m", rich_help_panel=TRAINING
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        metavar="",
        help="go on with the newest unfinished run of this data and recipe",
        rich_help_panel=TRAINING,
    ),
]
AllowChanged = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-changed",
        metavar="FIELD",
        help="resume although these have changed, as data,lr; may be repeated",
        rich_help_panel=TRAINING,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", metavar="", help="show the plan and stop before training", rich_help_panel=TRAINING),
]

# The machine
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda, cuda:1 or mps",
        show_default=True,
        rich_help_panel=MACHINE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, help="processor threads; left out: all cores", rich_help_panel=MACHINE
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="processes that read photos; 0 reads them in this one",
        rich_help_panel=MACHINE,
    ),
]
Precision = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="auto, fp32, bf16 or fp16; left out: the recipe's, or what this machine does well",
        rich_help_panel=MACHINE,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        help="photos at a time; changes speed and memory only",
        rich_help_panel=MACHINE,
    ),
]
# What is written
RunsDir = Annotated[
    Path,
    typer.Option(
        "--runs-dir", metavar="DIR", help="where run folders are; never inside the photos", rich_help_panel=OUTPUT
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="name of the run folder; left out: numbered", rich_help_panel=OUTPUT
    ),
]
LogTo = Annotated[
    list[LogTarget] | None,
    typer.Option(
        "--log-to",
        metavar="NAME",
        help="also log to tensorboard, wandb or mlflow; may be repeated",
        rich_help_panel=OUTPUT,
    ),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe/--no-probe",
        metavar="",
        help="begin with heads solved on frozen features, and report what these alone reach",
        rich_help_panel=OUTPUT,
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="folder for metrics.json and predictions.csv",
        rich_help_panel=OUTPUT,
    ),
]
CheckFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="folder for findings.csv, fixes.csv and check.json; left out: check-NAME here",
        rich_help_panel=OUTPUT,
    ),
]
ApplyLabels = Annotated[
    Path | None,
    typer.Option(
        "--apply-labels",
        metavar="FILE",
        help="fixes.csv with decisions: check the labels as decided, and write them as labels.csv",
        rich_help_panel=DATA,
    ),
]
Html = Annotated[
    bool,
    typer.Option("--html", metavar="", help="also write a page with the photos found", rich_help_panel=OUTPUT),
]
ShardsFolder = Annotated[Path, typer.Argument(metavar="OUT", help="new folder for the shards")]
ShardMegabytes = Annotated[
    int,
    typer.Option(
        "--shard-mb", metavar="N", min=1, help="megabytes of photos in a shard, about", rich_help_panel=OUTPUT
    ),
]
OutCsv = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="CSV to write; if it is there already, go on with it", rich_help_panel=OUTPUT
    ),
]
Top = Annotated[
    int,
    typer.Option("--top", metavar="K", min=1, help="classes named for each photo", rich_help_panel=OUTPUT),
]
Json = Annotated[
    bool, typer.Option("--json", metavar="", help="print the result as JSON on stdout", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", metavar="", help="no progress: warnings, errors and the result", rich_help_panel=OUTPUT
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", metavar="", help="show the traceback of an error", rich_help_panel=OUTPUT)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", metavar="", help="do not ask", rich_help_panel=OUTPUT)]
Force = Annotated[
    bool, typer.Option("--force", metavar="", help="overwrite a file that is there", rich_help_panel=OUTPUT)
]
