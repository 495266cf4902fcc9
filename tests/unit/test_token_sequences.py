"""The generated token sequences: solvable, and without order at chance where order decides."""

from collections import Counter

import numpy as np
import pytest

from tests.token_sequences import KINDS, ORDERED, classify_ideally, draw_sequences, list_patterns

# Accuracy of the ideal answer. `pair` is the hardest: two frames of eight, at random places.
REACHABLE = {"look": 0.98, "one_frame": 0.99, "change": 0.99, "halves": 0.99, "cut": 0.98, "pair": 0.97}


@pytest.mark.parametrize("kind", KINDS)
def test_the_ideal_answer_is_right_nearly_always(kind: str) -> None:
    tokens, classes = draw_sequences(kind, num_videos=2000, seed=1)
    assert np.mean(classify_ideally(kind, tokens=tokens) == classes) >= REACHABLE[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_both_classes_hold_the_same_frames_exactly_where_order_decides(kind: str) -> None:
    patterns, classes = list_patterns(kind)
    shares = []
    for class_index in (0, 1):
        own = patterns[classes == class_index].round(4)
        counts = Counter(tuple(sorted(map(tuple, frames))) for frames in own.tolist())
        shares.append({frames: count / len(own) for frames, count in counts.items()})
    assert (shares[0] == shares[1]) == (kind in ORDERED)


def test_a_seed_gives_equal_sequences_and_another_seed_gives_others() -> None:
    first, classes = draw_sequences("cut", num_videos=10, seed=3)
    again, same_classes = draw_sequences("cut", num_videos=10, seed=3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(classes, same_classes)
    assert first.shape == (10, 8, 32)
    assert np.abs(first - draw_sequences("cut", num_videos=10, seed=4)[0]).mean() > 0.5
