"""Tables of what was measured about the data: reading, near-duplicates, labels in doubt, leaks, aspect."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from cells import cell, markdown, middle
from comparison import Row


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
    """Crop, pad and squash, means over seeds, and whether what ``auto`` takes is near the best of them on val."""
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
        cells = [_reached(by_aspect.get(name, [])) for name in three]
        seeds = {len({row["subject"]["seed"] for row in by_aspect.get(name, [])}) for name in three}
        near = "not all run" if len(seeds) > 1 or 0 in seeds else "yes" if below <= NEAR_BEST else "no"
        lines.append([*kind, len(by_aspect[taken[kind]]), *cells, taken[kind], f"{below:.2f}: {near}"])
    head = (
        "data",
        "recipe",
        "model",
        "seeds",
        *(f"{name}: val top-1 %; loss; test top-1 %" for name in three),
        "auto is",
    )
    return markdown((*head, f"points below the best: within {NEAR_BEST}?"), lines)


def _reached(rows: Sequence[Row]) -> str:
    loss = cell([row["val"]["calibrated_loss"] for row in rows], 3)
    val, test = ([row[side]["top1"] for row in rows] for side in ("val", "result"))
    return f"{cell(val, 1, 100)}; {loss}; {cell(test, 1, 100)}"


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
                cell([row["result"]["top1"] for row in of], 2, 100),
                cell(worth, 2, 100),
                cell([leak["torn"] for leak in leaks], 1, 100),
                cell([leak["test_seen_in_train"] for leak in leaks], 1, 100),
            ]
        )
    head = (
        "split", "model", "data", "seeds", "train / val / test", "test top-1 %", "above by article",
        "articles torn %", "test photos seen in train %",
    )  # fmt: skip
    return markdown(head, lines)


def near_duplicates(rows: Sequence[Row]) -> str:
    """Copies found, of the last record; and what was flagged that nobody had copied."""
    row = rows[-1]
    lines = [
        [kind, f"{one['found']} of {one['copies']}", f"{100 * one['recall']:.1f}", f"{100 * one['wanted']:.0f}"]
        for kind, one in row["recall"].items()
    ]
    plain, photos = row["difference_hash_at_10"], row["subject"]["photos"]
    pairs = photos * (photos - 1) // 2
    text = (
        f"Among the {photos:,} photos themselves, {pairs:,} pairs, {len(row['flagged'])} was flagged; "
        f"a plain difference hash at a distance of 10 flags {plain['pairs']:,} and chains "
        f"{plain['largest_group']} photos into one group."
    )
    return markdown(("copies of photos", "found", "%", "wanted %"), lines) + f"\n\n{text}"


LISTS = {"audit": "check", "confident_learning": "confident learning", "own_label": "lowest own label"}
"""Three lists of suspects, as the records and as people call them."""


def label_noise(rows: Sequence[Row]) -> str:
    """Planted errors among the first suspects of each list, and how many of all suspects are planted."""
    lines = []
    for row in rows:
        subject, result = row["subject"], row["result"]
        if subject["planted"] == "none":
            continue
        lines.append(
            [
                subject["model"],
                subject["planted"],
                f"{100 * subject['share']:.0f} % ({result['planted']:.0f})",
                f"{result['looked_at']:.0f}",
                *(f"{100 * result[name]['recall_of_the_first']:.0f}" for name in LISTS),
                f"{100 * result['audit']['precision']:.0f}",
                f"{100 * result['audit']['recall']:.0f}",
            ]
        )
    found = [f"{name}: found %" for name in LISTS.values()]
    head = (
        "features",
        "wrong label drawn from",
        "planted",
        "looked at",
        *found,
        "check: precision %",
        "check: recall %",
    )
    return markdown(head, lines)


def scan_speed(rows: Sequence[Row]) -> str:
    """The last record: seconds of a cold check, of Pillow and of a check that remembers; and their ratios."""
    row = rows[-1]
    subject = row["subject"]
    lines = [
        [name, f"{seconds:.2f}", f"{row['photos_a_second_a_process'][name]:,.0f}", _ratio(row, name)]
        for name, seconds in row["medians"].items()
    ]
    rounds = len(row["samples"]["check"])
    head = (f"{subject['photos']:,} photos, {subject['workers']} processes, {rounds} rounds", "seconds",
            "photos/s a process", "check over it, seconds: median (range)")  # fmt: skip
    return markdown(head, lines)


def _ratio(row: Row, name: str) -> str:
    found = row["ratio"].get(f"seconds, {name}")
    return "–" if found is None else f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


def entries(rows: Sequence[Row]) -> str:
    """Seconds and memory of listing and opening again."""
    lines = []
    for row in rows:
        if row["step"] in ("imports", "remember"):
            continue
        listed, opened = row.get("scan_seconds"), row.get("open_seconds")
        lines.append(
            [
                f"{row['entries']:,}",
                row["kind"],
                row["step"],
                f"{listed if listed is not None else row['seconds']:.1f}",
                "–" if opened is None else f"{opened:.1f}",
                row.get("peak_megabytes_open", row.get("peak_megabytes", "–")),
            ]
        )
    head = ("entries", "kind", "step", "seconds to list", "seconds to open what was read", "peak memory MB")
    return markdown(head, lines)


def freed_memory(rows: Sequence[Row]) -> str:
    """Training images a second with freed memory kept, over as usual; and the peaks."""
    lines = []
    for row in rows:
        peaks = row["peak_bytes"]
        lines.append(
            [
                row["subject"]["model"],
                row["subject"]["side"],
                middle(row["images_per_second"]["usual"], 1),
                middle(row["images_per_second"]["kept"], 1),
                middle(row["ratio"], 2),
                f"{peaks['usual'] / 1e9:.1f} → {peaks['kept'] / 1e9:.1f} GB",
                "yes" if row["same_bits"] else "no",
            ]
        )
    return markdown(("model", "px", "images/s as usual", "kept", "ratio", "peak memory", "same bits"), lines)
