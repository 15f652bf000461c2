"""Starting weights: found (``sources``), read and checked (``read_state``), made to fit (``convert``), loaded.

What was taken, changed, left out or left at its start is in the load report; what does not fit is an error, and
never quietly a random start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from deitft.errors import DataError
from deitft.models import registry
from deitft.models.build import Classifier
from deitft.models.convert import Changes, State, fit_state
from deitft.models.read_state import read_state
from deitft.models.sources import WeightSource, find
from deitft.models.zoo import ModelChoice
from deitft.recipe.preprocessing import Aspect, Preprocessing, preprocessing_from

__all__ = ["LoadReport", "WeightSource", "find", "load", "preprocessing_of", "read_state"]

_ASPECTS: dict[str, Aspect] = {"center": "crop", "squash": "squash", "border": "pad"}


def preprocessing_of(source: WeightSource, choice: ModelChoice) -> Preprocessing:
    """Size, mean, std, interpolation and crop as the weights want them; timm's for a model without weights.

    Raises:
        DataError: the weights' config.json holds values that cannot be (id S6).
    """
    config = source.pretrained_cfg or registry.pretrained_config(choice.timm_name)
    where = str(source.path.parent / "config.json") if source.path is not None else choice.timm_name
    usual = Preprocessing()
    size = config.get("input_size", (3, usual.size, usual.size))
    share = config.get("crop_pct")
    mode = config.get("crop_mode") or "center"
    return preprocessing_from(
        {
            "size": size[-1] if isinstance(size, list | tuple) and len(size) == 3 else size,
            "mean": config.get("mean", usual.mean),
            "std": config.get("std", usual.std),
            "interpolation": config.get("interpolation") or usual.interpolation,
            "crop_share": 0.875 if share is None else share,  # timm's default
            "aspect": _ASPECTS.get(mode, mode) if isinstance(mode, str) else mode,
            "background": usual.background,
        },
        where=where,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What became of the weights.

    ``taken`` counts tensors loaded; ``converted`` says what was changed to fit; ``dropped`` what the file holds
    and the model does not use; ``started`` what the file could not give and is at its (keyed, random) start.
    """

    source: WeightSource
    wanted: str
    taken: int
    converted: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    started: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report in a few lines for people."""
        source = self.source
        if source.path is None:
            return [f"{self.wanted} starts from random values: no pretrained weights"]
        lines = [f"weights: {source.name} from {source.path} ({source.license or 'licence unknown'})"]
        lines[0] += f", {self.taken} tensors"
        if source.kind == "file":
            lines.append(f"the file does not say whose weights it holds: photos are prepared as for {self.wanted}")
        elif not source.exact_tag:
            lines.append(f"these are not {self.wanted}: figures published for that do not hold here")
        for word, items in (("changed", self.converted), ("left out", self.dropped), ("new", self.started)):
            if items:
                lines.append(f"{word}: {'; '.join(items)}")
        return lines

    def record(self) -> dict[str, object]:
        """Plain data, for the run's record."""
        return {
            "taken": self.taken,
            "converted": list(self.converted),
            "dropped": list(self.dropped),
            "started": list(self.started),
        }


def load(classifier: Classifier, source: WeightSource, *, classes: Sequence[str] | None = None) -> LoadReport:
    """Load weights into a classifier that was just built; what they cannot give keeps its start.

    With ``classes`` (ours, in order) a classifier of theirs is taken only where it names the same classes, and
    its rows are put into our order: never by position. Without ``classes`` it is taken where the count fits.

    Raises:
        DataError: they do not fit: missing, unexpected or misshapen tensors (id WEIGHTS); damaged or hostile
            (ids S1, S6).
    """
    wanted = classifier.timm_name
    if source.path is None:
        return LoadReport(source=source, wanted=wanted, taken=0, started=("everything",))
    state = read_state(source.path)
    reason, order = _head_order(source, classes)
    changes = fit_state(classifier, state, refusal=reason, order=order)
    _check(classifier, source, state, changes)
    classifier.net.load_state_dict(state, strict=False)
    new = {"dist_token"} & set(changes.started)
    return LoadReport(
        source=source,
        wanted=wanted,
        taken=len(state) - len(new),
        converted=tuple(changes.converted),
        dropped=tuple(changes.dropped),
        started=tuple(changes.started),
    )


def _head_order(source: WeightSource, classes: Sequence[str] | None) -> tuple[str | None, list[int]]:
    """Why their heads cannot be taken (None: they can), and the order of their rows that is ours."""
    if classes is None:
        return None, []
    if source.classes is None:
        return "its classes have no names", []
    if sorted(source.classes) != sorted(classes):
        return "other classes", []
    place = {name: row for row, name in enumerate(source.classes)}
    order = [place[name] for name in classes]
    return None, [] if order == list(range(len(order))) else order


def _check(classifier: Classifier, source: WeightSource, state: State, changes: Changes) -> None:
    """Every tensor is there, expected, of its shape and kind of number; only heads may be at their start."""
    own: Mapping[str, Tensor] = classifier.net.state_dict()
    for name, tensor in state.items():
        if name not in own:
            continue
        if tensor.shape != own[name].shape:
            there, here = (
                " x ".join(map(str, shape)) or "one number" for shape in (tensor.shape, own[name].shape)
            )
            raise _misfit(classifier, source, f'"{name}" is {there} there, {here} here')
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise DataError(
                f'{source.path}: "{name}" is of type {tensor.dtype}, want {own[name].dtype}',
                "check where it comes from",
                id="S6",
                files=[str(source.path)],
            )
    free = tuple(f"{head}." for head in classifier.head_names if head in changes.started)
    missing = [
        name
        for name in own
        if name not in state and not name.startswith(free) and "num_batches_tracked" not in name
    ]
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        parts = [f"{len(missing)} tensors are missing ({_first(missing)})"] if missing else []
        parts += [f"{len(unexpected)} are unknown ({_first(unexpected)})"] if unexpected else []
        raise _misfit(classifier, source, ", ".join(parts))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _misfit(classifier: Classifier, source: WeightSource, what: str) -> DataError:
    return DataError(
        f"{source.path} does not fit {classifier.timm_name} at {classifier.image_size} px: {what}",
        "are they the weights of another model or size?",
        id="WEIGHTS",
        files=[str(source.path)],
    )
