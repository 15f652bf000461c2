"""Fixtures for every room: redirected home and caches, generated photos, the shared data where it is there."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
# A forked process writes what it has covered to the folder it is in, which would be the one of a test.
os.environ.setdefault("COVERAGE_FILE", str(ROOT / ".coverage"))

with contextlib.suppress(ImportError):
    # Each forked worker that is measured would look through every module's file for a line that nobody reads:
    # 0.25 s of processor time a worker, of which the tests start hundreds.
    import coverage.collector

    coverage.collector.short_stack = lambda *_, **__: ""


def pytest_collection_finish() -> None:
    """What is loaded by now stays: a collection would look through it again, and copy it in every fork (0.4 s)."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Plugins that are imported now ask the collector who refers to what."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees or changes the caches of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", str(home / "mpl"))
    monkeypatch.delenv("DEITFT_WEIGHTS_DIR", raising=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photos and weights; tests that need it are skipped by name where it is absent."""
    folder = Path(os.environ.get("DEITFT_SHARED", ROOT.parent / "shared")).resolve()
    if not (folder / "weights").is_dir():
        pytest.skip(f"no shared data at {folder} (set DEITFT_SHARED)")
    return folder


MakePhotos = Callable[..., Path]


@pytest.fixture
def make_photos(tmp_path: Path) -> MakePhotos:
    """Write class folders of small photos that differ by class and by photo, and can be told apart."""

    def make(
        counts: dict[str, int], *, root: Path | None = None, size: tuple[int, int] = (48, 40), seed: int = 0
    ) -> Path:
        from PIL import Image

        folder = root or tmp_path / "photos"
        draw = np.random.default_rng(seed)
        for number, (name, count) in enumerate(counts.items()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            colour = np.random.default_rng(1000 + number).integers(40, 215, 3)
            for photo in range(count):
                pixels = draw.normal(colour, 30, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{photo:04d}.jpg", quality=90)
        return folder

    return make
