"""NumPy inference for trained heads, so that evaluation does not import torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.core.numerics import rank_classes, softmax
from moclip.errors import ModelError
from moclip.training.head_inputs import Layout, check_finite

Floats = NDArray[np.float32]

State = Mapping[str, NDArray[Any]]

# Weights that are chosen on validation are tried in steps of a twentieth.
WEIGHTS = tuple(step / 20 for step in range(21))

_TEMPERATURE = 0.07  # of the votes of neighbours: Wu et al. 2018 (arXiv 1805.01978), section 3.4

_SMALLEST = 1e-12

_CHUNK = 4096

# Every forward pass of a trained head has so many rows, the last one filled up: the sums of a matrix product are
# ordered by its size, and a prediction would depend in its last bits on how many other videos were asked about.
_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Merit:
    """How good a choice is on validation: higher top-1 first, then lower loss."""

    top_1: float
    loss: float

    def beats(self, other: "Merit") -> bool:
        """Return whether this is better, and not merely as good."""
        return (self.top_1, -self.loss) > (other.top_1, -other.loss)


def predict_logits(kind: str, state: State, inputs: Floats, *, layout: Layout, neighbours: int = 0) -> Floats:
    """Return the logits of a head, float32 (N, K), for inputs (N, D), without dropout.

    Raises:
        ModelError: The inputs have another width than the head, or are not finite.
    """
    if inputs.ndim != 2 or inputs.shape[1] != layout.width:
        raise ModelError(
            f"head: expected inputs (N, {layout.width}), found {inputs.shape}; was it trained on these streams?"
        )
    check_finite(inputs)

    def forward(rows: Floats) -> Floats:
        if kind == "knn":
            return neighbour_logits(rows, state=state, neighbours=neighbours)
        return _FORWARD[kind](state, rows, layout)

    if not len(inputs):
        return forward(inputs)
    chunks = (inputs[start : start + _ROWS] for start in range(0, len(inputs), _ROWS))
    return np.concatenate([forward(_fill(chunk))[: len(chunk)] for chunk in chunks])


def _fill(rows: Floats) -> Floats:
    return np.concatenate([rows, np.repeat(rows[-1:], _ROWS - len(rows), axis=0)]) if len(rows) < _ROWS else rows


def _linear(state: State, name: str, inputs: Floats) -> Floats:
    product = inputs @ np.asarray(state[f"{name}.weight"], dtype=np.float32).T
    return np.asarray(product + state[f"{name}.bias"], dtype=np.float32)


def _forward_linear(state: State, inputs: Floats, layout: Layout) -> Floats:
    return _linear(state, "classifier", inputs)


def _forward_mlp(state: State, inputs: Floats, layout: Layout) -> Floats:
    return _linear(state, "classifier", np.maximum(_linear(state, "hidden", inputs), 0))


def _forward_gated(state: State, inputs: Floats, layout: Layout) -> Floats:
    mixed: Floats | float = 0.0
    start = 0
    for name, width in (("motion", layout.motion), ("appearance", layout.appearance)):
        if width:
            seen = np.maximum(_linear(state, f"project_{name}", inputs[:, start : start + width]), 0)
            mixed = mixed + seen / (1 + np.exp(-_linear(state, f"gate_{name}", inputs)))
            start += width
    return _linear(state, "classifier", np.asarray(mixed, dtype=np.float32))


def _forward_attention(state: State, inputs: Floats, layout: Layout) -> Floats:
    if not layout.frames:
        return _forward_mlp(state, inputs, layout)
    frames, mask = split_frames(inputs, layout=layout)
    query = np.asarray(state["attention.query"], dtype=np.float32)
    scores = np.where(mask > 0, frames @ query / np.float32(np.sqrt(layout.appearance)), -np.inf)
    weights = softmax(scores).astype(np.float32)
    pooled = (weights[:, :, None] * frames).sum(axis=1)
    return _forward_mlp(state, np.concatenate([inputs[:, : layout.motion], pooled], axis=1), layout)


def split_frames(inputs: Floats, *, layout: Layout) -> tuple[Floats, Floats]:
    """Return the frames, (N, F, D), and their mask, (N, F), in rows of this layout."""
    end = layout.motion + layout.appearance * layout.frames
    return inputs[:, layout.motion : end].reshape(len(inputs), layout.frames, layout.appearance), inputs[:, end:]


_FORWARD: dict[str, Callable[[State, Floats, Layout], Floats]] = {
    "linear": _forward_linear,
    "mlp": _forward_mlp,
    "gated": _forward_gated,
    "attention": _forward_attention,
}


def neighbour_logits(inputs: Floats, *, state: State, neighbours: int) -> Floats:
    """Return the log of the share of votes of each class, float32 (N, K), among the nearest training videos.

    A neighbour's vote weighs exp(cosine / 0.07). Of equally near ones the earlier in the training set counts.
    """
    support, labels = np.asarray(state["support"], dtype=np.float32), np.asarray(state["labels"], dtype=np.int64)
    votes = np.zeros((len(inputs), int(state["num_classes"][0])), dtype=np.float64)
    for start in range(0, len(inputs), _CHUNK):
        cosine = _unit(inputs[start : start + _CHUNK]) @ _unit(support).T
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]
        weights = np.exp((np.take_along_axis(cosine, nearest, axis=1) - 1.0) / _TEMPERATURE)
        rows = np.repeat(np.arange(start, start + len(cosine)), nearest.shape[1])
        np.add.at(votes, (rows, labels[nearest].ravel()), weights.ravel())
    shares = votes / votes.sum(axis=1, keepdims=True)
    return np.asarray(np.log(np.maximum(shares, _SMALLEST)), dtype=np.float32)


def _unit(values: Floats) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _SMALLEST))


def interpolate(start: State, end: State, *, weight: float) -> dict[str, NDArray[np.float32]]:
    """Return weights on the straight line between two states: `start` at 0, `end` at 1.

    Source: Wortsman et al. 2022 (arXiv 2109.01903), equation 1.
    """
    line = {name: (1 - weight) * np.asarray(start[name]) + weight * np.asarray(end[name]) for name in end}
    return {name: value.astype(np.float32) for name, value in line.items()}


def mix_scores(first: Floats, second: Floats, *, weight: float) -> Floats:
    """Return log(weight x softmax(second) + (1 - weight) x softmax(first)), float32 (N, K)."""
    mixed = (1 - weight) * softmax(first) + weight * softmax(second)
    return np.asarray(np.log(np.maximum(mixed, _SMALLEST)), dtype=np.float32)


def choose(candidates: Sequence[float], *, logits: Callable[[float], Floats], labels: NDArray[np.int64]) -> float:
    """Return the candidate whose logits are best on these (validation) labels; of equals, the first."""
    best: tuple[Merit, float] | None = None
    for candidate in candidates:
        merit = measure(logits(candidate), labels=labels)
        if best is None or merit.beats(best[0]):
            best = (merit, candidate)
    if best is None:
        raise ModelError("head: expected candidates to choose from, found none")
    return best[1]


def measure(logits: Floats, *, labels: NDArray[np.int64]) -> Merit:
    """Return top-1 and mean cross-entropy of logits, (N, K), against labels, (N,)."""
    probabilities = softmax(logits)[np.arange(len(labels)), labels]
    hits = rank_classes(logits)[:, 0] == labels
    return Merit(top_1=float(hits.mean()), loss=float(-np.log(np.maximum(probabilities, _SMALLEST)).mean()))
