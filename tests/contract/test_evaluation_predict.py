"""One pass over real photos with a real, tiny model: every photo once, in order, with the right numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deitft.core.progress import SilentTask, StopFlag
from deitft.data.photos import PhotoSet
from deitft.data.stream import EvalStream
from deitft.data.transforms import EvalTransform, normalise
from deitft.errors import DeitftError, InterruptError
from deitft.evaluation.baselines import frozen_features
from deitft.evaluation.predict import predict
from deitft.models.build import Classifier, build
from deitft.recipe.preprocessing import Preprocessing

PRE = Preprocessing(size=32)
TWO_TOKENS, CONVNET = "deit_tiny_distilled_patch16_224.fb_in1k", "test_resnet.r160_in1k"


@pytest.fixture(scope="module", params=[TWO_TOKENS, CONVNET])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return build(request.param, num_classes=4, image_size=32, seed=3)


@pytest.fixture
def photos(make_photos: Callable[..., Path]) -> PhotoSet:
    root = make_photos({"hat": 4, "shoe": 3})
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    return PhotoSet(root=root, paths=paths, labels=np.array([0, 0, 0, 0, 1, 1, -1]))


def by_hand(classifier: Classifier, photos: PhotoSet, index: int) -> torch.Tensor:
    with Image.open(photos.root / photos.paths[index]) as image:
        pixels = np.asarray(image.convert("RGB"))
    return normalise(EvalTransform(PRE)(pixels)[None], PRE)


@pytest.mark.parametrize(("batch", "workers", "channels_last"), [(3, 0, False), (4, 2, True)])
def test_every_photo_once_and_as_by_hand(
    classifier: Classifier, photos: PhotoSet, batch: int, workers: int, channels_last: bool
) -> None:
    class Bar(SilentTask):
        moved = 0

        def advance(self, count: int = 1, **shown: float | str) -> None:
            Bar.moved += count
            assert float(shown["photos/s"]) > 0

    stream = EvalStream(photos, PRE, batch=batch, workers=workers)
    found = predict(
        classifier, stream, pre=PRE, device="cpu", channels_last=channels_last, task=Bar(), stop=StopFlag()
    )
    assert Bar.moved == 7
    assert found.paths == tuple(photos.paths)
    assert found.labels.tolist() == photos.labels.tolist()
    assert found.class_logits.shape == (7, 4)
    assert (found.distill_logits is not None) == classifier.two_heads
    assert len(np.unique(found.class_logits, axis=0)) == 7
    classifier.eval()
    with torch.no_grad():
        for index in (0, 3, 6):
            heads = classifier(by_hand(classifier, photos, index))
            assert found.class_logits[index] == pytest.approx(heads.class_logits[0].numpy(), abs=1e-4)
            if found.distill_logits is not None:
                assert found.distill_logits[index] == pytest.approx(heads.distill_logits[0].numpy(), abs=1e-4)


def test_the_mode_of_every_part_is_put_back_and_no_graph_is_kept(classifier: Classifier, photos: PhotoSet) -> None:
    classifier.freeze("head")
    classifier.train()
    before = [module.training for module in classifier.modules()]
    assert len(set(before)) == 2
    state = {name: value.clone() for name, value in classifier.net.state_dict().items()}
    predict(classifier, EvalStream(photos, PRE, batch=4), pre=PRE, device="cpu")
    assert [module.training for module in classifier.modules()] == before
    for name, value in classifier.net.state_dict().items():
        assert torch.equal(value, state[name]), name  # BatchNorm has learnt nothing
    classifier.freeze("all")


def test_bf16_is_near_and_comes_back_as_float32(classifier: Classifier, photos: PhotoSet) -> None:
    whole = predict(classifier, EvalStream(photos, PRE, batch=7), pre=PRE, device="cpu")
    half = predict(classifier, EvalStream(photos, PRE, batch=7), pre=PRE, device="cpu", precision="bf16")
    assert half.class_logits.dtype == np.float32
    assert half.class_logits == pytest.approx(whole.class_logits, abs=0.1)
    assert (half.class_logits != whole.class_logits).any()


def test_a_photo_left_out_has_no_row_and_the_others_keep_theirs(classifier: Classifier, photos: PhotoSet) -> None:
    whole = predict(classifier, EvalStream(photos, PRE, batch=3), pre=PRE, device="cpu")
    (photos.root / photos.paths[2]).write_bytes(b"not a photo")
    left_out: list[str] = []

    def on_bad(path: str, error: DeitftError) -> None:
        left_out.append(path)

    found = predict(classifier, EvalStream(photos, PRE, batch=3, on_bad=on_bad), pre=PRE, device="cpu")
    assert left_out == [photos.paths[2]]
    assert found.paths == tuple(path for path in photos.paths if path not in left_out)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, -1]
    kept = [0, 1, 3, 4, 5, 6]
    assert found.class_logits == pytest.approx(whole.class_logits[kept], abs=1e-4)


def test_no_photo_at_all_is_no_row(classifier: Classifier, photos: PhotoSet) -> None:
    none = PhotoSet(root=photos.root, paths=[], labels=np.zeros(0, dtype=np.int64))
    found = predict(classifier, EvalStream(none, PRE, batch=3), pre=PRE, device="cpu")
    assert (len(found), found.num_classes) == (0, 4)
    features, labels = frozen_features(classifier, EvalStream(none, PRE, batch=3), pre=PRE, device="cpu")
    assert (features, len(labels)) == ((), 0)


def test_a_signal_ends_the_pass_and_a_time_limit_does_not(classifier: Classifier, photos: PhotoSet) -> None:
    with pytest.raises(InterruptError, match="0 of 7 photos"):
        predict(classifier, EvalStream(photos, PRE, batch=3), pre=PRE, device="cpu", stop=StopFlag("SIGINT"))
    late = StopFlag(deadline=0.0)
    assert len(predict(classifier, EvalStream(photos, PRE, batch=3), pre=PRE, device="cpu", stop=late)) == 7


def test_each_head_on_its_features_gives_its_logits(classifier: Classifier, photos: PhotoSet) -> None:
    """Frozen features are what stands right before each head."""
    features, labels = frozen_features(classifier, EvalStream(photos, PRE, batch=3), pre=PRE, device="cpu")
    found = predict(classifier, EvalStream(photos, PRE, batch=3), pre=PRE, device="cpu")
    assert labels.tolist() == photos.labels.tolist()
    assert len(features) == len(classifier.head_names) == (2 if classifier.two_heads else 1)
    for name, seen, logits in zip(
        classifier.head_names, features, (found.class_logits, found.distill_logits), strict=False
    ):
        head = classifier.net.get_submodule(name)
        with torch.no_grad():
            assert head(torch.from_numpy(seen)).numpy() == pytest.approx(logits, abs=1e-4)
        assert seen.dtype == np.float32
