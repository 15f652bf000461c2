"""What whole runs share: one folder with photos and a finished run, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import OpenPage, Page, small
from doc_place import copy_place, furnish, train
from run_fixtures import forker, photos, place, whole, zygote

__all__ = ["forker", "photos", "place", "whole", "zygote"]


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, weights, and a finished run."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
            patch.setenv(name, str(home))
        folder = furnish(tmp_path_factory.mktemp("furnished"))
        patch.chdir(folder)
        train(folder, small(["finetune", "photos"], {})[2:])
    return folder


@pytest.fixture
def open_page(
    furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> OpenPage:
    """A page in a furnished folder of its own."""

    def open_it(file: Path, *, runs: bool = True) -> Page:
        copy_place(furnished, tmp_path, runs=runs)
        monkeypatch.chdir(tmp_path)
        return Page(file, capfd)

    return open_it
