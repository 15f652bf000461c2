"""The run report, and what every page is made with: one offline HTML file, readable without JavaScript, in print
and on a phone.

Every text is escaped twice over: jinja2's autoescape for HTML, and ``visible`` for what would be invisible or
turn its surroundings. The only script is static and holds no data; the page's policy admits it by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from deitft.core.files import write_text
from deitft.core.records import version_of
from deitft.core.units import format_seconds
from deitft.errors import Notice
from deitft.reporting import plots, tables, thumbnails
from deitft.reporting.check_data import PAIRS_FIRST, Part, Pixels, numbered
from deitft.reporting.next_step import next_step, plural
from deitft.reporting.report_data import Estimate, ReportData
from deitft.reporting.visible import shortened, visible

TEMPLATES = Path(__file__).parent / "templates"

PHOTOS_SHOWN = 24
"""Photos at most in one gallery: the page stays a few megabytes whatever it is given."""

PAIRS_SHOWN = 8
"""Confused pairs at most whose photos are shown."""

PHOTOS_FIRST = 14
"""Photos of a gallery that stand open; the others are folded away."""

SAMPLES_SHOWN = 8
"""Photos at most whose augmented views or attention are shown."""

VIEWS_SHOWN = 6
"""Views at most of one of them."""

_BREAKS = re.compile(r"(?<=[/_])(?=.)")


def write_report(path: Path, data: ReportData) -> int:
    """Write the page, whole or not at all; returns its size in bytes."""
    text = render_report(data)
    write_text(path, text)
    return len(text.encode())


def render_report(data: ReportData) -> str:
    """The page as text. The same data gives the same text."""
    return render_page("report.html.j2", context(data))


def render_page(template: str, values: dict[str, Any]) -> str:
    """A page in the frame that all of them share: style, script, policy."""
    script = _asset("script.js")
    frame = {
        "version": version_of("deitft"),
        "style": Markup(_asset("style.css")),
        "script": Markup(script),
        "policy": content_policy(script),
    }
    return _environment().get_template(template).render(frame | values)


def content_policy(script: str) -> str:
    """The page's Content-Security-Policy: nothing is loaded, inline pictures and styles, this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": tables.percent,
        "interval": tables.interval,
        "points": tables.points,
        "shortened": shortened,
        "duration": format_seconds,
        "thumbnail": _thumbnail,
        "large": _large,
        "shown": tables.shown,
        "breakable": _breakable,
        "quoted": shlex.quote,
    }
    environment.globals |= {"plural": plural, "overlay": thumbnails.attention_overlay}
    return environment


def _readable(value: object) -> object:
    """What every expression of a template passes before it is written."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return "n/a" if value is None else value


def _breakable(text: str) -> Markup:
    """A path that breaks after a folder or a word of a name; within a word only where that fills a line."""
    return Markup(_BREAKS.sub("<wbr>", str(escape(visible(text)))))


def _thumbnail(image: Pixels) -> str:
    return thumbnails.thumbnail(image)


def _large(image: Pixels) -> str:
    return thumbnails.thumbnail(image, side=thumbnails.LARGE_SIDE)


def context(data: ReportData) -> dict[str, Any]:
    """What the templates read: the data, the rows made of it, the drawings."""
    asked, rest = tables.plan_lines(data.plan) if data.plan is not None else ([], [])
    return {
        "data": data,
        "next": next_step(data),
        "headline": tables.headline(data),
        "worst": tables.worst_pairs(data),
        "scores": tables.scores(data),
        "class_lines": tables.class_lines(data),
        "matrix": tables.matrix(data),
        "split_lines": tables.split_lines(data),
        "split_names": list(data.splits.counts) if data.splits is not None else [],
        **found_values(data.findings or (), data.found, "check.json"),
        "asked": asked,
        "plan_rest": rest,
        "environment": tables.environment_lines(data.environment),
        "curves": plots.learning_curves(data.history) if data.history is not None else [],
        "reliability": _reliability(data),
        "has_data": bool(data.data_name or data.data_fingerprint or data.splits or data.findings is not None),
        "has_run": bool(
            data.command or data.weights or data.plan or data.seconds or data.costs or data.environment
        ),
        "photos_shown": PHOTOS_SHOWN,
        "photos_first": PHOTOS_FIRST,
        "pairs_shown": PAIRS_SHOWN,
        "samples_shown": SAMPLES_SHOWN,
        "views_shown": VIEWS_SHOWN,
    }


def found_values(notices: Sequence[Notice], found: Sequence[Part], details_file: str) -> dict[str, Any]:
    """What the templates about findings read; ``details_file`` names where all of them stand."""
    parts = numbered(found)
    return {
        "notices": notices,
        "parts": parts,
        "anchors": [anchor if part.shown else "" for anchor, _, part in parts],
        "details_file": details_file,
        "pairs_first": PAIRS_FIRST,
        "found_first": PHOTOS_FIRST,
        "files_shown": tables.FILES_SHOWN,
    }


def _reliability(data: ReportData) -> list[tuple[str, Estimate, float | None, Markup]]:
    """Title, calibration error, loss and drawing, before and after the temperature."""
    calibration = data.calibration
    if calibration is None:
        return []
    hit = "as the teacher" if data.by_teacher else "right"
    curves = [("As trained", "before", calibration.before)]
    if calibration.after is not None:
        curves.append(("With the temperature", "after", calibration.after))
    return [
        (
            title,
            curve.error,
            curve.loss,
            plots.reliability_diagram(name, f"Reliability diagram, {title.lower()}", curve, hit=hit),
        )
        for title, name, curve in curves
    ]
