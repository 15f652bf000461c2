"""The drawings of a comparison: accuracy against cost, and learning curves over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib import style
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from deitft.core.units import format_bytes, format_seconds
from deitft.reporting.compare_data import Comparison, Curve, Row
from deitft.reporting.plot_ticks import log_ticks, log_view, time_ticks
from deitft.reporting.plots import ACCENT, INK, SOFT, STYLE, axes_of, inline_svg

DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names may be long, and may be anything: drawings show letters, the table beside them says whose."""


def letters(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for each contender, in the table's order; two of them after Z: AA, AB, …"""
    return {row.label: _letters(number) for number, row in enumerate(rows)}


def _letters(number: int) -> str:
    before, last = divmod(number, len(MARKS))
    return (_letters(before - 1) if before else "") + MARKS[last]


def drawings(data: Comparison) -> list[tuple[str, Markup]]:
    """(title, SVG) of what can be drawn."""
    found = []
    costs: tuple[tuple[str, str, Callable[[Row], float | None], Callable[[float], str]], ...] = (
        (
            "latency",
            "Accuracy against latency",
            lambda row: row.cost.latency[0] if row.cost.latency else None,
            _ms,
        ),
        ("size", "Accuracy against size", lambda row: row.size, format_bytes),
    )
    for name, title, read, shown in costs:
        points = [
            (row, float(value)) for row in data.judged if (value := read(row)) and row.top1.value is not None
        ]
        if len(points) > 1:
            found.append((title, _against(name, title, points, data, shown)))
    if len([curve for curve in data.curves if curve.seconds]) > 1:
        found.append(("Val top-1 over training time", _over_time(data.curves, letters(data.rows))))
    return found


def _ms(seconds: float) -> str:
    text = f"{1000 * seconds:.3g}"
    return f"{text if 'e+' not in text else f'{1000 * seconds:.0f}'} ms"


def _against(
    name: str, title: str, points: Sequence[tuple[Row, float]], data: Comparison, shown: Callable[[float], str]
) -> Markup:
    """Each contender with its interval; the front as a step line: nobody is both better and cheaper."""
    front = set(data.front.get(name, ()))
    hover: dict[str, list[str]] = {}
    mark = letters(data.rows)
    with style.context(["default", STYLE]):
        figure, axes = axes_of(340, 250)
        for number, (row, cost) in enumerate(points):
            value = row.top1.value or 0.0
            colour = ACCENT if row.label in front else SOFT
            if row.top1.low is not None and row.top1.high is not None:
                axes.plot((cost, cost), (row.top1.low, row.top1.high), color=colour, linewidth=1)
            gid = f"{name}-{number}"
            axes.scatter([cost], [value], s=40, color=colour, linewidths=0, gid=gid, zorder=4)
            hover[gid] = [f"{mark[row.label]}: {100 * value:.1f} %, {shown(cost)}"]
            axes.annotate(
                mark[row.label], (cost, value), xytext=(6, 4), textcoords="offset points", color=INK, fontsize=11
            )
        best = sorted((cost, row.top1.value or 0.0) for row, cost in points if row.label in front)
        if len(best) > 1:
            axes.step(*zip(*best, strict=True), where="post", color=ACCENT, linewidth=1.2, linestyle=DASHES[1])
        axes.set_xscale("log")
        view = log_view([cost for _, cost in points])
        axes.set_xlim(*view)
        # matplotlib's own ticks of a log axis are powers of ten: within a decade that is one or none
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(*view)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: shown(at)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{100 * at:g} %"))
        return inline_svg(figure, f"front-{name}", title, hover)


def _over_time(curves: Sequence[Curve], mark: dict[str, str]) -> Markup:
    hover: dict[str, list[str]] = {}
    with style.context(["default", STYLE]):
        figure, axes = axes_of(340, 250)
        for number, curve in enumerate(curve for curve in curves if curve.seconds):
            colour = (ACCENT, INK, SOFT)[number % 3]
            axes.plot(curve.seconds, curve.top1, color=colour, linestyle=DASHES[number // 3 % 4], linewidth=1.6)
            gid = f"time-{number}"
            axes.scatter(curve.seconds, curve.top1, s=120, color=colour, alpha=0, linewidths=0, gid=gid)
            hover[gid] = [
                f"{mark.get(curve.label, '?')} after {format_seconds(at)}: {100 * value:.1f} %"
                for at, value in zip(curve.seconds, curve.top1, strict=True)
            ]
            end = (curve.seconds[-1], curve.top1[-1])
            axes.annotate(
                mark.get(curve.label, "?"), end, xytext=(5, -3), textcoords="offset points", color=INK, fontsize=11
            )
        axes.set_xlabel("time of training, without preparation")
        ticks = time_ticks(max(curve.seconds[-1] for curve in curves if curve.seconds))
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: format_seconds(at) if at else "0"))
        axes.margins(x=0.08)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{100 * at:g} %"))
        return inline_svg(figure, "over-time", "Val top-1 over training time", hover)
