"""What ``compare`` refuses, and that it loses nothing: damaged runs, places among photos, what makes no sense."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from compare_shop import SHORT, write_shop
from run_kit import fails, finetune

import deitft
from deitft.cli.app import main
from deitft.errors import DataError, MissingInputError, OutputError, UnavailableError, UsageError


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def made(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    finetune(shop, folder, "deit-0", *SHORT, seed=0, model="deit_ti")
    splits = folder / "deit-0" / "splits.csv"
    finetune(shop, folder, "net-0", *SHORT, seed=0, model="resnet10t", splits=splits)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """The two runs, to be damaged."""
    return shutil.copytree(made, tmp_path / "runs")


def test_mistakes_in_what_is_asked(shop: Path, made: Path, tmp_path: Path) -> None:
    with fails(UsageError, "USAGE"):
        deitft.compare(shop)
    with fails(UsageError, "USAGE"):
        deitft.compare(made / "deit-0", models="vit_ti")
    with fails(UsageError, "MODEL"):
        deitft.compare(shop, models="deit_ti,deit_ti", runs_dir=tmp_path)
    with fails(UsageError, "MODEL") as caught:
        deitft.compare(shop, models="deit_tii", runs_dir=tmp_path)
    assert "deit_ti" in caught.value.line
    for most in (1001, 10**11):
        with fails(UsageError, "USAGE"):
            deitft.compare(shop, models="deit_ti", seeds=most, runs_dir=tmp_path)
    with fails(UsageError, "USAGE") as caught:
        deitft.compare(made / "deit-0", max_latency="nan")
    assert "--max-latency" in caught.value.line


@pytest.mark.parametrize(
    "idle", [{"seeds": 3}, {"equal_time": "5m"}, {"time_limit": "5m"}, {"set": ["optim.lr=1"]}, {"dry_run": True}]
)
def test_how_to_train_is_no_word_for_finished_runs(made: Path, idle: dict[str, object]) -> None:
    with fails(UsageError, "USAGE") as caught:
        deitft.compare(made / "deit-0", costs=False, **idle)  # type: ignore[arg-type]
    assert next(iter(idle)).replace("_", "-") in caught.value.line


def test_a_device_that_is_not_there_is_said_at_once(shop: Path, made: Path, tmp_path: Path) -> None:
    with fails(UsageError, "DEVICE"):
        deitft.compare(made / "deit-0", device="tpu", costs=False)
    with fails(UnavailableError, "DEVICE"):
        deitft.compare(shop, models="deit_ti", pretrained=False, device="cuda:7", runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_nothing_is_written_among_photos(shop: Path, made: Path, tmp_path: Path) -> None:
    before = sorted(shop.rglob("*"))
    with fails(OutputError, "C5"):
        deitft.compare(shop, models="deit_ti", runs_dir=tmp_path, out=shop / "out")
    with fails(OutputError, "C5"):
        deitft.compare(shop, models="deit_ti", runs_dir=shop / "runs")
    with fails(OutputError, "C5"):
        deitft.compare(made / "deit-0", out=shop / "out", costs=False)
    with fails(OutputError, "C5"):
        deitft.finetune(shop, teacher_cache=shop / "cache", runs_dir=tmp_path, model="deit_ti", pretrained=False)
    assert sorted(shop.rglob("*")) == before


def test_a_place_that_cannot_be_is_said_before_the_photos_are_read(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for place in ({"out": file}, {"runs_dir": file / "runs"}, {"out": Path("/proc/none"), "runs_dir": tmp_path}):
        with fails(OutputError, "C5"):
            deitft.compare(shop, models="deit_ti", **place)  # type: ignore[arg-type]
    assert file.read_text() == "mine"


def _without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def _with_figures(text: str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / "metrics.json").write_text(text)

    return write


def _cut(run: Path) -> None:
    weights = run / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    **{
        name: (_without(name), f"{name} is gone")
        for name in ("predictions.csv", "predictions-val.csv", "splits.csv")
    },
    **{
        name: (_without(name), f"{name} is gone")
        for name in ("check.json", "metrics.json", "best/model.safetensors")
    },
    "no figures": (_with_figures("[]"), "metrics.json has no figures"),
    "other figures": (_with_figures('{"version": 1, "test": {"top1": "NaN"}}'), "metrics.json lacks figures"),
    "cut weights": (_cut, "model.safetensors"),
}


@pytest.mark.parametrize("harm", DAMAGE)
def test_a_damaged_run_is_named_and_the_others_are_compared(harm: str, runs: Path) -> None:
    damage, said = DAMAGE[harm]
    damage(runs / "deit-0")
    with pytest.raises(DataError) as caught:
        deitft.compare([runs / "deit-0", runs / "net-0"], costs=False)
    assert said in caught.value.line
    found = deitft.compare(runs_dir=runs, costs=False)
    assert [name for name, _ in found.others] == ["deit-0"]
    assert [row.runs for row in found.tables[0].rows] == [("net-0",)]


def test_a_cut_table_is_named(runs: Path) -> None:
    file = runs / "deit-0" / "predictions.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    with fails(DataError, "RUN") as caught:
        deitft.compare(runs / "deit-0", costs=False)
    assert "deit-0/predictions.csv has no answer for 13 test photos" in caught.value.line
    sides = runs / "net-0" / "splits.csv"
    sides.write_text(sides.read_text().replace(",val", ",test", 1))
    with fails(DataError, "RUN") as caught:
        deitft.compare(runs / "net-0", costs=False)
    assert "net-0/splits.csv is not what the run has written" in caught.value.line


def test_a_run_without_its_record_is_not_left_out_in_silence(runs: Path) -> None:
    (runs / "deit-0" / "run.json").unlink()
    for named in (runs / "deit-0", [runs / "deit-0", runs / "net-0"]):
        with fails(MissingInputError, "RUN"):
            deitft.compare(named, costs=False, runs_dir=runs)


def test_a_comparison_is_no_run_and_stands_for_none(runs: Path) -> None:
    found = deitft.compare([runs / "deit-0", runs / "net-0"], costs=False, runs_dir=runs)
    again = deitft.compare([*runs.glob("*")], costs=False, runs_dir=runs)
    assert [row.runs for row in again.tables[0].rows] == [row.runs for row in found.tables[0].rows]
    with fails(UsageError, "USAGE"):
        deitft.compare(found.folders[0], costs=False, runs_dir=runs)


def test_photos_with_a_list_of_their_sides_are_photos(shop: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(shop, tmp_path / "photos")
    (photos / "splits.csv").write_text("path,split\n")
    with fails(UsageError, "USAGE") as caught:
        deitft.compare(photos)
    assert "no models are named" in caught.value.line


def test_an_earlier_comparison_of_other_runs_is_kept(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--no-costs", "--quiet", "--runs-dir", str(runs), "--json"]
    assert main([*words, str(runs / "deit-0"), str(runs / "net-0")]) == 0
    (folder,) = runs.glob("comparison-*")
    first = (folder / "compare.json").read_bytes()
    assert main([*words, str(runs / "deit-0"), str(runs / "net-0")]) == 0
    assert not list(folder.glob("earlier-*")), "the same runs: the new one stands for the old one"
    first = (folder / "compare.json").read_bytes()
    assert main([*words, str(runs / "deit-0")]) == 0
    (earlier,) = folder.glob("earlier-*")
    assert (earlier / "compare.json").read_bytes() == first
    assert (earlier / "compare.html").is_file()
    assert len(json.loads((folder / "compare.json").read_text())["rows"]) == 1
    capfd.readouterr()
