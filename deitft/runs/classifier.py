"""``load(...)``: a bundle with its preprocessing, ready to say what is on a photo."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deitft.bundle.format import load_bundle
from deitft.compute.device import Machine, choose
from deitft.core.progress import Progress, Silent, StopFlag, Task
from deitft.data.photos import PhotoSet
from deitft.data.places import Places
from deitft.data.stream import EvalStream
from deitft.errors import DeitftError, MissingInputError, UnavailableError
from deitft.evaluation.predict import predict
from deitft.evaluation.predictions import Predictions
from deitft.models.build import Classifier, build
from deitft.models.zoo import resolve
from deitft.recipe.plan import read_plan
from deitft.recipe.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one photo. ``probabilities`` [C] in the order of the bundle's classes."""

    path: str
    label: str
    probability: float
    probabilities: npt.NDArray[np.float32]

    def top(self, classes: Sequence[str], count: int) -> list[tuple[str, float]]:
        """The likeliest classes, likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(classes[number], float(self.probabilities[number])) for number in order]


class Served(Protocol):
    """What says how a classifier is used: a bundle, or weights as published (``runs.imagenet``)."""

    @property
    def model_name(self) -> str:
        """timm's name with its tag."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What a photo goes through before the model sees it."""
        ...

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax."""
        ...


class LoadedClassifier:
    """A bundle ready to use. Made by ``load``."""

    def __init__(self, bundle: Served, classifier: Classifier, machine: Machine, folder: Path) -> None:
        self.bundle = bundle
        self.classifier = classifier
        self.machine = machine
        self.folder = folder

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return self.bundle.classes

    def predictions(
        self,
        photos: PhotoSet,
        *,
        batch: int | None = None,
        title: str = "looking at photos",
        progress: Progress | None = None,
        stop: StopFlag | None = None,
        on_bad: Callable[[str, DeitftError], None] | None = None,
    ) -> Predictions:
        """Logits for every photo of a set, each exactly once, in the set's order."""
        talk = progress or Silent()
        with talk.task(title, len(photos), unit="photos") as task:
            return self._look(self._stream(photos, batch, on_bad), task, StopFlag() if stop is None else stop)

    def in_parts(
        self,
        photos: PhotoSet,
        size: int,
        *,
        batch: int | None,
        task: Task,
        stop: StopFlag,
        on_bad: Callable[[str, DeitftError], None],
    ) -> Generator[Predictions, None, None]:
        """``predictions`` of a set of any length, of ``size`` photos at a time: no more are in memory. ``task`` is
        one for all of them, and so are the data workers. To be closed where it is not gone through.
        """
        with closing(self._stream(photos, batch, on_bad).in_parts(size)) as parts:
            for part in parts:
                yield self._look(part, task, stop)

    def _stream(
        self, photos: PhotoSet, batch: int | None, on_bad: Callable[[str, DeitftError], None] | None
    ) -> EvalStream:
        return EvalStream(
            photos,
            self.bundle.preprocessing,
            batch=batch or default_batch(self.machine),
            workers=self.machine.workers if len(photos) > 32 else 0,
            on_bad=on_bad,
        )

    def _look(self, stream: EvalStream, task: Task, stop: StopFlag) -> Predictions:
        return predict(
            self.classifier,
            stream,
            pre=self.bundle.preprocessing,
            device=self.machine.device,
            precision=self.machine.precision,
            channels_last=False,
            task=task,
            stop=stop,
        )

    def predict(
        self,
        photos: str | Path | Sequence[str | Path],
        *,
        batch: int | None = None,
        progress: Progress | None = None,
    ) -> list[Answer]:
        """Classes and probabilities of photos, or of one, in the order given.

        Raises:
            MissingInputError: a path that is not there (exit 66).
            DataError: a photo that cannot be read, by name.
        """
        paths = [Path(photo) for photo in ([photos] if isinstance(photos, str | Path) else photos)]
        if not paths:
            return []
        found = self.predictions(loose_photos(paths), batch=batch, progress=progress)
        return list(self.answers(found))

    def answers(self, found: Predictions) -> Iterator[Answer]:
        """Predictions as one answer a photo, probabilities calibrated by the bundle's temperature."""
        probabilities = found.probabilities(temperature=self.bundle.temperature)
        for path, row in zip(found.paths, probabilities, strict=True):
            best = int(row.argmax())
            yield Answer(path, self.classes[best], float(row[best]), row)


def default_batch(machine: Machine) -> int:
    """Photos at once when nobody asked for a number."""
    return 32 if machine.device == "cpu" else 256


def unlabelled(paths: Sequence[str], places: Places) -> PhotoSet:
    """Photos without labels."""
    return PhotoSet(Path(), paths, np.full(len(paths), -1, dtype=np.int64), None, places)


def loose_photos(paths: Sequence[Path]) -> PhotoSet:
    """Photos named one by one, without labels."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        more = f" ({len(missing)} such paths)" if len(missing) > 1 else ""
        raise MissingInputError(f"no such photo: {missing[0]}{more}", "check the path", id="D1", files=missing)
    return unlabelled([str(path) for path in paths], Places.loose())


def load(
    run: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    precision: str | None = None,
) -> LoadedClassifier:
    """Load a run (its best bundle), or a bundle folder.

    >>> shoes = load("runs/finetune-1")  # doctest: +SKIP
    >>> shoes.predict(["photo.jpg"])[0].label  # doctest: +SKIP
    'sneaker'

    Raises:
        MissingInputError: there is no bundle (exit 66).
        DataError: the bundle is damaged or hostile (id S6).
    """
    folder = bundle_folder(Path(run))
    bundle = load_bundle(folder)
    asked = precision or trained_precision(folder.parent)
    try:
        machine = choose(device, threads=threads, workers=workers, precision=asked)
    except UnavailableError:
        if precision is not None:
            raise
        machine = choose(device, threads=threads, workers=workers)  # trained elsewhere: what this device does well
    classifier = build(
        resolve(bundle.model_name).timm_name,
        num_classes=len(bundle.classes),
        image_size=bundle.preprocessing.size,
    )
    classifier.net.load_state_dict(bundle.state(), strict=True)
    classifier.to(machine.device).eval()
    return LoadedClassifier(bundle, classifier, machine, folder)


def trained_precision(run: Path) -> str:
    """What a run computed in; "auto" where there is no run around a bundle, or no plan that can be read."""
    try:
        return read_plan(run / "plan.json").precision
    except (DeitftError, OSError):
        return "auto"


def bundle_folder(run: Path) -> Path:
    """Where the bundle of a run is: the folder itself, or its ``best``."""
    for path in (run, run / "best", run / "last"):
        if (path / "deitft.json").is_file():
            return path
    if (run / "run.json").is_file():
        raise MissingInputError(f"{run} has no finished model yet", f"deitft resume {run}", id="RUN")
    raise MissingInputError(f"no run or bundle at {run}", "see `deitft runs` for what is there", id="RUN")
