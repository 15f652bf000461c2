r"""Do file names say which photos show one article? If so, the expression for ``--group-by``.

A naming scheme is *article, then view*: a beginning that a few photos share, then a part that tells the views of
one article apart. A scheme is offered where it explains nearly all names, gives several groups of a few photos
each, and the views are the same few in one group after the other. Cameras, dates, UUIDs and plain counters have no
such part.

>>> offered(["a/10021_1.jpg", "a/10021_2.jpg", "a/10022_1.jpg", "a/10022_2.jpg"], fewest=2)
'^([^_.]+)_\\d+'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from deitft.data.catalog import Catalog, shown
from deitft.data.findings import Finding

FEWEST_GROUPS = 5
"""Groups of several photos that a scheme must give, to be believed."""
EXPLAINED = 0.9
"""Share of the names that must be of the scheme."""
LARGEST = 60
"""Photos of one article at most; a scheme with larger groups has found a class or a camera."""
READ, RUNS = 20_000, 20
"""Names that are looked at, in so many runs over all of them."""

_END = r"\.[^.]+$"
_CODES = r"MAIN|SWCH|TOPP|BOTT|LEFT|RGHT|FRNT|BACK|SIDE|PAIR|FACT|PT\d\d|IN\d\d|PS\d\d"
_WORDS = (
    r"front|back|side|left|right|top|bottom|details?|main|alt|flat|full|zoom|model|packshot|swatch|thumb|"
    r"large|small|hero|angle|inside|sole|pair|worn|still|additional"
)
_SCHEMES: tuple[tuple[str, str], ...] = (
    (r"[^.]+?", rf"\.(?:{_CODES})"),  # B000123456.PT01.jpg
    (r"\d{8,14}", r"_[A-F]\d[A-Z][A-Z0-9](?:_[^.]*)?"),  # 00012345678905_A1N1.jpg
    (r"[^_]+?", r"_(?:MAIN|PT|SWCH|main|pt|swch)\d*(?:[-_].*)?"),  # ASIN12345_MAIN01-brand.jpg
    (r".+?", r"[-_](?:image|img|photo|pic|view|v|p|a|alt)[-_]?\d{1,3}"),  # 990-image_0.jpg
    (r".+?", rf"_(?:\d{{1,2}}|(?i:{_WORDS})(?:[-_]?\d{{1,2}})?)"),  # 762309_1.jpg, 4711_front.jpg
    (r".+?", rf"-(?:\d{{1,2}}|(?i:{_WORDS})(?:[-_]?\d{{1,2}})?)"),  # SKU-1.jpg
    (r".+?", r" ?\(\d{1,2}\)"),  # 4711 (2).jpg
    (r"[^_]+?", r"_\d{1,2}(?:_.*)?"),  # tb24001dw_1_pack.jpg
    (r"[^.]+", r"\.[^.]+"),  # xprod2102.bootsideview.png
    (r".*?\d", rf"(?:(?i:{_WORDS})|[A-Ja-j])"),  # 990a.jpg, ABC00123Detail.jpg
    (r".*?[A-Za-z-]\d+?", r"0\d"),  # FA-0101.jpg
)
"""(article, view) of ways to name views of an article, the most telling first."""

_PLAIN = (
    r"^([^_.]+)_\d+",
    r"^([^_.]+)",
    r"^([^-_.]+)",
    rf"^(.+)_\d+{_END}",
    rf"^(.+)-\d+{_END}",
    rf"^(.+)_[^_]+{_END}",
    rf"^(.+)-[^-]+{_END}",
    r"^(.*?\d+)",
)
"""What is offered instead where it groups these names alike: a person should be able to read it."""

_CAMERA = re.compile(
    r"(?i:(?:img|dsc|dscn|dscf|_mg|pict?|photo|image|pxl|mvimg|vid|gopr|cimg|sam|kif|imgp|scan|frame|screenshot)"
    r"[ _-]*\d|p\d{7}$|dji_\d)"
)
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])(?:\1(?:0[1-9]|[12]\d|3[01]))?|"
    r"(?:0[1-9]|[12]\d|3[01])([-_.])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d)(?!\d)"
)
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_HASH = re.compile(r"[0-9a-f]{16,}$", re.IGNORECASE)


def offered(paths: Sequence[str], *, fewest: int = FEWEST_GROUPS) -> str | None:
    """The expression that groups these names by article, for ``--group-by``; None where names do not say."""
    names = _some_names(paths)
    stems = [name.rpartition(".")[0] or name for name in names]
    if not names or sum(map(_is_no_article, stems)) > (1 - EXPLAINED) * len(names):
        return None
    found = ((_fit(article, view, names, fewest)) for article, view in _SCHEMES)
    return next((expression for expression in found if expression is not None), None)


def _some_names(paths: Sequence[str]) -> list[str]:
    """File names, at most ``READ``: in a few runs, for the views of an article stand beside each other."""
    if len(paths) <= READ:
        return [path.rpartition("/")[2] for path in paths]
    starts = [number * (len(paths) - READ // RUNS) // (RUNS - 1) for number in range(RUNS)]
    return [path.rpartition("/")[2] for at in starts for path in paths[at : at + READ // RUNS]]


def _is_no_article(stem: str) -> bool:
    return bool(_CAMERA.match(stem) or _UUID.search(stem) or _HASH.match(stem) or _DATE.search(stem))


def _fit(article: str, view: str, names: Sequence[str], fewest: int) -> str | None:
    """The expression of a scheme, if these names are of it."""
    strict = re.compile(f"^({article}){view}{_END}")
    matches = [match for match in map(strict.match, names) if match]
    if len(matches) < 0.5 * len(names):
        return None
    # The main photo of an article may have no view in its name: 320496.jpg beside 320496_1.jpg.
    loose = len(matches) < len(names)
    pattern = re.compile(f"^({article})(?:{view})?{_END}") if loose else strict
    grouped: dict[str, list[str]] = {}
    for match in filter(None, map(pattern.match, names)):
        grouped.setdefault(match[1], []).append(match.string[match.end(1) :].rpartition(".")[0])
    several = {name: views for name, views in grouped.items() if len(views) > 1}
    told = sum(len(views) for name, views in grouped.items() if len(views) > 1 or views[0] != "")
    if (
        len(several) < fewest
        or told < EXPLAINED * len(names)
        or sum(map(len, several.values())) < 0.5 * len(names)
    ):
        return None
    if max(map(len, several.values())) > LARGEST or not _are_articles(list(several)):
        return None
    if not _views_return(several) and view != r"\.[^.]+":
        return None
    return next((plain for plain in _PLAIN if _same_groups(plain, pattern, names)), pattern.pattern)


def _same_groups(plain: str, pattern: re.Pattern[str], names: Sequence[str]) -> bool:
    short = re.compile(plain)
    for name in names:
        one, two = short.match(name), pattern.match(name)
        if two and (one is None or one[1] != two[1]):
            return False
    return True


def _are_articles(names: Sequence[str]) -> bool:
    """Whether nearly all hold a digit, as article numbers do and classes do not."""
    with_digit = sum(any(letter.isdigit() for letter in name) for name in names)
    return with_digit >= EXPLAINED * len(names)


def _views_return(several: Mapping[str, list[str]]) -> bool:
    """Whether the same few views come with one article after the other; a counter's numbers do not."""
    kinds = Counter(view for views in several.values() for view in set(views))
    return sum(count for count in kinds.values() if count > 1) >= 0.8 * sum(kinds.values())


def article_finding(catalog: Catalog) -> list[Finding]:
    """What to say where the names look like article numbers and nothing is grouped yet."""
    if catalog.groups is not None and any(catalog.groups):
        return []
    expression = offered(catalog.paths)
    if expression is None:
        return []
    pattern = re.compile(expression)
    groups: dict[str, list[str]] = {}
    for path in catalog.paths:
        match = pattern.match(path.rpartition("/")[2])
        if match:
            groups.setdefault(match[1], []).append(path)
    name, photos = max(groups.items(), key=lambda item: len(item[1]))
    several = sum(len(found) > 1 for found in groups.values())
    text = (
        f"file names look like article numbers: {several:,} articles have several photos, "
        f'such as "{shown(name)}" ({len(photos)})'
    )
    hint = f"--group-by '{expression}' keeps an article on one side of the split"
    details = {"expression": expression, "articles": len(groups), "several": several}
    return [Finding(id="ARTICLES", severity="info", text=text, hint=hint, paths=tuple(photos), details=details)]
