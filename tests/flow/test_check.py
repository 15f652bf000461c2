"""From a check to a run: the same photos, the same judgement, decisions that training accepts."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from photo_kit import encoded, jpeg, picture, put, state_of, untouched, write_classes
from run_kit import fails, finetune, write_photos

import deitft
from deitft.cli.app import main
from deitft.core.records import csv_text, parse_csv_text
from deitft.errors import DataError, MissingInputError, UsageError

ONE_STEP = ("model.image_size=32", "train.length=1 steps", "train.batch=8")
COLUMNS = ("path", "label", "suggestion", "reason", "decision")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 photos of each of three classes; one of them in two classes, another damaged."""
    monkeypatch.chdir(tmp_path)
    root = write_photos(tmp_path / "shop", 24)
    put(root, "hat/same.jpg", (root / "dress" / "0003.jpg").read_bytes())
    put(root, "hat/cut.jpg", jpeg(1)[:100])
    return root


def decide(file: Path, decisions: dict[str, str]) -> None:
    """Write decisions into a file, as a person does."""
    rows = parse_csv_text(file.read_text("utf-8"))
    for row in rows:
        row["decision"] = decisions.pop(row["path"], "")
    assert not decisions
    file.write_text(csv_text(rows, COLUMNS), "utf-8")


def splits_of(run: Path) -> dict[str, tuple[str, str]]:
    rows = parse_csv_text((run / "splits.csv").read_text("utf-8"))
    return {row["path"]: (row["label"], row["split"]) for row in rows}


def test_check_says_what_training_does(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = deitft.check(shop, skip_bad=True)
    assert capfd.readouterr() == ("", "")  # a library does not talk
    run = finetune(shop, tmp_path / "runs", "a", *ONE_STEP, skip_bad=True, probe=False).folder
    assert run is not None
    told = json.loads((run / "check.json").read_text())
    assert found.ok
    assert found.prepared is not None
    assert told["fingerprint"] == found.prepared.catalog.fingerprint
    assert told["photos"] == found.record()["splits"]
    ids = {finding.id for finding in found.findings} - {"UNSEEN_LABELS"}
    assert {finding["id"] for finding in told["findings"]} == ids
    left_out = parse_csv_text((run / "quarantine.csv").read_text("utf-8"))
    assert [(row["path"], row["id"]) for row in left_out] == [(path, id) for path, id, _ in found.left_out]
    assert {path for path, _, _ in found.left_out} == {"dress/0003.jpg", "hat/cut.jpg", "hat/same.jpg"}


def test_the_report_of_a_run_shows_what_was_found(shop: Path, tmp_path: Path) -> None:
    put(shop, "hat/moving.gif", encoded(picture(3), "GIF", save_all=True, append_images=[picture(4)]))
    run = finetune(shop, tmp_path / "runs", "a", *ONE_STEP, skip_bad=True, probe=False).folder
    assert run is not None
    page = (run / "report.html").read_text()
    part = page[page.index('id="data"') :]
    assert "One photo, two labels" in part
    assert part.count('class="duo"') == 1
    assert len(re.findall(r'<img[^>]+alt="Photo (?:dress/0003|hat/same)\.jpg"', part)) == 2
    assert 'alt="Photo hat/moving.gif"' in part


def test_the_command_of_a_page_works_and_no_page_outlives_its_look(shop: Path) -> None:
    deitft.check(shop, skip_bad=True, html=True, out="looked")
    page = Path("looked/check.html")
    said = re.search(r'<pre class="command"><code>(deitft check .*?)</code>', page.read_text("utf-8"))
    assert said is not None
    words = shlex.split(html.unescape(said[1]))
    assert {"--skip-bad", "--apply-labels", "--html", "--out"} <= set(words)
    assert main(words[1:]) == 0
    assert Path("looked/labels.csv").is_file()
    assert page.is_file()
    deitft.check(shop, out="looked")
    assert not page.exists()


def test_an_untouched_file_changes_nothing_and_decisions_are_trained_on(shop: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    before = deitft.check(shop, skip_bad=True)
    assert {fix.path for fix in before.fixes} == {"dress/0003.jpg", "hat/same.jpg"}
    fixes = before.out / "fixes.csv"
    with untouched(shop):
        same = deitft.check(shop, skip_bad=True, apply_labels=fixes)
        labels = same.out / "labels.csv"
        plain = finetune(shop, runs, "plain", *ONE_STEP, skip_bad=True, probe=False).folder
        listed = finetune(labels, runs, "listed", *ONE_STEP, root=shop, skip_bad=True, probe=False).folder
        assert plain is not None
        assert listed is not None
        assert same.catalog.fingerprint == before.catalog.fingerprint
        assert splits_of(listed) == splits_of(plain)
        assert (listed / "best/model.safetensors").read_bytes() == (plain / "best/model.safetensors").read_bytes()

        decide(fixes, {"dress/0003.jpg": "keep", "hat/same.jpg": "drop"})
        decided = deitft.check(shop, skip_bad=True, apply_labels=fixes)
        assert decided.applied is not None
        assert (decided.applied.kept, decided.applied.dropped) == (1, 1)
        assert [path for path, _, _ in decided.left_out] == ["hat/cut.jpg"]
        better = finetune(labels, runs, "better", *ONE_STEP, root=shop, skip_bad=True, probe=False).folder
    assert better is not None
    after = splits_of(better)
    assert after["dress/0003.jpg"][0] == "dress"
    assert "hat/same.jpg" not in after
    assert {path: where for path, where in after.items() if path != "dress/0003.jpg"} == splits_of(plain)


@pytest.mark.parametrize("kind", ["shards", "split", "roots", "table"])
def test_decisions_fit_every_kind_of_source(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = write_classes(Path("shop"), {"boots": 12, "hat": 12})
    data: list[Path] = [root]
    if kind == "shards":
        deitft.pack(root, Path("packed"))
        data = [Path("packed")]
    elif kind == "split":
        names = {f"{side}/{name}": 12 for side in ("train", "val") for name in ("boots", "hat")}
        data = [write_classes(Path("sides"), names, seed=5)]
    elif kind == "roots":
        data = [root, write_classes(Path("more"), {"boots": 6, "hat": 6}, seed=9)]
    elif kind == "table":
        rows = [{"path": str(path.relative_to(root)), "label": path.parent.name} for path in root.glob("*/*")]
        (root / "labels.csv").write_text(csv_text(rows, ("path", "label")))
        data = [root / "labels.csv"]
    before = state_of(tmp_path / data[0]) if data[0].is_dir() else {}
    found = deitft.check(data, out="out")
    assert found.ok, found.findings
    path = next(
        path for path, label in zip(found.catalog.paths, found.catalog.labels.tolist(), strict=True) if label == 1
    )
    Path("fixes.csv").write_text(csv_text([{"path": path, "label": "hat", "decision": "boots"}], COLUMNS))
    moved = deitft.check(data, out="out", apply_labels="fixes.csv")
    words = moved.train_command
    assert words[:2] == ["deitft", "finetune"]
    roots = [words[place + 1] for place, word in enumerate(words) if word == "--root"]
    again = deitft.check(words[2], root=roots, out="again")
    assert again.catalog.paths == moved.catalog.paths
    assert again.catalog.labels.tolist() == moved.catalog.labels.tolist()
    assert again.catalog.given.tolist() == moved.catalog.given.tolist()
    assert sum(found.catalog.labels != again.catalog.labels) == 1
    assert before == (state_of(tmp_path / data[0]) if before else {})


def test_errors_are_findings_and_raise_on_request(shop: Path) -> None:
    found = deitft.check(shop)
    assert not found.ok
    assert [error.id for error in found.errors] == ["D13", "D2"]
    assert found.prepared is None
    assert found.train_command == []
    with fails(DataError, "D13") as caught:
        found.raise_errors()
    assert len(caught.value.details["errors"]) == 2
    with fails(DataError, "D2"):
        finetune(shop, Path("runs"), "a", *ONE_STEP)
    shutil.rmtree(shop / "hat")
    deitft.check(shop).raise_errors()


def test_a_run_keeps_the_size_it_was_allowed(shop: Path, tmp_path: Path) -> None:
    assert "D4" in {error.id for error in deitft.check(shop, max_pixels=1000, out="small").errors}
    run = finetune(shop, tmp_path / "runs", "a", *ONE_STEP, skip_bad=True, probe=False, max_pixels="0.002M").folder
    assert run is not None
    record = json.loads((run / "run.json").read_text())
    assert record["options"]["max_pixels"] == 2000
    assert deitft.resume(run).folder == run


def test_two_ways_with_bad_photos_at_once_are_a_mistake(shop: Path) -> None:
    for verb in (deitft.check, deitft.finetune):
        with fails(UsageError, "USAGE") as caught:
            verb(shop, strict=True, skip_bad=True)
        assert "contradict" in caught.value.what


def test_mistakes_are_told_by_name(shop: Path) -> None:
    with fails(MissingInputError, "D1"):
        deitft.check("nothing")
    for wrong in ({"seed": -1}, {"workers": "2"}, {"apply_labels": 5}, {"model": 5}, {"out": ""}):
        with fails(UsageError, "USAGE") as caught:
            deitft.check(shop, **wrong)  # type: ignore[arg-type]
        assert next(iter(wrong)) in caught.value.what


def test_labels_in_doubt_are_found_with_the_weights_at_hand(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real photos, one moved into another class; nobody is asked which model looks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEITFT_WEIGHTS_DIR", str(shared / "weights"))
    for name in ("hat", "shoes", "pants"):
        for photo in sorted((shared / "data/clothing-small/train" / name).iterdir())[:20]:
            put(Path("shop"), f"{name}/{photo.name}", photo.read_bytes())
    moved = sorted(Path("shop/shoes").iterdir())[4]
    moved.rename(Path("shop/hat") / moved.name)
    found = deitft.check("shop", threads=1, workers=0, html=True)
    (finding,) = [finding for finding in found.findings if finding.id == "SUSPECTS"]
    suspects = finding.details["suspects"]
    assert [(path, label, instead) for path, label, instead, _ in suspects][:1] == [  # type: ignore[index]
        (f"hat/{moved.name}", "hat", "shoes")
    ]
    assert found.fixes[0].path == f"hat/{moved.name}"
    assert "Labels in doubt" in (found.out / "check.html").read_text()
    assert deitft.check("shop", model="none").findings[-1].id == "UNSEEN_LABELS"
