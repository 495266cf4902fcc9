"""What a head must be, do and remember."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.heads import (
    HeadConfig,
    build_head,
    concatenate_streams,
    load_heads,
    pool_frames,
    predict_logits,
    save_heads,
    train_head,
    write_history,
)

FAST = HeadConfig(hidden=16, learning_rate=0.01, batch_size=8, epochs=12)
NOTHING = np.zeros((0, 6), dtype=np.float32), np.zeros(0, dtype=np.int64)


def blobs(seed: int, *, num_videos: int = 60, num_classes: int = 3, spread: float = 0.3):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(num_classes, 6))
    labels = rng.integers(0, num_classes, num_videos)
    return (centres[labels] + spread * rng.normal(size=(num_videos, 6))).astype(np.float32), labels


def train(*, config: HeadConfig = FAST, seed: int = 0, threads: int = 1):
    return train_head(*blobs(0), *blobs(1, num_videos=30), num_classes=3, config=config, seed=seed, threads=threads)


def test_the_papers_head_has_969_829_parameters():
    head = build_head(1280 + 512, num_classes=101, hidden=512, dropout=0.5)
    assert sum(parameter.numel() for parameter in head.parameters()) == 969_829


def test_the_default_settings_are_the_papers():
    config = HeadConfig.from_config({})
    assert (config.hidden, config.dropout, config.learning_rate) == (512, 0.5, 1e-4)
    assert (config.epochs, config.batch_size, config.normalise) == (100, 64, "none")


def test_an_unknown_key_and_an_unknown_choice_are_named():
    with pytest.raises(ConfigError, match="learning_rat`"):
        HeadConfig.from_config({"learning_rat": 1})
    with pytest.raises(ConfigError, match=r"head\.select.*'test'"):
        HeadConfig.from_config({"select": "test"})


def test_a_head_learns_what_can_be_learned_and_nothing_from_noise():
    unseen = blobs(2)
    logits = predict_logits(train().state, unseen[0])
    assert (logits.argmax(axis=1) == unseen[1]).mean() > 0.95
    noise = np.random.default_rng(3).normal(size=(60, 6)).astype(np.float32)
    blind = train_head(noise, blobs(0)[1], *blobs(1), num_classes=3, config=FAST, seed=0)
    assert (predict_logits(blind.state, unseen[0]).argmax(axis=1) == unseen[1]).mean() < 0.8


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(threads):
    config = replace(FAST, epochs=2, batch_size=32)
    first, second, other = (train(config=config, seed=seed, threads=threads) for seed in (5, 5, 6))
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert first.history == second.history
    assert not torch.equal(first.state["hidden.weight"], other.state["hidden.weight"])


def test_training_neither_reads_nor_moves_the_callers_random_state_and_threads():
    torch.manual_seed(1)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = train()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    assert torch.equal(train().state["hidden.weight"], first.state["hidden.weight"])


def test_selection_takes_the_best_validation_top_1_then_the_lower_loss_then_the_earlier_epoch():
    head = train(config=replace(FAST, epochs=30))
    expected = max(head.history, key=lambda row: (row.val_top_1, -row.val_loss, -row.epoch))
    assert head.best_epoch == expected.epoch
    tied = [row for row in head.history if row.val_top_1 == expected.val_top_1]
    assert len(tied) > 1, "the case must have ties to say anything"


def test_the_chosen_weights_are_those_of_the_chosen_epoch():
    # Labels that mean nothing: validation accuracy wanders, and the best epoch lies somewhere in the middle.
    rng = np.random.default_rng(0)
    x_train, x_val = (rng.normal(size=(n, 6)).astype(np.float32) for n in (60, 40))
    y_train, y_val = (rng.integers(0, 3, n) for n in (60, 40))
    for seed in range(20):
        head = train_head(x_train, y_train, x_val, y_val, num_classes=3, config=FAST, seed=seed)
        if 1 < head.best_epoch < FAST.epochs:
            break
    assert 1 < head.best_epoch < FAST.epochs
    logits = predict_logits(head.state, x_val)
    assert (logits.argmax(axis=1) == y_val).mean() == head.history[head.best_epoch - 1].val_top_1
    shorter = replace(FAST, epochs=head.best_epoch, select="last")
    again = train_head(x_train, y_train, x_val, y_val, num_classes=3, config=shorter, seed=seed)
    assert all(torch.equal(head.state[name], again.state[name]) for name in head.state)


def test_last_takes_the_last_epoch_and_needs_no_validation():
    config = replace(FAST, select="last")
    head = train_head(*blobs(0), *NOTHING, num_classes=3, config=config, seed=0)
    assert head.best_epoch == FAST.epochs
    assert math.isnan(head.history[0].val_top_1)


def test_selection_on_validation_without_validation_videos_is_a_config_error():
    with pytest.raises(ConfigError, match="select: last"):
        train_head(*blobs(0), *NOTHING, num_classes=3, config=FAST, seed=0)


def test_no_training_video_a_label_out_of_range_and_a_nan_are_errors():
    x, y = blobs(0)
    with pytest.raises(DatasetError, match="training videos"):
        train_head(*NOTHING, x, y, num_classes=3, config=FAST, seed=0)
    with pytest.raises(DatasetError, match=r"train.*found 2"):
        train_head(x, y, x, y, num_classes=2, config=FAST, seed=0)
    x[4, 2] = np.nan
    with pytest.raises(ModelError, match="first 4"):
        train_head(x, y, *blobs(1), num_classes=3, config=FAST, seed=0)


def test_a_training_that_diverges_says_so():
    x, y = blobs(0)
    with pytest.raises(ConfigError, match="diverged"):
        train_head(x, y, x, y, num_classes=3, config=replace(FAST, learning_rate=1e30), seed=0)


def test_weight_decay_pulls_the_weights_towards_zero():
    free, pulled = (train(config=replace(FAST, weight_decay=decay, select="last")) for decay in (0.0, 1.0))
    assert pulled.state["hidden.weight"].norm() < free.state["hidden.weight"].norm()


def test_dropout_is_off_when_a_head_predicts():
    head = train()
    x = blobs(2)[0]
    reference = build_head(6, num_classes=3, hidden=16, dropout=0.5)
    reference.load_state_dict(dict(head.state))
    assert np.array_equal(predict_logits(head.state, x), predict_logits(head.state, x))
    with torch.no_grad():
        np.testing.assert_allclose(
            predict_logits(head.state, x), nn.Module.eval(reference)(torch.from_numpy(x)), rtol=1e-5
        )


def test_a_head_refuses_embeddings_of_another_width():
    with pytest.raises(ModelError, match=r"\(N, 6\)"):
        predict_logits(train().state, np.zeros((2, 5), dtype=np.float32))


def test_motion_comes_before_appearance_however_they_are_named_in_the_call():
    motion, appearance = np.full((2, 3), 1, np.float32), np.full((2, 2), 7, np.float32)
    joined = concatenate_streams({"appearance": appearance, "motion": motion})
    assert joined[0].tolist() == [1, 1, 1, 7, 7]
    assert joined.dtype == np.float32


def test_l2_scales_each_stream_to_unit_length_and_leaves_zeros_alone():
    motion = np.array([[3, 4], [0, 0]], np.float32)
    joined = concatenate_streams({"motion": motion, "appearance": 100 * np.ones((2, 4), np.float32)}, normalise="l2")
    np.testing.assert_allclose(joined[0], [0.6, 0.8, 0.5, 0.5, 0.5, 0.5])
    assert joined[1, :2].tolist() == [0, 0]


def test_streams_over_different_videos_or_of_unknown_name_are_refused():
    with pytest.raises(ModelError, match="same N"):
        concatenate_streams({"motion": np.ones((2, 3), np.float32), "appearance": np.ones((3, 3), np.float32)})
    with pytest.raises(ModelError, match="audio"):
        concatenate_streams({"audio": np.ones((2, 3), np.float32)})
    with pytest.raises(ModelError, match="first 1"):
        concatenate_streams({"motion": np.array([[1.0], [np.inf]], np.float32)})


def test_frames_are_averaged_within_their_video_only():
    frames = np.array([[1, 1], [3, 5], [10, 20]], np.float32)
    assert pool_frames(frames, offsets=np.array([0, 2, 3])).tolist() == [[2, 3], [10, 20]]


@pytest.mark.parametrize("offsets", [[0, 3, 3], [0, 2], [1, 3], [0]])
def test_a_video_without_frames_or_offsets_that_do_not_fit_are_refused(offsets):
    with pytest.raises(ModelError, match="offsets"):
        pool_frames(np.ones((3, 2), np.float32), offsets=np.array(offsets))


def test_heads_come_back_from_their_file_as_they_were(tmp_path):
    heads = {"fusion": train(), "appearance": train(seed=1, config=replace(FAST, normalise="l2"))}
    path = tmp_path / "run" / "head.safetensors"
    save_heads(path, heads=heads, trained_on=["b/2", "a/1"], provenance={"commit": "abc"})
    back = load_heads(path)
    assert list(back.heads) == ["appearance", "fusion"]
    assert back.heads["appearance"].config == heads["appearance"].config
    assert back.heads["fusion"].best_epoch == heads["fusion"].best_epoch
    assert (back.trained_on, back.provenance) == (("a/1", "b/2"), {"commit": "abc"})
    for name, head in heads.items():
        assert all(torch.equal(head.state[key], back.heads[name].state[key]) for key in head.state)
    assert [file.name for file in path.parent.iterdir()] == ["head.safetensors"]


def test_saving_the_same_heads_twice_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        save_heads(tmp_path / name, heads={"fusion": train(), "appearance": train()}, trained_on=["x"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_run_without_heads_has_a_file_without_heads(tmp_path):
    save_heads(tmp_path / "head.safetensors", heads={})
    assert load_heads(tmp_path / "head.safetensors").heads == {}


def test_a_damaged_missing_or_foreign_file_of_heads_is_named(tmp_path):
    path = tmp_path / "head.safetensors"
    with pytest.raises(ModelError, match=r"head\.safetensors"):
        load_heads(path)
    save_heads(path, heads={"fusion": train()})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="delete it"):
        load_heads(path)
    path.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ModelError, match="trained heads"):
        load_heads(path)


def test_the_history_has_a_row_for_each_head_and_epoch_and_marks_the_chosen_one(tmp_path):
    head = train(config=replace(FAST, epochs=3))
    last = train_head(*blobs(0), *NOTHING, num_classes=3, config=replace(FAST, epochs=2, select="last"), seed=0)
    write_history(tmp_path / "history.tsv", heads={"fusion": head, "appearance": last})
    lines = [line.split("\t") for line in (tmp_path / "history.tsv").read_text().splitlines()]
    assert lines[0] == ["head", "epoch", "train_loss", "val_loss", "val_top_1", "chosen"]
    assert [line[:2] for line in lines[1:]] == [["fusion", str(e)] for e in (1, 2, 3)] + [
        ["appearance", str(e)] for e in (1, 2)
    ]
    assert [int(line[1]) for line in lines[1:4] if line[5] == "1"] == [head.best_epoch]
    assert lines[4][3:5] == ["", ""]
