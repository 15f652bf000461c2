"""Curves and diagrams as inline SVG: text stays text, colours are the page's, points tell their value on hover.

matplotlib draws with stand-in colours; ``inline_svg`` turns them into CSS variables, so that one drawing serves
light, dark and print. A person's own matplotlib settings change nothing. Nothing of the user's text is drawn:
matplotlib would read ``$`` as mathematics.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from deitft.reporting.report_data import EpochRow, History, Reliability

# Stand-ins that nothing else draws with, and what the page has in their place.
INK, SOFT, LINE, ACCENT, BAR = "#010203", "#010204", "#010205", "#010206", "#010207"
COLOURS = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", ACCENT: "var(--accent)", BAR: "var(--bar)"}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deitft",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": SOFT,
    "legend.fontsize": 11,
    "path.simplify": False,
}

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DOTS = 50
"""Points of a curve that are dots, and that tell their value on hover; longer curves are thinned evenly."""

PIXELS = 72
"""Units of the drawing in an inch: one is one CSS pixel at full width."""

Series = tuple[str, Sequence[float], Sequence[float], str, Any]
"""Name, x, y, colour, dash: finite values only."""


def learning_curves(history: History) -> list[tuple[str, Markup]]:
    """Score on val (raw and EMA), loss and learning rate, each (title, SVG); what has no value is left out."""
    rows = history.rows
    loss = [
        _series("train loss", rows, lambda row: row.train_loss, SOFT, "-"),
        _series("val loss", rows, lambda row: row.val_loss, ACCENT, "-"),
    ]
    score = [
        _series("raw weights", rows, lambda row: row.val_score, ACCENT, "-"),
        _series("EMA weights", rows, lambda row: row.val_score_ema, INK, (0, (4, 2))),
    ]
    rate = [_series("learning rate", rows, lambda row: row.lr, INK, "-")]
    plots = []
    if any(series[1] for series in score):
        title = f"{history.score_name[:1].upper()}{history.score_name[1:]} on val"
        plots.append((title, _curve("score", title, score, percent=history.score_is_share, best=_best(history))))
    if any(series[1] for series in loss):
        plots.append(("Loss", _curve("loss", "Loss", loss)))
    if any(series[1] for series in rate):
        plots.append(("Learning rate", _curve("rate", "Learning rate", rate, from_zero=True)))
    return plots


def _series(
    name: str, rows: Sequence[EpochRow], read: Callable[[EpochRow], float | None], colour: str, dash: Any
) -> Series:
    points = [(row.epoch, value) for row in rows if (value := read(row)) is not None and math.isfinite(value)]
    return name, [x for x, _ in points], [y for _, y in points], colour, dash


def _best(history: History) -> tuple[float, float] | None:
    for row in history.rows:
        if row.step == history.best_step:
            value = row.val_score_ema if history.best_which == "ema" else row.val_score
            return None if value is None or not math.isfinite(value) else (row.epoch, value)
    return None


def _curve(
    name: str,
    label: str,
    all_series: Sequence[Series],
    *,
    percent: bool = False,
    from_zero: bool = False,
    best: tuple[float, float] | None = None,
) -> Markup:
    """One small drawing of some series over epochs."""
    drawn = [series for series in all_series if series[1]]
    hover: dict[str, list[str]] = {}
    with style.context(["default", STYLE]):
        figure, axes = axes_of(340, 230)
        for number, (title, x, y, colour, dash) in enumerate(drawn):
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.8, label=title, solid_capstyle="round")
            mark = f"{name}-points-{number}"
            if len(x) <= DOTS:
                axes.scatter(x, y, s=14, color=colour, linewidths=0)
            every = math.ceil(len(x) / DOTS)
            told = list(zip(x, y, strict=True))[::every]
            axes.scatter(x[::every], y[::every], s=160, color=colour, alpha=0, linewidths=0, gid=mark)
            hover[mark] = [f"{title}, epoch {at:g}: {_shown(value, percent)}" for at, value in told]
        if best is not None:
            axes.scatter(*best, s=70, facecolors="none", edgecolors=INK, linewidths=1.4, label="kept", zorder=5)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{100 * at:g} %" if percent else f"{at:g}"))
        if from_zero:
            axes.set_ylim(bottom=0)
        if len(drawn) > 1 or best is not None:
            axes.legend(loc="lower right" if percent else "upper right", handlelength=1.6)
        return inline_svg(figure, name, label, hover)


def _shown(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.4g}"


def reliability_diagram(name: str, label: str, curve: Reliability, *, hit: str = "right") -> Markup:
    """Accuracy over confidence as bars against the diagonal; below it, how many photos each bin holds.

    ``hit`` is what an answer that counts is called.
    """
    hover: dict[str, list[str]] = {}
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(300 / PIXELS, 320 / PIXELS), dpi=PIXELS)
        figure.subplots_adjust(left=0.16, right=0.97, top=0.97, bottom=0.13, hspace=0.12)
        grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
        upper, lower = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        upper.plot((0, 1), (0, 1), color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
        total = max(sum(bin.count for bin in curve.bins), 1)
        for number, bin in enumerate(curve.bins):
            width = bin.high - bin.low
            lower.bar(bin.low, bin.count / total, width * 0.86, align="edge", color=BAR)
            if not bin.count or bin.accuracy is None:
                continue
            mark = f"{name}-bin-{number}"
            upper.bar(bin.low, bin.accuracy, width * 0.86, align="edge", color=ACCENT, alpha=0.85, gid=mark)
            hover[mark] = [
                f"confidence {100 * bin.low:.0f} to {100 * bin.high:.0f} %: {hit} {100 * bin.accuracy:.1f} %, "
                f"{bin.count} photos"
            ]
        for axes in (upper, lower):
            axes.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        upper.set_ylabel(hit)
        upper.tick_params(labelbottom=False)
        lower.set_ylabel("photos")
        lower.set_yticks([])
        lower.set_xlabel("confidence")
        lower.grid(visible=False)
        for axis in (upper.xaxis, upper.yaxis, lower.xaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        return inline_svg(figure, name, label, hover)


def axes_of(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure of this many CSS pixels with one drawing in it."""
    figure = Figure(figsize=(width / PIXELS, height / PIXELS), dpi=PIXELS, layout="constrained")
    return figure, figure.add_subplot()


def inline_svg(figure: Figure, name: str, label: str, hover: Mapping[str, Sequence[str]]) -> Markup:
    """A figure as an SVG element for the page.

    ``name`` goes before every id, so that drawings of one page do not meet; ``label`` is read aloud; ``hover``
    maps an artist's gid to the texts of its points, in the order they were drawn.
    """
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None})
    root = ElementTree.fromstring(out.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    _add_titles(root, hover)
    _own_ids(root, name)
    view = root.get("viewBox", "")
    root.attrib = {"class": "plot", "viewBox": view, "role": "img", "aria-label": label}
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
    text = ElementTree.tostring(root, encoding="unicode")
    text = page_fonts(text)
    for stand_in, variable in COLOURS.items():
        text = text.replace(stand_in, variable)
    return Markup(text)


def page_fonts(svg: str) -> str:
    """Sizes stay, the typeface is left to the page: both ways that versions of matplotlib write it."""
    svg = re.sub(r"font: [^;\"]*?([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    return re.sub(r"font-family: [^;\"]*; ?", "", svg)


def _add_titles(root: ElementTree.Element, hover: Mapping[str, Sequence[str]]) -> None:
    groups = {element.get("id"): element for element in root.iter(f"{{{SVG}}}g")}
    for mark, titles in hover.items():
        points = _points(groups[mark])
        for point, title in zip(points, titles, strict=True):
            ElementTree.SubElement(point, f"{{{SVG}}}title").text = title


def _points(group: ElementTree.Element) -> list[ElementTree.Element]:
    """What a group drew: the uses of its marker, or itself where it is one shape."""
    uses = list(group.iter(f"{{{SVG}}}use"))
    return uses or [group]


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Keep only ids that something points at, and put the drawing's name before them."""
    pointed = set(_references(root))
    for element in root.iter():
        link = element.attrib.pop(f"{{{XLINK}}}href", None)
        if link is not None:
            element.set("href", f"#{name}-{link[1:]}")
        own = element.attrib.pop("id", None)
        if own in pointed:
            element.set("id", f"{name}-{own}")
        clip = element.get("clip-path")
        if clip is not None:
            element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))


def _references(root: ElementTree.Element) -> Iterable[str]:
    for element in root.iter():
        link = element.get(f"{{{XLINK}}}href")
        if link is not None:
            yield link[1:]
        yield from re.findall(r"url\(#([^)]+)\)", element.get("clip-path", ""))
