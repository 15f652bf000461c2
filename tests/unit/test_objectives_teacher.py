"""What the teacher sees and says, and what a cache of it keeps and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from training_kit import CLASSES, KeyedStream, tiny_plan

from deitft.data.transforms import normalise
from deitft.errors import DataError, OutputError, RecipeError
from deitft.models.build import Classifier, build, logit_mean
from deitft.objectives.cached_teacher import CachedTeacher
from deitft.objectives.teacher import LiveTeacher, Teacher, renormalise, size_for
from deitft.objectives.teacher_cache import TeacherCache, header_of, stored_header, teacher_batch
from deitft.recipe.plan_types import DistillKind, DistillPlan, Plan, TeacherPlan
from deitft.recipe.preprocessing import Preprocessing
from deitft.runs.teacher import at_size

SIZE = 32


def net(name: str = "mobilenetv2_100", classes: int = len(CLASSES)) -> Classifier:
    return build(name, num_classes=classes, image_size=SIZE, seed=4)


def teacher_plan(**changes: object) -> TeacherPlan:
    values: dict[str, object] = {
        "name": "t",
        "model": "mobilenetv2_100.ra_in1k",
        "path": "t",
        "sha256": "ab",
        "preprocessing": Preprocessing(size=SIZE),
        "columns": (0, 1, 2),
    }
    return TeacherPlan(**{**values, **changes})  # type: ignore[arg-type]


def plan_with(*teachers: TeacherPlan, kind: DistillKind = "hard", **changes: object) -> Plan:
    distill = DistillPlan(
        kind=kind, token=True, alpha=0.5, tau=3.0, reduction="batchmean", teachers=teachers or (teacher_plan(),)
    )
    return replace(tiny_plan(), preprocessing=Preprocessing(size=SIZE), distill=distill, **changes)  # type: ignore[arg-type]


def images(count: int = 4, size: int = SIZE) -> Tensor:
    raw = torch.randint(
        0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    return normalise(raw, Preprocessing(size=size))


def test_the_teacher_says_what_its_net_says_in_evaluation_mode() -> None:
    teacher = net()
    live = LiveTeacher([Teacher(teacher.train(), teacher_plan())], plan_with(), "soft")
    said = live.log_probabilities(images())
    wanted = F.log_softmax(logit_mean(teacher.eval()(images())), 1)
    torch.testing.assert_close(said, wanted, rtol=1e-4, atol=1e-5)
    assert not teacher.training
    assert not any(item.requires_grad for item in teacher.parameters())


def test_columns_put_the_teachers_classes_in_the_students_order() -> None:
    teacher = net()
    plain, turned = (
        LiveTeacher([Teacher(teacher, teacher_plan(columns=columns))], plan_with(), "soft").log_probabilities(
            images()
        )
        for columns in ((0, 1, 2), (2, 0, 1))
    )
    torch.testing.assert_close(turned, plain[:, [2, 0, 1]])


def test_several_teachers_are_the_mean_of_their_probabilities() -> None:
    first, second = net(), build("mobilenetv2_100", num_classes=3, image_size=SIZE, seed=9)
    one, other, both = (
        LiveTeacher([Teacher(each, teacher_plan()) for each in group], plan_with(), "soft").log_probabilities(
            images()
        )
        for group in ([first], [second], [first, second])
    )
    torch.testing.assert_close(both.exp(), (one.exp() + other.exp()) / 2)


def test_renormalising_is_normalising_the_bytes_again() -> None:
    raw = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    old, new = Preprocessing(size=8), Preprocessing(size=8, mean=(0.5,) * 3, std=(0.5, 0.4, 0.3))
    torch.testing.assert_close(
        renormalise(normalise(raw, old), old, new), normalise(raw, new), rtol=1e-5, atol=1e-5
    )
    same = normalise(raw, old)
    assert renormalise(same, old, old) is same


def test_a_teacher_looks_at_the_size_it_is_told_to(tmp_path: Path) -> None:
    """At a higher resolution the teacher of the paper looks at it too (arXiv 2012.12877, section 4)."""
    told = at_size(teacher_plan(), 96)
    assert told == teacher_plan(preprocessing=Preprocessing(size=96))
    assert at_size(told, 96) is told
    assert at_size(told, "auto") is told
    small = {"depth": 1, "embed_dim": 12, "num_heads": 2}
    vit = build("deit_tiny_patch16_224", num_classes=3, image_size=SIZE, overrides=small)
    for teacher, name in ((net(), "mobilenetv2_100.ra_in1k"), (vit, "deit_tiny_patch16_224.fb_in1k")):
        seen: list[tuple[int, ...]] = []
        teacher.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(tuple(inputs[0].shape)))
        plan = at_size(teacher_plan(model=name), 64)
        LiveTeacher([Teacher(teacher, plan)], plan_with(plan), "hard").log_probabilities(images())
        assert seen == [(4, 3, 64, 64)]


def test_a_teacher_of_one_size_is_refused_another() -> None:
    mixer = teacher_plan(model="mixer_b16_224.goog_in21k_ft_in1k", preprocessing=Preprocessing(size=224))
    assert at_size(mixer, 224) is mixer
    with pytest.raises(RecipeError, match=r"distill\.teacher_size is 384, but the teacher t takes 224 px only"):
        at_size(mixer, 384)


def test_the_teacher_sees_its_own_size_or_the_same_share_of_it() -> None:
    free, fixed = net(), build("mixer_s16_224", num_classes=3)
    own = Preprocessing(size=256)
    assert [size_for(size, 224, free, own) for size in (224, 160, 32)] == [256, 192, 32]
    assert [size_for(size, 224, fixed, Preprocessing(size=224)) for size in (224, 160)] == [224, 224]
    seen: list[tuple[int, ...]] = []
    free.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    live = LiveTeacher([Teacher(free, teacher_plan(preprocessing=Preprocessing(size=64)))], plan_with(), "hard")
    live.log_probabilities(images())
    assert seen == [(4, 3, 64, 64)]


class Counting:
    """A teacher that says the class of a view by its key, and counts how often it is asked."""

    def __init__(self, kind: DistillKind) -> None:
        self.kind, self.asked = kind, 0

    def __call__(self, batch) -> Tensor:  # type: ignore[no-untyped-def]
        self.asked += len(batch)
        classes = torch.tensor([key % 3 for key in batch.keys])
        if self.kind == "hard":
            return classes
        draw = torch.Generator().manual_seed(batch.keys[0] % 2**31)
        return F.log_softmax(torch.randn(len(batch), 3, generator=draw), 1)


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("micro", [8, 2])
def test_a_warm_cache_says_the_same_bits_and_asks_nobody(tmp_path: Path, kind: DistillKind, micro: int) -> None:
    plan = plan_with(kind=kind)
    header = header_of(plan, "photos", kept=3 if kind == "soft" else 0)
    stream = KeyedStream(plan)
    live, silent = Counting(kind), Counting(kind)
    said = []
    for voice in (live, silent):
        cached = CachedTeacher(TeacherCache(tmp_path / "cache", header), voice, 3, lambda step: step)
        said.append([cached(part) for step in range(9) for part in stream.batch(step).split(micro)])
        cached.close()
    assert (live.asked, silent.asked, cached.read) == (72, 0, 72)
    assert all(torch.equal(one, other) for one, other in zip(*said, strict=True))
    direct = Counting(kind)
    fresh = [direct(part) for step in range(9) for part in stream.batch(step).split(micro)]
    assert all(torch.equal(one, other) for one, other in zip(said[0], fresh, strict=True))
    assert TeacherCache(tmp_path / "cache", header).known_steps(12).tolist() == [True] * 9 + [False] * 3


def test_what_is_left_over_is_shared_by_the_classes_not_kept(tmp_path: Path) -> None:
    plan = plan_with(kind="soft")
    voice = Counting("soft")
    cached = CachedTeacher(
        TeacherCache(tmp_path / "cache", header_of(plan, "photos", kept=1)), voice, 3, lambda step: step
    )
    batch = KeyedStream(plan).batch(0)
    said, true = cached(batch), Counting("soft")(batch)
    torch.testing.assert_close(said.exp().sum(1), torch.ones(8))
    top = true.argmax(1)
    torch.testing.assert_close(said.gather(1, top[:, None]), true.gather(1, top[:, None]))
    rest = said.exp().masked_fill(F.one_hot(top, 3).bool(), 0)
    torch.testing.assert_close(rest.max(1).values * 2, rest.sum(1))


def test_writers_of_one_chunk_do_not_undo_each_other(tmp_path: Path) -> None:
    plan = plan_with()
    header = header_of(plan, "photos")
    batch = KeyedStream(plan).batch(3)
    parts = list(batch.split(4))
    for number, part in enumerate(parts):
        opened = TeacherCache(tmp_path / "cache", header, part=f"run-{number}")
        CachedTeacher(opened, Counting("hard"), 3, lambda step: step)(part)
        opened.flush()
    silent = Counting("hard")
    joined = CachedTeacher(TeacherCache(tmp_path / "cache", header), silent, 3, lambda step: step)(batch)
    assert silent.asked == 0
    assert torch.equal(joined, Counting("hard")(batch))


@pytest.mark.parametrize("writers", [1, 2, 4])
def test_the_size_that_was_shown_is_the_size_on_disk(tmp_path: Path, writers: int) -> None:
    """However many write: each its own rows of every step (a run), or its own steps (filled in advance)."""
    plan, steps = plan_with(), 12
    header, stream = header_of(plan, "photos"), KeyedStream(plan)
    for who in range(writers):
        rows = TeacherCache(tmp_path / "rows", header, part=f"run-{who}")
        whole = TeacherCache(tmp_path / "steps", header, part=f"fill-{who}")
        ours = [CachedTeacher(one, Counting("hard"), 3, lambda step: step) for one in (rows, whole)]
        for step in range(steps):
            ours[0](list(stream.batch(step).split(plan.batch // writers))[who])
            if step * writers // steps == who:
                ours[1](stream.batch(step))
        for one in ours:
            one.close()
    for folder in (tmp_path / "rows", tmp_path / "steps"):
        cache = TeacherCache(folder, header)
        assert cache.known_steps(steps).all()
        answers = steps * plan.batch * 2
        around = header.bytes_for(steps) - answers
        assert cache.bytes_on_disk() == answers + writers * around
        assert around < 100


def test_two_runs_that_write_under_one_name_lose_nothing(tmp_path: Path) -> None:
    plan = plan_with()
    header, stream = header_of(plan, "photos"), KeyedStream(plan)
    runs = [TeacherCache(tmp_path / "cache", header) for _ in range(2)]
    for number, run in enumerate(runs):
        CachedTeacher(run, Counting("hard"), 3, lambda step: step)(stream.batch(number))
    for run in runs:
        run.flush()
    assert TeacherCache(tmp_path / "cache", header).known_steps(3).tolist() == [True, True, False]


def test_who_computes_otherwise_reads_and_adds_nothing(tmp_path: Path) -> None:
    """Else an answer of the CPU's would stand under a header that says cuda."""
    plan, stream = replace(plan_with(), device="cuda"), KeyedStream(plan_with())
    header, elsewhere = header_of(plan, "photos"), header_of(replace(plan, device="cpu"), "photos")
    first = CachedTeacher(TeacherCache(tmp_path, header), Counting("hard"), 3, lambda step: step)
    first(stream.batch(0))
    first.close()
    voice = Counting("hard")
    opened = TeacherCache(tmp_path, elsewhere)
    other = CachedTeacher(opened, voice, 3, lambda step: step)
    for step in (0, 1, 1):
        assert torch.equal(other(stream.batch(step)), Counting("hard")(stream.batch(step)))
    other.close()
    assert opened.inexact == 'device: "cuda" -> "cpu"'
    assert (other.read, voice.asked) == (8, 16)
    assert TeacherCache(tmp_path, header).known_steps(2).tolist() == [True, False]


def test_how_many_views_the_teacher_sees_at_once() -> None:
    """What differs between processes is the shape, not how many of them there are."""
    shape = {"images": 4, "of": 4}
    assert teacher_batch(4, 8) == teacher_batch(4, 4) == teacher_batch(8, 4) == shape
    assert teacher_batch(5, 12) != teacher_batch(5, 7)
    plan = plan_with()
    micro = replace(plan, micro_batch=4)
    assert (
        header_of(micro, "p").exact == header_of(micro, "p", share=4).exact == header_of(plan, "p", share=4).exact
    )
    assert header_of(plan, "p").exact != header_of(plan, "p", share=4).exact


@pytest.mark.parametrize("classes", [3, 65_535, 65_536, 70_001])
def test_any_number_of_classes_is_kept(tmp_path: Path, classes: int) -> None:
    plan = replace(plan_with(), classes=tuple(map(str, range(classes))))
    header, batch = header_of(plan, "photos"), KeyedStream(plan_with()).batch(0)
    said = torch.full((len(batch),), classes - 1)
    memory = CachedTeacher(TeacherCache(tmp_path, header), lambda batch: said, classes, lambda step: step)
    memory(batch)
    memory.close()
    again = CachedTeacher(TeacherCache(tmp_path, header), lambda batch: 0 * said, classes, lambda step: step)
    assert torch.equal(again(batch), said)
    assert again.read == len(batch)


def test_a_cache_of_other_views_is_refused_field_by_field(tmp_path: Path) -> None:
    plan = plan_with()
    TeacherCache(tmp_path / "cache", header_of(plan, "photos"))
    other = replace(plan, seed=1, mixing=replace(plan.mixing, mixup=0.3))
    with pytest.raises(RecipeError) as caught:
        TeacherCache(tmp_path / "cache", header_of(other, "photos of today"))
    assert [text.partition(":")[0] for text in caught.value.details["differences"]] == [
        "mixing.mixup",
        "photos",
        "seed",
    ]
    threads = TeacherCache(tmp_path / "cache", header_of(replace(plan, threads=7), "photos"))
    assert threads.inexact.startswith("threads: ")
    longer = replace(plan, total_steps=999, micro_batch=plan.micro_batch)
    assert TeacherCache(tmp_path / "cache", header_of(longer, "photos")).inexact == ""


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_damaged_chunk_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "cache"
    plan = plan_with()
    header = header_of(plan, "photos")
    opened = TeacherCache(folder, header)
    CachedTeacher(opened, Counting("hard"), 3, lambda step: step)(KeyedStream(plan).batch(0))
    opened.flush()
    (path,) = folder.glob("*.chunk")
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        TeacherCache(folder, header).read(0)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        TeacherCache(tmp_path, header_of(plan_with(), "photos"))
    (tmp_path / "header.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(DataError, match="not the header"):
        TeacherCache(tmp_path, header_of(plan_with(), "photos"))


def test_imagenets_size_on_disk() -> None:
    plan = replace(plan_with(), batch=1024)
    steps = 300 * (1_281_167 // 1024 + 1)
    assert header_of(plan, "photos").bytes_for(steps) == pytest.approx(0.77e9, rel=0.01)


def test_a_cache_of_another_teacher_names_what_differs(tmp_path: Path) -> None:
    """Two that differ late in a long line are not shown as two equal beginnings; asking writes nothing."""
    plan = plan_with(teacher_plan())
    other = plan_with(replace(teacher_plan(), sha256="f" * 64))
    assert stored_header(tmp_path / "cache", header_of(plan, "photos")) is None
    assert not (tmp_path / "cache").exists()
    TeacherCache(tmp_path / "cache", header_of(plan, "photos"))
    assert stored_header(tmp_path / "cache", header_of(plan, "photos")) is not None
    with pytest.raises(RecipeError) as caught:
        stored_header(tmp_path / "cache", header_of(other, "photos"))
    (text,) = caught.value.details["differences"]
    assert text.startswith("teachers.0.sha256: ")
    before, after = text.removeprefix("teachers.0.sha256: ").split(" -> ")
    assert before != after
