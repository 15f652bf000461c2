"""What is loaded when: asking for help loads none of the heavy libraries, and public names load on use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "torchvision", "timm", "pandas", "sklearn", "scipy", "albumentations", "matplotlib", "cv2")


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after ``code``."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "words", [["--help"], ["finetune", "--help"], ["--version"], ["models"], ["recipes"], ["runs"], ["nonsense"]]
)
def test_looking_around_loads_nothing_heavy(words: list[str]) -> None:
    loaded = loaded_after(f"from deitft.cli.app import main; main({words!r})")
    assert "deitft.cli.app" in loaded
    assert not loaded & set(HEAVY)


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = loaded_after("import deitft; assert 'finetune' in dir(deitft)")
    assert {name for name in loaded if name.startswith("deitft")} == {"deitft"}
    assert not loaded & {*HEAVY, "numpy", "pydantic", "typer", "rich"}


def test_importing_the_jobs_loads_nothing_heavy() -> None:
    code = "import deitft; [getattr(deitft, name) for name in deitft.__all__ if name != 'load']"
    assert not loaded_after(code) & set(HEAVY)


def test_a_name_that_is_not_public() -> None:
    import deitft

    with pytest.raises(AttributeError, match="has no attribute 'finetun'"):
        _ = deitft.finetun  # type: ignore[attr-defined]
    assert set(deitft.__all__) <= set(dir(deitft))
    assert deitft.__version__.count(".") == 2


def test_help_is_quick() -> None:
    """Aim: 0.5 s. The bound is generous, for machines under load; the best of three."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "deitft", "--help"], capture_output=True, env=os.environ, check=True)
        took.append(time.perf_counter() - began)
    assert min(took) < 1.0
