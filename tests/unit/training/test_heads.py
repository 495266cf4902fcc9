"""What a head must be, do and remember."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from moclip.cache.tables import pool_frames
from moclip.encoders.network_notes import Seen
from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.training.head_files import HeadConfig, HeadFile, load_heads, save_heads, write_history
from moclip.training.head_inputs import Fold, Layout, concatenate_streams, join_frames, shuffle_rows
from moclip.training.head_strategy import find_strategy, predict_logits
from moclip.training.head_training import train_head, train_zero_shot_head
from moclip.training.selection import choose, interpolate, mix_scores

FAST = HeadConfig(hidden=16, learning_rate=0.01, batch_size=8, epochs=12)
NOTHING = Fold(inputs=np.zeros((0, 6), dtype=np.float32), labels=np.zeros(0, dtype=np.int64))
SEEN = Seen(split=1, video_ids=("b/2", "a/1"), groups=("a/g1", "b/g2"))


def blobs(seed: int, *, num_videos: int = 60, num_classes: int = 3, spread: float = 0.3):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(num_classes, 6))
    labels = rng.integers(0, num_classes, num_videos)
    inputs = (centres[labels] + spread * rng.normal(size=(num_videos, 6))).astype(np.float32)
    return Fold(inputs=inputs, labels=labels)


def train(*, config: HeadConfig = FAST, seed: int = 0, threads: int = 1):
    return train_head(blobs(0), blobs(1, num_videos=30), num_classes=3, config=config, seed=seed, threads=threads)


def test_the_papers_head_has_969_829_parameters():
    head = find_strategy("mlp").build(Layout(motion=1280, appearance=512), num_classes=101, config=HeadConfig())
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
    assert (predict_logits(train(), unseen.inputs).argmax(axis=1) == unseen.labels).mean() > 0.95
    noise = Fold(inputs=np.random.default_rng(3).normal(size=(60, 6)).astype(np.float32), labels=blobs(0).labels)
    blind = train_head(noise, blobs(1), num_classes=3, config=FAST, seed=0)
    assert (predict_logits(blind, unseen.inputs).argmax(axis=1) == unseen.labels).mean() < 0.8


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(threads):
    config = replace(FAST, epochs=2, batch_size=32)
    first, second, other = (train(config=config, seed=seed, threads=threads) for seed in (5, 5, 6))
    assert all(np.array_equal(first.state[name], second.state[name]) for name in first.state)
    assert first.history == second.history
    assert not np.array_equal(first.state["hidden.weight"], other.state["hidden.weight"])


def test_training_neither_reads_nor_moves_the_callers_random_state_and_threads():
    torch.manual_seed(1)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = train()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    assert np.array_equal(train().state["hidden.weight"], first.state["hidden.weight"])


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
    known, val = Fold(inputs=x_train, labels=y_train), Fold(inputs=x_val, labels=y_val)
    for seed in range(20):
        head = train_head(known, val, num_classes=3, config=FAST, seed=seed)
        if 1 < head.best_epoch < FAST.epochs:
            break
    assert 1 < head.best_epoch < FAST.epochs
    logits = predict_logits(head, x_val)
    assert (logits.argmax(axis=1) == y_val).mean() == head.history[head.best_epoch - 1].val_top_1
    shorter = replace(FAST, epochs=head.best_epoch, select="last")
    again = train_head(known, val, num_classes=3, config=shorter, seed=seed)
    assert all(np.array_equal(head.state[name], again.state[name]) for name in head.state)


def test_last_takes_the_last_epoch_and_needs_no_validation():
    config = replace(FAST, select="last")
    head = train_head(blobs(0), NOTHING, num_classes=3, config=config, seed=0)
    assert head.best_epoch == FAST.epochs
    assert math.isnan(head.history[0].val_top_1)


def test_selection_on_validation_without_validation_videos_is_a_config_error():
    with pytest.raises(ConfigError, match="select: last"):
        train_head(blobs(0), NOTHING, num_classes=3, config=FAST, seed=0)


def test_no_training_video_a_label_out_of_range_and_a_nan_are_errors():
    fold = blobs(0)
    with pytest.raises(DatasetError, match="training videos"):
        train_head(NOTHING, fold, num_classes=3, config=FAST, seed=0)
    with pytest.raises(DatasetError, match=r"train.*found 2"):
        train_head(fold, fold, num_classes=2, config=FAST, seed=0)
    fold.inputs[4, 2] = np.nan
    with pytest.raises(ModelError, match="first 4"):
        train_head(fold, blobs(1), num_classes=3, config=FAST, seed=0)


def test_a_training_that_diverges_says_so():
    with pytest.raises(ConfigError, match="diverged"):
        train_head(blobs(0), blobs(0), num_classes=3, config=replace(FAST, learning_rate=1e30), seed=0)


def test_weight_decay_pulls_the_weights_towards_zero():
    free, pulled = (train(config=replace(FAST, weight_decay=decay, select="last")) for decay in (0.0, 1.0))
    assert np.linalg.norm(pulled.state["hidden.weight"]) < np.linalg.norm(free.state["hidden.weight"])


@pytest.mark.parametrize("kind", ["mlp", "linear", "gated", "attention"])
def test_a_trained_head_predicts_without_dropout_as_its_formula_does(kind):
    layout = Layout(motion=2, appearance=4) if kind != "attention" else Layout(motion=2, appearance=2, frames=3)
    rng = np.random.default_rng(0)
    frames, motion = rng.normal(size=(40, 3, 2)).astype(np.float32), rng.normal(size=(40, 2)).astype(np.float32)
    mask = (np.arange(3) < rng.integers(1, 4, size=(40, 1))).astype(np.float32)
    plain = np.concatenate([motion, rng.normal(size=(40, 4)).astype(np.float32)], axis=1)
    x = join_frames(frames, mask=mask, motion=motion, normalise="none") if kind == "attention" else plain
    fold = Fold(inputs=x, labels=rng.integers(0, 3, 40))
    head = train_head(fold, fold, num_classes=3, config=replace(FAST, kind=kind), seed=0, layout=layout)

    def linear(name, values):
        return values @ head.state[f"{name}.weight"].T + head.state[f"{name}.bias"]

    def gated(name, values):
        return np.maximum(linear(f"project_{name}", values), 0) / (1 + np.exp(-linear(f"gate_{name}", x)))

    hidden = x
    if kind == "gated":
        hidden = gated("motion", x[:, :2]) + gated("appearance", x[:, 2:])
    elif kind == "attention":
        weights = np.exp(frames @ head.state["attention.query"] / np.sqrt(2)) * mask
        pooled = (weights[:, :, None] * frames).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        hidden = np.maximum(linear("hidden", np.concatenate([motion, pooled], axis=1)), 0)
    elif kind == "mlp":
        hidden = np.maximum(linear("hidden", x), 0)
    np.testing.assert_allclose(predict_logits(head, x), linear("classifier", hidden), rtol=1e-4, atol=1e-5)


def test_a_head_refuses_embeddings_of_another_width():
    with pytest.raises(ModelError, match=r"\(N, 6\)"):
        predict_logits(train(), np.zeros((2, 5), dtype=np.float32))


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
    heads = {"fusion": train(), "appearance": train(seed=1, config=replace(FAST, normalise="l2", refit=True))}
    path = tmp_path / "run" / "head.safetensors"
    mixes = {"score_fusion": {"motion": 0.25}}
    save_heads(path, heads=heads, seen=SEEN, mixes=mixes, provenance={"commit": "abc"})
    back = load_heads(path)
    assert list(back.heads) == ["appearance", "fusion"]
    assert (back.provenance, back.mixes) == ({"commit": "abc"}, mixes)
    assert back.seen == Seen(split=1, video_ids=("a/1", "b/2"), groups=("a/g1", "b/g2"))
    for name, head in heads.items():
        found = back.heads[name]
        assert (found.config, found.layout, found.best_epoch) == (head.config, head.layout, head.best_epoch)
        assert found.history == head.history
        for states in ((head.state, found.state), (head.selection_state, found.selection_state)):
            assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
    assert [file.name for file in path.parent.iterdir()] == ["head.safetensors"]


def test_saving_the_same_heads_twice_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        save_heads(tmp_path / name, heads={"fusion": train(), "appearance": train()}, seen=SEEN)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_run_without_heads_has_a_file_without_heads(tmp_path):
    save_heads(tmp_path / "head.safetensors", heads={}, seen=SEEN)
    assert load_heads(tmp_path / "head.safetensors").heads == {}


def test_a_damaged_missing_or_foreign_file_of_heads_is_named(tmp_path):
    path = tmp_path / "head.safetensors"
    with pytest.raises(ModelError, match=r"head\.safetensors"):
        load_heads(path)
    save_heads(path, heads={"fusion": train()}, seen=SEEN)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="run again"):
        load_heads(path)
    path.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ModelError, match="trained heads"):
        load_heads(path)


def test_the_history_has_a_row_for_each_head_and_epoch_and_marks_the_chosen_one(tmp_path):
    head = train(config=replace(FAST, epochs=3))
    last = train_head(blobs(0), NOTHING, num_classes=3, config=replace(FAST, epochs=2, select="last"), seed=0)
    heads = HeadFile(heads={"fusion": head, "appearance": last}, mixes={}, seen=SEEN, provenance={})
    write_history(tmp_path / "history.tsv", {3: heads})
    lines = [line.split("\t") for line in (tmp_path / "history.tsv").read_text().splitlines()]
    assert lines[0] == ["seed", "head", "epoch", "train_loss", "val_loss", "val_top_1", "chosen"]
    assert [line[:3] for line in lines[1:]] == [["3", "fusion", str(e)] for e in (1, 2, 3)] + [
        ["3", "appearance", str(e)] for e in (1, 2)
    ]
    assert [int(line[2]) for line in lines[1:4] if line[6] == "1"] == [head.best_epoch]
    assert lines[4][4:6] == ["", ""]


def test_a_refit_trains_on_both_subsets_for_the_epochs_that_validation_chose():
    head = train(config=replace(FAST, refit=True))
    known, val = blobs(0), blobs(1, num_videos=30)
    both = Fold(inputs=np.concatenate([known.inputs, val.inputs]), labels=np.concatenate([known.labels, val.labels]))
    config = replace(FAST, epochs=head.best_epoch, select="last")
    alone = train_head(both, NOTHING, num_classes=3, config=config, seed=0)
    plain = train()
    assert head.best_epoch == plain.best_epoch
    assert all(np.array_equal(head.state[name], alone.state[name]) for name in alone.state)
    assert all(np.array_equal(head.selection_state[name], plain.state[name]) for name in plain.state)


def test_neighbours_vote_and_validation_chooses_how_many():
    known = Fold(inputs=np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), labels=np.array([0, 0, 1]))
    asked = Fold(inputs=np.array([[0.1, 1]], np.float32), labels=np.array([1]))
    config = replace(FAST, kind="knn", neighbours=(3, 1))
    head = train_head(known, asked, num_classes=3, config=config, seed=0)
    logits = predict_logits(replace(head, chosen={"neighbours": 3}), asked.inputs)
    # Votes weigh exp(cosine / 0.07): the two far neighbours add little to their class, and the third class has none.
    cosine = [0.1, 0.2, 1.0] / np.sqrt(1.01) / np.array([1, np.sqrt(1.01), 1])
    weights = np.exp(np.array(cosine) / 0.07)
    expected = np.array([weights[:2].sum(), weights[2]]) / weights.sum()
    np.testing.assert_allclose(np.exp(logits[0, :2]), expected, rtol=1e-4)
    assert head.chosen["neighbours"] == 1, "one neighbour has the lower loss"


def test_the_zero_shot_head_goes_from_the_prompts_as_far_as_validation_says():
    rng = np.random.default_rng(0)
    classes = np.eye(3, 6, dtype=np.float32)
    labels = rng.integers(0, 3, 90)
    x = np.roll(classes, 1, axis=0)[labels] + 0.1 * rng.normal(size=(90, 6))  # the prompts name the wrong classes
    x = (100 * x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    known, val = Fold(inputs=x[:60], labels=labels[:60]), Fold(inputs=x[60:], labels=labels[60:])
    tuned = train_zero_shot_head(known, val, classes=classes, config=FAST, seed=0)
    assert tuned.chosen["alpha"] > 0.5
    assert (predict_logits(tuned, val.inputs).argmax(axis=1) == val.labels).mean() > 0.9
    right = Fold(inputs=(100 * classes).astype(np.float32), labels=np.arange(3))
    still = train_zero_shot_head(known, right, classes=classes, config=FAST, seed=0)
    assert still.chosen["alpha"] == 0.0
    assert np.array_equal(still.state["classifier.weight"], classes)


def test_weights_interpolate_on_a_line_and_scores_as_probabilities():
    line = interpolate({"w": np.zeros(2)}, {"w": np.array([2.0, 4.0])}, weight=0.25)
    assert line["w"].tolist() == [0.5, 1.0]
    first, second = np.log(np.array([[0.8, 0.2]], np.float32)), np.log(np.array([[0.4, 0.6]], np.float32))
    np.testing.assert_allclose(np.exp(mix_scores(first, second, weight=0.25)), [[0.7, 0.3]], rtol=1e-5)
    assert choose([0.0, 0.5, 1.0], logits=lambda w: (1 - w) * first + w * second, labels=np.array([1])) == 1.0


def test_shuffled_motion_is_the_same_rows_in_another_order_that_the_seed_gives():
    rows = np.arange(60, dtype=np.float32).reshape(30, 2)
    shuffled = shuffle_rows(rows, seed=3, subset="train")
    assert sorted(shuffled[:, 0]) == sorted(rows[:, 0])
    assert (shuffled[:, 0] != rows[:, 0]).mean() > 0.8
    assert np.array_equal(shuffled, shuffle_rows(rows, seed=3, subset="train"))
    assert not np.array_equal(shuffled, shuffle_rows(rows, seed=3, subset="test"))
    assert not np.array_equal(shuffled, shuffle_rows(rows, seed=4, subset="train"))


def test_layer_norm_gives_each_stream_mean_0_and_variance_1():
    joined = concatenate_streams({"motion": np.array([[1, 3], [5, 5]], np.float32)}, normalise="layer")
    np.testing.assert_allclose(joined, [[-1, 1], [0, 0]], atol=1e-4)
