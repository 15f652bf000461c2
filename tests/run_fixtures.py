"""Fixtures of whole runs, for the conftest files of the rooms that use them; each thing is made once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from photo_kit import state_of
from run_kit import Zygote, finetune, write_photos

_made: dict[str, Any] = {}
"""Two conftest files may name a fixture; what it gives is one and the same."""


def _once(name: str, make: Callable[[], Any]) -> Any:
    if name not in _made:
        _made[name] = make()
    return _made[name]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all that is made once."""
    folder: Path = _once("place", lambda: tmp_path_factory.mktemp("once"))
    return folder


@pytest.fixture(scope="session")
def photos(place: Path) -> Iterator[Path]:
    """32 photos of each of three classes; nobody may change them."""
    folder = _once("photos", lambda: write_photos(place / "photos"))
    before = _once("state", lambda: state_of(folder))
    yield folder
    assert state_of(folder) == before


@pytest.fixture(scope="session")
def whole(place: Path, photos: Path) -> Path:
    """The folder of a run that nothing disturbed: ``run_kit.EXACT`` on ``photos``, seed 0, no worker."""

    def make() -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
            result = finetune(photos, place / "runs", "whole")
        assert result.folder is not None
        return result.folder

    folder: Path = _once("whole", make)
    return folder


@pytest.fixture(scope="session")
def forker(place: Path) -> Iterator[Zygote]:
    """A process that has imported everything."""
    started: Zygote = _once("zygote", lambda: Zygote(place / "commands"))
    yield started
    started.close()


@pytest.fixture
def zygote(forker: Zygote) -> Iterator[Zygote]:
    """Starts command lines as processes of their own, without the time that imports take; a test leaves none."""
    yield forker
    forker.tidy()
