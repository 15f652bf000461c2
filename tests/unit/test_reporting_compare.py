"""Tables and page of a comparison: what stands in them, escaped, and the same figures in every form."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from unit.compare_sample import comparison, row
from unit.parsed_page import Page

from deitft.core.files import canonical_json
from deitft.core.records import csv_text
from deitft.reporting.compare_data import Cost, Row, Verdict
from deitft.reporting.compare_page import render_comparison, spread
from deitft.reporting.compare_plots import drawings, letters
from deitft.reporting.compare_tables import (
    COSTS,
    SCORES,
    cells,
    filled,
    heading,
    latex,
    markdown,
    numbers,
    sentences,
    stacked_numbers,
)
from deitft.reporting.report_data import Estimate


def test_a_line_holds_every_figure_of_its_contender():
    (line,) = cells(SCORES, [row(0, "deit_s")])
    assert line == (
        "deit_s",
        "93.0 (90.0–95.0)",
        "0.4",
        "3",
        "99.2 (98.0–99.8)",
        "91.0 (88.0–94.0)",
        "92.0 (89.0–95.0)",
        "11.0 → 3.0",
        "86.0 (82.0–89.0)",
        "30",
        "224, crop",
        "ImageNet-1k",
        "",
        "finetune",
        "",
    )
    (line,) = cells(COSTS, [row(0, "deit_s")])
    assert line == (
        "deit_s",
        "22.0 M",
        "88.0 MB",
        "4.6",
        "23.1 ± 0.4 / 30.2",
        "31 ± 1.2 / 40",
        "120 ± 3.1 (32)",
        "700.0 MB (32)",
        "2.0 GB",
        "20 min",
        "0.60",
    )


def test_epochs_that_were_not_trained_and_long_times_are_told() -> None:
    slow = Cost(latency=(1.2345, 2.3), latency_spread=0.1234, throughput=12345.0, best_batch=8)
    one = row(0, "a", epochs=12.0, cost=slow, aspect="")
    (scores,), (costs,) = cells(SCORES, [one]), cells(COSTS, [one])
    assert {"12 of 30", "224"} <= set(scores)
    assert {"1234 ± 123 / 2300", "12345 (8)"} <= set(costs)


def test_columns_that_nobody_fills_are_left_out_and_a_failed_run_keeps_its_reason():
    rows = [row(0, "a"), Row(label="b", status="failed", why="out of memory")]
    titles = [column.title for column in filled(SCORES, rows)]
    assert "teacher" not in titles
    assert cells(SCORES, rows)[1][-1] == "failed: out of memory"
    few = [row(0, "a", top5=Estimate(None, reason="with 3 classes it says nothing; it needs 6"))]
    assert "top-5 %" not in [column.title for column in filled(SCORES, few)]


def test_markdown_is_a_table_that_no_name_can_break():
    text = markdown(comparison(2, title="a|b\n# c", rows=[row(0, "x|y"), row(1, "<b>")]))
    tables = [block for block in text.split("\n\n") if block.startswith("| model")]
    assert len(tables) == 3
    for table in tables:
        lines = table.splitlines()
        widths = {line.replace("\\|", "").count("|") for line in lines}
        assert len(widths) == 1, table
    assert "x\\|y" in text
    assert "<b>" not in text
    assert "\n# c" not in text


def test_numbers_are_in_si_units_and_come_back_from_csv():
    lines = numbers(comparison(3))
    read = list(csv.DictReader(io.StringIO(csv_text(lines, list(lines[0])))))
    assert [line["model"] for line in read] == ["deit_s", "resnet50", "vit_b", "swin_l"]
    assert float(read[0]["top1"]) == pytest.approx(0.93)
    assert float(read[0]["latency_p50_seconds"]) == pytest.approx(0.0231)
    assert float(read[0]["latency_spread_seconds"]) == pytest.approx(0.0004)
    assert (read[0]["epochs"], read[0]["pixels"], read[0]["aspect"]) == ("30.0", "224", "crop")
    assert read[3]["status"] == "failed"
    assert read[3]["top1"] == ""


def test_the_record_is_json_without_photos():
    data = json.loads(canonical_json(comparison().record()))
    assert data["version"] == 1
    assert data["rows"][0]["top1"]["value"] == pytest.approx(0.93)
    assert data["disagreements"][1]["image"] is None
    assert data["agreement"][0][1] == pytest.approx(0.91)


def test_latex_escapes_what_would_be_markup():
    text = latex(comparison(1, rows=[row(0, "deit_s & co")]))
    assert "deit\\_s \\& co" in text
    assert text.count("\\begin{tabular}") == 2


def test_latex_says_on_which_photos_and_what_was_noisy():
    text = latex(comparison(1, claim_split="val", notes=["The machine was noisy: 12 % by a_b."]))
    assert "\\item 372 val photos, 10 classes" in text
    assert "\\item The machine was noisy: 12 \\% by a\\_b." in text


def test_every_sentence_is_there_the_choice_first():
    said = sentences(comparison())
    assert said[0].startswith("deit_s is chosen")
    assert any(text.startswith("deit_s beats resnet50") for text in said)
    assert said[1] == "met: top1 >= 0.9 (top1 is 0.93, wanted >= 0.9)"


GATES = [
    ("top1 >= 0.9", True, "top1 is 0.93, wanted >= 0.9"),
    ("macro_f1 >= 0.95", False, "macro_f1 is 0.91, wanted >= 0.95"),
]


def test_what_was_required_and_missed_stands_beside_the_choice() -> None:
    data = comparison(gates=GATES)
    assert sentences(data)[1:3] == [
        "NOT met: macro_f1 >= 0.95 (macro_f1 is 0.91, wanted >= 0.95)",
        "met: top1 >= 0.9 (top1 is 0.93, wanted >= 0.9)",
    ]
    assert markdown(data).split("\n\n")[3].startswith("**NOT met**: `macro_f1 >= 0.95`")
    page = Page(render_comparison(data))
    assert len([one for one in page.elements if "missed" in one.classes]) == 1
    text = " ".join(page.text.split())
    first = text.index("What was required is not reached: macro_f1 >= 0.95 (macro_f1 is 0.91")
    assert first < text.index("Chosen, and not good enough") < text.index("Required and reached: top1")
    assert text.index("Required and reached: top1") < text.index("What would change it")
    assert "not met" not in text[text.index("What would change it") :].lower()
    good = Page(render_comparison(comparison()))
    assert not [one for one in good.elements if "missed" in one.classes]
    assert "Which one to take" in good.text
    none = comparison(gates=GATES[1:], verdict=Verdict(label="", sentence="No model is chosen."))
    assert "No model was chosen, and this is not reached: macro_f1 >= 0.95 " in " ".join(
        Page(render_comparison(none)).text.split()
    )


def test_what_must_be_said_of_the_weights_stands_below_the_scores_in_every_form() -> None:
    note = "Not the weights that the name stands for: a began with b."
    data = comparison(score_notes=[note])
    text = Page(render_comparison(data)).text
    assert text.index("How good") < text.index(note) < text.index("Pair by pair")
    assert f"- {note}" in markdown(data)
    assert f"\\item {note}" in latex(data)
    assert data.all_notes == [note, *data.notes]


def test_costs_within_a_decade_have_ticks_and_the_time_axis_says_what_it_counts() -> None:
    costs = (0.0052, 0.0069)  # no power of ten between them
    rows = [
        row(number, name, cost=Cost(latency=(cost, 2 * cost)), size=22_000_000)
        for number, (name, cost) in enumerate(zip("ab", costs, strict=True))
    ]
    drawn = dict(drawings(comparison(2, rows=rows)))
    for title, unit in (("Accuracy against latency", " ms"), ("Accuracy against size", " MB")):
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn[title])
        assert len({text for text in texts if text.endswith(unit)}) >= 2, title
    assert "time of training, without preparation" in drawn["Val top-1 over training time"]


def test_a_long_table_of_published_figures_is_folded() -> None:
    def folds(count: int) -> list[bool]:
        page = Page(render_comparison(comparison(published=(("model", "top-1"), [("DeiT-S", "79.8")] * count))))
        text = " ".join(page.text.split())
        assert f"{count} published figures" in text
        places = [number for number, one in enumerate(page.elements) if one.attributes.get("id") == "published"]
        return ["open" in one.attributes for one in page.elements[places[0] :] if one.tag == "details"]

    assert folds(55) == [False]
    assert folds(5) == [True]


def test_several_tables_are_told_apart_by_their_photos_and_sides() -> None:
    tables = [comparison(2, sides=letter * 64, n=number) for letter, number in (("c", 372), ("d", 380))]
    assert [heading(table) for table in tables] == [
        "products: 372 test photos, 10 classes, data abababababab, sides cccccccccccc",
        "products: 380 test photos, 10 classes, data abababababab, sides dddddddddddd",
    ]
    lines = stacked_numbers(tables)
    assert list(lines[0])[:2] == ["photos", "model"]
    assert [line["photos"] for line in lines] == [
        *["products abababababab cccccccccccc"] * 3,
        *["products abababababab dddddddddddd"] * 3,
    ]
    assert [{name: value for name, value in line.items() if name != "photos"} for line in lines[:3]] == numbers(
        tables[0]
    )


def test_letters_follow_the_table():
    assert letters(comparison(3).rows) == {"deit_s": "A", "resnet50": "B", "vit_b": "C", "swin_l": "D"}
    many = list(letters([row(0, f"model {number}") for number in range(26 * 27 + 1)]).values())
    assert [many[at] for at in (25, 26, 27, 51, 52, 701, 702)] == ["Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]
    assert len(set(many)) == len(many)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Models were chosen on val."),
        ({"claim_split": "val"}, "Models were chosen on these very photos."),
        ({"verdict": Verdict(label="", sentence="No model is chosen.")}, "No model was chosen."),
    ],
)
def test_the_page_says_who_chose_and_what_the_intervals_cover(more: dict[str, object], said: str) -> None:
    text = Page(render_comparison(comparison(**more))).text
    assert said in text
    assert "the others cover photos alone" in text


def test_the_page_holds_what_the_tables_hold():
    data = comparison()
    page = Page(render_comparison(data))
    text = page.text
    for piece in (
        "Which one to take",
        data.verdict.sentence,
        "93.0 (90.0–95.0)",
        "23.1 ± 0.4 / 30.2",
        "swin_l",
        "DeiT-S",
    ):
        assert piece in text, piece
    assert render_comparison(data) == render_comparison(data)


def test_classes_come_by_how_much_the_contenders_differ():
    data = comparison()
    assert spread(data.class_lines[3]) == pytest.approx(0.3)
    text = Page(render_comparison(data)).text
    assert text.index("class 3", text.index("Class by class")) < text.index(
        "class 0", text.index("Class by class")
    )


def test_a_page_of_one_contender_with_nothing_measured():
    bare = comparison(
        1,
        rows=[Row(label="a", top1=Estimate(0.5, 0.4, 0.6))],
        pairs=[],
        curves=[],
        front={},
        class_lines=[],
        agreement=None,
        disagreements=[],
        published=((), ()),
        gates=[],
    )
    text = Page(render_comparison(bare)).text
    assert "50.0" in text
    assert "Pair by pair" not in text
