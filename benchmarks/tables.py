"""The ledgers as Markdown tables.

python benchmarks/tables.py                       # all of them
python benchmarks/tables.py clothing small-data
python benchmarks/tables.py clothing --against "timm train.py"
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from comparison import Row, against, by_kind, spread
from ledger import RECORDS, Ledger

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


def markdown(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table: the first column to the left, the others to the right."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (head, rule, *lines))


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
                _cell([row["result"]["top1"] for row in of], 2, 100),
                _cell([row["result"]["top5"] for row in of], 2, 100),
                _cell([row["seconds"]["command"] for row in whole], 1, 1 / 60),
                _cell([row["seconds"]["cpu"] for row in whole], 1, 1 / 60),
                "; ".join(f"{_cell(speeds[size], 1)} at {size}" for size in sorted(speeds, key=int)) or "–",
            ]
        )
    head = ("recipe", "model", "data", "seeds", "top-1 %", "top-5 %", "minutes", "CPU minutes", "images/s at px")
    return markdown(head, lines)


def _cell(values: Sequence[float], digits: int, factor: float = 1.0) -> str:
    found = spread(values)
    return "–" if found is None else found.text(digits, factor)


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
        lines.append([name, len(rows), _middle(values, 1), _middle(ratios, 2)])
    return markdown(
        ("program and px", "rounds", "images/s: median (range)", "over timm at 224: median (range)"), lines
    )


def _middle(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{statistics.median(values):.{digits}f} ({low} to {high})"


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
    """Largest differences to timm."""
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
    ]
    head = ("model", "logits", "logits from the file", "levels of 255 at px", "bundle's logits", "same answers")
    return markdown(head, lines)


def _largest_first(views: Mapping[str, Row]) -> list[tuple[str, Row]]:
    return sorted(views.items(), key=lambda pair: -int(pair[0]))


def _levels(view: Row) -> str:
    apart = view["reduced_scale_allowed"]
    return f"{apart['max']:.0f} (mean {apart['mean']:.2g})"


def decodes(rows: Sequence[Row]) -> str:
    """Photos a second of one core, of each way and set of photos; and how far its views are from Pillow's."""
    lines = []
    for row in rows:
        rates, apart = row["photos_a_processor_second"], row["from_pillow"]
        ways = sorted({way.partition(", ")[2] for way in rates}, key=lambda way: (way not in apart, way))
        for way in ways:
            far = apart.get(way)
            same = (
                "the same pixels"
                if far and far["same_pixels"]
                else f"{far['max']:.0f} ({far['mean']:.2g})"
                if far
                else "–"
            )
            cells = [_rate(rates.get(f"{kind}, {way}")) for kind in ("decode", "view")]
            lines.append([row["subject"]["photos"], way, *cells, same])
    head = (
        "photos",
        "way",
        "decode: median (range)",
        "view of 224 px: median (range)",
        "levels from Pillow: most (mean)",
    )
    return markdown(head, lines)


def _rate(rate: Mapping[str, float] | None) -> str:
    return "–" if rate is None else f"{rate['median']:.1f} ({rate['min']:.1f} to {rate['max']:.1f})"


NEAR_BEST = 0.5
"""Points on val that ``auto`` may be below the best of crop, pad and squash."""


def aspects(rows: Sequence[Row]) -> str:
    """Val of crop, pad and squash, means over seeds, and whether what ``auto`` takes is near the best of them."""
    kinds: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    taken: dict[tuple[str, str, str], str] = {}
    for row in rows:
        subject = row["subject"]
        kind = (subject["data"], subject["recipe"], subject["model"])
        kinds.setdefault(kind, {}).setdefault(row["aspect"], []).append(row)
        if subject["aspect"] == "auto":
            taken[kind] = row["aspect"]
    lines, three = [], ("crop", "pad", "squash")
    for kind, by_aspect in kinds.items():
        if kind not in taken:
            continue
        mean = {name: statistics.mean(row["val"]["top1"] for row in of) for name, of in by_aspect.items()}
        below = 100 * (max(mean.values()) - mean[taken[kind]])
        cells = [_on_val(by_aspect.get(name, [])) for name in three]
        seeds = {len({row["subject"]["seed"] for row in by_aspect.get(name, [])}) for name in three}
        near = "not all run" if len(seeds) > 1 or 0 in seeds else "yes" if below <= NEAR_BEST else "no"
        lines.append([*kind, len(by_aspect[taken[kind]]), *cells, taken[kind], f"{below:.2f}: {near}"])
    head = ("data", "recipe", "model", "seeds", *(f"{name}: val top-1 %; loss" for name in three), "auto is")
    return markdown((*head, f"points below the best: within {NEAR_BEST}?"), lines)


def _on_val(rows: Sequence[Row]) -> str:
    loss = _cell([row["val"]["calibrated_loss"] for row in rows], 3)
    return f"{_cell([row['val']['top1'] for row in rows], 2, 100)}; {loss}"


def leak_worth(rows: Sequence[Row]) -> str:
    """Test accuracy by how a folder of articles is split, and what the split tears apart."""
    kinds: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        subject = row["subject"]
        kinds.setdefault((subject["data"], subject["model"], subject["split"]), []).append(row)
    lines = []
    for (data, model, split), of in kinds.items():
        clean = {
            row["subject"]["seed"]: row["result"]["top1"] for row in kinds.get((data, model, "by article"), [])
        }
        worth = [
            row["result"]["top1"] - clean[row["subject"]["seed"]] for row in of if row["subject"]["seed"] in clean
        ]
        leaks = [row["leaks"] for row in of]
        lines.append(
            [
                split,
                model,
                data,
                len(of),
                " / ".join(
                    f"{statistics.mean(leak['photos'].get(side, 0) for leak in leaks):.0f}"
                    for side in ("train", "val", "test")
                ),
                _cell([row["result"]["top1"] for row in of], 2, 100),
                _cell(worth, 2, 100),
                _cell([leak["torn"] for leak in leaks], 1, 100),
                _cell([leak["test_seen_in_train"] for leak in leaks], 1, 100),
            ]
        )
    head = (
        "split", "model", "data", "seeds", "train / val / test", "test top-1 %", "above by article",
        "articles torn %", "test photos seen in train %",
    )  # fmt: skip
    return markdown(head, lines)


def by_head(rows: Sequence[Row]) -> str:
    """Top-1 of each way to read the heads, mean ± standard deviation over seeds; of the last step where it is
    kept."""
    lines = []
    for (data, model, recipe), by_seed in by_kind(rows).items():
        of = list(by_seed.values())
        cells = [_cell([row["result"]["top1"] for row in of], 2, 100)]
        for head in ("class", "distill", "both"):
            known = [row["heads"][head]["top1"] for row in of if row.get("heads")]
            cells.append(_cell(known, 2, 100))
        pooled = [row["last_step"]["both"]["top1"] for row in of if row.get("last_step")]
        lines.append([recipe, model, data, len(of), *cells, _cell(pooled, 2, 100)])
    served = ("served", "class head", "distillation head", "both", "last step, val and test")
    return markdown(("teacher", "model", "data", "seeds", *served), lines)


def teaching_speed(rows: Sequence[Row]) -> str:
    """Medians and spread over rounds, and over what it is without a teacher."""
    lines = []
    for name in rows[0]["images_per_second"]:
        values = [row["images_per_second"][name] for row in rows]
        ratios = [row["ratio"][name] for row in rows if name in row["ratio"]]
        lines.append([name, len(rows), _middle(values, 1), _middle(ratios, 2) if ratios else "1"])
    return markdown(("teacher", "rounds", "images/s: median (range)", "over none: median (range)"), lines)


TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "clothing": runs,
    "small-data": runs,
    "speed-against-timm": speed,
    "time-limit": limits,
    "dry-run": forecasts,
    "kill-cost": kills,
    "parity": parities,
    "decode-speed": decodes,
    "aspect": aspects,
    "leak-worth": leak_worth,
    "unlabelled": runs,
    "distill-finetune": by_head,
    "distill-scratch": by_head,
    "distill-speed": teaching_speed,
}

if __name__ == "__main__":
    main()
