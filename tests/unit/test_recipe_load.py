"""Recipes from names, files and overrides; mistakes in words, all at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deitft.errors import MissingInputError, RecipeError, StorageError
from deitft.recipe import load as load_module
from deitft.recipe.load import load_recipe, recipe_folder, recipe_yaml, shipped_recipes
from deitft.recipe.mistakes import closest, describe_value, leaves, mistakes_in, wanted
from deitft.recipe.schema import Recipe


def mistakes_of(folder: Path, text: str, *overrides: str) -> list[str]:
    (folder / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe("r.yaml", base=folder, overrides=overrides)
    found = caught.value.details["mistakes"]
    assert isinstance(found, list)
    assert caught.value.what == "r.yaml: " + "; ".join(found)
    return found


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("optim: {lr: fast}", 'optim.lr: got "fast" (text), want a number above 0, or auto'),
        ("optim: {lr: -1}", "optim.lr: got -1 (whole number), want a number above 0, or auto"),
        ("optim: {lr: null}", "optim.lr: got null (nothing), want a number above 0, or auto"),
        ("optim: {weight_decay: true}", "optim.weight_decay: got true (true or false), want a number from 0"),
        ("optim: {betas: [0.9]}", "optim.betas: got [0.9] (list), want a list of 2 numbers from 0 to below 1"),
        (
            "optim: {betas: [0.9, 1]}",
            "optim.betas: got [0.9, 1] (list), want a list of 2 numbers from 0 to below 1",
        ),
        ("optim: {clip_norm: 0}", "optim.clip_norm: got 0 (whole number), want a number above 0, or null"),
        (
            "optim: {layer_decay: 1.5}",
            "optim.layer_decay: got 1.5 (number), want a number above 0 and at most 1, or auto",
        ),
        ("train: {batch: 2.5}", "train.batch: got 2.5 (number), want a whole number from 1, or auto"),
        ("train: {batch: {a: 1}}", 'train.batch: got {"a": 1} (section), want a whole number from 1, or auto'),
        (
            "train: {length: 8}",
            'train.length: got 8 (whole number), want a length such as "8 epochs", "2000 steps" or "30m", or auto',
        ),
        (
            "train: {length: '8'}",
            'train.length: "8" is not a duration (write "8 epochs", "2000 steps", "30m" or "1h30m")',
        ),
        ("train: {validate_every: 0 epochs}", 'train.validate_every: "0 epochs" is not above 0'),
        (
            "train: {save_every: 5}",
            'train.save_every: got 5 (whole number), want a duration such as "90s", "5m" or "1h30m"',
        ),
        (
            "image: {background: [256, 0, 0]}",
            "image.background: got [256, 0, 0] (list), want a list of 3 whole numbers from 0 to 255",
        ),
        (
            "optim: {name: adamv}",
            'optim.name: got "adamv" (text), want one of adamw, lamb, sgd, did you mean adamw?',
        ),
        ("optim: {name: zzz}", 'optim.name: got "zzz" (text), want one of adamw, lamb, sgd'),
        ("image: 3", "image: got 3 (whole number), want a section with names and values"),
        ("schema_version: 2", "schema_version: got 2 (whole number), want 1"),
        ("name: 3", "name: got 3 (whole number), want text"),
        ("[]", "got [] (list), want sections with names and values"),
        (
            "augment: {albumentations: {a: 1}}",
            'augment.albumentations: got {"a": 1} (section), want a list of {Name: {argument: value}}',
        ),
        (
            "augment: {albumentations: [3]}",
            "augment.albumentations: got [3] (list), want a list of {Name: {argument: value}}",
        ),
        ("optim: {weigth_decay: 1}", "optim.weigth_decay: no such field, did you mean optim.weight_decay?"),
        ("optim: {LR: 1}", "optim.LR: no such field, did you mean optim.lr?"),
        ("lr: 1", "lr: no such field, did you mean optim.lr?"),
        ("train: {epochs: 3}", "train.epochs: no such field, did you mean train.length?"),
        ("optim: {learning_rate: 3}", "optim.learning_rate: no such field, did you mean optim.lr?"),
        ("qqqqqq: 1", "qqqqqq: no such field"),
    ],
)
def test_one_mistake_in_words(tmp_path: Path, text: str, mistake: str) -> None:
    assert mistakes_of(tmp_path, text) == [mistake]


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = "optim: {lr: fast, namez: adamw}\ntrain: {batch: 7, micro_batch: 2}\nmixing: {mixup: 0.8}\n"
    assert mistakes_of(tmp_path, text, "loss.label_smoothing=1", "ema") == [
        "--set ema: write section.field=value",
        'optim.lr: got "fast" (text), want a number above 0, or auto',
        "optim.namez: no such field, did you mean optim.name?",
        "loss.label_smoothing: got 1 (whole number), want a number from 0 to below 1",
        "train.micro_batch 2 does not divide train.batch 7",
        "mixing pairs photos up: train.batch 7 must be even (or mixing.chance 0)",
    ]


def test_a_contradiction_that_a_mistaken_field_is_part_of_waits(tmp_path: Path) -> None:
    text = "augment: {policy: albumentation, albumentations: [{Rotate: {}}]}"
    assert len(mistakes_of(tmp_path, text)) == 1


def test_a_very_long_list_of_mistakes_is_cut_in_the_line_only(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("\n".join(f"k{n}: 1" for n in range(100)))
    with pytest.raises(RecipeError, match="; and 70 more") as caught:
        load_recipe("r.yaml", base=tmp_path)
    assert len(caught.value.details["mistakes"]) == 100  # type: ignore[arg-type]


def test_whole_numbers_are_numbers_and_lists_are_tuples(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("optim: {eps: 1, betas: [0, 0.5]}\naugment: {scale: [0.5, 1]}\n")
    recipe = load_recipe("r.yaml", base=tmp_path)
    assert recipe.optim.eps == 1.0
    assert isinstance(recipe.optim.eps, float)
    assert recipe.optim.betas == (0.0, 0.5)
    assert recipe.augment.scale == (0.5, 1.0)


def test_an_empty_file_is_all_defaults_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("")
    assert load_recipe("mine.yml", base=tmp_path) == Recipe(name="mine")
    assert load_recipe(str(tmp_path / "mine.yml")) == Recipe(name="mine")


def test_a_path_from_the_working_directory_or_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("name: b")
    assert load_recipe("./a").name == "b"
    home = Path(os.environ["HOME"])
    (home / "c.yaml").write_text("name: d")
    assert load_recipe("~/c.yaml").name == "d"


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("optim: {lr: 1}\nema: {decay: 0.9}\n")
    overrides = ["optim.lr=1e-4", "train.length=8 epochs", "augment.scale=[0.3, 1]", "ema.decay=null", "name=x"]
    overrides += [
        "train.compile=true",
        "augment.policy=albumentations",
        "augment.albumentations=[{Rotate: {limit: 7}}]",
    ]
    recipe = load_recipe("r.yaml", base=tmp_path, overrides=overrides)
    assert recipe.optim.lr == 0.0001
    assert recipe.train.length == "8 epochs"
    assert recipe.train.compile is True
    assert recipe.augment.scale == (0.3, 1.0)
    assert recipe.augment.albumentations == ({"Rotate": {"limit": 7}},)
    assert recipe.ema.decay is None
    assert recipe.name == "x"


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("optim.lr", "--set optim.lr: write section.field=value"),
        ("=3", "--set =3: write section.field=value"),
        ("optim.lr=", "--set optim.lr=: no value (write null for nothing)"),
        ("optm.lr=3", "optm.lr: no such field, did you mean optim.lr?"),
        ("optim.lr.x=3", "optim.lr.x: no such field, did you mean optim.lr?"),
        ("optim.rl=3", "optim.rl: no such field, did you mean optim.lr?"),
        ("optim=3", "optim: got 3 (whole number), want a section with names and values"),
        (
            "augment.albumentations.0=3",
            "augment.albumentations.0: no such field, did you mean augment.albumentations?",
        ),
        ("optim.lr=[1", "--set optim.lr=[1 line 1: not valid YAML (expected ',' or ']', but got '<stream end>')"),
        ("optim.lr=1e999", "--set optim.lr=1e999: 1e999 is not a finite number"),
    ],
)
def test_mistakes_in_overrides(tmp_path: Path, override: str, mistake: str) -> None:
    assert mistakes_of(tmp_path, "", override) == [mistake]


def test_setting_a_field_twice_is_a_mistake(tmp_path: Path) -> None:
    assert mistakes_of(tmp_path, "", "optim.lr=1", "optim.lr=2") == ["--set optim.lr=2: optim.lr is set twice"]


def test_an_override_inside_what_is_no_section_leaves_the_mistake_of_the_file(tmp_path: Path) -> None:
    assert mistakes_of(tmp_path, "optim: 3", "optim.lr=1") == [
        "optim: got 3 (whole number), want a section with names and values"
    ]
    assert mistakes_of(tmp_path, "[1]", "optim.lr=1") == ["got [1] (list), want sections with names and values"]


def test_an_unknown_name_gets_the_nearest_and_all_there_are() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("finetune-fats")
    assert caught.value.what == 'no recipe "finetune-fats", did you mean finetune-fast?'
    assert "linear-probe" in caught.value.hint
    with pytest.raises(RecipeError) as unlike:
        load_recipe("zzz")
    assert unlike.value.what == 'no recipe "zzz"'


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such recipe file") as missing:
        load_recipe("none.yaml", base=tmp_path)
    assert missing.value.exit_code == 66
    with pytest.raises(RecipeError, match="is not a file"):
        load_recipe("./", base=tmp_path)
    with pytest.raises(StorageError, match="file name too long"):
        load_recipe("a" * 300 + ".yaml", base=tmp_path)


def test_the_recipes_of_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "lib" / "deitft" / "recipe" / "load.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(load_module, "__file__", str(module))
    # A folder of that name beside other packages is somebody else's.
    (tmp_path / "lib" / "recipes").mkdir()
    with pytest.raises(RecipeError, match="no recipes in"):
        recipe_folder()
    (tmp_path / "lib" / "pyproject.toml").touch()
    assert recipe_folder() == (tmp_path / "lib" / "recipes").resolve()
    (module.parent.parent / "recipes").mkdir()
    assert recipe_folder() == (module.parent.parent / "recipes").resolve()
    (module.parent.parent / "recipes" / "a.yaml").write_text("name: a\n")
    (info,) = shipped_recipes()
    assert (info.name, info.title, info.header) == ("a", "", "")


def test_the_written_recipe_is_complete_and_reads_back(tmp_path: Path) -> None:
    recipe = load_recipe("products", overrides=["optim.lr=5e-5", "train.length=30m"])
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe))
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe
    for path in leaves():
        assert f"{path[-1]}:" in recipe_yaml(recipe)


def test_describe_value_and_closest() -> None:
    assert describe_value(0.00001) == "1e-05 (number)"
    assert describe_value("x" * 100) == '"' + "x" * 59 + '…" (text)'
    assert closest("Finetune", ["finetune"]) == "finetune"
    assert closest("q", ["finetune"]) is None


def test_every_field_can_say_what_it_wants() -> None:
    for path in leaves():
        assert wanted(path)
    assert len(leaves()) > 50
    assert mistakes_in({}) == []
