"""What a matrix of experiments, and a few-shot draw, come out as."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from moclip.config.experiments import expand_matrices, list_runs
from moclip.config.validation import check_config
from moclip.dataset.splits import draw_shots
from moclip.errors import ConfigError


def config_of(**experiments: Any) -> dict[str, Any]:
    return {"head": {"mlp": {"dropout": 0.5}, "linear": {"kind": "linear"}}, "experiments": experiments}


def test_a_matrix_becomes_one_named_experiment_for_each_combination() -> None:
    sweep = {"appearance": "clip", "matrix": {"head": ["mlp", "linear"], "shots": [1, 16]}}
    experiments = expand_matrices(config_of(sweep=sweep))["experiments"]
    assert list(experiments) == [
        "sweep-mlp-shots-1",
        "sweep-mlp-shots-16",
        "sweep-linear-shots-1",
        "sweep-linear-shots-16",
    ]
    assert experiments["sweep-linear-shots-1"] == {"appearance": "clip", "head": "linear", "shots": 1}


def test_a_key_of_the_head_makes_head_variants_beside_the_one_it_varies() -> None:
    sweep = {"head": "mlp", "matrix": {"head.learning_rate": [0.01, 0.001], "head.refit": [True]}}
    expanded = expand_matrices(config_of(sweep=sweep))
    assert list(expanded["experiments"]) == [
        "sweep-learning_rate-0.01-refit-yes",
        "sweep-learning_rate-0.001-refit-yes",
    ]
    variant = expanded["experiments"]["sweep-learning_rate-0.01-refit-yes"]["head"]
    assert expanded["head"][variant] == {"dropout": 0.5, "learning_rate": 0.01, "refit": True}
    assert expanded["head"]["mlp"] == {"dropout": 0.5}


def test_an_experiment_without_a_matrix_stays_as_it_is_and_expanding_twice_changes_nothing() -> None:
    config = config_of(one={"head": "mlp"}, sweep={"head": "mlp", "matrix": {"shots": [1, 2]}})
    once = expand_matrices(config)
    assert once["experiments"]["one"] == {"head": "mlp"}
    assert expand_matrices(once) == once
    assert "matrix" in config["experiments"]["sweep"], "the configuration given is left alone"


def test_two_experiments_under_one_name_and_a_head_that_is_not_there_are_refused() -> None:
    twice = config_of(**{"a-shots-1": {}, "a": {"matrix": {"shots": [1]}}})
    with pytest.raises(ConfigError, match="two experiments come out as `a-shots-1`"):
        expand_matrices(twice)
    with pytest.raises(ConfigError, match=r"a\.matrix.*`nothing`"):
        expand_matrices(config_of(a={"head": "nothing", "matrix": {"head.hidden": [8]}}))


def test_a_wrong_value_of_a_matrix_is_told_by_the_name_it_became(repository: Path) -> None:
    config = yaml.safe_load((repository / "config/config.yaml").read_text())
    config["experiments"]["fusion"]["matrix"] = {"head.dropout": [0.1, 0.5]}
    assert [run.experiment for run in list_runs(check_config(config))] == [
        *("fusion-dropout-0.1",) * 3,
        *("fusion-dropout-0.5",) * 3,
    ]
    config["experiments"]["a-later-one"] = dict(
        config["experiments"]["fusion"], matrix={"shots": [16, 2]}, seeds=[1, 0]
    )
    runs = [(run.experiment, run.seed) for run in list_runs(check_config(config))]
    # The first experiment is what others are held against: the order is that of the configuration, not of names.
    assert runs[0] == ("fusion-dropout-0.1", 0)
    assert runs[-3:] == [("a-later-one-shots-16", 1), ("a-later-one-shots-2", 0), ("a-later-one-shots-2", 1)]
    config["experiments"]["fusion"]["matrix"] = {"head.dropout": [2]}
    with pytest.raises(ConfigError, match=r"head\.mlp-dropout-2\.dropout: expected at most 0\.95"):
        check_config(config)


CLASSES = {f"c{c}/g{g}_{v}": c for c in range(2) for g in range(4) for v in range(3)}
GROUPS = {video_id: video_id.rsplit("_", 1)[0] for video_id in CLASSES}


def draw(shots: int, *, seed: int = 0, classes: dict[str, int] | None = None) -> tuple[str, ...]:
    return draw_shots(classes or CLASSES, groups=GROUPS, shots=shots, split=1, seed=seed)


def test_shots_are_so_many_of_each_class_and_from_other_groups_first() -> None:
    for shots in (1, 2, 4):
        drawn = draw(shots)
        assert Counter(CLASSES[video_id] for video_id in drawn) == {0: shots, 1: shots}
        assert len({GROUPS[video_id] for video_id in drawn}) == 2 * shots
    fifth = draw(5)
    assert set(Counter(GROUPS[video_id] for video_id in fifth).values()) == {1, 2}


def test_fewer_shots_are_part_of_more_and_a_small_class_gives_all_it_has() -> None:
    assert set(draw(1)) < set(draw(2)) < set(draw(8)) < set(draw(100)) == set(CLASSES) == set(draw(0))


def test_the_draw_follows_from_the_seed_and_not_from_the_order() -> None:
    assert draw(2) == draw(2, classes=dict(reversed(CLASSES.items())))
    assert len({draw(2, seed=seed) for seed in range(5)}) > 1
