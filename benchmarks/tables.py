"""The ledgers as Markdown tables.

python benchmarks/tables.py                       # all of them
python benchmarks/tables.py clothing small-data
python benchmarks/tables.py clothing --against "timm train.py"
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cells import cell, markdown, middle
from comparison import Row, against, by_kind
from data_tables import (
    aspects,
    decodes,
    entries,
    freed_memory,
    label_noise,
    leak_worth,
    near_duplicates,
    scan_speed,
)
from ledger import RECORDS, Ledger
from teaching_tables import by_head, rates, taught, taught_pooled, teaching_speed

REFERENCES = ("linear-probe", "finetune", "timm train.py")
"""Recipes that the others are compared with."""


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", default=list(TABLES), metavar="TOPIC", help=", ".join(TABLES))
    parser.add_argument("--against", nargs="*", default=REFERENCES, help="recipes to compare with")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the ledgers")
    asked = parser.parse_args()
    for topic in asked.topics:
        rows = list(Ledger(topic, asked.records).rows.values())
        if rows:
            print(f"## {topic}\n\n{TABLES[topic](rows)}\n")
            for recipe in asked.against if topic in ("clothing", "small-data", "unlabelled") else ():
                table = differences(rows, recipe)
                if table:
                    print(f"### against {recipe}\n\n{table}\n")


def runs(rows: Sequence[Row]) -> str:
    """Scores, minutes and speed of every kind of run: mean ± standard deviation over seeds.

    Times of runs that were interrupted are left out.
    """
    lines = []
    for (data, model, recipe), by_seed in by_kind(rows).items():
        of = list(by_seed.values())
        whole = [row for row in of if not row.get("resumed")]
        speeds: dict[str, list[float]] = {}
        for row in of:
            for size, seen in row.get("images_per_second", {}).items():
                speeds.setdefault(size, []).append(seen["median"])
        lines.append(
            [
                recipe,
                model,
                data,
                len(of),
                cell([row["result"]["top1"] for row in of], 2, 100),
                cell([row["result"]["top5"] for row in of], 2, 100),
                cell([row["seconds"]["command"] for row in whole], 1, 1 / 60),
                cell([row["seconds"]["cpu"] for row in whole], 1, 1 / 60),
                "; ".join(f"{cell(speeds[size], 1)} at {size}" for size in sorted(speeds, key=int)) or "–",
            ]
        )
    head = ("recipe", "model", "data", "seeds", "top-1 %", "top-5 %", "minutes", "CPU minutes", "images/s at px")
    return markdown(head, lines)


def scores(rows: Sequence[Row]) -> str:
    """Test scores alone, mean ± standard deviation over seeds; for pages that are not about time."""
    lines = []
    for (_, model, recipe), by_seed in by_kind(rows).items():
        of = list(by_seed.values())
        low, high = (
            [row["result"]["intervals"]["top1"][end] for row in of if "intervals" in row["result"]]
            for end in (0, 1)
        )
        lines.append(
            [
                recipe,
                model,
                len(of),
                cell([row["result"]["top1"] for row in of], 1, 100),
                f"{100 * min(low):.1f} to {100 * max(high):.1f}" if low else "–",
                cell([row["result"]["top5"] for row in of], 1, 100),
            ]
        )
    return markdown(("recipe", "model", "seeds", "top-1 %", "95 % intervals (photos)", "top-5 %"), lines)


def differences(rows: Sequence[Row], recipe: str) -> str:
    """Top-1 of every kind of run minus that of one recipe, in percentage points; empty if there is nothing."""
    lines = []
    for (data, model, own), (_, other_model, _), comparison, p in against(rows, recipe):
        paired = comparison.paired
        lines.append(
            [
                own,
                model if model == other_model else f"{model} (against {other_model})",
                data,
                comparison.seeds.n,
                f"{100 * paired.difference:+.2f}",
                f"{100 * paired.low:+.2f} to {100 * paired.high:+.2f}",
                "–" if comparison.seeds.sd is None else f"{100 * comparison.seeds.sd:.2f}",
                f"{p:.2g}",
            ]
        )
    head = (
        "recipe",
        "model",
        "data",
        "seeds",
        "difference",
        "95 % interval (photos)",
        "sd over seeds",
        "p (Holm)",
    )
    return markdown(head, lines) if lines else ""


def speed(rows: Sequence[Row]) -> str:
    """Medians and spread over rounds."""
    lines = []
    for name in rows[0]["images_per_second"]:
        values = [row["images_per_second"][name] for row in rows]
        ratios = [row["ratio"][name] for row in rows if name in row["ratio"]]
        lines.append([name, len(rows), middle(values, 1), middle(ratios, 2)])
    return markdown(
        ("program and px", "rounds", "images/s: median (range)", "over timm at 224: median (range)"), lines
    )


def limits(rows: Sequence[Row]) -> str:
    """Each run under a time limit."""
    lines = [
        [
            row["id"],
            f"{row['subject']['limit']} s",
            f"{row['seconds']['command']:.0f} s",
            row["exit_code"],
            f"{row['steps']} of {row['planned_steps']}",
            "yes" if row["bundle"] and row["report"] else "no",
            "yes" if row["ok"] else "no",
        ]
        for row in rows
    ]
    return markdown(("run", "limit", "took", "exit", "steps", "bundle and report", "ok"), lines)


def forecasts(rows: Sequence[Row]) -> str:
    """Measured over predicted."""
    lines = [
        [
            row["id"],
            f"{row['dry_run']['seconds']['command']:.0f} s",
            *(
                f"{factor * row['measured'][name]:.{digits}f} / {factor * row['predicted'][name]:.{digits}f}"
                f" = {row['measured_over_predicted'][name]:.2f}"
                for name, factor, digits in (("seconds", 1 / 60, 1), ("memory", 2**-30, 2), ("disk", 1e-6, 0))
            ),
            f"{row['measured_over_predicted']['memory_of_all']:.2f}",
        ]
        for row in rows
    ]
    head = ("run", "dry run", "minutes", "memory GiB", "disk MB", "memory with workers, over predicted")
    return markdown(head, lines)


def kills(rows: Sequence[Row]) -> str:
    """What each kill cost, and what saving cost the control."""
    lines = []
    for row in rows:
        if "saving_share_of_command" in row:
            share = f"{100 * row['saving_share_of_command']:.2f} % of the time was saving"
            lines.append([row["id"], "–", "–", share, "–"])
        for kill in row.get("kills", ()):
            steps = f"{kill['logged_step']}, from {kill['checkpoint_step']}"
            same = "yes" if row["same_bits"] else "no"
            lines.append([row["id"], steps, f"{kill['seconds_lost']:.0f} s", "–", same])
    return markdown(("run", "killed at step", "lost", "saving", "same bits at the end"), lines)


def parities(rows: Sequence[Row]) -> str:
    """Largest differences to timm: of models, and of a step of distillation."""
    lines = [
        [
            row["subject"]["model"],
            f"{row['logits']['same_view']['max']:.2g}",
            f"{row['logits']['from_the_file']['max']:.2g}",
            "; ".join(f"{_levels(view)} at {size}" for size, view in _largest_first(row["views"])),
            f"{row['bundle']['max']:.2g}",
            f"{row['bundle']['same_answers']} of {row['bundle']['photos']}",
        ]
        for row in rows
        if "logits" in row
    ]
    head = ("model", "logits", "logits from the file", "levels of 255 at px", "bundle's logits", "same answers")
    steps = [
        [
            row["subject"]["distill"],
            row["subject"]["precision"],
            f"{row['loss']['ours']:.6f}",
            f"{row['loss']['apart']:.2g}",
            f"{row['gradient']['apart']:.2g}",
            f"{row['step']['weights_apart']['max']:.2g}",
            f"{row['step']['moved']['max']:.2g}",
        ]
        for row in rows
        if "step" in row
    ]
    names = (
        "distillation",
        "precision",
        "loss",
        "losses apart",
        "gradients apart",
        "weights apart",
        "weights moved",
    )
    return "\n\n".join([markdown(head, lines), *([markdown(names, steps)] if steps else [])])


def _largest_first(views: Mapping[str, Row]) -> list[tuple[str, Row]]:
    return sorted(views.items(), key=lambda pair: -int(pair[0]))


def _levels(view: Row) -> str:
    apart = view["reduced_scale_allowed"]
    return f"{apart['max']:.0f} (mean {apart['mean']:.2g})"


def compared(rows: Sequence[Row]) -> str:
    """The newest comparison, as ``compare`` prints it, without its heading."""
    text: str = rows[-1]["markdown"]
    return text.partition("\n\n")[2].strip()


TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "clothing": runs,
    "scores": scores,
    "small-data": runs,
    "speed-against-timm": speed,
    "time-limit": limits,
    "dry-run": forecasts,
    "kill-cost": kills,
    "parity": parities,
    "decode-speed": decodes,
    "aspect": aspects,
    "leak-worth": leak_worth,
    "near-duplicates": near_duplicates,
    "label-noise": label_noise,
    "scan-speed": scan_speed,
    "entries": entries,
    "unlabelled": runs,
    "distill-finetune": taught,
    "distill-random-heads": taught_pooled,
    "distill-scratch": by_head,
    "distill-speed": teaching_speed,
    "lr-sweep": rates,
    "freed-memory": freed_memory,
    "compare-clothing": compared,
}

if __name__ == "__main__":
    main()
