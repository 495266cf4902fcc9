"""Train heads of any kind, after a check of their inputs."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_fitting import Task, use_threads
from moclip.training.head_inputs import Fold, Layout, check_finite
from moclip.training.head_strategy import find_strategy, predict_logits
from moclip.training.selection import WEIGHTS, choose, interpolate

Floats = NDArray[np.float32]


def train_head(
    train: Fold,
    val: Fold,
    *,
    num_classes: int,
    config: HeadConfig,
    seed: int,
    layout: Layout | None = None,
    start: Mapping[str, Floats] | None = None,
    threads: int = 1,
) -> TrainedHead:
    """Return a head of the kind that its settings name; the same seed and threads give the same bits.

    Validation videos choose the epoch, or another setting of the kind, unless `select` is `last`. `refit` trains once
    more on train and val together. The caller's random state does not change, so heads trained one after another equal
    heads trained alone. `layout` has the parts of a row; `start` has the weights to start from.

    Raises:
        ConfigError: `select` is `val` without validation videos, or training diverged.
        DatasetError: There is no training video, or a label is out of range.
        ModelError: An embedding is not finite, or shapes disagree.
    """
    for name, fold in (("train", train), ("val", val)):
        _check_fold(fold, name=name, num_classes=num_classes)
    if not len(train.labels):
        raise DatasetError("head: expected training videos with features, found none; see rejects.tsv")
    if config.select == "val" and not len(val.labels):
        raise ConfigError(
            "head.select: `val` needs validation videos with features and there are none; "
            "raise dataset.validation_fraction or set `select: last`"
        )
    task = Task(
        num_classes=num_classes,
        config=config,
        layout=layout or Layout(appearance=train.inputs.shape[1]),
        seed=seed,
        start=start,
    )
    with use_threads(threads):
        return find_strategy(config.kind).fit(train, val, task=task)


def train_zero_shot_head(
    train: Fold,
    val: Fold,
    *,
    classes: Floats,
    config: HeadConfig,
    seed: int,
) -> TrainedHead:
    """Return a linear head between class embeddings (K, D) and their fine-tuning; validation chooses how far.

    Inputs are image embeddings of unit length times 100. `chosen["alpha"]` is 0 where the prompts alone
    were best.

    Raises:
        ConfigError: There are no validation videos to choose with.

    Source: Wortsman et al. 2022 (arXiv 2109.01903): the weights are interpolated, not the scores.
    """
    if not len(val.labels):
        raise ConfigError("methods: `zero_shot_head` chooses its weight on validation videos and there are none")
    start = {"classifier.weight": classes, "classifier.bias": np.zeros(len(classes), dtype=np.float32)}
    linear = replace(config, kind="linear", normalise="l2", options={})
    tuned = train_head(train, val, num_classes=len(classes), config=linear, seed=seed, start=start)

    def logits(alpha: float) -> Floats:
        state = interpolate(start, tuned.selection_state, weight=alpha)
        return predict_logits(replace(tuned, state=state), val.inputs)

    alpha = choose(WEIGHTS, logits=logits, labels=val.labels.astype(np.int64))
    return replace(
        tuned,
        state=interpolate(start, tuned.state, weight=alpha),
        selection_state=interpolate(start, tuned.selection_state, weight=alpha),
        chosen={"alpha": alpha},
    )


def _check_fold(fold: Fold, *, name: str, num_classes: int) -> None:
    if len(fold.inputs) != len(fold.labels) or fold.inputs.ndim != 2:
        raise ModelError(
            f"head: {name}: expected inputs (N, D) for {len(fold.labels)} labels, found {fold.inputs.shape}"
        )
    wrong = fold.labels[(fold.labels < 0) | (fold.labels >= num_classes)]
    if len(wrong):
        raise DatasetError(f"head: {name}: expected class indices 0 to {num_classes - 1}, found {wrong[0]}")
    check_finite(fold.inputs)
