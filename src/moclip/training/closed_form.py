"""Heads in closed form: a linear classifier that one solve gives, without epochs, learning rate or seed.

Streams are centered and scaled to equal total variance first. Held-out videos choose the weight of each stream, the
setting of the kind and the sharpness of the probabilities: those of validation or, with `select: last`, whole groups of
the training videos in turn. Motion embeddings of training videos come from a network that was trained on them, so only
validation videos show how much they can be trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.training.head_files import HeadConfig, State, TrainedHead
from moclip.training.head_fitting import Task
from moclip.training.head_inputs import Fold, Layout, join_folds
from moclip.training.head_strategy import HeadStrategy
from moclip.training.heads.linear import STRATEGY as LINEAR

# The weight of a stream against the last one is a power of two up to this, or one over it.
_LARGEST_WEIGHT = 8.0

# Candidates for the factor of the logits.
_SHARPNESS = tuple(2.0 ** (step / 2) for step in range(-6, 25))

_NUM_FOLDS = 5

_SMALLEST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A linear classifier for centered inputs: weight float64 (K, D), bias (K,), and the settings that gave it."""

    weight: Tensor
    bias: Tensor
    settings: Mapping[str, float] = field(default_factory=dict)

    def score(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) for centered inputs (N, D)."""
        return inputs @ self.weight.T + self.bias


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One setting of a head, and its mean log likelihood on held-out videos."""

    weights: tuple[float, ...]
    candidate: int
    settings: Mapping[str, float]
    sharpness: float
    likelihood: float


class ClosedFormHead(HeadStrategy):
    """A kind that defines `solve`. Its result is a linear layer named `classifier`."""

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return an untrained linear layer."""
        return LINEAR.build(layout, num_classes=num_classes, config=config)

    def solve(self, inputs: Tensor, labels: Tensor, *, num_classes: int) -> Sequence[Solution]:
        """Return one solution per candidate setting, for centered inputs float64 (N, D) and labels (N,)."""
        raise NotImplementedError

    def fit(self, train: Fold, val: Fold, *, task: Task) -> TrainedHead:
        """Return the classifier of the training videos, with `refit` that of train and val with the same choices."""
        pairs = [(train, val)] if task.config.select == "val" else _split_groups(train)
        choice = self._choose(pairs, task=task)
        state = self._state(train, choice, task=task)
        return TrainedHead(
            state=self._state(join_folds(train, val), choice, task=task) if task.config.refit else state,
            selection_state=state,
            history=(),
            best_epoch=0,
            config=task.config,
            layout=task.layout,
            chosen={"sharpness": choice.sharpness, **choice.settings, **_name_weights(choice, layout=task.layout)},
        )

    def _choose(self, pairs: Sequence[tuple[Fold, Fold]], *, task: Task) -> _Choice:
        """Return the best setting: the weight of one stream is doubled or halved as long as that helps."""

        @cache
        def judge(weights: tuple[float, ...]) -> _Choice:
            return self._judge(pairs, weights=weights, task=task)

        best = judge((1.0,) * len(task.layout.streams))
        while True:
            other = max(map(judge, _list_neighbors(best.weights)), key=lambda choice: choice.likelihood, default=best)
            if other.likelihood <= best.likelihood:
                return best
            best = other

    def _judge(self, pairs: Sequence[tuple[Fold, Fold]], *, weights: tuple[float, ...], task: Task) -> _Choice:
        """Return the best candidate and sharpness for these weights of the streams."""
        scores: list[list[Tensor]] = []
        solutions: Sequence[Solution] = ()
        for known, held_out in pairs:
            scaling = _fit_scaling(known, weights=weights, layout=task.layout)
            solutions = self.solve(scaling.apply(known), torch.from_numpy(known.labels), num_classes=task.num_classes)
            scores.append([solution.score(scaling.apply(held_out)) for solution in solutions])
        labels = torch.from_numpy(np.concatenate([held_out.labels for _, held_out in pairs]))
        found = [
            _Choice(
                weights=weights,
                candidate=number,
                settings=solutions[number].settings,
                sharpness=sharpness,
                likelihood=likelihood,
            )
            for number, parts in enumerate(zip(*scores, strict=True))
            for sharpness, likelihood in _measure_sharpness(torch.cat(parts), labels=labels)
        ]
        return max(found, key=lambda choice: choice.likelihood)

    def _state(self, fold: Fold, choice: _Choice, *, task: Task) -> State:
        scaling = _fit_scaling(fold, weights=choice.weights, layout=task.layout)
        labels = torch.from_numpy(fold.labels)
        solution = self.solve(scaling.apply(fold), labels, num_classes=task.num_classes)[choice.candidate]
        weight = choice.sharpness * solution.weight * scaling.factor
        bias = choice.sharpness * solution.bias - weight @ scaling.mean
        return {"classifier.weight": weight.float().numpy(), "classifier.bias": bias.float().numpy()}


def _list_neighbors(weights: tuple[float, ...]) -> list[tuple[float, ...]]:
    # The last stream keeps its weight: only the ratios of weights matter.
    changed = [
        (*weights[:stream], factor * weights[stream], *weights[stream + 1 :])
        for stream in range(len(weights) - 1)
        for factor in (0.5, 2.0)
    ]
    return [new for new in changed if min(new) >= 1 / _LARGEST_WEIGHT and max(new) <= _LARGEST_WEIGHT]


@dataclass(frozen=True, kw_only=True)
class _Scaling:
    """The mean of inputs, (D,), and a factor for each of their numbers, (D,)."""

    mean: Tensor
    factor: Tensor

    def apply(self, fold: Fold) -> Tensor:
        """Return the inputs of a fold, centered and scaled, float64 (N, D)."""
        return (torch.from_numpy(fold.inputs).double() - self.mean) * self.factor


def _name_weights(choice: _Choice, *, layout: Layout) -> dict[str, float]:
    # Of one stream alone the weight says nothing.
    names = layout.streams if len(choice.weights) > 1 else {}
    return {f"weight_{name}": weight for name, weight in zip(names, choice.weights, strict=False)}


def _fit_scaling(fold: Fold, *, weights: Sequence[float], layout: Layout) -> _Scaling:
    inputs = torch.from_numpy(fold.inputs).double()
    mean = inputs.mean(dim=0)
    spread = (inputs - mean).square().mean(dim=0)
    ends = np.cumsum([0, *layout.streams.values()]).tolist()
    factor = torch.empty_like(mean)
    for weight, (start, end) in zip(weights, pairwise(ends), strict=True):
        factor[start:end] = weight / spread[start:end].sum().clamp_min(_SMALLEST).sqrt()
    return _Scaling(mean=mean, factor=factor)


def _split_groups(fold: Fold) -> list[tuple[Fold, Fold]]:
    """Return up to five pairs of the videos of some groups and those of the others, each group held out once."""
    alone = [str(number) for number in range(len(fold.labels))]
    groups = np.array(fold.groups if len(set(fold.groups)) > 1 else alone)
    number = {group: place % _NUM_FOLDS for place, group in enumerate(sorted(set(groups.tolist())))}
    places = np.array([number[group] for group in groups.tolist()])
    if len(number) < 2:
        return [(fold, fold)]  # of one video nothing can be held out
    return [(_take(fold, places != place), _take(fold, places == place)) for place in sorted(set(places.tolist()))]


def _take(fold: Fold, chosen: NDArray[np.bool_]) -> Fold:
    return replace(fold, inputs=fold.inputs[chosen], labels=fold.labels[chosen], groups=(), redraw=None)


def _measure_sharpness(scores: Tensor, *, labels: Tensor) -> list[tuple[float, float]]:
    """Return each factor of the logits, with the mean log likelihood that it gives the labels."""
    return [(factor, -float(nn.functional.cross_entropy(factor * scores, labels.long()))) for factor in _SHARPNESS]
