"""YAML with its traps closed: plain data, one meaning a word, bounded size and depth (fault S2).

Read: sections, lists, text, whole numbers, numbers, ``true``, ``false``, ``null``. Refused: tags, anchors and
aliases, keys that appear twice, several documents, numbers that are not finite. What YAML 1.1 bends stays text:
``no``, ``on``, ``12:30``, ``1_000``, ``0755``; and ``5e-4``, which YAML 1.1 takes for text, is a number.

The value is built from parser events, never from YAML's own objects: what is refused is refused before
anything is made of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from deitft.errors import RecipeError

LIMIT_BYTES = 256_000
LIMIT_DEPTH = 20
LIMIT_DIGITS = 18

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_STANDARD_TAG = "tag:yaml.org,2002:"


def visible(text: str, limit: int = 60) -> str:
    """Text for a message: one line, nothing a terminal would obey, no longer than ``limit`` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in cut
    )


def plain_scalar(text: str) -> object:
    """What a word without quotes means: a number, true, false, null, or the text itself.

    Raises:
        ValueError: a number that is not finite, or of more digits than any field can mean.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if _INT.fullmatch(text):
        if len(text.lstrip("+-")) > LIMIT_DIGITS:
            raise ValueError(f"{visible(text, 20)} has more than {LIMIT_DIGITS} digits")
        return int(text)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{visible(text, 20)} is not a finite number")
        return value
    return text


@dataclass(slots=True)
class _Reader:
    """Turns parser events into plain values; collects what is wrong but does not stop the reading."""

    source: str
    events: Iterator[yaml.Event]
    mistakes: list[str] = field(default_factory=list)

    def refuse(self, line: int | None, what: str, hint: str = "") -> RecipeError:
        where = self.source if line is None else f"{self.source} line {line}"
        return RecipeError(f"{where}: {what}", hint, id="S2", files=(self.source,))

    def document(self) -> object:
        value: object = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.refuse(_line(event), "a second document begins (---)", "keep one recipe a file")
            elif isinstance(event, yaml.NodeEvent):
                value = self.node(event, depth=1)
        return value

    def node(self, event: yaml.Event, depth: int) -> object:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self.refuse(
                line, "anchors (&) and aliases (*) are not allowed in a recipe", "write the value out"
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise self.refuse(line, f'tag "{_shown_tag(tag)}" is not allowed in a recipe', "remove it")
        if depth > LIMIT_DEPTH:
            raise self.refuse(line, f"nested more than {LIMIT_DEPTH} deep", "recipes are two or three deep")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        raise self.refuse(line, "not valid YAML")

    def sequence(self, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                self.node(event, depth + 1)  # refuses what is never allowed
                raise self.refuse(line, "a list or a section cannot be a key")
            self.node(event, depth + 1)
            name = event.value
            value = self.node(next(self.events), depth + 1)
            if name in result:
                self.mistakes.append(f'line {line}: the key "{visible(name)}" appears twice')
            result[name] = value
        return result

    def scalar(self, event: yaml.ScalarEvent) -> object:
        text = str(event.value)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise self.refuse(_line(event), "half of a surrogate pair is not a character")
        if event.style is not None:
            return text
        try:
            return plain_scalar(text)
        except ValueError as error:
            self.mistakes.append(f"line {_line(event)}: {error}")
            return text


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


def _shown_tag(tag: str) -> str:
    """A tag as it was typed, without the name of what it would have called."""
    if tag.startswith(_STANDARD_TAG):
        return "!!" + visible(tag.removeprefix(_STANDARD_TAG).split(":")[0])
    return visible(tag)


def read_yaml(data: bytes, *, source: str) -> tuple[object, list[str]]:
    """The plain value of one YAML document, and what is wrong inside it (duplicate keys, impossible numbers).

    ``source`` names the document in messages.

    Raises:
        RecipeError: what is refused whole: too large, too deep, tags, anchors, several documents, not UTF-8,
            not YAML (id S2); the line is named.
    """
    source = visible(source, 200)
    if len(data) > LIMIT_BYTES:
        raise RecipeError(f"{source} is larger than {LIMIT_BYTES // 1000} kB", "no recipe is", id="S2")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"{source} is not UTF-8 (byte 0x{data[error.start]:02x} in line {line})"
        raise RecipeError(what, "save it as UTF-8", id="S2") from error
    # The pure python parser: it is a state machine without recursion and makes events one at a time.
    reader = _Reader(source, iter(yaml.parse(text, Loader=yaml.SafeLoader)))
    try:
        return reader.document(), reader.mistakes
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = visible(str(error.problem or error.context or "syntax"), 120)
        raise reader.refuse(mark.line + 1 if mark else None, f"not valid YAML ({problem})") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise reader.refuse(line, f"character 0x{ord(text[error.position]):02x} is not allowed") from error


class _Dumper(yaml.SafeDumper):
    """Writes what ``read_yaml`` reads back: no aliases, text quoted where a plain word would mean a number."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        # What is not printable (line separators, a mark at the front) only double quotes write safely.
        is_plain = plain_scalar(text) == text and text.isprintable()
    except ValueError:
        is_plain = False
    return dumper.represent_scalar(_STANDARD_TAG + "str", text, style=None if is_plain else '"')


def _represent_list(dumper: yaml.SafeDumper, items: list[object]) -> yaml.SequenceNode:
    short = bool(items) and not any(isinstance(item, dict | list) for item in items)
    return dumper.represent_sequence(_STANDARD_TAG + "seq", items, flow_style=short)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)


def write_yaml(value: object) -> str:
    """Plain data as YAML that ``read_yaml`` gives back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
