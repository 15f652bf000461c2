"""The same photos, named in every way: the same classes, labels and splits, and the same figures of a model."""

from __future__ import annotations

import contextlib
import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from photo_kit import encoded, jpeg, put, state_of, write_classes
from PIL import Image
from run_kit import ONE_THREAD, fails, finetune, fingerprints, signal_at, write_photos
from source_kit import all_kinds, labels_of, look, write_csv

import deitft
from deitft.core.progress import Silent, StopFlag
from deitft.core.records import parse_csv_text
from deitft.data.catalog import SPLIT_NAMES, Catalog
from deitft.data.inspect import inspect
from deitft.data.scan import scan
from deitft.data.source import Source
from deitft.data.splits import Splits, assign
from deitft.errors import MissingInputError, TerminatedError
from deitft.runs.prepare import prepare

TINY = ("model.image_size=32", "train.length=2 steps", "train.batch=8", "train.micro_batch=8")


def seen(source: Source) -> Catalog:
    return inspect(scan(source, progress=Silent()), workers=1, progress=Silent(), cache_dir=None)


def scene(seed: tuple[int, ...]) -> bytes:
    """A photo that looks like no other: patches of random colours."""
    patches = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return encoded(Image.fromarray(patches).resize((48, 40), Image.Resampling.BICUBIC))


def by_content(catalog: Catalog, splits: Splits) -> list[tuple[str, str, str]]:
    """(content, class, side) of every photo: what may not depend on how photos are named."""
    sides = (*SPLIT_NAMES, "left out")
    rows = zip(catalog.digests, catalog.labels.tolist(), splits.split.tolist(), strict=True)
    return sorted((digest.hex(), catalog.classes[label], sides[side]) for digest, label, side in rows)


@pytest.mark.parametrize("case", range(4))
def test_splits_and_labels_do_not_depend_on_how_photos_are_named(tmp_path: Path, case: int) -> None:
    """Property: random counts, copies of photos within a class, odd names, a class too small to be split."""
    draw = random.Random(case)
    names = draw.sample(["boots", "Caf\u00e9", "-rf", "10", "2", "=1+1", "NA", "a b", "\u65e5\u672c"], 4)
    root = tmp_path / "photos"
    for number, name in enumerate(names):
        count = draw.choice([1, 2, 9, 12, 30]) if number else 30
        for photo in range(count):
            same = photo if draw.random() > 0.1 else 0
            put(root, f"{name}/{photo:03d}.jpg", jpeg(1000 * number + same, (24, 20)))
    kinds = {kind: seen(source) for kind, source in all_kinds(root, tmp_path).items()}
    expected = kinds["class folders"]
    for seed in (0, 7):
        wanted = by_content(expected, assign(expected, seed=seed))
        assert len({side for _, _, side in wanted}) == 3
        for kind, found in kinds.items():
            assert (kind, found.classes) == (kind, expected.classes)
            assert (kind, by_content(found, assign(found, seed=seed))) == (kind, wanted)


def test_given_splits_stay_in_every_kind(tmp_path: Path) -> None:
    folders = {"train/a": 12, "train/b": 12, "val/a": 3, "val/b": 3, "test/a": 4, "test/b": 2}
    root = write_classes(tmp_path / "p", folders)
    expected = seen(Source((root,)))
    rows = [
        (path, labels_of(expected)[path], {"val": "Validation", "test": " TEST"}.get(path.split("/")[0], "train"))
        for path in reversed(expected.paths)
    ]
    table = write_csv(tmp_path / "labels.csv", rows, ("path", "label", "split"))
    deitft.pack(root, tmp_path / "shards")
    (tmp_path / "by-folder").mkdir()
    for shard in (tmp_path / "shards").glob("*.tar"):
        side = tmp_path / "by-folder" / shard.name.split("-")[0]
        side.mkdir()
        (side / "data.tar").write_bytes(shard.read_bytes())
    (tmp_path / "by-folder" / "classes.txt").write_bytes((tmp_path / "shards" / "classes.txt").read_bytes())
    wanted = by_content(expected, assign(expected, seed=0))
    for source in (
        Source((table,), (root,)),
        Source((tmp_path / "shards",)),
        Source((tmp_path / "by-folder",)),
        Source(tuple(sorted((tmp_path / "shards").glob("*.tar")))),
    ):
        found = seen(source)
        assert by_content(found, assign(found, seed=0)) == wanted


def test_nested_names_are_classes_in_every_kind(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "p", {"shoes/boots": 10, "shoes/sandals/flat": 10, "shoes": 10, "hats": 10})
    assert look(root).classes == ("hats", "shoes")
    nested = look(root, nested=True)
    assert nested.classes == ("hats", "shoes", "shoes/boots", "shoes/sandals/flat")
    assert labels_of(nested) == {path: path.rpartition("/")[0] for path in nested.paths}
    split = tmp_path / "split"
    for side in ("train", "test"):
        write_classes(split / side, {"shoes/boots": 3, "hats": 3}, seed=len(side))
    assert look(split, nested=True).classes == ("hats", "shoes/boots")
    deitft.pack(root, tmp_path / "shards", nested=True)
    table = write_csv(tmp_path / "labels.csv", labels_of(nested).items())
    expected = seen(Source((root,), nested=True))
    for source in (Source((tmp_path / "shards",)), Source((table,), (root,))):
        found = seen(source)
        assert by_content(found, assign(found, seed=3)) == by_content(expected, assign(expected, seed=3))


def test_groups_stay_together_in_every_kind(tmp_path: Path) -> None:
    """Ten views of each of twelve articles: by an expression on the names, by a column, and packed."""
    root = tmp_path / "p"
    for label in ("a", "b"):
        for article in range(12):
            for view in range(4):
                put(root, f"{label}/{label}{article:02d}_{view}.jpg", scene((ord(label), article, view)))
    by_name = Source((root,), group_by=r"^(\w\d\d)_")
    paths = look(root).paths
    rows = [(path, path[0], path[2:5]) for path in paths]
    table = write_csv(tmp_path / "labels.csv", rows, ("path", "label", "group"))
    named = write_csv(tmp_path / "named.csv", rows, ("path", "label", "article no"))
    deitft.pack(root, tmp_path / "shards", group_by=r"^(\w\d\d)_")
    kinds = [
        by_name,
        Source((table,), (root,)),
        Source((named,), (root,), group_by="article no"),
        Source((tmp_path / "shards",)),
    ]
    results = []
    for source in kinds:
        ready = prepare(source, seed=1, workers=1, progress=Silent(), stop=StopFlag())
        catalog, splits = ready.catalog, ready.splits
        assert catalog.groups is not None
        assert len(set(catalog.groups.tolist())) == 24
        sides = {}
        for group, side in zip(catalog.groups.tolist(), splits.split.tolist(), strict=True):
            sides.setdefault(group, set()).add(side)
        assert all(len(found) == 1 for found in sides.values())
        assert {next(iter(found)) for found in sides.values()} == {0, 1, 2}
        results.append(by_content(catalog, splits))
    assert all(result == results[0] for result in results)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a finished run, its photos)."""
    photos = write_photos(tmp_path_factory.mktemp("photos"), 12)
    place = tmp_path_factory.mktemp("runs")
    finetune(photos, place, "one", *TINY, probe=False)
    return place / "one", photos


def test_a_model_has_the_same_figures_to_the_last_bit(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, photos = trained
    expected: dict[str, object] | None = None
    for kind, source in all_kinds(photos, tmp_path).items():
        places = [path if path.is_dir() else path.parent for path in source.places]
        before = [state_of(place) for place in places]
        data, options = list(source.paths), {"root": source.roots, "batch": 7, "device": "cpu"}
        found = deitft.evaluate(run, data, threads=1, workers=0, **options)
        assert [state_of(place) for place in places] == before
        record = json.loads(json.dumps(found.metrics.record(), default=lambda value: value.tolist()))
        for name in ("worst", "label_errors"):  # lists of photos, with their paths
            record[name] = [{key: value for key, value in row.items() if key != "path"} for row in record[name]]
        expected = record if expected is None else expected
        assert {name: value for name, value in record.items() if value != expected[name]} == {}, kind
        assert list(found.predictions.paths) == look(*data, roots=source.roots).paths
    assert expected is not None
    assert expected["n"] == 36


def test_a_run_of_every_kind_has_the_same_splits(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """``finetune`` takes them, and writes down the same photos on the same sides."""
    run, photos = trained
    rows = parse_csv_text((run / "splits.csv").read_text())
    wanted = sorted((row["sha256"], row["label"], row["split"]) for row in rows)
    kinds = all_kinds(photos, tmp_path)
    for number, kind in enumerate(("shards", "two roots", "a table over shards")):
        source = kinds[kind]
        name = f"run-{number}"
        finetune(list(source.paths), tmp_path / "runs", name, *TINY, root=source.roots, probe=False)  # type: ignore[arg-type]
        rows = parse_csv_text((tmp_path / "runs" / name / "splits.csv").read_text())
        assert (kind, sorted((row["sha256"], row["label"], row["split"]) for row in rows)) == (kind, wanted)


def test_a_run_on_a_table_over_shards_goes_on_after_a_stop(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """What the photos were is in the run's record: several paths, a root, an expression."""
    source = all_kinds(trained[1], tmp_path)["a table over shards"]
    runs, settings = tmp_path / "runs", ("model.image_size=32", "train.length=6 steps", "train.batch=8")
    asked = {"root": source.roots, "group_by": r"^(\d+)", "probe": False}
    for name in ("whole", "stopped"):
        with contextlib.nullcontext() if name == "whole" else fails(TerminatedError, "N3"):
            watch = Silent() if name == "whole" else signal_at("training", 3, signal.SIGTERM)
            finetune(list(source.paths), runs, name, *settings, progress=watch, **asked)  # type: ignore[arg-type]
    with fails(MissingInputError, "RESUME"):  # other data
        finetune(trained[1], runs, "stopped", *settings, resume=True)
    deitft.resume(runs / "stopped")
    assert fingerprints(runs / "stopped") == fingerprints(runs / "whole")


def test_prediction_takes_shards_tables_and_flat_folders(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """No label is needed, and none is looked at."""
    run, photos = trained
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(photos.rglob("*.jpg"))[:6]:
        (flat / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    deitft.pack(photos, tmp_path / "shards")
    table = write_csv(flat / "some.csv", [(path.name,) for path in sorted(flat.glob("*.jpg"))[:4]], ("path",))
    shard = next((tmp_path / "shards").glob("*.tar"))

    def answers(*what: Path) -> dict[str, str]:
        return {
            row["path"]: row["label"] for row in deitft.predict(run, list(what), **ONE_THREAD, device="cpu").rows
        }

    loose = answers(*sorted(flat.glob("*.jpg")))
    assert answers(flat) == loose
    assert answers(table) == dict(list(loose.items())[:4])
    packed = answers(tmp_path / "shards")
    assert packed == answers(shard)
    assert len(packed) == 36
    origin = {
        f"{shard}/{row['member']}": row["path"] for row in parse_csv_text((shard.parent / "index.csv").read_text())
    }
    whole = answers(photos)
    assert {path: whole[f"{photos}/{origin[path]}"] for path in packed} == packed
    both = answers(flat, shard)
    assert both == {**loose, **packed}


def test_workers_read_shards_and_a_shard_that_changes_is_no_other_photo(tmp_path: Path) -> None:
    from deitft.data.photos import Lost, photo_set

    deitft.pack(write_classes(tmp_path / "p", {"a": 40, "b": 40}), tmp_path / "s")
    one, two = (inspect(look(tmp_path / "s"), workers=n, progress=Silent(), cache_dir=None) for n in (1, 3))
    assert one.digests.tolist() == two.digests.tolist()
    assert [digest.hex() for digest in one.digests] == sorted_digests(tmp_path / "s", one.paths)
    photos = photo_set(one, np.arange(len(one)))
    assert not isinstance(photos.read(5), Lost)
    shard = next((tmp_path / "s").glob("*.tar"))
    shard.write_bytes(shard.read_bytes() + bytes(512))
    lost = photos.read(5)
    assert isinstance(lost, Lost)
    assert lost.kind == "changed"
    shard.unlink()
    lost = photos.read(5)
    assert isinstance(lost, Lost)
    assert lost.kind == "gone"


def sorted_digests(shards: Path, paths: list[str]) -> list[str]:
    rows = parse_csv_text((shards / "index.csv").read_text())
    digests = {f"{row['shard']}/{row['member']}": row["sha256"] for row in rows}
    return [digests[path] for path in paths]
