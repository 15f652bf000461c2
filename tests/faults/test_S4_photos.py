"""S4: links among the photos that lead outside the root."""

from __future__ import annotations

import pytest
from photo_kit import clean, refused, write_classes


@pytest.mark.parametrize(
    ("link", "target"),
    [("a/passwd.jpg", "/etc/passwd"), ("a/passwd", "/etc/passwd"), ("c", "/etc"), ("a/deep", "../../outside")],
)
def test_S4_a_link_out_of_the_root_is_refused(tmp_path, link, target):
    write_classes(tmp_path / "outside", {"x": 1})
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a/inside.jpg").symlink_to("000.jpg")
    clean(root, "S4")
    (root / link).symlink_to(target)
    error = refused(root, skip_bad=True)
    assert (error.id, error.exit_code) == ("S4", 65)
    assert error.what == f"{link} is a link to a place outside {root}"


def test_S4_a_folder_with_a_name_that_only_begins_alike_is_outside(tmp_path):
    write_classes(tmp_path / "p-private", {"x": 1})
    root = write_classes(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a/x.jpg").symlink_to("../../p-private/x/000.jpg")
    assert refused(root).id == "S4"
