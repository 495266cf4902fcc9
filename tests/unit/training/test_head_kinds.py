"""Every kind of head: its bits against a plain loop, its keys, and a kind that is added from outside."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moclip.config.head_kinds import HEAD_KINDS, HeadKind
from moclip.config.settings import HeadKindName, HeadVariant
from moclip.training import head_stage, heads
from moclip.training.head_files import HeadConfig, TrainedHead, load_heads
from moclip.training.head_inputs import Fold, Layout
from moclip.training.head_strategy import find_strategy
from moclip.training.head_training import train_head
from tests.unit.training.test_head_stage import HEAD, VARIANTS, World, made

__all__ = ["made"]

NUM_CLASSES, NUM_FRAMES = 3, 4
PLAIN = Layout(motion=4, appearance=5)
FRAMES = Layout(motion=4, appearance=5, frames=NUM_FRAMES)


def draw_fold(seed: int, *, layout: Layout, num_videos: int = 40) -> Fold:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(num_videos, layout.width)).astype(np.float32)
    if layout.frames:
        mask = (np.arange(layout.frames) < rng.integers(1, layout.frames + 1, size=(num_videos, 1))).astype(np.float32)
        end = layout.motion + layout.appearance * layout.frames
        inputs[:, layout.motion : end] *= np.repeat(mask, layout.appearance, axis=1)
        inputs[:, end:] = mask
    groups = tuple(f"g{number % 8}" for number in range(num_videos))
    return Fold(inputs=inputs, labels=rng.integers(0, NUM_CLASSES, num_videos), groups=groups)


def layout_of(kind: str) -> Layout:
    return FRAMES if HEAD_KINDS[kind].frames else PLAIN


Forward = Callable[[Tensor], Tensor]


def write_mlp(width: int, config: HeadConfig) -> tuple[dict[str, nn.Parameter], Forward]:
    hidden, classifier = nn.Linear(width, config.hidden), nn.Linear(config.hidden, NUM_CLASSES)
    named = {f"hidden.{key}": value for key, value in hidden.named_parameters()}
    named |= {f"classifier.{key}": value for key, value in classifier.named_parameters()}
    return named, lambda x: classifier(
        nn.functional.dropout(hidden(x).relu(), config.dropout, training=x.requires_grad)
    )


def write_attention(config: HeadConfig) -> tuple[dict[str, nn.Parameter], Forward]:
    named, mlp = write_mlp(FRAMES.pooled, config)
    query = nn.Parameter(torch.zeros(5))

    def forward(x: Tensor) -> Tensor:
        frames, mask = x[:, 4:24].reshape(-1, NUM_FRAMES, 5), x[:, 24:]
        scores = (frames @ query / math.sqrt(5)).masked_fill(mask == 0, -math.inf)
        pooled = (scores.softmax(dim=1)[:, :, None] * frames).sum(dim=1)
        return mlp(torch.cat([x[:, :4], pooled], dim=1))

    return {"attention.query": query, **named}, forward


def write_gated(config: HeadConfig) -> tuple[dict[str, nn.Parameter], Forward]:
    layers: dict[str, nn.Linear] = {}
    for name, width in (("motion", 4), ("appearance", 5)):
        layers[f"project_{name}"] = nn.Linear(width, config.hidden)
        layers[f"gate_{name}"] = nn.Linear(9, config.hidden)
    layers["classifier"] = nn.Linear(config.hidden, NUM_CLASSES)

    def forward(x: Tensor) -> Tensor:
        parts = {"motion": x[:, :4], "appearance": x[:, 4:]}
        terms = [
            layers[f"project_{name}"](part).relu() * layers[f"gate_{name}"](x).sigmoid() for name, part in parts.items()
        ]
        fused = nn.functional.dropout(torch.stack(terms).sum(dim=0), config.dropout, training=x.requires_grad)
        return layers["classifier"](fused)

    return {f"{n}.{key}": value for n, layer in layers.items() for key, value in layer.named_parameters()}, forward


def write_linear() -> tuple[dict[str, nn.Parameter], Forward]:
    classifier = nn.Linear(PLAIN.width, NUM_CLASSES)
    return {f"classifier.{key}": value for key, value in classifier.named_parameters()}, classifier


def train_plainly(
    parameters: dict[str, nn.Parameter], forward: Forward, fold: Fold, *, config: HeadConfig
) -> dict[str, np.ndarray]:
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    inputs, labels = torch.from_numpy(fold.inputs), torch.from_numpy(fold.labels)
    for _ in range(config.epochs):
        for batch in torch.split(torch.randperm(len(labels)), config.batch_size):
            # Dropout is on where the inputs ask for a gradient: the plain form of train and eval mode.
            loss = nn.functional.cross_entropy(forward(inputs[batch].requires_grad_()), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: value.detach().numpy() for name, value in parameters.items()}


@pytest.mark.parametrize("kind", ["mlp", "linear", "gated", "attention"])
def test_a_trained_kind_has_the_bits_of_a_plain_loop_over_plain_layers(kind: str) -> None:
    config = HeadConfig(kind=kind, hidden=8, learning_rate=0.01, batch_size=8, epochs=3, select="last")
    layout = layout_of(kind)
    fold, none = draw_fold(0, layout=layout), draw_fold(1, layout=layout, num_videos=0)
    head = train_head(fold, none, num_classes=NUM_CLASSES, config=config, seed=7, layout=layout)
    torch.manual_seed(7)
    parameters, forward = {
        "mlp": lambda: write_mlp(PLAIN.width, config),
        "linear": write_linear,
        "gated": lambda: write_gated(config),
        "attention": lambda: write_attention(config),
    }[kind]()
    expected = train_plainly(parameters, forward, fold, config=config)
    assert head.state.keys() == expected.keys()
    assert all(np.array_equal(head.state[name], expected[name]) for name in expected)


# Digests of the names of cached heads before kinds were files. If one changes, heads of that kind are trained again:
# raise HEAD_VERSION on purpose instead.
KEYS = {
    "mlp": "f53a66972d5f72bf",
    "linear": "7adb10558cd3812d",
    "gated": "f7d95c63ca4c95bf",
    "attention": "65be33721228b8d3",
    "knn": "322ea6dfb821958b",
}


METHODS_BEFORE = ("fusion", "appearance", "motion_head", "shuffled_motion", "score_fusion", "zero_shot_head")


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_cached_heads_are_those_of_earlier_versions(
    made: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(head_stage, "version", lambda package: f"any {package}")
    run = made.run(config=HeadConfig.from_config(VARIANTS[name]), methods=METHODS_BEFORE)
    made.train(f"keys-{name}", run, cache=f"keys-{name}")
    names = sorted(path.stem for path in (made.folder / f"keys-{name}/heads").glob("*.safetensors"))
    assert hashlib.sha256(" ".join(names).encode()).hexdigest()[:16] == KEYS[name]


OUTSIDE = '''
"""Nearest class mean, as a linear classifier."""

from collections import OrderedDict

import numpy as np
from torch import nn

from moclip.training.head_files import TrainedHead
from moclip.training.head_strategy import HeadStrategy


class NearestMean(HeadStrategy):
    def build(self, layout, *, num_classes, config):
        return nn.Sequential(OrderedDict(classifier=nn.Linear(layout.width, num_classes)))

    def fit(self, train, val, *, task):
        means = np.stack([train.inputs[train.labels == c].mean(axis=0) for c in range(task.num_classes)])
        sharpness = task.config.options["sharpness"]
        bias = -0.5 * sharpness * (means**2).sum(axis=1)
        state = {"classifier.weight": np.float32(sharpness * means), "classifier.bias": np.float32(bias)}
        return TrainedHead(
            state=state, selection_state=state, history=(), best_epoch=0, config=task.config, layout=task.layout
        )


STRATEGY = NearestMean()
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "nearest_mean.py").write_text(OUTSIDE)
    monkeypatch.setattr(heads, "__path__", [*heads.__path__, str(tmp_path)])
    monkeypatch.setitem(HEAD_KINDS, "nearest_mean", HeadKind(options={"sharpness": 1.0}, epochs=False))
    return "nearest_mean"


def test_a_kind_from_outside_is_one_file_and_its_settings(made: World, outside: str) -> None:
    keys = set()
    for sharpness in (1.0, 2.0):
        run = made.run(config=HeadConfig.from_config({**HEAD, "kind": outside, "sharpness": sharpness}))
        file = made.train("outside", run, cache="outside")
        metrics = made.test(file, run)
        assert metrics["methods"]["fusion"]["top_1"] > 0.6, "a third would be chance"
        fusion: TrainedHead = load_heads(file, seed=0).heads["fusion"]
        assert fusion.config == run.config
        keys |= {path.name for path in (made.folder / "outside/heads").glob("*.safetensors")}
    assert len(keys) == 2 * 5 + 2, "its setting is in the key of each of its five heads, and of no ridge baseline"


def test_the_kinds_of_the_settings_are_the_files_of_heads() -> None:
    files = {path.stem for path in Path(heads.__path__[0]).glob("*.py")} - {"__init__"}
    assert set(get_args(HeadKindName)) == set(HEAD_KINDS) == files
    for kind, facts in HEAD_KINDS.items():
        assert find_strategy(kind) is find_strategy(kind)
        for key, default in facts.options.items():
            assert HeadVariant.model_fields[key].default == default, f"{kind}.{key}"


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_a_kind_has_at_most_200_lines(kind: str) -> None:
    assert len(Path(heads.__path__[0], f"{kind}.py").read_text().splitlines()) <= 200


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_a_prediction_depends_on_its_own_row_alone(kind: str) -> None:
    layout = layout_of(kind)
    config = HeadConfig.from_config({"kind": kind, "hidden": 8, "epochs": 2, "batch_size": 8})
    fold, val = draw_fold(0, layout=layout), draw_fold(1, layout=layout)
    head = train_head(fold, val, num_classes=NUM_CLASSES, config=config, seed=0, layout=layout)
    strategy, rows = find_strategy(kind), draw_fold(2, layout=layout).inputs
    logits = strategy.predict(head, rows)
    assert logits.shape == (40, NUM_CLASSES)
    assert logits.dtype == np.float32
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(strategy.predict(head, rows[order]), logits[order])
    np.testing.assert_array_equal(strategy.predict(head, rows[3:4]), logits[3:4])


@pytest.mark.parametrize("kind", [kind for kind, facts in HEAD_KINDS.items() if not facts.epochs])
def test_a_kind_without_epochs_does_not_depend_on_the_seed(kind: str) -> None:
    fold, val = draw_fold(0, layout=PLAIN), draw_fold(1, layout=PLAIN)
    config = HeadConfig.from_config({"kind": kind})
    first, second = (train_head(fold, val, num_classes=NUM_CLASSES, config=config, seed=seed) for seed in (0, 1))
    assert replace(first, state={}, selection_state={}) == replace(second, state={}, selection_state={})
    assert all(np.array_equal(first.state[name], second.state[name]) for name in first.state)
