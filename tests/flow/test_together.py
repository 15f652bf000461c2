"""Several processes train one model: the same steps, samples and weights as one, and they end together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import processes_kit
from run_kit import Zygote
from stream_sample import write_photos

from deitft.compute.group import ALONE


def by_two(zygote: Zygote, what: str, folder: Path, *more: object) -> dict[str, Any]:
    """What came of it in two processes on gloo."""
    out = folder.parent / f"{what}.npz"
    commands = zygote.several(2, what, folder, out, *more, call="processes_kit:part")
    codes = [command.wait() for command in commands]
    assert codes == [0, 0], "\n".join(command.err for command in commands)
    with np.load(out, allow_pickle=True) as stored:
        return dict(stored)


def test_twenty_steps_of_everything_are_those_of_one_process(zygote: Zygote, tmp_path: Path) -> None:
    """Mixing, erasing, drop-path, repeats, a teacher, clipping, EMA; in float64, with accumulation 2 and 4."""
    write_photos(tmp_path / "photos", 30)
    one = processes_kit.train_steps(ALONE, tmp_path / "photos", 12)
    two = by_two(zygote, "steps", tmp_path / "photos", 6)
    assert one.keys() == two.keys()
    assert np.array_equal(one["ids"], two["ids"])
    assert len(one["ids"]) == processes_kit.STEPS
    worst = {name: float(np.abs(one[name] - two[name]).max()) for name in one}
    assert max(worst.values()) < 1e-8, sorted(worst.items(), key=lambda pair: -pair[1])[:5]
    moved = max(float(np.abs(one[name]).max()) for name in one if name.startswith("moment"))
    assert moved > 1e-3


def test_n6_evaluation_counts_each_photo_once_and_says_the_same(zygote: Zygote, tmp_path: Path) -> None:
    """To the last bit: the batches are those of one process."""
    write_photos(tmp_path / "photos", 17)
    one, two = processes_kit.look(ALONE, tmp_path / "photos"), by_two(zygote, "look", tmp_path / "photos")
    assert one.keys() == two.keys()
    for name, logits in one.items():
        assert logits.tobytes() == two[name].tobytes(), name


def test_what_befalls_one_process_is_decided_by_all(zygote: Zygote, tmp_path: Path) -> None:
    found = by_two(zygote, "agree", tmp_path / "runs")
    assert found["stopped"].tolist() == [["stopped", 5, "SIGTERM"]] * 2
    (skipped, state), other = found["skipped"].tolist()
    assert skipped == 1
    assert other == [1, state]
    line = "hat/003.jpg changed since the run began — restore it"
    assert found["trouble"].tolist() == [[line, 65, 7, 7]] * 2
