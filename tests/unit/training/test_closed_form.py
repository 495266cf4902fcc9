"""Ridge regression and Gaussian discriminant analysis against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moclip.training.closed_form import Solution
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_inputs import Fold, Layout
from moclip.training.head_strategy import predict_logits
from moclip.training.head_training import train_head
from moclip.training.heads import gda, ridge

KINDS = ("ridge", "gda")
NUM_CLASSES = 4


def draw(seed: int, *, num_videos: int = 200, width: int = 6, spread: float = 1.0, classes: int = NUM_CLASSES) -> Fold:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(7).normal(size=(classes, width))
    labels = np.arange(num_videos) % classes
    inputs = (3.0 + centers[labels] + spread * rng.normal(size=(num_videos, width))).astype(np.float32)
    return Fold(inputs=inputs, labels=labels, groups=tuple(f"g{number // 8}" for number in range(num_videos)))


def fit(kind: str, train: Fold, val: Fold, *, layout: Layout | None = None, **changes: object) -> TrainedHead:
    config = HeadConfig.from_config({"kind": kind, **changes})
    return train_head(train, val, num_classes=NUM_CLASSES, config=config, seed=0, layout=layout)


def solve(strategy: ridge.RidgeHead | gda.GaussianHead, fold: Fold) -> tuple[list[Solution], torch.Tensor]:
    inputs = torch.from_numpy(fold.inputs).double()
    centered = inputs - inputs.mean(dim=0)
    return list(strategy.solve(centered, torch.from_numpy(fold.labels), num_classes=NUM_CLASSES)), centered


@pytest.mark.parametrize(("num_videos", "width"), [(60, 5), (12, 30)])
def test_ridge_is_the_minimum_of_its_loss_for_every_penalty(num_videos: int, width: int) -> None:
    fold = draw(0, num_videos=num_videos, width=width)
    solutions, x = solve(ridge.STRATEGY, fold)
    y = torch.nn.functional.one_hot(torch.from_numpy(fold.labels), NUM_CLASSES).double()
    assert len(solutions) == len(ridge.PENALTIES) == 7
    for solution, penalty in zip(solutions, ridge.PENALTIES, strict=True):
        scaled = penalty * x.square().sum() / width
        w, b = (value.clone().requires_grad_() for value in (solution.weight, solution.bias))
        loss = (x @ w.T + b - y).square().sum() + scaled * w.square().sum()
        gradients = torch.autograd.grad(loss, [w, b])
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-8 * float(scaled + x.square().sum())


def test_ridge_without_penalty_is_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "PENALTIES", (0.0,))
    fold = draw(0)
    (solution,), x = solve(ridge.STRATEGY, fold)
    y = np.eye(NUM_CLASSES)[fold.labels]
    expected = np.linalg.lstsq(np.column_stack([x.numpy(), np.ones(len(y))]), y, rcond=None)[0]
    np.testing.assert_allclose(solution.weight.T, expected[:-1], atol=1e-10)
    np.testing.assert_allclose(solution.bias, expected[-1], atol=1e-10)


def test_ridge_with_a_large_penalty_orders_classes_by_their_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "PENALTIES", (1e9,))
    fold = draw(0)
    (solution,), x = solve(ridge.STRATEGY, fold)
    means = torch.stack([x[fold.labels == c].mean(dim=0) for c in range(NUM_CLASSES)])
    assert torch.equal((x @ solution.weight.T).argsort(dim=1), (x @ means.T).argsort(dim=1))


def test_gda_is_the_rule_of_bayes_on_gaussian_classes() -> None:
    rng = np.random.default_rng(0)
    mix = np.eye(5) + 0.3 * rng.normal(size=(5, 5))
    centers = rng.normal(size=(NUM_CLASSES, 5))
    prior = np.array([0.4, 0.3, 0.2, 0.1])

    def sample(num_videos: int) -> Fold:
        labels = rng.choice(NUM_CLASSES, num_videos, p=prior)
        inputs = centers[labels] + rng.normal(size=(num_videos, 5)) @ mix.T
        return Fold(inputs=inputs.astype(np.float32), labels=labels)

    head, test = fit("gda", sample(8000), sample(2000)), sample(8000)
    precision = np.linalg.inv(mix @ mix.T)
    constant = np.log(prior) - 0.5 * np.einsum("kd,de,ke->k", centers, precision, centers)
    best = ((test.inputs @ precision @ centers.T + constant).argmax(axis=1) == test.labels).mean()
    own = (predict_logits(head, test.inputs).argmax(axis=1) == test.labels).mean()
    assert own == pytest.approx(best, abs=0.01)
    assert head.chosen["sharpness"] == 1.0, "probabilities of Bayes' rule are calibrated"


def test_gda_of_two_classes_has_fishers_direction_for_the_shrunk_covariance() -> None:
    fold = draw(0, classes=2)
    (solution,), x = solve(gda.STRATEGY, fold)
    own = [x[fold.labels == c] for c in (0, 1)]
    centered = torch.cat([part - part.mean(dim=0) for part in own])
    shrunk = centered.T @ centered + centered.square().sum() / (len(x) - 1) * torch.eye(6, dtype=torch.float64)
    fisher = torch.linalg.inv(shrunk) @ (own[1].mean(dim=0) - own[0].mean(dim=0))
    found = solution.weight[1] - solution.weight[0]
    cosine = torch.nn.functional.cosine_similarity(fisher, found, dim=0)
    assert float(cosine) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("num_videos", [8, 40, 41, 100])
def test_the_inverse_for_few_videos_is_the_direct_one(num_videos: int) -> None:
    rng = np.random.default_rng(num_videos)
    centered, rows = (torch.from_numpy(rng.normal(size=shape)) for shape in ((num_videos, 40), (3, 40)))
    shrinkage = centered.square().sum() / (num_videos - 1)
    expected = rows @ torch.linalg.inv(centered.T @ centered + shrinkage * torch.eye(40, dtype=torch.float64))
    np.testing.assert_allclose(gda.apply_inverse(centered, rows), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_common_rotation_and_shift_of_all_inputs_changes_no_logit(kind: str) -> None:
    train, val = draw(0), draw(1)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]

    def moved(fold: Fold) -> Fold:
        return replace(fold, inputs=(fold.inputs @ turn.T - 5.0).astype(np.float32))

    plain, turned = fit(kind, train, val), fit(kind, moved(train), moved(val))
    assert plain.chosen == turned.chosen
    expected, found = predict_logits(plain, val.inputs), predict_logits(turned, moved(val).inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("select", ["val", "last"])
def test_fewer_videos_than_numbers_can_be_learned(kind: str, select: str) -> None:
    train, val, test = (draw(seed, num_videos=16, width=64, spread=0.3) for seed in (0, 1, 2))
    head = fit(kind, train, val, select=select)
    assert (predict_logits(head, test.inputs).argmax(axis=1) == test.labels).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_training_videos_has_finite_logits_and_is_never_chosen(kind: str) -> None:
    train, val = draw(0), draw(1)
    kept = train.labels != 2
    head = fit(kind, Fold(inputs=train.inputs[kept], labels=train.labels[kept]), val)
    logits = predict_logits(head, val.inputs)
    assert np.isfinite(logits).all()
    assert (logits[val.labels != 2].argmax(axis=1) != 2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_validation_turns_down_a_stream_whose_training_embeddings_are_too_good(kind: str) -> None:
    # As motion embeddings are: on videos that trained their network they know the class, on others they do not.
    train, val, test = (draw(seed, spread=1.5) for seed in (0, 1, 2))
    rng = np.random.default_rng(0)

    def join(fold: Fold, *, is_known: bool) -> Fold:
        motion = 0.5 * rng.normal(size=(len(fold.labels), 6))
        motion += np.eye(NUM_CLASSES, 6)[fold.labels] if is_known else 0
        return replace(fold, inputs=np.concatenate([motion, fold.inputs], axis=1).astype(np.float32))

    layout = Layout(motion=6, appearance=6)
    train, val, test = join(train, is_known=True), join(val, is_known=False), join(test, is_known=False)
    head = fit(kind, train, val, layout=layout)
    trusting = fit(kind, train, val, layout=layout, select="last")
    assert head.chosen["weight_motion"] < 1.0
    right = [(predict_logits(each, test.inputs).argmax(axis=1) == test.labels).mean() for each in (head, trusting)]
    assert right[0] > right[1] + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_whole_groups_choose_where_validation_does_not(kind: str) -> None:
    # Two videos of each group are nearly equal. Only groups that are held out whole show that the rest is noise.
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(size=(40, 80)), 2, axis=0)
    labels = np.repeat(rng.integers(0, NUM_CLASSES, 40), 2)
    inputs = (noise + 0.01 * rng.normal(size=noise.shape)).astype(np.float32)
    none = Fold(inputs=inputs[:0], labels=labels[:0])
    by_group = Fold(inputs=inputs, labels=labels, groups=tuple(f"g{number // 2}" for number in range(80)))
    alone = replace(by_group, groups=tuple(f"g{number}" for number in range(80)))
    sharp = [fit(kind, fold, none, select="last").chosen["sharpness"] for fold in (by_group, alone)]
    assert sharp[0] < sharp[1], "a head that knows nothing of new groups is not sure of itself"


@pytest.mark.parametrize("kind", KINDS)
def test_a_refit_uses_the_videos_of_both_subsets_with_the_same_choices(kind: str) -> None:
    train, val, test = (draw(seed, num_videos=n, width=30, spread=3.0) for seed, n in enumerate((40, 40, 400)))
    plain, refit = (fit(kind, train, val, refit=again) for again in (False, True))
    assert plain.chosen == refit.chosen
    assert all(np.array_equal(refit.selection_state[name], plain.state[name]) for name in plain.state)
    right = [(predict_logits(head, test.inputs).argmax(axis=1) == test.labels).mean() for head in (plain, refit)]
    assert right[1] > right[0]
