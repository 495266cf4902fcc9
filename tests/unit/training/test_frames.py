"""Heads that read every frame: padding, number and order of frames, and toys that only order can solve."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from moclip.config.head_kinds import HEAD_KINDS
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_inputs import Fold, Layout, join_frames, shuffle_frames
from moclip.training.head_strategy import find_strategy, predict_logits
from moclip.training.head_training import train_head

Floats = NDArray[np.float32]

WIDTH, NUM_CLASSES = 8, 3
# Every kind that reads frames, in each of its forms.
SETTINGS = {kind: {"kind": kind} for kind, facts in HEAD_KINDS.items() if facts.frames} | {
    "temporal-transformer": {"kind": "temporal", "form": "transformer", "layers": 1}
}
ORDERED = [name for name, settings in SETTINGS.items() if HEAD_KINDS[settings["kind"]].ordered]


def draw(seed: int, *, num_videos: int = 24, num_frames: int = 6) -> tuple[Floats, Floats, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(num_videos, num_frames, WIDTH)).astype(np.float32)
    mask = (np.arange(num_frames) < rng.integers(1, num_frames + 1, size=(num_videos, 1))).astype(np.float32)
    return frames * mask[:, :, None], mask, rng.integers(0, NUM_CLASSES, num_videos)


def trained(name: str, *, open_gate: bool = True) -> TrainedHead:
    frames, mask, labels = draw(0)
    inputs = join_frames(frames, mask=mask, motion=None, normalise="none")
    fold = Fold(inputs=inputs, labels=labels)
    config = HeadConfig.from_config({**SETTINGS[name], "hidden": 16, "epochs": 3, "batch_size": 8})
    layout = Layout(appearance=WIDTH, frames=6)
    head = train_head(fold, fold, num_classes=NUM_CLASSES, config=config, seed=0, layout=layout)
    # An open gate, so that an untrained summary shows in the logits.
    gates = {key: np.ones_like(value) for key, value in head.state.items() if key.endswith("gate")} if open_gate else {}
    return replace(head, state={**head.state, **gates})


def ask(head: TrainedHead, frames: Floats, mask: Floats) -> Floats:
    own = replace(head, layout=replace(head.layout, frames=frames.shape[1]))
    return predict_logits(own, join_frames(frames, mask=mask, motion=None, normalise="none"))


@pytest.mark.parametrize("name", SETTINGS)
def test_padding_beyond_the_frames_of_a_video_changes_nothing(name: str) -> None:
    head, (frames, mask, _) = trained(name), draw(1)
    padded = [np.concatenate([part, np.zeros_like(part[:, :5])], axis=1) for part in (frames, mask)]
    np.testing.assert_allclose(ask(head, padded[0], padded[1]), ask(head, frames, mask), atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("num_frames", [1, 3, 300])
def test_any_number_of_frames_gives_finite_logits(name: str, num_frames: int) -> None:
    frames = np.random.default_rng(0).normal(size=(2, num_frames, WIDTH)).astype(np.float32)
    logits = ask(trained(name), frames, np.ones((2, num_frames), np.float32))
    assert logits.shape == (2, NUM_CLASSES)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_reversal_changes_a_kind_that_promises_order_and_no_other(name: str) -> None:
    frames = np.random.default_rng(0).normal(size=(8, 6, WIDTH)).astype(np.float32)
    head, whole = trained(name), np.ones((8, 6), np.float32)
    difference = np.abs(ask(head, frames[:, ::-1].copy(), whole) - ask(head, frames, whole)).max(axis=1)
    assert (difference > 1e-3).all() if name in ORDERED else (difference < 1e-5).all()


@pytest.mark.parametrize("name", ORDERED)
def test_a_closed_gate_gives_the_mlp_on_the_mean_of_the_frames_and_the_gate_is_closed_at_the_start(name: str) -> None:
    config = HeadConfig.from_config({**SETTINGS[name], "hidden": 16})
    layout = Layout(appearance=WIDTH, frames=6)
    torch.manual_seed(0)
    module = find_strategy(config.kind).build(layout, num_classes=NUM_CLASSES, config=config).eval()
    torch.manual_seed(0)
    plain = find_strategy("mlp").build(replace(layout, frames=0), num_classes=NUM_CLASSES, config=config).eval()
    frames, mask, _ = draw(1)
    inputs = torch.from_numpy(join_frames(frames, mask=mask, motion=None, normalise="none"))
    mean = torch.from_numpy(frames.sum(axis=1) / mask.sum(axis=1, keepdims=True))
    with torch.inference_mode():
        torch.testing.assert_close(module(inputs), plain(mean), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ORDERED)
def test_training_opens_the_gate_and_has_the_same_bits_again(name: str) -> None:
    first, second = (trained(name, open_gate=False) for _ in range(2))
    assert all(np.array_equal(first.state[key], second.state[key]) for key in first.state)
    assert first.state["temporal.gate"] != 0


def test_shuffled_frames_stay_in_their_video_before_its_padding() -> None:
    frames, mask, _ = draw(0)
    ids = [f"v{number}" for number in range(len(frames))]
    shuffled = shuffle_frames(frames, mask=mask, video_ids=ids, seed=0)
    assert (shuffled[mask == 0] == 0).all()
    for before, after in zip(frames, shuffled, strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    assert (shuffled != frames).any()
    np.testing.assert_array_equal(shuffle_frames(frames[3:4], mask=mask[3:4], video_ids=["v3"], seed=0), shuffled[3:4])
    assert (shuffle_frames(frames, mask=mask, video_ids=ids, seed=1) != shuffled).any()


def draw_toy(toy: str, *, num_videos: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return sequences of 8 frames of 32 numbers with unit noise, and labels.

    `look`: every frame is moved along one direction. `halves`: one direction in the first half and another in the
    second, or the reverse. `cut`: the same with a border at a random frame.
    """
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(5).normal(size=(32, 32)))[0]
    labels = rng.integers(0, 2, num_videos)
    frames = rng.normal(size=(num_videos, 8, 32))
    if toy == "look":
        return np.float32(frames + 0.9 * np.where(labels, 1, -1)[:, None, None] * axes[0]), labels
    border = np.full(num_videos, 4) if toy == "halves" else rng.integers(2, 7, num_videos)
    is_first = (np.arange(8) < border[:, None]) ^ labels[:, None].astype(bool)
    return np.float32(frames + 2 * np.where(is_first[:, :, None], axes[0], axes[1])), labels


def measure_toy(toy: str, *, is_shuffled: bool = False, **settings: object) -> float:
    config = HeadConfig.from_config(
        {"hidden": 64, "epochs": 20, "batch_size": 32, "learning_rate": 0.003, "select": "last", **settings}
    )
    folds = []
    for seed, number in ((0, 512), (1, 512)):
        frames, labels = draw_toy(toy, num_videos=number, seed=seed)
        mask = np.ones(frames.shape[:2], np.float32)
        if is_shuffled:
            ids = [f"{seed}-{row}" for row in range(number)]
            frames = shuffle_frames(frames, mask=mask, video_ids=ids, seed=0)
        reads_frames = HEAD_KINDS[config.kind].frames
        joined = join_frames(frames, mask=mask, motion=None, normalise="none") if reads_frames else frames.mean(axis=1)
        folds.append(Fold(inputs=joined, labels=labels))
    train, test = folds
    none = Fold(inputs=train.inputs[:0], labels=train.labels[:0])
    layout = Layout(appearance=32, frames=8 if HEAD_KINDS[config.kind].frames else 0)
    head = train_head(train, none, num_classes=2, config=config, seed=0, layout=layout)
    return float((predict_logits(head, test.inputs).argmax(axis=1) == test.labels).mean())


@pytest.mark.parametrize("toy", ["halves", "cut"])
def test_only_heads_that_see_order_solve_what_only_order_tells(toy: str) -> None:
    for name in ORDERED:
        assert measure_toy(toy, **SETTINGS[name]) >= 0.95, name
        assert measure_toy(toy, is_shuffled=True, **SETTINGS[name]) <= 0.6, name
    for kind in ("mlp", "attention", "ridge"):
        assert measure_toy(toy, kind=kind) <= 0.6, kind


def test_a_summary_of_the_sequence_loses_nothing_where_the_mean_is_enough() -> None:
    mean = measure_toy("look", kind="mlp")
    assert mean > 0.95
    for name in ORDERED:
        assert measure_toy("look", **SETTINGS[name]) >= mean - 0.02, name
