"""The model card: what is in the folder, how good it is, what it is not for. Markdown, with every name escaped."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deitft.reporting.visible import visible

CLASSES_SHOWN = 100
"""Rows of the class table at most: a card is read by people."""

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;", "'": "&#39;"}
_MARKUP = frozenset("\\`*_[]|~$:@")
_AT_START = re.compile(r"[-+=#]|\d+(?=[.)])")
_LINK_START = re.compile(r"(?<=www)\.", re.IGNORECASE)


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is: no markup, no link, no line break (fault S5)."""
    shown = visible(str(text)).strip()
    dots = {match.start() for match in _LINK_START.finditer(shown)}
    start = _AT_START.match(shown)
    if start:  # what would begin a list, a heading or an underline: the mark itself, or the dot after a number
        dots.add(start.end() if shown[0].isdigit() else 0)
    return "".join(
        _ENTITIES.get(char, f"\\{char}" if char in _MARKUP or index in dots else char)
        for index, char in enumerate(shown)
    )


def code(text: str) -> str:
    """A code span that shows the text as it is. Not for tables: a bar would end the cell."""
    shown = visible(str(text)).strip()
    fence = "`" * (_longest_fence(shown) + 1)
    space = " " if shown[:1] == "`" or shown[-1:] == "`" or not shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _longest_fence(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def code_block(text: str, language: str = "") -> str:
    """A fenced block whose fence is longer than any run of backticks in it."""
    lines = [visible(line) for line in text.split("\n")]
    fence = "`" * max(3, _longest_fence(text) + 1)
    return "\n".join([fence + language, *lines, fence])


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card tells. Plain data only.

    ``photos`` counts the splits {"train", "val", "test"}, ``train_counts`` the train photos a class. ``metrics``
    is ``Metrics.record()`` of the photos named by ``claim_split``, {} where nothing was measured; ``by_teacher``:
    they have no labels, and the figures say how often the model agrees with its teacher. ``probe_top1``
    is the same photos' score of a logistic regression on the frozen features. ``weights`` says what training
    started from: "kind", "architecture", "tag", "sha256", "license". ``command`` is the command line, in words.
    """

    title: str
    model: str
    classes: Sequence[str]
    photos: Mapping[str, int]
    preprocessing: Mapping[str, Any]
    short_name: str | None = None
    parameters: int | None = None
    two_heads: bool = False
    train_counts: Sequence[int] = ()
    data_fingerprint: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    claim_split: str = "test"
    by_teacher: bool = False
    probe_top1: float | None = None
    temperature: float = 1.0
    weights: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()
    recipe: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    limits: Sequence[str] = ()
    versions: Mapping[str, str | None] = field(default_factory=dict)
    created: str = ""


def model_card(facts: CardFacts) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    parts = [
        _front_matter(facts),
        f"# {escaped(facts.title)}",
        _summary(facts),
        "## How good",
        _scores(facts),
        "## Classes",
        _classes(facts),
        "## Use",
        _use(facts),
        "## What a photo goes through",
        _preprocessing(facts),
        "## How it was trained",
        _training(facts),
        "## Limits",
        _limits(facts),
        "## Licence",
        _licence(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: CardFacts) -> str:
    """YAML whose every value is a JSON string: nothing in it is read as a tag, a date or a number."""
    lines = ["---", "library_name: timm", "pipeline_tag: image-classification", "tags:"]
    lines += [f"- {tag}" for tag in ("image-classification", "timm", "deitft")]
    licence = facts.weights.get("license")
    if licence:
        lines.append(f"license: {json.dumps(visible(str(licence)))}")
    return "\n".join([*lines, "---"])


def _summary(facts: CardFacts) -> str:
    name = f"{escaped(facts.short_name)} ({code(facts.model)})" if facts.short_name else code(facts.model)
    size = facts.preprocessing.get("size")
    text = f"An image classifier of {len(facts.classes)} classes: {name} at {size} x {size} pixels"
    if facts.parameters:
        text += f", {facts.parameters / 1e6:.1f} M parameters"
    if facts.two_heads:
        text += ". It has a class and a distillation head; the mean of their logits is served"
    photos = ", ".join(f"{count:,} {escaped(name)}" for name, count in facts.photos.items())
    return f"{text}.\n\nPhotos: {photos}." if photos else f"{text}."


_FIGURES = (
    ("top1", "Top-1", True),
    ("top5", "Top-5", True),
    ("balanced_accuracy", "Balanced accuracy", True),
    ("macro_f1", "Macro-F1", True),
    ("calibration_error", "Calibration error (15 bins)", True),
    ("nll", "Negative log-likelihood", False),
    ("majority", "One constant answer", True),
)


_AGREEMENT = {"top1": "Agreement with the teacher", "top5": "Teacher's class in the top 5"}


def _scores(facts: CardFacts) -> str:
    if not facts.metrics:
        return "Nothing was measured: there were no photos held out for it."
    metrics = facts.metrics
    intervals = metrics.get("intervals", {})
    rows = ["| figure | value | 95 % interval |", "|---|---|---|"]
    for name, title, share in _FIGURES:
        value = metrics.get(name)
        shown = _AGREEMENT.get(name, f"{title}, against the teacher") if facts.by_teacher else title
        if value is not None:
            rows.append(f"| {shown} | {_number(value, share)} | {_interval(intervals.get(name), share)} |")
    if facts.probe_top1 is not None:
        rows.append(f"| Logistic regression on frozen features, top-1 | {_number(facts.probe_top1, True)} | |")
    text = f"Measured on {metrics.get('n', 0):,} {escaped(facts.claim_split)} photos"
    if facts.by_teacher:
        text = (
            "**Nobody has labelled these photos: the figures say how often the model agrees with its teacher, not "
            f"how often it is right.**\n\n{text}"
        )
    if facts.claim_split == "val":
        chose = "the weights" if facts.temperature == 1 else "the weights and the temperature"
        text += f", which also chose {chose}: **these figures flatter the model**.\n\n"
    elif facts.claim_split == "train":
        text += ", which the model has learned from: **these figures say nothing of new photos**.\n\n"
    else:
        text += " that chose nothing.\n\n"
    text += "\n".join(rows)
    heads = metrics.get("heads") or {}
    if heads:
        each = ", ".join(f"{escaped(name)} {_number(row['top1'], True)}" for name, row in heads.items())
        text += f"\n\n{'Agreement with the teacher' if facts.by_teacher else 'Top-1'} by head: {each}."
    for notice in metrics.get("notices", ()):
        text += f"\n\n{escaped(': '.join(part for part in (notice['what'], notice['hint']) if part))}."
    return text


def _number(value: float, share: bool) -> str:
    return f"{100 * value:.1f} %" if share else f"{value:.3f}"


def _interval(ends: Sequence[float] | None, share: bool) -> str:
    if ends is None:
        return ""
    low, high = ends
    return f"{100 * low:.1f} to {100 * high:.1f} %" if share else f"{low:.3f} to {high:.3f}"


def _classes(facts: CardFacts) -> str:
    measured = facts.metrics.get("per_class", ())
    rows = ["| class | train photos | judged | recall | precision | F1 |", "|---|---|---|---|---|---|"]
    for index, name in enumerate(facts.classes[:CLASSES_SHOWN]):
        train = f"{facts.train_counts[index]:,}" if index < len(facts.train_counts) else ""
        row = measured[index] if index < len(measured) else {}
        shares = (
            ("n/a" if row.get(field) is None else _number(row[field], True)) if row else ""
            for field in ("recall", "precision", "f1")
        )
        rows.append(f"| {escaped(name)} | {train} | {row.get('n', '')} | {' | '.join(shares)} |")
    left = len(facts.classes) - CLASSES_SHOWN
    more = f"\n\n{left} more classes stand in `deitft.json`." if left > 0 else ""
    return "\n".join(rows) + more


def _use(facts: CardFacts) -> str:
    ours = 'import deitft\n\nmodel = deitft.load("this-folder")\nfor answer in model.predict(["photo.jpg"]):\n'
    ours += "    print(answer.label, answer.probability)"
    theirs = 'import timm\n\nmodel = timm.create_model("local-dir:this-folder", pretrained=True).eval()\n'
    theirs += "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
    text = f"{code_block(ours, 'python')}\n\nOr with timm alone, which gives the same logits:\n\n"
    text += code_block(theirs, "python")
    if facts.temperature == 1:
        text += "\n\nProbabilities are the softmax of the logits; no temperature was fitted."
    else:
        text += (
            f"\n\nProbabilities are the softmax of the logits divided by the temperature {facts.temperature:.4g}, "
        )
        text += "which was fitted on val photos; deitft does that by itself, timm does not."
    if facts.preprocessing.get("aspect") == "pad":
        text += (
            "\n\nThis model was trained on photos padded to a square with the background colour below; timm's "
            "transform pads with the mean colour instead, so its numbers differ a little on photos not square."
        )
    return text


def _preprocessing(facts: CardFacts) -> str:
    pre = facts.preprocessing
    aspect = pre.get("aspect")
    how = {
        "crop": f"its shorter side is resized, the centre is cut out (crop share {pre.get('crop_share')})",
        "pad": f"it is resized whole and padded to a square with the colour {tuple(pre.get('background', ()))}",
        "squash": "it is resized to a square, whatever its sides were",
    }.get(str(aspect), escaped(str(aspect)))
    background = tuple(pre.get("background", ()))
    return (
        f"It is turned upright by its EXIF orientation, transparency is laid on {background}, {how}; filter "
        f"{escaped(str(pre.get('interpolation')))}. Then the mean {tuple(pre.get('mean', ()))} is taken off, and "
        f"the rest divided by {tuple(pre.get('std', ()))}, of values in 0 to 1. All of it stands in `deitft.json`."
    )


def _training(facts: CardFacts) -> str:
    lines = [f"- {escaped(name)}: {escaped(str(value))}" for name, value in facts.training.items()]
    if facts.recipe:
        lines.insert(0, f"- recipe: {escaped(facts.recipe)}")
    if facts.data_fingerprint:
        lines.append(f"- data fingerprint: {code(facts.data_fingerprint)}")
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items() if version)
    if versions:
        lines.append(f"- with {escaped(versions)}")
    if facts.created:
        lines.append(f"- made {code(facts.created)}")
    command = code_block(shlex.join(facts.command), "console") if facts.command else ""
    return "\n\n".join(part for part in (command, "\n".join(lines)) if part)


def _limits(facts: CardFacts) -> str:
    lines = [
        f"It always answers with one of its {len(facts.classes)} classes, also for a photo of something else.",
        "The figures hold for photos like those it was judged on: the same source, the same way of taking them.",
        "Intervals take photos as independent; several photos of one object make them too narrow.",
        *(escaped(line) for line in facts.limits),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _licence(facts: CardFacts) -> str:
    weights = facts.weights
    if weights.get("kind") == "none":
        return "The weights were trained from a random start: they carry no licence of others."
    name = ".".join(str(weights[part]) for part in ("architecture", "tag") if weights.get(part))
    text = "Training started from weights of others"
    if name:
        text += f", {code(name)}"
    if weights.get("sha256"):
        text += f" (sha256 {code(weights['sha256'])})"
    licence = weights.get("license")
    terms = (
        f"Their licence is {escaped(str(licence))}."
        if licence
        else "Their licence is not known: ask their source."
    )
    return f"{text}. {terms} The photos' rights are a matter of their own."
