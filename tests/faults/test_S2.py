"""S2: a recipe that means harm. Nothing in it runs, and every limit is reached in bounded time and memory."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest
import yaml

from deitft.errors import RecipeError
from deitft.recipe.load import load_recipe

SECONDS = 20.0


def refused(folder: Path, content: bytes, *overrides: str) -> RecipeError:
    """Write a recipe, load it, return the error; the file is left as it was and the time is bounded."""
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    begin = time.monotonic()
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml", base=folder, overrides=overrides)
    assert time.monotonic() - begin < SECONDS
    assert path.read_bytes() == content
    assert "\n" not in caught.value.line
    assert caught.value.exit_code == 78
    return caught.value


def test_S2_control_a_clean_recipe_loads(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\noptim:\n  lr: 5e-4\n")
    recipe = load_recipe("recipe.yaml", base=tmp_path)
    assert recipe.optim.lr == 0.0005


def test_S2_a_tag_that_calls_a_function(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = f"name: mine\noptim:\n  lr: !!python/object/apply:os.mkdir ['{canary}']\n".encode()
    error = refused(tmp_path, content)
    assert error.id == "S2"
    assert error.what == 'recipe.yaml line 3: tag "!!python/object/apply" is not allowed in a recipe'
    assert not canary.exists()
    # The control: the payload is real, and an unsafe reader runs it.
    yaml.unsafe_load(content)
    assert canary.is_dir()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("a: !include /etc/passwd", "!include"),
        ("a: !!python/name:os.system", "!!python/name"),
        ("a: !!float 3", "!!float"),
        ("a: !<tag:evil.example,2020:x> 1", "tag:evil.example,2020:x"),
        ("%TAG !e! tag:evil,2000:\n---\na: !e!x 1", "tag:evil,2000:x"),
        ("!!map {a: 1}", "!!map"),
        ("!!str a: 1", "!!str"),
        ("- ! x", "!"),
    ],
)
def test_S2_a_every_tag_is_refused(tmp_path: Path, content: str, shown: str) -> None:
    error = refused(tmp_path, content.encode())
    assert error.id == "S2"
    assert f'tag "{shown}" is not allowed' in error.line


def test_S2_b_alias_bomb(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    error = refused(tmp_path, "\n".join(rows).encode())
    assert error.id == "S2"
    assert "recipe.yaml line 1: anchors (&) and aliases (*) are not allowed" in error.line


@pytest.mark.parametrize("content", ["&a {b: *a}", "a: *unknown", "- &x 1\n- 2", "a: &x\n  b: 1"])
def test_S2_b_self_reference_and_lonely_anchors(tmp_path: Path, content: str) -> None:
    assert "anchors (&) and aliases (*)" in refused(tmp_path, content.encode()).line


@pytest.mark.parametrize(
    "content", ["[" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000, "a: " + "[" * 19 + "{b: 1"]
)
def test_S2_c_nesting(tmp_path: Path, content: str) -> None:
    error = refused(tmp_path, content.encode())
    assert error.id == "S2"
    assert "nested more than 20 deep" in error.line


def test_S2_d_large_file_costs_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match="larger than 256 kB") as caught:
            load_recipe("large.yaml", base=tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.id == "S2"


def test_S2_d_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: x\n#" + b"a" * (256_000 - 9))
    assert load_recipe(str(path)).name == "x"
    path.write_bytes(b"name: x\n#" + b"a" * (256_001 - 9))
    with pytest.raises(RecipeError, match="larger than 256 kB"):
        load_recipe(str(path))


def test_S2_e_many_keys(tmp_path: Path) -> None:
    content = "\n".join(f"k{number}: 1" for number in range(8_000)).encode()
    error = refused(tmp_path, content)
    assert len(error.details["mistakes"]) == 8_000  # type: ignore[arg-type]
    assert len(error.line) < 5_000


def test_S2_f_duplicate_keys_are_all_named(tmp_path: Path) -> None:
    error = refused(tmp_path, b"optim: {lr: 1, lr: 2}\ntrain:\n  batch: 8\n  batch: 16\n")
    assert error.id == "S2"
    assert 'line 1: the key "lr" appears twice' in error.line
    assert 'line 4: the key "batch" appears twice' in error.line


def test_S2_g_several_documents(tmp_path: Path) -> None:
    assert "line 2: a second document begins" in refused(tmp_path, b"name: a\n---\nname: b\n").line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".nan", "not a finite number"),
        (".inf", "not a finite number"),
        ("-.INF", "not a finite number"),
        ("1e400", "not a finite number"),
        ("9" * 5000, "more than 18 digits"),
    ],
)
def test_S2_h_numbers_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    error = refused(tmp_path, f"optim:\n  lr: {text}\n".encode())
    assert error.id == "S2"
    assert said in error.line
    assert len(error.line) < 500


@pytest.mark.parametrize(
    "text", ["no", "on", "off", "yes", "y", "12:30", "1_000", "0755", "0x1f", "2024-01-01", "nan"]
)
def test_S2_i_words_that_yaml_bends_stay_text(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, f"optim:\n  lr: {text}\ntrain:\n  compile: {text}\n".encode())
    assert f'optim.lr: got "{text}" (text), want a number above 0, or auto' in error.line
    assert f'train.compile: got "{text}" (text), want true or false' in error.line
    (tmp_path / "recipe.yaml").write_text(f"name: {text}\n")
    assert load_recipe("recipe.yaml", base=tmp_path).name == text


def test_S2_j_unknown_keys_get_the_nearest_name(tmp_path: Path) -> None:
    error = refused(tmp_path, b"optm: {}\ntrain: {bach: 3}\n")
    assert error.id == "RECIPE"
    assert error.details["mistakes"] == [
        "train.bach: no such field, did you mean train.batch?",
        "optm: no such field, did you mean optim?",
    ]


def test_S2_k_nothing_is_put_in_for_variables_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEITFT_TEST_SECRET", "secret")
    (tmp_path / "recipe.yaml").write_text("name: ${DEITFT_TEST_SECRET}\nmodel: {name: '{{7*7}}'}\n")
    recipe = load_recipe("recipe.yaml", base=tmp_path)
    assert (recipe.name, recipe.model.name) == ("${DEITFT_TEST_SECRET}", "{{7*7}}")
    error = refused(tmp_path, b"include: other.yaml\n<<: {name: x}\n")
    assert "include: no such field" in error.line
    assert "<<: no such field" in error.line


def test_S2_l_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert "not UTF-8 (byte 0xff in line 2)" in refused(tmp_path, b"name: a\n\xff").line
    assert "character 0x1b is not allowed" in refused(tmp_path, b"name: \x1b[31m").line
    assert "surrogate" in refused(tmp_path, b'name: "\\ud800"').line


def test_S2_m_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    begin = time.monotonic()
    with pytest.raises(RecipeError, match="is not a file"):
        load_recipe("recipe.yaml", base=tmp_path)
    assert time.monotonic() - begin < 5
    with pytest.raises(RecipeError, match="is not a file"):
        load_recipe("/dev/zero", base=tmp_path)


def test_S2_n_overrides_are_read_by_the_same_rules(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    error = refused(
        tmp_path,
        b"name: a\n",
        f"optim.lr=!!python/object/apply:os.mkdir ['{canary}']",
        "optim.eps=&a 1",
        "train.batch=" + "[" * 50,
        "optim.weight_decay=.nan",
        "train.compile=no",
    )
    mistakes = error.details["mistakes"]
    assert isinstance(mistakes, list)
    assert len(mistakes) == 5
    assert 'tag "!!python/object/apply" is not allowed' in mistakes[0]
    assert "anchors" in mistakes[1]
    assert "nested" in mistakes[2]
    assert "not a finite number" in mistakes[3]
    assert mistakes[4] == 'train.compile: got "no" (text), want true or false'
    assert not canary.exists()


def test_S2_o_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    error = refused(tmp_path, b'optim: {"\\e[31mlr": 1, lr: "\\u202e\\e]52;c;\\a"}\n')
    assert error.line.isprintable()
    assert "\\x1b[31mlr: no such field" in error.line
    assert "\\u202e" in error.line
