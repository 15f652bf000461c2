"""What the ledgers of measurements say: grouped by kind, compared photo by photo, without places of a machine."""

from __future__ import annotations

import importlib
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deitft.evaluation.statistics import paired_difference

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
MODULES = ("command", "comparison", "ledger", "photos", "tables", "timm_log", "trial")


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[dict[str, ModuleType]]:
    """The scripts' modules, as the scripts themselves import them; gone after these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def row(recipe: str, seed: int, right: str, *, model: str = "deit_ti", **more: Any) -> dict[str, Any]:
    """A ledger row of a run that got these photos right."""
    judged = right.replace(".", "")
    return {
        "id": f"{recipe}-{model}-{seed}",
        "subject": {"data": "clothing-small", "model": model, "recipe": recipe, "seed": seed},
        "result": {"top1": judged.count("1") / len(judged), "top5": 1.0},
        "seconds": {"command": 600.0 + 60 * seed, "cpu": 1000.0},
        "resumed": False,
        "images_per_second": {"160": {"median": 50.0 + seed}},
        "verdicts": {"photos": "a", "right": right},
        **more,
    }


def test_a_table_has_mean_and_deviation_over_seeds(benchmarks: dict[str, ModuleType]) -> None:
    rows = [row("finetune", 0, "1111100000"), row("finetune", 1, "1111111000"), row("finetune", 2, "1111110000")]
    line = benchmarks["tables"].runs(rows).splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    sd = statistics.stdev([50, 70, 60])
    assert cells[:5] == ["finetune", "deit_ti", "clothing-small", "3", f"60.00 ± {sd:.2f}"]
    assert cells[5:] == ["100.00 ± 0.00", "11.0 ± 1.0", "16.7 ± 0.0", "51.0 ± 1.0 at 160"]


def test_times_of_interrupted_runs_do_not_count_but_their_scores_do(benchmarks: dict[str, ModuleType]) -> None:
    rows = [row("finetune", 0, "1100"), row("finetune", 1, "1000", resumed=True, seconds={"command": 1, "cpu": 1})]
    cells = [cell.strip() for cell in benchmarks["tables"].runs(rows).splitlines()[2].strip("|").split("|")]
    assert cells[3] == "2"
    assert cells[4].startswith("37.50 ± ")
    assert cells[6:8] == ["10.0", "16.7"]


def test_a_difference_keeps_all_seeds_of_a_photo_together(benchmarks: dict[str, ModuleType]) -> None:
    """Three seeds that say the same of each photo know no more than one of them."""
    draw = np.random.default_rng(3)
    a, b = (draw.random((2, 300)) < [[0.9], [0.8]]).astype(int)
    better, worse = "".join(map(str, a)), "".join(map(str, b))
    compare = benchmarks["comparison"].compare
    three = compare({s: row("x", s, better) for s in range(3)}, {s: row("y", s, worse) for s in range(3)})
    photos = np.tile(np.arange(300), 3)
    expected = paired_difference(np.tile(a, 3) == 1, np.tile(b, 3) == 1, photos)
    assert (three.paired, three.paired.groups) == (expected, 300)
    assert three.seeds.sd == pytest.approx(0, abs=1e-12)
    one = compare({0: row("x", 0, better)}, {0: row("y", 0, worse)})
    assert one.paired.difference == pytest.approx(three.paired.difference)
    assert three.paired.high - three.paired.low == pytest.approx(one.paired.high - one.paired.low, rel=0.1)
    apart = paired_difference(np.tile(a, 3) == 1, np.tile(b, 3) == 1)
    assert three.paired.high - three.paired.low > 1.4 * (apart.high - apart.low)


def test_photos_that_are_test_with_one_seed_only_are_compared_with_that_seed(
    benchmarks: dict[str, ModuleType],
) -> None:
    first = {0: row("x", 0, "11.."), 1: row("x", 1, "..10")}
    second = {0: row("y", 0, "10.."), 1: row("y", 1, "..00")}
    found = benchmarks["comparison"].compare(first, second)
    assert (found.paired.difference, found.paired.n, found.paired.groups) == (0.5, 4, 4)
    assert (found.seeds.mean, found.seeds.sd) == (0.5, 0)
    # Only seeds that both have.
    assert benchmarks["comparison"].compare(first, {2: row("y", 2, "11..")}) is None


def test_other_photos_are_not_compared(benchmarks: dict[str, ModuleType]) -> None:
    compare = benchmarks["comparison"].compare
    other = row("y", 0, "10", verdicts={"photos": "b", "right": "10"})
    with pytest.raises(ValueError, match="not the same photos"):
        compare({0: row("x", 0, "11")}, {0: other})
    with pytest.raises(ValueError, match="not the same photos"):
        compare({0: row("x", 0, "11.")}, {0: row("y", 0, "1.1")})


def test_each_model_is_compared_with_its_own_and_with_timm(benchmarks: dict[str, ModuleType]) -> None:
    rows = [
        row("finetune", 0, "1" * 40),
        row("finetune", 0, "10" * 20, model="mobilenetv2"),
        row("linear-probe", 0, "1110" * 10),
        row("linear-probe", 0, "10" * 20, model="mobilenetv2"),
        row("timm train.py", 0, "0" * 40, model="deit_tiny"),
    ]
    found = benchmarks["comparison"].against(rows, "finetune")
    pairs = {(kind[1:], other[1:]): comparison.paired.difference for kind, other, comparison, _ in found}
    assert pairs == {
        (("deit_ti", "linear-probe"), ("deit_ti", "finetune")): -0.25,
        (("mobilenetv2", "linear-probe"), ("mobilenetv2", "finetune")): 0.0,
    }
    found = benchmarks["comparison"].against(rows, "timm train.py")
    assert len(found) == 4
    assert all(p >= comparison.paired.p for _, _, comparison, p in found)
    text = benchmarks["tables"].differences(rows, "timm train.py")
    assert "| finetune | deit_ti (against deit_tiny) | clothing-small | 1 | +100.00 |" in text
    assert benchmarks["tables"].differences(rows, "products") == ""


def test_a_ledger_goes_on_and_names_no_place(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    Ledger = benchmarks["ledger"].Ledger
    plan = {"data": "/home/ann/work/data/photos", "weights": {"path": "/opt/w/deit_ti/model.safetensors"}}
    Ledger("x", tmp_path).add(
        "a", {"plan": plan, "said": 'see "/tmp/runs/a/report.html", 3 images/s; ../shared/data'}
    )
    Ledger("x", tmp_path).add("b", {"load_before": 0.5, "command": ["deitft", "resume", Path("/tmp/x/runs/b")]})
    again = Ledger("x", tmp_path)
    assert "a" in again
    assert "c" not in again
    a, b = again.rows.values()
    assert a["plan"] == {"data": "data/photos", "weights": {"path": "deit_ti/model.safetensors"}}
    assert a["said"] == 'see "a/report.html", 3 images/s; ../shared/data'
    assert b["command"] == ["deitft", "resume", "runs/b"]
    assert (b["load_before"], "load_after" in b) == (0.5, True)
    assert all(len(json.loads(line)["code"]["commit"]) in (0, 40) for line in again.path.read_text().splitlines())


def test_draws_lie_in_each_other_and_keep_the_proportions(
    benchmarks: dict[str, ModuleType], tmp_path: Path
) -> None:
    photos = benchmarks["photos"]
    for split, count in zip(photos.SPLITS, (60, 20, 20), strict=True):
        for name, share in (("a", 1.0), ("b", 0.5)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(int(share * count)):
                (tmp_path / split / name / f"{split}{number}.jpg").write_bytes(f"{split}{name}{number}".encode())
    small, large, other = photos.draw(tmp_path, 15, 0), photos.draw(tmp_path, 60, 0), photos.draw(tmp_path, 15, 1)
    assert {name: len(paths) for name, paths in small.items()} == {"a": 10, "b": 5}
    assert {name: len(paths) for name, paths in large.items()} == {"a": 40, "b": 20}
    assert all(set(small[name]) < set(large[name]) for name in small)
    assert set(small["a"]) != set(other["a"])
    folder = photos.with_test(tmp_path, tmp_path / "drawn", 60, 0)
    judged = {path.read_bytes() for path in folder.glob("test/*/*.jpg")}
    learned = {path.read_bytes() for path in folder.glob("train/*/*.jpg")}
    assert (len(judged), len(learned), judged & learned) == (90, 60, set())
    universe = photos.digests(path for paths in photos.by_class(tmp_path).values() for path in paths)
    right = photos.verdicts(dict.fromkeys(photos.digests(folder.glob("test/*/*.jpg")), True), universe)["right"]
    assert (right.count("1"), right.count("."), len(right)) == (90, 60, 150)
    with pytest.raises(KeyError):
        photos.verdicts({"unknown": True}, universe)


def test_timms_log_is_read(benchmarks: dict[str, ModuleType]) -> None:
    log = """
Train: 0 [   0/47 (  2%)]  Loss: 2.47 (2.47)  Time: 5.562s,   11.51/s  (5.562s,   11.51/s)  LR: 2.8e-07
Train: 0 [  20/47 ( 45%)]  Loss: 1.73 (2.13)  Time: 2.999s,   21.34/s  (3.047s,   21.01/s)  LR: 5.9e-05
Test: [   0/5]  Time: 3.170 (3.170)  Loss:   0.957 ( 0.957)  Acc@1:  68.750 ( 68.750)  Acc@5:  98.438 ( 98.438)
Train: 1 [  46/47 (100%)]  Loss: 1.22 (1.76)  Time: 3.093s,   20.69/s  (2.000s,   32.00/s)  LR: 1.3e-04
"""
    timm_log = benchmarks["timm_log"]
    assert timm_log.between(log, 0, 20) == pytest.approx(64 * 20 / (3.047 * 21 - 5.562))
    assert timm_log.between(log, 0, 40) is None
    assert timm_log.epoch_speeds(log) == pytest.approx([64 / 3.047, 32.0])


def test_the_best_epoch_of_a_resumed_run_may_be_before_the_stop(
    benchmarks: dict[str, ModuleType], tmp_path: Path
) -> None:
    head = "epoch,train_loss,eval_loss,eval_top1,eval_top5,lr\n"
    rows = [f"{epoch},1.0,1.0,{top1},99,0.1\n" for epoch, top1 in ((0, 80), (1, 91.5), (2, 85))]
    (tmp_path / "summary.csv").write_text(head + "".join(rows) + head + "2,1.0,1.0,91.5,99,0.1\n3,1,1,90,99,0.1\n")
    assert benchmarks["timm_log"].best_epoch(tmp_path / "summary.csv") == {"epoch": 1, "eval_top1": 91.5}


def test_speeds_are_of_whole_windows_of_one_size(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    told = [(10, 1.0), (20, 50.0), (30, 60.0), (40, 30.0), (48, 25.0), (40, 1.0), (50, 28.0)]
    lines = [
        f"2026-01-01T00:00:00+00:00 step {step} loss 1 lr 0.1 images_per_second {speed}" for step, speed in told
    ]
    lines.insert(3, "2026-01-01T00:00:00+00:00 step 30 val raw_top1 0.9")
    (tmp_path / "train.log").write_text("\n".join(lines) + "\n")

    class Plan:
        batch = 64

        def size_at(self, step: int) -> int:
            return 160 if step < 35 else 224

    found = benchmarks["trial"].speeds(tmp_path, Plan())
    small, full = found["160"], found["224"]
    assert (small["windows"], small["images"], small["median"]) == (2, 20 * 64, 55.0)
    assert small["mean"] == pytest.approx(20 / (10 / 50 + 10 / 60))
    # 30 to 40 is of both sizes; 48 to 40 goes back to a checkpoint.
    assert (full["windows"], full["images"], full["slowest"], full["fastest"]) == (2, 18 * 64, 25.0, 28.0)
    assert benchmarks["trial"].speeds(tmp_path / "none", Plan()) == {}


def test_the_records_that_are_kept_name_no_place_and_make_tables(benchmarks: dict[str, ModuleType]) -> None:
    for file in sorted((BENCHMARKS / "records").glob("*.jsonl")):
        ledger = benchmarks["ledger"].Ledger(file.stem)
        assert len(ledger.rows) == len(file.read_text().splitlines()), f"{file.name}: an id twice"
        for found in ledger.rows.values():
            assert benchmarks["ledger"].without_places(found) == found, f"{file.name}: {found['id']} names a place"
        if file.stem in benchmarks["tables"].TABLES:
            assert benchmarks["tables"].TABLES[file.stem](list(ledger.rows.values())).count("\n") > 1


def test_the_million_entries_have_a_plan(benchmarks: dict[str, ModuleType]) -> None:
    """The script is run rarely: what it tells the planner must fit at any time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        plan_for = importlib.import_module("million_entries").plan_for
    sys.modules.pop("million_entries")
    plan = plan_for(1000, ("a", "b", "c", "d"), 20, 2)
    assert (plan.total_steps, plan.batch, plan.preprocessing.size, plan.workers) == (20, 60, 96, 2)
    assert plan.train_counts == (250,) * 4


def test_the_table_of_teachers_keeps_the_claims_apart(benchmarks: dict[str, ModuleType]) -> None:
    """A student whose teacher was chosen on val has no figure of val and test together."""
    half = {"both": {"n": 4, "top1": 0.5}}
    teachers = {"distill": {"teachers": [{"val_top1": 0.9}]}}
    unchosen = row("hard-vit_ti", 0, "1100", plan=teachers, last_step_test=half, last_step=half)
    probed = row("probed-mobilenetv2", 0, "1110", plan=teachers, last_step_test=half)
    alone = row("teacher alone", 0, "1111", model="mobilenetv2")
    alone["result"]["val_top1"] = 0.91
    table = benchmarks["tables"].by_head([unchosen, probed, alone]).splitlines()[2:]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [cells[0] for cells in found] == ["hard-vit_ti", "probed-mobilenetv2", "teacher alone"]
    assert [cells[-3:] for cells in found] == [
        ["50.00", "50.00", "90.00"],
        ["50.00", "–", "90.00"],
        ["–", "–", "91.00"],
    ]


def test_the_table_of_parity_has_steps_beside_models(benchmarks: dict[str, ModuleType]) -> None:
    table = benchmarks["tables"].parities(list(benchmarks["ledger"].Ledger("parity").rows.values()))
    assert "| mobilenetv2 |" in table
    assert "| hard | fp64 |" in table
    assert "| soft | fp32 |" in table
