"""D17: symlink loops and linked folders."""

from __future__ import annotations

import os
import subprocess
import sys

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


BOUND = """
import sys
from deitft.core.progress import Silent
from deitft.data import walk_apart
from deitft.data.scan import scan
walk_apart.ALONE = int(sys.argv[2])
found = scan(sys.argv[1], progress=Silent())
print(len(found), [notice.line for notice in found.notices])
"""


def in_own_mounts(root, command: str, alone: int) -> str:
    """What a scan says in a process with mounts of its own, made by ``command``."""
    shell = ["unshare", "--mount", "--map-root-user"] if os.geteuid() else ["unshare", "--mount"]
    line = f'{command} && exec "$0" -c "$1" "$2" "$3"'
    words = [*shell, "sh", "-c", line, sys.executable, BOUND, str(root), str(alone)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts of one's own here: {done.stderr.strip()[-100:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("alone", [1, 20_000])  # photos up to which one process walks
def test_D17_f_a_class_mounted_into_another(root, alone):
    write_classes(root, {"0": 2, "c": 2})
    (root / "a/x").mkdir()
    assert in_own_mounts(root, "true", alone) == "28 []"
    mounted = in_own_mounts(root, "mount --bind b a/x", alone)
    assert mounted == "28 ['followed a/x back to a folder already read, ignored']"


def test_D17_S4_a_link_out_and_back_in_is_inside(root):
    """What counts is where a link ends."""
    (root / "a/round.jpg").symlink_to(f"../../{root.name}/a/000.jpg")
    assert len(read(root)) == 25
    (root / "a/out").symlink_to("../..")
    error = refused(root)
    assert (error.id, error.exit_code, error.files) == ("S4", 65, ("a/out",))


def test_D17_S4_a_loop_through_the_root_itself(root):
    (root / "a/self").symlink_to(root)
    assert lines(root) == ["followed a/self back to a folder already read, ignored"]
    assert len(read(root)) == 24


def test_D17_S4_a_root_that_is_a_link(root, tmp_path):
    """The root may be anywhere: it is what the user named."""
    (tmp_path / "link").symlink_to(root)
    assert read(tmp_path / "link").fingerprint == read(root).fingerprint
    (root / "a/again").symlink_to(tmp_path / "link" / "b")
    assert lines(tmp_path / "link") == ["followed a/again back to a folder already read, ignored"]
