"""What ``--teacher`` names: a run or bundle, weights of the user's own, or a model of the zoo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deitft.bundle.check import MANIFEST, WEIGHTS
from deitft.bundle.format import Bundle, load_bundle
from deitft.data.catalog import shown
from deitft.errors import UsageError
from deitft.models import imagenet
from deitft.models.sources import WeightSource, find, find_needed, read_hub_config
from deitft.models.zoo import WEIGHT_FILES, ModelChoice
from deitft.models.zoo import resolve as resolve_model
from deitft.runs.classifier import bundle_folder
from deitft.runs.request import TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A bundle with classes; or a model, with the weights that were named (``source`` None: those of its name)."""

    spec: str
    bundle: Bundle | None = None
    choice: ModelChoice | None = None
    source: WeightSource | None = None

    @property
    def model(self) -> str:
        """timm's name with its tag."""
        if self.bundle is not None:
            return self.bundle.model_name
        assert self.choice is not None, "it is the one or the other"
        return self.choice.timm_name

    @property
    def named_classes(self) -> tuple[str, ...] | None:
        """What it says of itself that it knows; None where it says nothing."""
        if self.bundle is not None:
            return tuple(self.bundle.classes)
        return None if self.source is None else self.source.classes

    def weights(self, request: TrainRequest) -> WeightSource:
        """The weights of a model that is no bundle, found but not yet read.

        Raises:
            UnavailableError, MissingInputError, DataError: see ``models.sources.find``.
        """
        assert self.choice is not None, "a bundle has its own"
        if self.source is not None:
            return self.source
        if not request.teacher_pretrained:
            return find(self.choice, pretrained=False)
        return find_needed(self.choice, weights_dir=request.weights_dir, progress=request.progress)


def classes_of_weights(named: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes of a classifier, in the order of its logits: ImageNet-1k's where its weights name none."""
    return imagenet.synsets() if named is None or named == imagenet.descriptions() else named


def candidates(request: TrainRequest) -> list[Candidate]:
    """What the request's teachers are, looked up but not yet read: cheap, so that it comes before the photos.

    Raises:
        UsageError: no such run, bundle or model, or a file that does not say of which model it is (id TEACHER).
        DataError: the bundle is damaged or hostile (id S6), the weights are of another model (id WEIGHTS).
    """
    return [_candidate(spec) for spec in request.teacher]


def _candidate(spec: str) -> Candidate:
    path = Path(spec).expanduser()
    if path.is_file() and path.name == WEIGHTS and (path.parent / MANIFEST).is_file():
        return Candidate(spec=spec, bundle=load_bundle(path.parent))
    folder = path.parent if path.is_file() and path.name in WEIGHT_FILES else path
    if (folder / "config.json").is_file() and not (folder / MANIFEST).is_file():
        choice = _choice_of(folder)
        return Candidate(spec=spec, choice=choice, source=find_needed(choice, weights=str(path)))
    if path.is_dir():
        return Candidate(spec=spec, bundle=load_bundle(bundle_folder(path)))
    if path.exists():
        raise UsageError(
            f"--teacher {shown(spec)} is a file that does not say of which model its weights are",
            f"write MODEL={shown(spec)}, with a name that `deitft models` lists or one of timm's",
            id="TEACHER",
        )
    name, named, file = spec.partition("=")
    if named:
        return _named_weights(spec, name, Path(file).expanduser())
    try:
        return Candidate(spec=spec, choice=resolve_model(spec))
    except UsageError as error:
        if "/" in spec or path.suffix:
            raise UsageError(
                f"--teacher: no run, bundle or weights at {shown(spec)}", "see `deitft runs`", id="TEACHER"
            ) from error
        raise


def _named_weights(spec: str, name: str, file: Path) -> Candidate:
    """``MODEL=FILE``."""
    choice = resolve_model(name)
    if not file.exists():
        raise UsageError(f"--teacher: no weights at {shown(str(file))}", "check the path", id="TEACHER")
    return Candidate(spec=spec, choice=choice, source=find_needed(choice, weights=str(file)))


def _choice_of(folder: Path) -> ModelChoice:
    """The model that a folder in timm's hub layout says it holds."""
    config = read_hub_config(folder)
    architecture, tag = config["architecture"], config["pretrained_cfg"].get("tag")
    try:
        return resolve_model(f"{architecture}.{tag}" if tag else architecture)
    except UsageError:
        return resolve_model(architecture)  # a tag of their own, that timm does not know
