"""Transfer learning with DeiT: a folder of photos in, a classifier with numbers you can believe out.

The public names are resolved when they are first used, so that ``import deitft`` costs nothing:

>>> import deitft
>>> run = deitft.finetune("photos/")          # doctest: +SKIP
>>> deitft.predict(run.folder, ["a.jpg"])     # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deitft.jobs.check import check
    from deitft.jobs.compare import compare
    from deitft.jobs.evaluate import evaluate
    from deitft.jobs.finetune import finetune
    from deitft.jobs.pack import pack
    from deitft.jobs.predict import predict
    from deitft.jobs.pretrain import pretrain
    from deitft.jobs.resume import resume
    from deitft.jobs.teacher_cache import teacher_cache
    from deitft.runs.classifier import load
    from deitft.runs.printing import PrintProgress

    __version__: str

__all__ = [
    "PrintProgress",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "finetune",
    "load",
    "pack",
    "predict",
    "pretrain",
    "resume",
    "teacher_cache",
]

_HOMES = {
    "PrintProgress": "deitft.runs.printing",
    "check": "deitft.jobs.check",
    "compare": "deitft.jobs.compare",
    "evaluate": "deitft.jobs.evaluate",
    "finetune": "deitft.jobs.finetune",
    "load": "deitft.runs.classifier",
    "pack": "deitft.jobs.pack",
    "predict": "deitft.jobs.predict",
    "pretrain": "deitft.jobs.pretrain",
    "resume": "deitft.jobs.resume",
    "teacher_cache": "deitft.jobs.teacher_cache",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for; it then stays."""
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        value: object = version("deitft")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'deitft' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, also those nobody has used yet."""
    return sorted({*globals(), *__all__})
