"""The motion network starts, trains, stops and comes back as the configuration says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from moclip.config.network_settings import NetworkTraining
from moclip.core.tensors import read_note
from moclip.encoders.motion_embedding import MotionItem, embed_videos
from moclip.encoders.motion_input import build_segments, crop_for_test, crop_for_training
from moclip.encoders.motion_network import build_network, load_network, save_network, stem_parameters
from moclip.encoders.runtime import prepare_torch
from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.motion.fields import pixel_code
from moclip.training import motion_network as motion_training
from moclip.training.motion_network import schedule_factor, train_motion_network
from tests.unit.encoders.motion_networks import TRAIN, items, moving, samples, variant


def train(tmp_path: Path, *, seed: int = 0, order: int = 1, **changes: Any) -> dict[str, torch.Tensor]:
    prepare_torch(threads=1)
    trained = train_motion_network(
        samples(12)[::order],
        samples(4, start=100),
        num_classes=2,
        variant=variant(**changes),
        seed=seed,
        checkpoint=tmp_path / "state.safetensors",
    )
    (tmp_path / "state.safetensors").unlink(missing_ok=True)
    return trained.network.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_efficientnet_b0_gives_1280_numbers_and_a_two_channel_stem() -> None:
    network = build_network("efficientnet_b0", weights="none", num_classes=101, dropout=0.5)
    assert network.embedding_dim == 1280
    assert network.backbone.get_submodule("conv_stem").weight.shape == (32, 2, 3, 3)
    network.eval()
    with torch.inference_mode():
        assert network.embed(torch.zeros(1, 2, 64, 64)).shape == (1, 1280)
        assert network(torch.zeros(1, 2, 64, 64)).shape == (1, 101)


def test_the_stem_is_the_mean_of_the_rgb_kernel_and_everything_else_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = timm.create_model("test_efficientnet", pretrained=False, num_classes=0)
    path = tmp_path / "weights.safetensors"
    save_file({f"visual.trunk.{name}": value for name, value in source.state_dict().items()}, path)
    network = build_network("test_efficientnet", weights=str(path), num_classes=2, dropout=0.0)
    expected = source.get_submodule("conv_stem").weight.mean(dim=1)
    stem = network.backbone.get_submodule("conv_stem").weight
    torch.testing.assert_close(stem[:, 0], expected)
    torch.testing.assert_close(stem[:, 1], expected)
    own = {name: value for name, value in source.state_dict().items() if not name.startswith("conv_stem")}
    assert same(own, network.backbone.state_dict())


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    source = timm.create_model("test_efficientnet", pretrained=False, num_classes=0).state_dict()
    path = tmp_path / "weights.safetensors"
    source.pop("conv_head.weight", None) if "conv_head.weight" in source else source.pop(list(source)[-1])
    save_file(source, path)
    with pytest.raises(ModelError, match="more parts of the backbone"):
        build_network("test_efficientnet", weights=str(path), num_classes=2, dropout=0.0)
    with pytest.raises(ModelError, match="no timm model of that name"):
        build_network("efficientnet_b00", weights="none", num_classes=2, dropout=0.0)
    with pytest.raises(ModelError, match=r"nowhere\.safetensors"):
        build_network("test_efficientnet", weights="nowhere.safetensors", num_classes=2, dropout=0.0)


def test_a_training_crop_keeps_the_size_of_the_motion() -> None:
    settings = variant(train={**TRAIN, "scales": [0.75]})
    fields = build_segments(moving(8, 0), variant=settings, num_segments=2, rng=None)
    crop = crop_for_training(fields, variant=settings, rng=np.random.default_rng(0))
    assert crop.shape == (2, 2, 32, 32)
    assert float(crop[:, 0].float().median()) == pytest.approx(int(pixel_code(np.float32([8.0]))[0]), abs=5)


@pytest.mark.parametrize(("crops", "flips", "count"), [(1, False, 3), (5, False, 15), (5, True, 30)])
def test_test_crops_are_counted(crops: int, flips: bool, count: int) -> None:
    fields = build_segments(moving(8, 0), variant=variant(), num_segments=3, rng=None)
    assert crop_for_test(fields, variant=variant(), crops=crops, flips=flips).shape == (count, 2, 32, 32)


def test_every_parameter_has_the_learning_rate_of_its_part() -> None:
    network = build_network("test_efficientnet", weights="none", num_classes=2, dropout=0.0)
    stem = stem_parameters(network)
    assert {"input_norm.weight", "input_norm.bias", "backbone.conv_stem.weight"} == stem


def test_the_schedule_divides_by_ten_after_each_milestone() -> None:
    steps = NetworkTraining(**{**TRAIN, "milestones": [2, 4]})
    assert [schedule_factor(epoch, train=steps) for epoch in (1, 2, 3, 4, 5)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = NetworkTraining(**{**TRAIN, "schedule": "cosine", "warmup_epochs": 1})
    factors = [schedule_factor(epoch, train=cosine) for epoch in (1, 2, 3)]
    assert factors == pytest.approx([0.5, 0.75, 0.25])


def test_training_learns_to_tell_right_from_down(tmp_path: Path) -> None:
    changes = {"train": {**TRAIN, "epochs": 8, "multipliers": {"classifier": 1.0, "stem": 1.0, "rest": 1.0}}}
    prepare_torch(threads=1)
    trained = train_motion_network(
        samples(16),
        samples(8, start=100),
        num_classes=2,
        variant=variant(**changes),
        seed=0,
        checkpoint=tmp_path / "state",
    )
    assert trained.history[trained.best_epoch - 1].val_top_1 == max(entry.val_top_1 for entry in trained.history)
    test = [MotionItem(video_id=s.video_id, key=s.video_id, motion=s.motion()) for s in samples(8, start=200)]
    votes = [int(found.logits.argmax()) for found in embed_videos(trained.network, test, variant=variant())]
    assert sum(vote == number % 2 for number, vote in enumerate(votes)) >= 7


def test_the_same_seed_gives_the_same_bits_whatever_the_order_of_the_videos(tmp_path: Path) -> None:
    first = train(tmp_path)
    assert same(first, train(tmp_path, order=-1))
    assert not same(first, train(tmp_path, seed=1))


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path)
    calls = {"count": 0}
    original = motion_training._Trainer.run_epoch

    def stop_after_one(self: Any, *arguments: Any, **named: Any) -> None:
        calls["count"] += 1
        if calls["count"] == 2:
            raise KeyboardInterrupt
        original(self, *arguments, **named)

    monkeypatch.setattr(motion_training._Trainer, "run_epoch", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    monkeypatch.setattr(motion_training._Trainer, "run_epoch", original)
    assert (tmp_path / "state.safetensors").is_file()
    assert same(whole, train(tmp_path))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_keep_their_statistics(tmp_path: Path, frozen: bool) -> None:
    state = train(tmp_path, train={**TRAIN, "freeze_norm": frozen})
    names = [name for name in state if name.startswith("backbone.") and name.endswith("running_mean")]
    assert all(bool((state[name] == 0).all()) for name in names) is frozen
    assert bool((state["input_norm.running_mean"] != 0).any())


def test_selection_on_validation_needs_validation_videos(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"num_classes": 2, "seed": 0, "checkpoint": tmp_path / "state"}
    with pytest.raises(ConfigError, match="needs validation videos"):
        train_motion_network(samples(2), [], variant=variant(), **arguments)
    with pytest.raises(DatasetError, match="expected training videos"):
        train_motion_network([], samples(2), variant=variant(), **arguments)
    train_motion_network(samples(4), [], variant=variant(select="last"), **arguments)


def test_a_saved_network_gives_the_same_embeddings_and_equal_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("test_efficientnet", weights="none", num_classes=3, dropout=0.5).eval()
    for name in ("a", "b"):
        save_network(network, tmp_path / name, about={"seed": 0, "trained_on": ["x"], "split": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_note(tmp_path / "a")["trained_on"] == ["x"]
    (expected,) = embed_videos(network, items(4), variant=variant())
    (found,) = embed_videos(load_network(tmp_path / "a"), items(4), variant=variant())
    np.testing.assert_array_equal(found.embedding, expected.embedding)
    assert found.logits.shape == (3,)
    (tmp_path / "a").write_bytes(b"short")
    with pytest.raises(ModelError, match="expected a trained motion network"):
        load_network(tmp_path / "a")


def test_an_embedding_does_not_depend_on_the_videos_beside_it() -> None:
    torch.manual_seed(0)
    network = build_network("test_efficientnet", weights="none", num_classes=3, dropout=0.5)
    together = {found.video_id: found.embedding for found in embed_videos(network, items(0, 1, 2), variant=variant())}
    (alone,) = embed_videos(network, items(1), variant=variant())
    np.testing.assert_array_equal(together["v1"], alone.embedding)
