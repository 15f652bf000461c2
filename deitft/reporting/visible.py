"""Names as people can read them: what is invisible, or turns the text around it, is shown escaped (fault S5)."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def visible(text: str) -> str:
    """Text with control, bidirectional, zero-width, private and undecodable characters as ``\\x1b``, ``\\u202e``.

    Joiners stay where scripts and emoji need them: after a character that is not ASCII.

    >>> print(visible("red\\x1b[31m and \\u202eturned"))
    red\\x1b[31m and \\u202eturned
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    before = ""
    for char in text:
        shown.append(_escaped(char) if _hidden(char, before) else char)
        before = char
    return "".join(shown)


def _hidden(char: str, before: str) -> bool:
    if char in _JOINERS:
        return not before or before.isascii() or before in _JOINERS
    return unicodedata.category(char) in _ESCAPED_CATEGORIES or (ord(char) & 0xFFFE) == 0xFFFE


def _escaped(char: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if named:
        return named
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def shortened(text: str, limit: int = 28) -> str:
    """Visible text of at most ``limit`` characters, the middle left out: both ends of a name tell it apart."""
    shown = visible(text)
    if len(shown) <= limit:
        return shown
    head = (limit - 1) * 2 // 3
    return f"{shown[:head].rstrip()}…{shown[len(shown) - (limit - 1 - head) :].lstrip()}"
