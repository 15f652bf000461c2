"""Guards of the fault table, one by one taken away: a row's own tests have to turn red then.

A plugin of pytest (``-p guards_off``), for a process of its own: the guard that ``GUARD_OFF`` names is replaced by
what a careless program does. See ``faults/test_negative_controls.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Change = tuple[str, Any]
"""("module:name" or "module:class.name", what stands there instead)."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is taken away, and the test that must notice. ``changes`` is called once deitft may be imported."""

    row: str
    test: str
    changes: Callable[[], list[Change]]


def nothing(*_: object, **__: object) -> None:
    """Looks at nothing, refuses nothing."""


def none_found(*_: object, **__: object) -> list[object]:
    """Finds nothing."""
    return []


def _class_names(full: list[Any], *_: object) -> tuple[str, ...]:
    return tuple(sorted({folder.name for folder in full}))


def _patient_pillow() -> list[Change]:
    return [("PIL.ImageFile:LOAD_TRUNCATED_IMAGES", True)]


def _plain_conversion() -> list[Change]:
    """Pillow's: 16-bit greys are clipped, transparency is dropped and the hidden colour shows."""
    from deitft.data.colour import PhotoNote

    return [("deitft.data.decode:to_rgb", lambda image, *_, **__: (image.convert("RGB"), PhotoNote(0)))]


def _heic_unknown() -> list[Change]:
    from deitft.data import formats

    sniff = formats.sniff
    return [("deitft.data.formats:sniff", lambda data: None if sniff(data) == "HEIC" else sniff(data))]


def _contents_not_compared() -> list[Change]:
    from deitft.data.photos import PhotoSet

    read = PhotoSet.read
    return [("deitft.data.photos:PhotoSet.read", lambda self, index: read(replace(self, digests=None), index))]


def _each_folder_is_new() -> list[Change]:
    numbers = itertools.count()
    return [("deitft.data.walk:Walker._identity", lambda *_: (-1, next(numbers)))]


def _each_content_for_itself() -> list[Change]:
    from deitft.data.units import _uniform

    return [("deitft.data.units:_merged", lambda contents, values, *_: (contents, _uniform(values), []))]


def _one(target: str, instead: Any) -> Callable[[], list[Change]]:
    return lambda: [(target, instead)]


GUARDS = {
    "one class is enough": Guard("D1", "test_D1_d_one_class", _one("deitft.data.scan:_classes", _class_names)),
    "half a photo is a photo": Guard(
        "D2", "test_D2_acfg_unreadable_photos_are_left_out_or_refused[a]", _patient_pillow
    ),
    "decoders keep damage to themselves": Guard(
        "D2", "test_D2_d_a_zeroed_middle_is_reported_by_the_decoder",
        _one("deitft.data.decode:whole_jpeg", lambda *_: (None, False)),
    ),
    "extensions are believed": Guard(
        "D3", "test_D3_ad_content_decides", _one("deitft.data.photo_reader:_misnamed", lambda *_: False)
    ),
    "any size is decoded": Guard(
        "D4", "test_D4_abc_the_header_is_enough[a]", _one("deitft.data.decode:_check_size", nothing)
    ),
    "decoding may take for ever": Guard(
        "D4", "test_D4_a_photo_that_takes_too_long_is_named_and_the_others_are_read",
        _one("deitft.data.reading_limits:_clock", contextlib.nullcontext),
    ),
    "photos stay as they are stored": Guard(
        "D5", "test_D5_all_eight_are_the_same_upright_picture[6-JPEG]",
        _one("deitft.data.decode:turned", lambda rgb, _: rgb),
    ),
    "16 bits are clipped": Guard("D6", "test_D6_de_sixteen_bit_greys_keep_their_levels[PNG]", _plain_conversion),
    "transparency is dropped": Guard("D7", "test_D7_a_hidden_colours_never_show[PNG]", _plain_conversion),
    "frames are not counted": Guard(
        "D8", "test_D8_is_said", _one("deitft.data.decode:_has_more_frames", lambda _: False)
    ),
    "classes may be missing": Guard(
        "D9", "test_D9_a_a_class_that_val_lacks", _one("deitft.data.scan:_missing_notices", none_found)
    ),
    "classes may be unknown": Guard(
        "D9", "test_D9_bc_a_class_that_train_lacks[val0]", _one("deitft.data.scan:_classes", _class_names)
    ),
    "one pixel is a photo": Guard(
        "D10", "test_D10_too_small_is_refused[size0]", _one("deitft.data.decode:MIN_SIDE", 1)
    ),
    "any length is kept": Guard(
        "D10", "test_D10_long_photos_are_bounded_around_their_middle[size0-want0]",
        _one("deitft.data.decode:_bounded", lambda rgb: rgb),
    ),
    "the same photo may be on two sides": Guard(
        "D11", "test_D11_copies_and_links_are_found[copy]", _one("deitft.data.audit:leaks", none_found)
    ),
    "near-duplicates are not told": Guard(
        "D12", "test_D12_two_labels_and_one_side", _one("deitft.data.audit:near_duplicates", none_found)
    ),
    "near-duplicates may be parted": Guard(
        "D12", "test_D12_a_split_of_ours_keeps_copies_on_one_side", _each_content_for_itself
    ),
    "a photo may have two labels": Guard(
        "D13", "test_D13_a_one_picture_is_left_out_on_both_sides",
        _one("deitft.data.audit:conflicts", lambda *_: {}),
    ),
    "folders of other programs are classes": Guard(
        "D14", "test_D14_folders_of_other_programs_are_no_classes",
        _one("deitft.data.walk:is_junk_folder", lambda _: False),
    ),
    "a pipe is a photo": Guard(
        "D14", "test_D14_junk_changes_nothing_but_is_named", _one("deitft.data.walk:_may_be_photo", lambda _: True)
    ),
    "two photos are split, too": Guard(
        "D15", "test_D15_tiny_classes_stay_in_train", _one("deitft.data.splits:NEVER_HELD_OUT", 0)
    ),
    "what is read is not compared": Guard(
        "D16", "test_D16_b_another_photo_in_its_place_of_the_same_size_and_time", _contents_not_compared
    ),
    "loops are walked": Guard("D17", "test_D17_a_a_loop", _each_folder_is_new),
    "HEIC is not known": Guard("D18", "test_D18_a_heic_is_told_by_its_content[phone.heic-heic]", _heic_unknown),
    "rows that do not fit are passed over": Guard(
        "D19", "test_D19_h_missing_files_are_counted",
        _one("deitft.data.manifest:_Columns.raise_problems", nothing),
    ),
    "a tar may end anywhere": Guard(
        "D20", "test_D20_b_cut_between_two_members",
        _one("deitft.data.tar_members:_Reader._check_end", nothing),
    ),
    "checksums are not looked at": Guard(
        "D20", "test_D20_c_a_damaged_header[0]",
        _one("deitft.data.tar_members:_checksums", lambda _: range(2**20)),
    ),
    "names may differ in case alone": Guard(
        "D21", "test_D21_abc_names_that_people_would_confuse[b]",
        _one("deitft.data.folders:check_class_names", nothing),
    ),
    "members may point anywhere": Guard(
        "S3", "test_S3_a_name_that_points_outside[../evil.jpg]",
        _one("deitft.data.tar_members:_Reader._check_name", nothing),
    ),
    "links lead anywhere": Guard(
        "S4_photos", "test_S4_a_link_out_of_the_root_is_refused[c-/etc]",
        _one("deitft.data.walk:Walker._confine", nothing),
    ),
    "an open file may lie anywhere": Guard(
        "S4_photos", "test_S4_a_link_put_there_after_the_scan[photo]",
        _one("deitft.data.places:FolderPlace._holds", lambda *_: True),
    ),
    "rows go through links": Guard(
        "S4_photos", "test_S4_a_row_that_goes_through_a_link[a/link.jpg]",
        _one("deitft.data.manifest:_Files._inside", lambda *_, **__: True),
    ),
}  # fmt: skip


def take_away(name: str) -> None:
    """Replace one guard in this process, for good."""
    for target, instead in GUARDS[name].changes():
        module, _, path = target.partition(":")
        *owners, last = path.split(".")
        place: Any = importlib.import_module(module)
        for owner in owners:
            place = getattr(place, owner)
        getattr(place, last)  # a guard that is gone under this name would be taken away in vain
        setattr(place, last, instead)


def pytest_configure() -> None:
    """Before any test is collected; the zygote does the same."""
    if os.environ.get("GUARD_OFF"):
        take_away(os.environ["GUARD_OFF"])
