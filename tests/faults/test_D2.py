"""D2: truncated, zero-byte or inside-damaged image."""

from __future__ import annotations

import numpy as np
import pytest
from photo_kit import clean, encoded, judge, picture, put, refused, said, write_classes

from deitft.data.colour import PhotoNote
from deitft.data.decode import BadPhotoError, decode, examine

PHOTO = encoded(picture(0, (300, 200)))


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 60, "hats": 60})
    put(root, "shoes/017.jpg", PHOTO)
    clean(root, "D2")
    return root


def cut_png() -> bytes:
    data = bytearray(encoded(picture(), "PNG"))
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length] ^= 1  # the stored checksum; the pixels are whole
    return bytes(data)


FAULTS = {
    "a": (PHOTO[: len(PHOTO) // 2], f"file ends early at byte {len(PHOTO) // 2}"),
    "a_header": (PHOTO[:100], "file ends early at byte 100"),
    "a_two_bytes": (PHOTO[:2], "file ends early at byte 2"),
    "c": (b"", "file is empty"),
    "f": (cut_png(), "checksum of IDAT at byte 33 is wrong"),
    "f_cut": (encoded(picture(), "PNG")[:-40], f"file ends early at byte {len(encoded(picture(), 'PNG')) - 40}"),
    "g": (encoded(picture(), "WEBP")[:200], "file ends early at byte 200"),
    "gif": (encoded(picture(), "GIF")[:900], "file ends early at byte 900"),
    "bmp": (encoded(picture(), "BMP")[:900], "file ends early at byte 900"),
    "avif": (encoded(picture(), "AVIF")[:400], "file ends early at byte 400"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_D2_acfg_unreadable_photos_are_left_out_or_refused(root, case):
    data, reason = FAULTS[case]
    put(root, "shoes/017.jpg", data)
    catalog, findings = judge(root)
    warning = f"1 photo cannot be read, first: shoes/017.jpg ({reason}) — left out by name"
    assert ("D2", "warning", warning) in said(catalog, findings)
    assert findings.quarantine_rows() == [{"path": "shoes/017.jpg", "id": "D2", "reason": reason}]
    error = refused(root, strict=True)
    want = f"1 photo cannot be read, first: shoes/017.jpg ({reason}) — fix it or add --skip-bad"
    assert (error.id, error.exit_code, error.line) == ("D2", 65, want)


def test_D2_above_one_percent(root):
    for number in ("017", "018", "019"):
        put(root, f"shoes/{number}.jpg", PHOTO[:1000])
    error = refused(root)
    assert (error.id, error.exit_code, error.line) == (
        "D2",
        65,
        "3 photos cannot be read, first: shoes/017.jpg (file ends early at byte 1000) — "
        "fix them or add --skip-bad",
    )
    assert error.files == ("shoes/017.jpg", "shoes/018.jpg", "shoes/019.jpg")
    assert judge(root, skip_bad=True)[1].quarantined.tolist() == [77, 78, 79]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"subsampling": 0}])
@pytest.mark.parametrize("lost", [1, 2])
def test_D2_b_a_lost_end_marker_alone_is_read_anyway(options, lost):
    for seed in range(10):
        whole = encoded(picture(seed, (97, 61)), **options)
        assert np.array_equal(decode(whole[:-lost]), decode(whole))
        assert np.array_equal(decode(whole[:-lost], at_least=20), decode(whole, at_least=20))
        assert examine(whole[:-lost]).notes == PhotoNote.NO_END_MARKER
        assert examine(whole).notes == PhotoNote(0)
        assert examine(whole + b"what a phone appends").notes == PhotoNote(0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_D2_b_what_lacks_more_than_the_end_marker_is_not(options):
    whole = encoded(picture(3, (97, 61)), **options)
    taken = [length for length in range(300, len(whole) - 2) if is_read(whole[:length])]
    # At the very end some lost bits change no pixel at all.
    assert all(np.array_equal(decode(whole[:length]), decode(whole)) for length in taken)
    assert len(taken) < 4


def is_read(data: bytes) -> bool:
    try:
        decode(data)
    except BadPhotoError as error:
        return "ends early" not in error.reason
    return True


def test_D2_b_is_said(root):
    for number in range(20, 24):
        put(root, f"hats/{number:03d}.jpg", encoded(picture(number, (50, 50)))[:-2])
    catalog, findings = judge(root)
    findings.raise_errors()
    assert ("D2", "warning", "4 JPEGs lack their end marker, read anyway") in said(catalog, findings)
    assert not len(findings.quarantined)


def test_D2_d_a_zeroed_middle_is_reported_by_the_decoder(root):
    third = len(PHOTO) // 3
    data = PHOTO[:third] + bytes(third) + PHOTO[2 * third :]
    assert np.abs(decode(data).astype(int) - decode(PHOTO)).mean() > 5  # no decoder refuses it
    put(root, "shoes/017.jpg", data)
    catalog, findings = judge(root)
    findings.raise_errors()
    want = "the decoder reported damage in 1 photo, first: shoes/017.jpg — look at them"
    assert ("D2", "warning", want) in said(catalog, findings)


def test_D2_e_flipped_bits_are_found_where_a_decoder_can(tmp_path):
    """Of 60 single flipped bits some cannot be told from another picture; none may end in anything else."""
    root = write_classes(tmp_path / "p", {"a": 2, "b": 2})
    draw = np.random.default_rng(0)
    changed = 0
    for number in range(60):
        data = bytearray(PHOTO)
        data[int(draw.integers(620, len(data) - 2))] ^= 1 << int(draw.integers(8))
        put(root, f"a/flip{number:02d}.jpg", bytes(data))
        try:
            changed += not np.array_equal(decode(bytes(data)), decode(PHOTO))
        except BadPhotoError:
            changed += 1
    catalog, findings = judge(root, skip_bad=True)
    noted = int(np.count_nonzero(catalog.notes & PhotoNote.DAMAGED)) + len(catalog.bad)
    assert findings.errors == []
    assert changed > 50
    assert 1 <= noted <= changed + 2
