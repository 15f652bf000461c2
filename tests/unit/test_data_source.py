from __future__ import annotations

from pathlib import Path

import pytest
from photo_kit import write_classes

from deitft.data.source import Source
from deitft.errors import MissingInputError, UsageError
from deitft.runs import asked
from deitft.runs.request import TrainRequest


@pytest.mark.parametrize(
    "source",
    [
        Source((Path("a"),)),
        Source((Path("a"), Path("b c")), nested=True),
        Source((Path("labels.csv"),), (Path("x"), Path("y")), False, "sku"),
    ],
)
def test_a_record_gives_the_same_source(source):
    assert Source.read(source.record(), "other") == source
    absolute = source.resolve()
    assert all(path.is_absolute() for path in absolute.places)
    assert Source.read(absolute.record(), "other") == absolute


@pytest.mark.parametrize("record", [None, {}, {"paths": "a"}, "x", 3])
def test_a_run_without_a_record_has_its_path(record):
    assert Source.read(record, "/data") == Source((Path("/data"),))


def test_in_words():
    source = Source((Path("a/labels.csv"), Path("b")), (Path("r"),), True, r"^(\d+)")
    assert source.words() == ["a/labels.csv", "b", "--root", "r", "--nested", "--group-by", r"^(\d+)"]
    assert (str(source), source.name) == ("a/labels.csv and b", "labels.csv and b")
    assert Source.of("x") == Source.of(Path("x")) == Source.of(["x"]) == Source((Path("x"),))
    assert Source.of(source) is source
    assert TrainRequest(verb="finetune", data=source, seed=3).as_command() == [
        *["deitft", "finetune", *source.words(), "--seed", "3"]
    ]
    assert Source((Path(),)).name == Path.cwd().name


def test_new_labels_for_the_same_photos(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/x.tar").touch()
    a, b, table = tmp_path / "a", tmp_path / "b", Path("out/labels.csv")
    assert Source((a,)).relabelled(table) == Source((table,), (a,))
    assert Source((a, b), nested=True).relabelled(table) == Source((table,), (a, b))
    assert Source((a / "x.tar",)).relabelled(table) == Source((table,), (a,))
    assert Source((a / "labels.csv",), (b,)).relabelled(table) == Source((table,), (b,))


def test_where_nothing_may_be_written(tmp_path):
    source = Source((tmp_path / "a",), (tmp_path / "r",))
    assert source.holds(tmp_path / "a/runs") == tmp_path / "a"
    assert source.holds(tmp_path / "r") == tmp_path / "r"
    assert source.holds(tmp_path / "runs") is None


def test_from_python(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 1})
    assert asked.source(str(root)) == Source((root,))
    assert asked.source([root, str(root / "a")], root, True, "x") == Source((root, root / "a"), (root,), True, "x")
    source = Source((root,))
    assert asked.source(source) is source
    assert asked.source(path for path in [root]) == source
    for wrong in ([], [""], [3], "", None, 3, {"a": 1}, [None]):
        with pytest.raises(UsageError):
            asked.source(wrong)
    with pytest.raises(UsageError):
        asked.source(root, group_by=3)  # type: ignore[arg-type]
    for missing, kind in ((root / "none", "folder"), (root / "none.csv", "file")):
        with pytest.raises(MissingInputError) as caught:
            asked.source([root, missing])
        assert (caught.value.id, caught.value.what) == ("D1", f"no such {kind}: {missing}")
    with pytest.raises(MissingInputError):
        asked.source(root, tmp_path / "none")
