"""Generated token sequences with a known answer, for tests of heads that read frames in order.

A sequence is 8 frames of 32 numbers: one of its class's patterns, drawn at random, plus noise of unit variance. The
patterns of a kind are few enough to list, so `classify_ideally` returns the best possible answer.

| kind        | class 0 against class 1                                                          | order decides |
|-------------|----------------------------------------------------------------------------------|---------------|
| `look`      | every frame 0.9 or -0.9 along a                                                  | no            |
| `one_frame` | 3 or -3 along a in the one frame that has a marker; the other frames are random  | no            |
| `change`    | 3 and -3 along a in turn, every frame or every second frame; the phase is random | yes           |
| `halves`    | a then b, or b then a, of length 2; the change is in the middle                  | yes           |
| `cut`       | as `halves`, the change is after 2 to 6 frames                                   | yes           |
| `pair`      | a in one frame and b in a later one, or b before a, of length 4; random frames   | yes           |

Where order decides, both classes have the same multisets of frames, so no head that ignores order exceeds chance.
Suggested sizes for training: 768 videos and 25 epochs for `look`, `one_frame` and `change`, 512 and 20 for `halves` and
`cut`, 1,536 and 30 for `pair`. A head with order then exceeds 95 % on `halves` and `cut`; one without stays below 60 %.
"""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

KINDS = ("look", "one_frame", "change", "halves", "cut", "pair")

ORDERED = ("change", "halves", "cut", "pair")

NUM_FRAMES, WIDTH = 8, 32

Floats = NDArray[np.float32]

Integers = NDArray[np.int64]


def draw_sequences(kind: str, *, num_videos: int, seed: int) -> tuple[Floats, Integers]:
    """Return tokens (N, 8, 32) and classes (N,), in random order with equal numbers of both classes.

    Sequences of different seeds share their patterns, so one seed may train and another may test.
    """
    rng = np.random.default_rng([KINDS.index(kind), seed])
    patterns, pattern_classes = list_patterns(kind)
    classes = rng.permutation(np.arange(num_videos) % 2)
    chosen = [rng.choice(np.flatnonzero(pattern_classes == class_index)) for class_index in classes]
    noise = rng.standard_normal((num_videos, NUM_FRAMES, WIDTH), dtype=np.float32)
    return patterns[chosen] + noise, classes


def list_patterns(kind: str) -> tuple[Floats, Integers]:
    """Return every pattern (P, 8, 32) of a kind and its class (P,); those of a class are equally likely."""
    axes, _ = np.linalg.qr(np.random.default_rng(KINDS.index(kind)).standard_normal((WIDTH, 2)))
    first, second = axes.T
    rows, classes = zip(*_coefficients(kind), strict=True)
    coefficients = np.array(rows)  # (P, 8, 2): along a and b
    patterns = coefficients[..., :1] * first + coefficients[..., 1:] * second
    return patterns.astype(np.float32), np.array(classes)


def classify_ideally(kind: str, *, tokens: Floats) -> Integers:
    """Return the more likely class (N,) of each sequence: the answer that no trained head can beat."""
    patterns, classes = list_patterns(kind)
    flat = patterns.reshape(len(patterns), -1).astype(np.float64)
    fit = tokens.reshape(len(tokens), -1) @ flat.T - (flat**2).sum(axis=1) / 2
    by_class = [
        np.logaddexp.reduce(fit[:, classes == index], axis=1) - np.log(np.sum(classes == index)) for index in (0, 1)
    ]
    likelier: Integers = np.argmax(by_class, axis=0)
    return likelier


def _coefficients(kind: str) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Yield the coefficients (8, 2) of each pattern along both axes, and its class."""
    frames, axes = np.arange(NUM_FRAMES), np.eye(2)
    for class_index in (0, 1):
        sign, order = 1 - 2 * class_index, axes[[class_index, 1 - class_index]]
        if kind == "look":
            yield np.tile(0.9 * sign * axes[0], (NUM_FRAMES, 1)), class_index
        elif kind == "one_frame":
            for marked, signs in product(frames, product((-1, 1), repeat=NUM_FRAMES)):
                if signs[marked] == sign:
                    yield np.stack([3 * np.array(signs), 6 * (frames == marked)], axis=1), class_index
        elif kind == "change":
            run = 1 + class_index
            for phase in range(2 * run):
                yield 3 * (-1.0) ** ((frames[:, None] + phase) // run) * axes[0], class_index
        elif kind in {"halves", "cut"}:
            for border in (4,) if kind == "halves" else range(2, 7):
                yield 2 * order[(frames >= border).astype(int)], class_index
        else:
            for early, late in combinations(frames, 2):
                yield 4 * ((frames == early)[:, None] * order[0] + (frames == late)[:, None] * order[1]), class_index
