"""What becomes of weights: taken, changed to fit, left out, left at their start. Nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models_kit import DEIT, PLAIN, hub_folder, images, tiny
from torch import Tensor

from deitft.errors import DataError
from deitft.models.build import Classifier
from deitft.models.sources import WeightSource
from deitft.models.weights import LoadReport, find, load
from deitft.models.zoo import resolve

DEIT3 = "deit3_small_patch16_224.fb_in1k"


def source_of(
    folder: Path, theirs: Classifier, state: dict[str, Tensor] | None = None, *, wanted: str = "", **config: Any
) -> WeightSource:
    """Weights of a classifier, written to a folder and found there for ``wanted`` (or their own model)."""
    hub_folder(folder, state or theirs.net.state_dict(), theirs.architecture, "fb_in1k", **config)
    return find(resolve(wanted or theirs.timm_name), weights=str(folder))


def test_the_same_model_takes_everything(tmp_path: Path) -> None:
    for number, name in enumerate((DEIT, PLAIN, DEIT3)):
        theirs, ours = tiny(name, seed=1), tiny(name, seed=2)
        report = load(ours, source_of(tmp_path / str(number), theirs))
        assert (report.converted, report.dropped, report.started) == ((), (), ())
        state = ours.net.state_dict()
        assert report.taken == len(state)
        assert all(torch.equal(state[key], value) for key, value in theirs.net.state_dict().items())
        assert len(report.lines()) == 1


def test_plain_weights_start_two_tokens(tmp_path: Path) -> None:
    plain, two = tiny(PLAIN, seed=1), tiny(seed=2)
    start = {name: value.clone() for name, value in two.net.state_dict().items()}
    report = load(two, source_of(tmp_path / "w", plain, wanted=DEIT))
    state, given = two.net.state_dict(), plain.net.state_dict()
    assert torch.equal(state["dist_token"], start["dist_token"]), "the keyed start, not a copy of the class token"
    assert not torch.equal(state["dist_token"], given["cls_token"])
    assert torch.equal(state["pos_embed"][:, 1], start["pos_embed"][:, 1])
    assert torch.equal(state["pos_embed"][:, 0], given["pos_embed"][:, 0])
    assert torch.equal(state["pos_embed"][:, 2:], given["pos_embed"][:, 1:])
    assert torch.equal(state["head_dist.weight"], given["head.weight"])
    assert torch.equal(state["head_dist.bias"], given["head.bias"])
    rest = [name for name in given if name != "pos_embed"]
    assert all(torch.equal(state[name], given[name]) for name in rest)
    assert report.converted == ("head_dist copied from head",)
    assert report.started == ("dist_token", "pos_embed row of dist_token")
    assert report.taken == len(given) + 2, "every tensor of the file, and two copies"
    assert "not deit_tiny_distilled" in report.lines()[1]


def test_the_second_tokens_start_is_a_keyed_truncated_normal() -> None:
    wide = {"depth": 1, "embed_dim": 768, "num_heads": 3}
    state = tiny(seed=7, overrides=wide).net.state_dict()
    for values in (state["dist_token"].flatten(), state["pos_embed"][0, 1]):
        assert values.std().item() == pytest.approx(0.02, rel=0.1)
        assert values.mean().item() == pytest.approx(0, abs=0.002)
    again = tiny(seed=7, overrides=wide).net.state_dict()
    assert torch.equal(state["dist_token"], again["dist_token"])
    assert not torch.equal(state["dist_token"], tiny(seed=8, overrides=wide).net.state_dict()["dist_token"])


def test_two_tokens_begin_near_the_plain_model(shared: Path) -> None:
    """The new token disturbs the class head little, and far less than a copied class token would."""
    folder = shared / "weights"
    from deitft.models.build import build

    plain = build(PLAIN, num_classes=1000).eval()
    load(plain, find(resolve(PLAIN), weights_dir=folder))
    two = build(DEIT, num_classes=1000).eval()
    load(two, find(resolve("deit_ti"), weights_dir=folder))
    photos = images(4, 224)
    with torch.no_grad():
        want = plain(photos).class_logits
        ours = (two(photos).class_logits - want).square().mean()
        two.net.dist_token.copy_(two.net.cls_token)
        two.net.pos_embed[:, 1].copy_(two.net.pos_embed[:, 0])
        copied = (two(photos).class_logits - want).square().mean()
    assert ours < 0.2 * want.var()
    assert ours < copied


def test_another_number_of_classes_leaves_the_heads_at_their_start(tmp_path: Path) -> None:
    theirs, ours = tiny(classes=5, seed=1), tiny(classes=3, seed=2)
    start = ours.net.head.weight.detach().clone()
    report = load(ours, source_of(tmp_path / "w", theirs))
    assert torch.equal(ours.net.head.weight, start)
    assert report.dropped == ("head (5 classes, here 3)", "head_dist (5 classes, here 3)")
    assert report.started == ("head", "head_dist")
    plain = tiny(PLAIN, classes=5, seed=1)
    report = load(tiny(classes=3), source_of(tmp_path / "p", plain))
    assert report.dropped == ("head (5 classes, here 3)",), "what the file never had is not left out of it"
    assert report.started == ("dist_token", "pos_embed row of dist_token", "head", "head_dist")
    assert report.converted == ()


def test_heads_go_by_the_names_of_classes(tmp_path: Path) -> None:
    theirs = tiny(classes=3, seed=1)
    named = source_of(tmp_path / "n", theirs, label_names=["boot", "coat", "hat"])
    ours = tiny(classes=3, seed=2)
    report = load(ours, named, classes=("hat", "boot", "coat"))
    assert report.started == ()
    for head in ("head", "head_dist"):
        rows = theirs.net.get_submodule(head).weight
        assert torch.equal(ours.net.get_submodule(head).weight, rows[[2, 0, 1]])
        assert torch.equal(ours.net.get_submodule(head).bias, theirs.net.get_submodule(head).bias[[2, 0, 1]])
    ours = tiny(classes=3, seed=2)
    load(ours, named, classes=("boot", "coat", "hat"))
    assert torch.equal(ours.net.head.weight, theirs.net.head.weight)
    for names, other in (
        ((("boot", "coat", "cap")), named),
        (("boot", "coat", "hat"), source_of(tmp_path / "u", theirs)),
    ):
        ours = tiny(classes=3, seed=2)
        start = ours.net.head.weight.detach().clone()
        report = load(ours, other, classes=names)
        assert report.started == ("head", "head_dist")
        assert torch.equal(ours.net.head.weight, start), "never by position"
    assert "its classes have no names" in report.dropped[0]


@pytest.mark.parametrize(("name", "prefix"), [(DEIT, 2), (PLAIN, 1), (DEIT3, 0)])
def test_another_resolution_resamples_the_grid_alone(tmp_path: Path, name: str, prefix: int) -> None:
    theirs, ours = tiny(name, size=64, seed=1), tiny(name, size=96, seed=2)
    report = load(ours, source_of(tmp_path / "w", theirs))
    given, got = theirs.net.pos_embed.detach(), ours.net.pos_embed.detach()
    assert torch.equal(got[:, :prefix], given[:, :prefix])
    grid = given[:, prefix:].reshape(1, 4, 4, 24).permute(0, 3, 1, 2)
    want = torch.nn.functional.interpolate(grid, (6, 6), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(got[:, prefix:], want.permute(0, 2, 3, 1).reshape(1, 36, 24))
    assert report.converted == ("pos_embed resampled from 4 x 4 to 6 x 6 patches",)


def test_plain_weights_of_another_size_start_two_tokens(tmp_path: Path) -> None:
    ours = tiny(size=48, seed=2)
    report = load(ours, source_of(tmp_path / "w", tiny(PLAIN, size=64, seed=1)))
    assert report.converted == ("pos_embed resampled from 4 x 4 to 3 x 3 patches", "head_dist copied from head")


def test_tables_of_windows_are_resampled(tmp_path: Path) -> None:
    small = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2)}
    name = "swin_base_patch4_window7_224.ms_in1k"
    theirs = tiny(name, size=96, overrides={**small, "window_size": 4})
    ours = tiny(name, size=64, overrides={**small, "window_size": 2})
    report = load(ours, source_of(tmp_path / "w", theirs))
    assert len(report.converted) == 1
    assert "tables resampled, layers.0.blocks.0.attn.relative_position_bias_table first" in report.converted[0]
    assert report.started == ()


def test_deits_own_checkpoints(tmp_path: Path) -> None:
    """{"model": ...} with the command's arguments, DeiT III's gamma_1, and names of a distributed run."""
    import argparse

    theirs = tiny(seed=1)
    path = tmp_path / "deit.pth"
    torch.save({"model": theirs.net.state_dict(), "args": argparse.Namespace(lr=5e-4), "epoch": 3}, path)
    ours = tiny(seed=2)
    report = load(ours, find(resolve("deit_ti"), weights=str(path)))
    assert torch.equal(ours(images()).class_logits, theirs(images()).class_logits)
    assert "does not say whose weights" in report.lines()[1]

    third = tiny(DEIT3, seed=1)
    names = {
        name: name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")
        for name in third.net.state_dict()
    }
    torch.save({"model": {f"module.{names[name]}": value for name, value in third.net.state_dict().items()}}, path)
    ours = tiny(DEIT3, seed=2)
    report = load(ours, find(resolve("deit3_s"), weights=str(path)))
    assert report.converted == ("4 foreign names to timm's",)
    assert torch.equal(ours(images()).class_logits, third(images()).class_logits)


def test_dino_has_no_head(tmp_path: Path) -> None:
    theirs = tiny("vit_small_patch16_224.dino", seed=1)
    state = {name: value for name, value in theirs.net.state_dict().items() if not name.startswith("head.")}
    ours = tiny("vit_small_patch16_224.dino", seed=2)
    report = load(ours, source_of(tmp_path / "w", theirs, state))
    assert (report.started, report.dropped) == (("head",), ())
    assert torch.equal(ours.features(images()), theirs.features(images()))


def test_batch_counters_may_be_missing_and_halves_become_floats(tmp_path: Path) -> None:
    from deitft.models.build import build

    name = "mobilenetv2_100.ra_in1k"
    theirs, ours = build(name, num_classes=3, seed=1), build(name, num_classes=3, seed=2)
    state = {key: value.half() for key, value in theirs.net.state_dict().items() if "num_batches" not in key}
    report = load(ours, source_of(tmp_path / "w", theirs, state))
    assert report.started == ()
    assert all(value.dtype == torch.float32 for key, value in ours.net.state_dict().items() if key in state)
    assert torch.equal(ours.net.conv_stem.weight, theirs.net.conv_stem.weight.half().float())


def _without(name: str):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said", "fault"),
    [
        (
            _without("blocks.0.attn.qkv.weight"),
            r"1 tensors are missing \(blocks\.0\.attn\.qkv\.weight\)",
            "WEIGHTS",
        ),
        (lambda state: {**state, "extra": torch.ones(1)}, r"1 are unknown \(extra\)", "WEIGHTS"),
        (
            lambda state: {**state, "norm.weight": torch.ones(7)},
            '"norm.weight" is 7 there, 24 here',
            "WEIGHTS",
        ),
        (lambda state: {**state, "pos_embed": torch.ones(1, 8, 24)}, '"pos_embed" is 1 x 8 x 24 there', "WEIGHTS"),
        (lambda state: {**state, "pos_embed": torch.ones(1, 6, 25)}, '"pos_embed" is 1 x 6 x 25 there', "WEIGHTS"),
        (lambda state: {**state, "norm.bias": torch.ones(24, dtype=torch.int64)}, "is of type torch.int64", "S6"),
        (lambda state: {**state, "patch_embed.proj.weight": torch.ones(24, 5)}, "do not fit", "WEIGHTS"),
        (lambda state: {"something": torch.ones(3)}, "tensors are missing", "WEIGHTS"),
    ],
)
def test_what_does_not_fit_is_an_error(tmp_path: Path, change, said: str, fault: str) -> None:
    theirs = tiny(seed=1)
    ours = tiny(seed=2)
    before = {name: value.clone() for name, value in ours.net.state_dict().items()}
    with pytest.raises(DataError, match=said) as caught:
        load(ours, source_of(tmp_path / "w", theirs, change(theirs.net.state_dict())))
    assert (caught.value.id, caught.value.exit_code) == (fault, 65)
    assert "\n" not in caught.value.line
    after = ours.net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "nothing was loaded in part"


def test_plain_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    other = tiny(PLAIN, overrides={"depth": 2, "embed_dim": 48, "num_heads": 3})
    with pytest.raises(DataError, match="is 48 there, 24 here"):
        load(tiny(), source_of(tmp_path / "w", other, _without("dist_token")(other.net.state_dict())))


def test_a_mixer_is_tied_to_its_size(tmp_path: Path) -> None:
    name, small = "mixer_b16_224.goog_in21k_ft_in1k", {"mlp_ratio": (0.05, 0.05)}
    with pytest.raises(DataError, match=r"at 48 px.*mlp_tokens") as caught:
        load(tiny(name, size=48, overrides=small), source_of(tmp_path / "w", tiny(name, overrides=small)))
    assert "size" in caught.value.hint


def test_without_weights_the_report_says_so() -> None:
    report = load(tiny(), find(resolve("deit_ti"), pretrained=False))
    assert report.started == ("everything",)
    assert "random values" in report.lines()[0]


def test_the_report_in_lines_and_as_a_record() -> None:
    source = WeightSource(kind="folder", path=Path("w/model.safetensors"), architecture="a", tag="t")
    report = LoadReport(
        source=source, wanted="a.s", taken=3, converted=("x", "y"), dropped=("z",), started=("head",)
    )
    assert report.lines() == [
        "weights: a.t from w/model.safetensors (licence unknown), 3 tensors",
        "these are not a.s: figures published for that do not hold here",
        "changed: x; y",
        "left out: z",
        "new: head",
    ]
    assert report.record() == {"taken": 3, "converted": ["x", "y"], "dropped": ["z"], "started": ["head"]}
