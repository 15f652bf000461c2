"""D17: symlink loops and linked folders."""

from __future__ import annotations

import pytest
from photo_kit import clean, judge, read, refused, write_classes


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 12, "b": 12})
    clean(root, "D17")
    return root


def lines(root) -> list[str]:
    return [notice.line for notice in judge(root)[0].notices if notice.id == "D17"]


def test_D17_a_a_loop(root):
    (root / "a/loop").symlink_to("..")
    assert lines(root) == ["followed a/loop back to a folder already read, ignored"]
    assert len(read(root)) == 24


def test_D17_b_a_link_to_the_other_class(root):
    (root / "a/x").symlink_to("../b")
    assert lines(root) == ["followed a/x back to a folder already read, ignored"]
    assert len(read(root)) == 24


def test_D17_c_a_dangling_link(root):
    (root / "a/gone.jpg").symlink_to("nowhere.jpg")
    assert read(root).ignored == (("a/gone.jpg", "broken link"),)


def test_D17_d_a_link_to_a_photo_of_the_other_class_is_a_conflict(root):
    (root / "a/link.jpg").symlink_to("../b/000.jpg")
    assert refused(root).id == "D13"


def test_D17_e_a_long_chain(root):
    for number in range(45):
        (root / f"a/c{number:02d}.jpg").symlink_to(f"c{number + 1:02d}.jpg")
    (root / "a/c45.jpg").symlink_to("000.jpg")
    catalog = read(root)
    assert len(catalog) + len(catalog.ignored) == 24 + 46
    assert {kind for _, kind in catalog.ignored} == {"broken link"}
