"""A file of the hub, with our word and our bar in the place of its client's."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deitft.core.progress import Progress

MEGABYTE = 10**6


def download(repository: str, name: str, *, seconds: float, progress: Progress | None = None) -> Path:
    """Where one file of a repository lies in the hub's cache, after it was brought there if need be.

    ``seconds`` is how long the hub may take to answer a first call. Without ``progress`` the hub's own bar shows
    how far it is.

    Raises:
        Exception: whatever the hub's client raises.
    """
    import huggingface_hub

    how: dict[str, Any] = {"etag_timeout": seconds}
    with ExitStack() as until_here:
        if progress is not None and "tqdm_class" in inspect.signature(huggingface_hub.hf_hub_download).parameters:
            how["tqdm_class"] = _bars_of(progress, until_here)
        return Path(huggingface_hub.hf_hub_download(repository, name, **how))


def _bars_of(progress: Progress, until_here: ExitStack) -> type:
    """A bar class for the hub's client that draws nothing: the first bar made of it moves a task of ``progress``.

    (Some ways of downloading show a file twice, as what came and as what was written.)
    """
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    first: list[object] = []

    class Bar(tqdm):
        """What the client talks to; ``disable`` keeps it from drawing, and from counting."""

        def __init__(self, *_: object, total: float | None = None, initial: float = 0, **__: object) -> None:
            super().__init__(total=total, initial=initial, disable=True)  # type: ignore[no-untyped-call]
            self.came, self.told, self.task = 0.0, 0, None
            if not first:
                first.append(self)
                size = None if total is None else max(1, int(total) // MEGABYTE)
                self.task = until_here.enter_context(progress.task("downloading", size, unit="MB"))
                self.update(initial)

        def update(self, n: float | None = 1) -> None:
            """More bytes; fewer, where the client begins again."""
            self.came += n or 0
            whole = int(self.came) // MEGABYTE
            if self.task is not None and whole != self.told:
                self.task.advance(whole - self.told)
                self.told = whole

    return Bar
