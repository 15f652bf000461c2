"""A comparison as text: two tables, what they mean, and the choice; for terminals, Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deitft.core.units import format_bytes, format_seconds
from deitft.reporting.compare_data import Comparison, Cost, Row
from deitft.reporting.report_data import Estimate
from deitft.reporting.tables import interval, percent
from deitft.reporting.visible import visible

FORMATS = ("md", "csv", "json", "html", "latex")
SHORT = 12
"""Characters of a fingerprint that are shown."""
APART = "Runs on other photos, or with other sides of them, are never judged in one table."


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in CSV, its heading, its cell as text and as a number (None: nothing to sort by)."""

    key: str
    title: str
    text: Callable[[Row], str]
    number: Callable[[Row], float | None] = lambda row: None


def estimate_text(estimate: Estimate) -> str:
    """ "91.1 (88.1–93.6)", or n/a."""
    if estimate.value is None:
        return "n/a"
    ends = interval(estimate)
    return f"{percent(estimate.value)} ({ends})" if ends else percent(estimate.value)


def _score(name: str) -> tuple[Callable[[Row], str], Callable[[Row], float | None]]:
    return lambda row: estimate_text(getattr(row, name)), lambda row: getattr(row, name).value


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


def _calibration(row: Row) -> str:
    if row.calibration_after is None:
        return ""
    return f"{_share(row.calibration_before)} → {_share(row.calibration_after)}"


def _figure(value: float, digits: int = 3) -> str:
    """Some digits, and never "1.2e+03"."""
    text = f"{value:.{digits}g}"
    return text if "e+" not in text else f"{value:.0f}"


def _with_spread(value: float, spread: float | None) -> str:
    """ "23.1 ± 0.41"."""
    return _figure(value) if spread is None else f"{_figure(value)} ± {_figure(spread, 2)}"


def _milliseconds(pair: tuple[float, float] | None, spread: float | None) -> str:
    """ "23.1 ± 0.41 / 30.2"."""
    if pair is None:
        return ""
    p50, p95 = (1000 * value for value in pair)
    return f"{_with_spread(p50, None if spread is None else 1000 * spread)} / {_figure(p95)}"


def _throughput(row: Row) -> str:
    cost = row.cost
    if cost.throughput is None:
        return ""
    return f"{_with_spread(cost.throughput, cost.throughput_spread)} ({cost.best_batch})"


def _memory(row: Row) -> str:
    cost = row.cost
    if cost.memory is None:
        return ""
    return f"{format_bytes(cost.memory)}{f' ({cost.best_batch})' if cost.best_batch else ''}"


def _epochs(row: Row) -> str:
    """ "30", or "12 of 30" where training ended early."""
    if row.epochs is None:
        return ""
    done = _figure(row.epochs)
    planned = done if row.planned_epochs is None else _figure(row.planned_epochs)
    return done if done == planned else f"{done} of {planned}"


def _pixels(row: Row) -> str:
    return "" if row.pixels is None else f"{row.pixels}, {row.aspect}" if row.aspect else str(row.pixels)


def _status(row: Row) -> str:
    return "" if row.status == "ok" else f"{row.status}: {row.why}" if row.why else row.status


SCORES = (
    Column("model", "model", lambda row: row.label),
    Column("top1", "top-1 %", *_score("top1")),
    Column("seed_sd", "sd of seeds", lambda row: _share(row.seed_sd), lambda row: row.seed_sd),
    Column("seeds", "seeds", lambda row: str(len(row.seeds) or ""), lambda row: float(len(row.seeds))),
    Column("top5", "top-5 %", *_score("top5")),
    Column("macro_f1", "macro-F1 %", *_score("macro_f1")),
    Column("balanced_accuracy", "balanced %", *_score("balanced_accuracy")),
    Column(
        "calibration_error",
        "calibration error %, before → after temperature",
        _calibration,
        lambda row: row.calibration_after,
    ),
    Column(
        "probe",
        "frozen probe %",
        lambda row: "" if row.probe is None else estimate_text(row.probe),
        lambda row: None if row.probe is None else row.probe.value,
    ),
    Column("epochs", "epochs", _epochs, lambda row: row.epochs),
    Column("pixels", "pixels", _pixels, lambda row: row.pixels),
    Column("seen", "weights have seen", lambda row: row.seen),
    Column("teacher", "teacher", lambda row: row.teacher),
    Column("recipe", "recipe", lambda row: row.recipe),
    Column("status", "remark", _status),
)
"""How good: one line a contender."""

COSTS = (
    Column("model", "model", lambda row: row.label),
    Column(
        "parameters",
        "parameters",
        lambda row: "" if row.parameters is None else f"{row.parameters / 1e6:.1f} M",
        lambda row: row.parameters,
    ),
    Column(
        "size", "weights", lambda row: "" if row.size is None else format_bytes(row.size), lambda row: row.size
    ),
    Column(
        "flops",
        "GFLOPs a photo",
        lambda row: "" if row.cost.flops is None else f"{row.cost.flops / 1e9:.3g}",
        lambda row: row.cost.flops,
    ),
    Column(
        "latency",
        "latency ms, p50 ± spread / p95",
        lambda row: _milliseconds(row.cost.latency, row.cost.latency_spread),
        lambda row: row.cost.latency[0] if row.cost.latency else None,
    ),
    Column(
        "answer",
        "photo to answer ms, p50 ± spread / p95",
        lambda row: _milliseconds(row.cost.answer, row.cost.answer_spread),
        lambda row: row.cost.answer[0] if row.cost.answer else None,
    ),
    Column(
        "throughput",
        "photos/s ± spread (batch)",
        _throughput,
        lambda row: row.cost.throughput,
    ),
    Column(
        "memory",
        "memory (batch)",
        _memory,
        lambda row: row.cost.memory,
    ),
    Column(
        "training_memory",
        "memory in training",
        lambda row: "" if row.training_memory is None else format_bytes(row.training_memory),
        lambda row: row.training_memory,
    ),
    Column(
        "training",
        "training",
        lambda row: "" if row.training is None else format_seconds(row.training),
        lambda row: row.training,
    ),
    Column("money", "cost", lambda row: "" if row.money is None else f"{row.money:.2f}", lambda row: row.money),
)
"""What it costs: one line a contender."""


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Columns with anything in them."""
    return [column for column in columns if any(column.text(row) not in ("", "n/a") for row in rows)]


def cells(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The texts of a table, line by line."""
    return [tuple(column.text(row) for column in columns) for row in rows]


def sentences(data: Comparison) -> list[str]:
    """The choice, whether it is good enough, what speaks for it, what would change it, then pair by pair."""
    verdict = data.verdict
    gates = [f"{'met' if met else 'NOT met'}: {what} ({seen})" for what, met, seen in missed_first(data)]
    pairs = [pair.sentence for pair in data.pairs]
    return [verdict.sentence, *gates, *verdict.reasons, *verdict.changes, *pairs]


def missed_first(data: Comparison) -> list[tuple[str, bool, str]]:
    """What was required: who chooses must not overlook what was missed."""
    return sorted(data.gates, key=lambda gate: gate[1])


def heading(data: Comparison) -> str:
    """On which photos: what tells a table from the next one."""
    return f"{data.title}: {_about(data)}"


def markdown(data: Comparison) -> str:
    """Good enough to paste into a pull request."""
    parts = [f"## {_plain(data.title)}", _about(data), *_first_lines(data)]
    for columns in (SCORES, COSTS):
        kept = filled(columns, data.rows)
        if len(kept) > 1:
            parts.append(_markdown_table([column.title for column in kept], cells(kept, data.rows)))
    if data.pairs:
        parts.append("\n".join(f"- {_plain(pair.sentence)}" for pair in data.pairs))
    if data.all_notes:
        parts.append("\n".join(f"- {_plain(note)}" for note in data.all_notes))
    columns_, rows_ = data.published
    if rows_:
        title = "<details><summary>As published, on ImageNet-1k (not measured here)</summary>"
        parts += [title, _markdown_table(columns_, rows_), "</details>"]
    return "\n\n".join(parts) + "\n"


def _about(data: Comparison) -> str:
    photos = f"{data.n:,} {data.claim_split} photos, {len(data.classes)} classes, data {data.fingerprint[:SHORT]}"
    return f"{photos}, sides {data.sides[:SHORT]}" if data.sides else photos


def _first_lines(data: Comparison) -> list[str]:
    verdict = data.verdict
    gates = [f"{'met' if met else '**NOT met**'}: `{what}` ({seen})" for what, met, seen in missed_first(data)]
    return [f"**{_plain(verdict.sentence)}**", *gates, *map(_plain, (*verdict.reasons, *verdict.changes))]


def _plain(text: str) -> str:
    """Names from outside are no markup."""
    shown = visible(text)
    for char in "\\`*_{}[]<>|#":
        shown = shown.replace(char, "\\" + char)
    return shown


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(_plain, columns)), ["---"] * len(columns), *(list(map(_plain, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def numbers(data: Comparison) -> list[dict[str, object]]:
    """One line a contender for programs: every score with its ends, every cost in SI units."""
    lines = []
    for row in data.rows:
        line: dict[str, object] = {
            "model": row.label,
            "timm_name": row.model,
            "status": row.status,
            "why": row.why,
        }
        line |= {"recipe": row.recipe, "teacher": row.teacher, "seen": row.seen}
        line |= {"epochs": row.epochs, "planned_epochs": row.planned_epochs, "pixels": row.pixels}
        line |= {"aspect": row.aspect, "crop_share": row.crop_share, "precision": row.precision}
        line |= {"seeds": " ".join(map(str, row.seeds)), "runs": " ".join(row.runs), "val_top1": row.val}
        for name in ("top1", "top5", "macro_f1", "balanced_accuracy"):
            value = getattr(row, name)
            line |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        line |= {"seed_sd": row.seed_sd, "probe_top1": row.probe.value if row.probe else None}
        line |= {"calibration_error_before": row.calibration_before, "calibration_error": row.calibration_after}
        line |= {"parameters": row.parameters, "size_bytes": row.size, "flops": row.cost.flops}
        line |= _cost_numbers(row.cost)
        line |= {"training_memory_bytes": row.training_memory}
        line |= {"training_seconds": row.training, "money": row.money, "noisy": row.cost.noisy}
        lines.append(line)
    return lines


def stacked_numbers(tables: Sequence[Comparison]) -> list[dict[str, object]]:
    """The lines of several tables below each other; a first column says which photos each line is about."""
    return [
        {"photos": " ".join(filter(None, (table.title, table.fingerprint[:SHORT], table.sides[:SHORT]))), **line}
        for table in tables
        for line in numbers(table)
    ]


def _cost_numbers(cost: Cost) -> dict[str, object]:
    line: dict[str, object] = {}
    times = (("latency", cost.latency, cost.latency_spread), ("answer", cost.answer, cost.answer_spread))
    for name, pair, spread in times:
        p50, p95 = pair or (None, None)
        line |= {f"{name}_p50_seconds": p50, f"{name}_p95_seconds": p95, f"{name}_spread_seconds": spread}
    line |= {"photos_per_second": cost.throughput, "photos_per_second_spread": cost.throughput_spread}
    return line | {
        "best_batch": cost.best_batch,
        "memory_bytes": cost.memory,
        "memory_base_bytes": cost.memory_base,
    }


def latex(data: Comparison) -> str:
    """Both tables for a paper, by pandas; below them on which photos, and what has to be said of the figures."""
    import pandas

    parts = []
    for columns in (SCORES, COSTS):
        kept = filled(columns, data.rows)
        frame = pandas.DataFrame(cells(kept, data.rows), columns=[column.title for column in kept])
        parts.append(frame.map(visible).to_latex(index=False, escape=True))
    lines = "".join(f"\\item {_tex(text)}\n" for text in (_about(data), *data.all_notes))
    return "\n".join([*parts, f"\\begin{{itemize}}\n{lines}\\end{{itemize}}\n"])


def _tex(text: str) -> str:
    """Names from outside are no markup here either."""
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(marks.get(char, f"\\{char}" if char in "&%$#_{}" else char) for char in visible(text))
