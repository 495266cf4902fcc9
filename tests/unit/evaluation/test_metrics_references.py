"""The metrics are those of scikit-learn, on random scores."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from moclip.evaluation import metrics


@pytest.mark.parametrize("seed", range(5))
def test_metrics_on_random_scores_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(6, 20))
    truth = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 200)])
    logits = rng.normal(size=(len(truth), num_classes)) + 2 * np.eye(num_classes)[truth] * rng.random((len(truth), 1))
    scores = metrics.build_scores(logits, class_index=truth)
    best = logits.argmax(axis=1)
    assert metrics.top_k_accuracy(scores, k=1).value == pytest.approx(accuracy_score(truth, best))
    labels = np.arange(num_classes)
    assert metrics.top_k_accuracy(scores, k=5).value == pytest.approx(
        top_k_accuracy_score(truth, logits, k=5, labels=labels)
    )
    assert metrics.mean_class_accuracy(scores).value == pytest.approx(balanced_accuracy_score(truth, best))
    np.testing.assert_array_equal(metrics.confusion_matrix(scores), confusion_matrix(truth, best, labels=labels))


def test_reliability_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 500)
    logits = rng.normal(size=(500, 4)) + 3 * np.eye(4)[truth] * rng.random((500, 1))
    bins = metrics.reliability(metrics.build_scores(logits, class_index=truth), num_bins=10)
    accuracy, confidence = calibration_curve(
        logits.argmax(axis=1) == truth, metrics.softmax(logits).max(axis=1), n_bins=10
    )
    filled = bins.count > 0
    np.testing.assert_allclose(bins.accuracy[filled], accuracy)
    np.testing.assert_allclose(bins.confidence[filled], confidence)
    gap = np.abs(accuracy - confidence) @ bins.count[filled] / 500
    found = metrics.expected_calibration_error(metrics.build_scores(logits, class_index=truth), num_bins=10).value
    assert found == pytest.approx(gap)
