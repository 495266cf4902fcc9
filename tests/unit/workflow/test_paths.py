"""Paths of results, spelled and parsed by one module."""

from pathlib import Path

import pytest

from moclip.config.experiments import Run
from moclip.workflow.paths import _OUTPUTS, Paths, find_results, locate, project_of, result_path, run_of

VALUES = {"variant": "a-b_c", "experiment": "fusion.2", "split": "1", "seed": "10", "shard": "3", "batch": "clip+tiny"}
VALUES["figure"] = "gains-fusion.2"
ALL = [(rule, output) for rule, outputs in _OUTPUTS.items() for output in outputs]


@pytest.mark.parametrize(("rule", "output"), ALL)
@pytest.mark.parametrize("results", ["results/demo", "/data/a folder/results/x"])
def test_a_path_is_parsed_back_to_what_it_was_spelled_from(rule: str, output: str, results: str) -> None:
    path = result_path(Path(results), rule, output, **VALUES)
    found, wildcards = locate(path, rule, output)
    assert found == Path(results)
    assert result_path(found, rule, output, **wildcards) == path
    assert wildcards.items() <= VALUES.items()


@pytest.mark.parametrize(("rule", "output"), ALL)
def test_rules_and_readers_agree_on_every_path(rule: str, output: str) -> None:
    pattern = Paths(dataset="demo").outputs(rule)[output]
    assert pattern.format(**VALUES) == str(result_path(Path("results/demo"), rule, output, **VALUES))


@pytest.mark.parametrize("path", ["results/demo/index.json", "results/demo/motion/a/b/index.json", "motion/a/index"])
def test_a_path_of_another_output_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path like"):
        locate(Path(path), "motion_index", "index")


def test_existing_results_are_found_with_their_names_in_order(tmp_path: Path) -> None:
    for experiment, seed in (("b", 0), ("a", 1), ("a", 0)):
        path = result_path(tmp_path, "evaluate", "run", experiment=experiment, split=1, seed=seed)
        path.parent.mkdir(parents=True)
        path.touch()
    found = [run_of(path, "evaluate", "run").name for path, _ in find_results(tmp_path, "evaluate", "run")]
    assert found == ["a/split-1/seed-0", "a/split-1/seed-1", "b/split-1/seed-0"]


def test_the_run_of_a_motion_network_is_named_after_its_variant() -> None:
    path = Path("results/demo/motion_network/tiny/split-2/seed-3/history.tsv")
    assert run_of(path, "motion_network", "history") == Run(experiment="tiny", split=2, seed=3)


def test_the_project_is_the_folder_above_the_results(tmp_path: Path) -> None:
    assert project_of(tmp_path / "results/demo") == tmp_path.resolve()
