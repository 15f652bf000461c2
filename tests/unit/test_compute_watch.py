"""Who is not heard of any more is missed, whether it has ever said a word or not. The store is torch's own."""

from __future__ import annotations

import threading

import pytest
from torch.distributed import HashStore

from deitft.compute import watch
from deitft.compute.group import Group
from deitft.compute.rank import Rank
from deitft.compute.watch import Watch
from deitft.core.progress import Silent


class Leaving(Watch):
    """Keeps the error that would end the process."""

    left: Exception | None = None

    def _leave(self, error: Exception) -> None:
        self.left = error
        self._over.set()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(watch, "LOST_BEATS", 5)


def listen(store: HashStore) -> Leaving:
    found = Leaving(Group(Rank(0, 2, 0, 2)), store, Silent())
    found.start()
    return found


@pytest.mark.parametrize("words", [(), ("1",), ("1", "2")])
def test_a_process_that_falls_silent_is_missed(words: tuple[str, ...]) -> None:
    store = HashStore()
    for word in words:
        store.set("deitft/alive/1", word)
    found = listen(store)
    found.join(10)
    assert str(found.left).startswith("process 1 of 2 gave no sign of life")


def test_a_process_that_goes_on_counting_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOST_BEATS", 40)
    store, over = HashStore(), threading.Event()

    def count() -> None:
        number = 0
        while not over.wait(0.01):
            number += 1
            store.set("deitft/alive/1", str(number))

    other = threading.Thread(target=count)
    other.start()
    found = listen(store)
    found.join(1.2)
    alive = found.is_alive()
    over.set()
    other.join()
    found.end()
    assert alive
    assert found.left is None
