"""Physical truths of the metrics, each against a hand count or a slow definition written out here."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.core.numerics import rank_classes, softmax
from moclip.errors import DatasetError, ModelError
from moclip.evaluation.metrics import (
    Scores,
    build_scores,
    confusion_matrix,
    count_without_scores,
    expected_calibration_error,
    leave_out,
    mean_class_accuracy,
    reliability,
    top_k_accuracy,
)


def scores_of(logits, truth, present=None) -> Scores:
    mask = None if present is None else np.array(present, dtype=bool)
    return build_scores(np.array(logits, dtype=np.float32), class_index=np.array(truth), has_scores=mask)


def random_scores(seed: int, *, num_videos: int = 60, num_classes: int = 7) -> Scores:
    rng = np.random.default_rng(seed)
    # Rounded logits, so that ties are common.
    logits = rng.normal(size=(num_videos, num_classes)).round(0)
    present = rng.random(num_videos) > 0.2
    present[0] = True
    return scores_of(logits, rng.integers(0, num_classes, num_videos), present)


def slow_rank(row: np.ndarray, truth: int) -> int:
    return sum(1 for index, value in enumerate(row) if value > row[truth] or (value == row[truth] and index < truth))


def test_top_1_counts_the_highest_logit():
    scores = scores_of([[1, 2, 0], [5, 1, 0], [0, 0, 3], [9, 0, 0]], [1, 0, 2, 2])
    assert top_k_accuracy(scores, k=1).value == 0.75
    assert top_k_accuracy(scores, k=1).n == 4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_agrees_with_counting_better_classes_one_by_one(seed, k):
    scores = random_scores(seed)
    hits = [
        bool(present) and slow_rank(row, truth) < k
        for row, truth, present in zip(scores.logits, scores.class_index, scores.has_scores, strict=True)
    ]
    assert top_k_accuracy(scores, k=k).value == pytest.approx(sum(hits) / len(hits), abs=1e-15)


def test_equal_logits_go_to_the_lowest_class_index():
    assert rank_classes(np.zeros((1, 40)))[0].tolist() == list(range(40))
    assert top_k_accuracy(scores_of([[0, 0, 0]], [0]), k=1).value == 1.0
    assert top_k_accuracy(scores_of([[0, 0, 0]], [1]), k=1).value == 0.0
    assert top_k_accuracy(scores_of([[0, 0, 0]], [1]), k=2).value == 1.0


def test_a_video_without_scores_counts_as_wrong_even_if_its_filler_would_be_right():
    scores = scores_of([[np.nan, np.nan], [0, 1]], [0, 1], [False, True])
    assert top_k_accuracy(scores, k=1).value == 0.5
    assert top_k_accuracy(scores, k=2).value == 0.5
    assert mean_class_accuracy(scores).per_class.tolist() == [0.0, 1.0]


def test_leaving_a_video_out_shrinks_the_denominator():
    scores = scores_of([[0, 0], [0, 1], [3, 1]], [0, 1, 1], [False, True, True])
    kept = leave_out(scores, keep=scores.has_scores)
    assert (top_k_accuracy(kept, k=1).value, top_k_accuracy(kept, k=1).n) == (0.5, 2)


def test_leaving_out_every_video_is_an_error():
    scores = scores_of([[0, 0]], [0], [False])
    with pytest.raises(DatasetError, match="found none"):
        leave_out(scores, keep=scores.has_scores)


def test_top_k_with_fewer_classes_than_k_finds_every_scored_video():
    assert top_k_accuracy(scores_of([[0, 1], [1, 0]], [0, 1]), k=5).value == 1.0


def test_mean_class_accuracy_weighs_a_rare_class_like_a_common_one():
    scores = scores_of([[1, 0]] * 9 + [[1, 0]], [0] * 9 + [1])
    assert top_k_accuracy(scores, k=1).value == 0.9
    assert mean_class_accuracy(scores).value == 0.5


def test_classes_absent_from_the_test_set_are_left_out_and_counted():
    measure = mean_class_accuracy(scores_of([[1, 0, 0, 0], [0, 0, 2, 0]], [0, 2]))
    assert measure.value == 1.0
    assert measure.num_absent_classes == 2
    assert [math.isnan(value) for value in measure.per_class] == [False, True, False, True]


def test_confusion_rows_are_the_truth_and_columns_the_prediction():
    matrix = confusion_matrix(scores_of([[0, 1, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 1]))
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_confusion_and_missing_videos_account_for_every_video(seed):
    scores = random_scores(seed)
    totals = confusion_matrix(scores).sum(axis=1) + count_without_scores(scores)
    assert totals.tolist() == np.bincount(scores.class_index, minlength=7).tolist()
    assert np.trace(confusion_matrix(scores)) == round(top_k_accuracy(scores, k=1).value * 60)


def test_softmax_sums_to_one_and_ignores_a_common_offset():
    logits = np.array([[1e4, 1e4 - 1, -1e4], [0.5, 0.25, 0.0]])
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_allclose(probabilities, softmax(logits - 123.0), rtol=1e-10)
    assert probabilities[0, 0] / probabilities[0, 1] == pytest.approx(math.e)


def test_half_sure_and_half_right_is_calibrated():
    scores = scores_of([[0, 0], [0, 0]], [0, 1])
    assert expected_calibration_error(scores).value == pytest.approx(0.0)


def test_sure_and_always_wrong_has_the_largest_calibration_error():
    scores = scores_of([[1000, 0], [1000, 0]], [1, 1])
    assert expected_calibration_error(scores).value == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_agrees_with_its_definition_written_out(seed):
    scores = random_scores(seed)
    logits, truth = scores.logits[scores.has_scores], scores.class_index[scores.has_scores]
    confidence = np.exp(logits).max(axis=1) / np.exp(logits).sum(axis=1)
    correct = [slow_rank(row, label) == 0 for row, label in zip(logits, truth, strict=True)]
    expected = 0.0
    for low in range(10):
        chosen = [i for i, value in enumerate(confidence) if low / 10 < value <= (low + 1) / 10]
        if chosen:
            gap = abs(np.mean([confidence[i] for i in chosen]) - np.mean([correct[i] for i in chosen]))
            expected += gap * len(chosen) / len(logits)
    measure = expected_calibration_error(scores, num_bins=10)
    assert measure.value == pytest.approx(expected, abs=1e-12)
    assert measure.n == scores.has_scores.sum()
    assert reliability(scores, num_bins=10).count.sum() == measure.n


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_an_error_and_not_a_wrong_answer(bad):
    with pytest.raises(ModelError, match="first row 1"):
        scores_of([[0, 1], [bad, 1]], [0, 1])


def test_labels_out_of_range_empty_tests_and_uneven_shapes_are_errors():
    with pytest.raises(DatasetError, match="0 to 1, found 2"):
        scores_of([[0, 1]], [2])
    with pytest.raises(DatasetError, match="found none"):
        scores_of(np.zeros((0, 2)), np.zeros(0, dtype=int))
    with pytest.raises(ModelError, match="N = 2"):
        scores_of([[0, 1]], [0, 1])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_videos_changes_no_metric(seed):
    scores = random_scores(seed)
    order = np.random.default_rng(seed + 1).permutation(60)
    shuffled = build_scores(
        scores.logits[order], class_index=scores.class_index[order], has_scores=scores.has_scores[order]
    )
    assert top_k_accuracy(scores, k=3) == top_k_accuracy(shuffled, k=3)
    assert mean_class_accuracy(scores).value == mean_class_accuracy(shuffled).value
    assert (confusion_matrix(scores) == confusion_matrix(shuffled)).all()
