"""The dataset `order`: all classes show the same frames, and the order of the frames decides the class."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from moclip.config.settings import AppearanceVariant
from moclip.core.numerics import unit
from moclip.dataset.demo import RENDERED, list_demo_videos, write_demo_video
from moclip.dataset.demo_order import DIVIDER, EMBLEMS, ORDER_CLASSES, ORDERS, SLOT_FRAMES, STEADY, render_order_video
from moclip.dataset.demo_rendering import build_theme
from moclip.encoders.clip import load_encoder
from moclip.motion.fields import FieldSpec, build_fields, frames_with_motion
from moclip.training.head_fitting import use_threads
from moclip.video.motion_vectors import read_motion
from moclip.video.sampling import choose_frames

CHANCE = 1 / len(ORDER_CLASSES)

# One video of each class and group.
VIDEOS = [video for video in list_demo_videos("order") if video.clip == 1]

CLASSES = np.array([ORDER_CLASSES.index(video.class_name) for video in VIDEOS])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("order")
    for video in VIDEOS:
        write_demo_video(folder / video.path, kind="order", video=video, seed=0)
    return [folder / video.path for video in VIDEOS]


@pytest.fixture(scope="module")
def likelihoods(videos: list[Path], repository: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(N, 8, 128) and (N, 8, 4): embeddings of 8 evenly spaced frames, and their log likelihood of each emblem."""
    chosen = []
    for path in videos:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        chosen += [frames[i] for i in choose_frames("uniform", num_frames=len(frames), num_selected=8, video_id="")]
    with use_threads(1):
        encoder = load_encoder(AppearanceVariant(model=f"local-dir:{repository}/resources/demo-clip"))
        images = encoder.encode_images(chosen).reshape(len(videos), 8, -1)
        names = encoder.encode_texts([f"a photo of a {name.lower()}" for name in EMBLEMS.values()])
    similarity = 100 * unit(images) @ unit(names).T
    return images, similarity - np.logaddexp.reduce(similarity, axis=-1, keepdims=True)


def held_out(part: int) -> NDArray[np.bool_]:
    return np.array([video.group % 3 == part for video in VIDEOS])


def probe(features: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the class of each video by a ridge regression that was fitted on other groups."""
    found = np.empty(len(VIDEOS), np.int64)
    for part in range(3):
        test = held_out(part)
        scaled = (features - features[~test].mean(axis=0)) / (features[~test].std(axis=0) + 1e-6)
        inputs = np.column_stack([scaled, np.ones(len(scaled))])
        train = inputs[~test]
        targets = np.eye(len(ORDER_CLASSES))[CLASSES[~test]]
        weights = np.linalg.solve(train.T @ train + np.eye(train.shape[1]), train.T @ targets)
        found[test] = (inputs[test] @ weights).argmax(axis=1)
    return found


def find_nearest_means(features: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the class of each video by the nearest class mean of other groups."""
    found = np.empty(len(VIDEOS), np.int64)
    for part in range(3):
        test = held_out(part)
        means = np.stack([features[~test & (index == CLASSES)].mean(axis=0) for index in range(len(ORDER_CLASSES))])
        found[test] = ((features[test][:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    return found


def measure_motion(path: Path) -> NDArray[np.float64]:
    """Return (2, 8): eight statistics of the vectors, averaged over the frames of the first and of the second half."""
    motion = read_motion(path, video_id=path.stem)
    frames = frames_with_motion(motion)
    spec = FieldSpec(kind="accumulated", window=4, stride=8, compensate_camera=True)
    fields = build_fields(motion, frames, spec=spec).reshape(len(frames), -1, 2)
    lengths = np.hypot(fields[..., 0], fields[..., 1])
    statistics = [*fields.mean(axis=1).T, *np.abs(fields).mean(axis=1).T, lengths.mean(axis=1), lengths.std(axis=1)]
    statistics += [np.quantile(lengths, 0.95, axis=1), (lengths > 0).mean(axis=1)]
    early = frames < motion.num_frames / 2
    return np.array([np.mean(statistics, axis=1, where=half) for half in (early, ~early)])


@pytest.mark.parametrize("pair", ORDERS)
def test_every_class_shows_each_emblem_and_each_pace_equally_long(pair: tuple[str, str]) -> None:
    emblems, paces = ORDERS[pair]
    for slots in emblems:
        assert Counter(slots) == {"Q": 4, "M": 2, "S": 2}
        assert Counter(slots[index] for index in (1, 3, 4, 6)) == {"Q": 2, "M": 1, "S": 1}, "4 frames name the pair"
        assert slots[::-1] not in emblems
    for pace in paces:
        assert Counter(pace) == {"1": 4, "2": 4}
        assert (pace[::-1] == pace) == (pace in STEADY)


@pytest.mark.parametrize("slot_frames", SLOT_FRAMES)
def test_eight_evenly_spaced_frames_are_one_of_each_slot(slot_frames: int) -> None:
    slots = [*np.repeat(range(4), slot_frames), *[-1] * len(DIVIDER), *np.repeat(range(4, 8), slot_frames)]

    def shown(count: int) -> list[int]:
        return [slots[i] for i in choose_frames("uniform", num_frames=len(slots), num_selected=count, video_id="")]

    assert shown(8) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert shown(4) == [1, 3, 4, 6]
    assert shown(1) == [-1]


@pytest.mark.parametrize("pair", ORDERS)
def test_the_second_class_of_a_pair_is_the_first_one_played_backward(pair: tuple[str, str]) -> None:
    theme = build_theme(np.random.default_rng(1))
    first, second = (list(render_order_video(np.random.default_rng(2), theme=theme, class_name=name)) for name in pair)
    assert len(first) % 2 == 1
    np.testing.assert_array_equal(np.stack(first), np.stack(second)[::-1])
    assert not np.array_equal(first[0], second[0])


def test_every_video_is_h264_with_one_keyframe(videos: list[Path]) -> None:
    assert {video.codec for video in list_demo_videos("order")} == set(RENDERED["order"].codecs) == {"h264"}
    for path in videos[::9]:
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
            assert container.streams.video[0].codec_context.name == "h264"
        assert [frame.key_frame for frame in frames] == [True] + [False] * (len(frames) - 1)
        assert len(frames) in {8 * slot + 3 for slot in SLOT_FRAMES}


def test_a_video_has_the_same_bytes_each_time_and_others_for_another_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_demo_video(tmp_path / f"{name}.mp4", kind="order", video=VIDEOS[0], seed=seed)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "c.mp4").read_bytes()


def test_the_mean_over_frames_does_not_predict_the_class(
    likelihoods: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> None:
    pooled = likelihoods[0].mean(axis=1)
    assert np.mean(find_nearest_means(pooled) == CLASSES) == pytest.approx(CHANCE, abs=0.1)
    assert np.mean(probe(pooled) == CLASSES) == pytest.approx(CHANCE, abs=0.1)


def test_the_order_of_frames_predicts_the_class(
    likelihoods: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> None:
    """Each video is given the class with the most likely order of emblems."""
    letters = list(EMBLEMS)
    orders = [
        (slots[::step], pair[step < 0]) for pair, (all_, _) in ORDERS.items() for slots in all_ for step in (1, -1)
    ]
    scores = [likelihoods[1][:, range(8), [letters.index(each) for each in slots]].sum(axis=1) for slots, _ in orders]
    found = np.array([ORDER_CLASSES.index(name) for _, name in orders])[np.argmax(scores, axis=0)]
    assert np.mean(found == CLASSES) >= 0.95


def test_mean_motion_does_not_predict_the_class_but_its_halves_predict_the_speed(videos: list[Path]) -> None:
    motion = np.stack([measure_motion(path) for path in videos])
    assert np.mean(probe(motion.mean(axis=1)) == CLASSES) == pytest.approx(CHANCE, abs=0.15)
    gains = np.log(motion[:, 1, 5] / motion[:, 0, 5])  # of the spread of lengths: the badge against its background
    speeding, slowing = (gains[ORDER_CLASSES.index(name) == CLASSES] for name in ("SpeedingUp", "SlowingDown"))
    assert np.mean(speeding > slowing) >= 0.9, "videos of one group and clip, played forward and backward"
