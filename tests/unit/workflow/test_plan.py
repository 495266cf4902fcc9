"""The plan of all jobs: for every shipped configuration, without the engine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from moclip.config.settings import Settings
from moclip.config.validation import check_config
from moclip.training.head_runs import list_head_runs, list_neighbors
from moclip.workflow.jobs import GATES, Job
from moclip.workflow.plan import Plan

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS = sorted(path.stem for path in (REPOSITORY / "config").glob("*.yaml"))
# The comparison, summary, cost table and report read the results of several others; their names in the rules.
_CALL = re.compile(r'\*\*(inputs|params)\(\s*"(\w+)"((?:,\s*"\w+")*)')


def build_plan(config: dict[str, Any], *, cache_dir: Path) -> Plan:
    settings = Settings.model_validate(config | {"cache_dir": str(cache_dir)})
    return Plan(settings, code=lambda rule: f"code:{rule}", listing=lambda: "sig:listing")


def load_config(name: str) -> dict[str, Any]:
    return check_config(yaml.safe_load((REPOSITORY / f"config/{name}.yaml").read_text())).canonical()


def wide_config() -> dict[str, Any]:
    """The demo with a second experiment, split, seed and encoder, whose frames follow motion."""
    config = load_config("config")
    clip = config["appearance"]["demo-clip"]
    followed = {**clip, "frames": {"policy": "motion", "count": 2}, "motion": "original"}
    config["appearance"] = {"demo-clip": clip, "moving": followed}
    first = config["experiments"]["fusion"]
    config["experiments"] = {
        "fusion": {**first, "splits": [1, 2], "seeds": [0, 1]},
        "moving": {**first, "appearance": "moving", "methods": ["fusion", "appearance"], "splits": [2], "seeds": [1]},
    }
    return config


@pytest.fixture(params=[*CONFIGS, "wide"])
def plan(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    config = wide_config() if request.param == "wide" else load_config(request.param)
    monkeypatch.chdir(tmp_path)  # nothing has run there
    return build_plan(config, cache_dir=tmp_path)


def ancestors(job: Job) -> set[Job]:
    found: set[Job] = set()
    waiting = list(job.above)
    while waiting:
        above = waiting.pop()
        if above not in found:
            found.add(above)
            waiting += above.above
    return found


def test_every_gate_above_a_job_is_a_direct_input_of_it(plan: Plan) -> None:
    for job in plan.jobs:
        # The test of one seed reads nothing that follows from another seed.
        expected = {above for above in ancestors(job) if above.rule in GATES and job.shares_seed(above)}
        assert set(job.gates) == expected, job.rule
        assert set(job.gate_files(named=())) == {file for gate in expected for file in gate.outputs.values()}


def test_every_job_comes_after_the_jobs_above_it(plan: Plan) -> None:
    place = {job: number for number, job in enumerate(plan.jobs)}
    assert all(place[above] < place[job] for job in plan.jobs for above in job.above)


def test_no_two_jobs_write_one_file(plan: Plan) -> None:
    targets = plan.targets()
    assert len(set(targets)) == len(targets)


def test_every_param_is_one_text_and_no_two_of_a_job_are_equal_by_chance(plan: Plan) -> None:
    # Snakemake compares params as a set: two that could swap their values would hide a change.
    for job in plan.jobs:
        params = job.params()
        assert all(isinstance(value, str) for value in params.values()), job.rule
        assert params["code"] == f"code:{job.rule}"


def test_everything_is_pending_before_the_first_run(plan: Plan) -> None:
    for job in plan.jobs:
        reads = [name for name, value in job.params().items() if "sig:pending" in value]
        assert bool(reads) == (job.rule not in {"demo_dataset", "manifest"}), job.rule


def test_params_depend_on_files_of_gates_alone(plan: Plan) -> None:
    # The engine does not evaluate them again when another job has finished.
    before = {job: job.params() for job in plan.jobs}
    for job in plan.jobs:
        if job.rule not in GATES:
            for file in job.files:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                Path(file).write_text("made")
    assert {job: job.params() for job in plan.jobs} == before


def read_calls(kind: str) -> dict[str, list[str]]:
    """Return the names that the rule files pass to `inputs` or `params`, by rule."""
    text = "\n".join(path.read_text() for path in sorted((REPOSITORY / "workflow/rules").glob("*.smk")))
    found = [(rule, re.findall(r'"(\w+)"', names)) for call, rule, names in _CALL.findall(text) if call == kind]
    return dict(found)


def test_the_rules_pass_every_param_on(plan: Plan) -> None:
    calls = read_calls("params")
    for job in plan.jobs:
        assert {*calls[job.rule], "code"} == job.params().keys(), job.rule


def test_the_rules_have_every_input_that_is_no_gate(plan: Plan) -> None:
    calls = read_calls("inputs")
    for job in plan.jobs:
        for name in job.inputs:
            named = name in calls.get(job.rule, [])
            assert named or all(source.job.rule in GATES for source in job.sources(name)), f"{job.rule}: {name}"
        assert set(calls.get(job.rule, [])) <= {*job.inputs, "complete", "motion", "appearance", "network", "text"}


@pytest.mark.parametrize(("name", "value"), [("splits", [1]), ("seeds", [0])])
def test_a_test_does_not_depend_on_other_splits_and_seeds(name: str, value: list[int], tmp_path: Path) -> None:
    narrow = wide_config()
    narrow["experiments"]["fusion"][name] = value
    plans = [build_plan(config, cache_dir=tmp_path) for config in (wide_config(), narrow)]
    one, other = (plan.job("evaluate", experiment="fusion", split=1, seed=0) for plan in plans)
    assert one.params() == other.params()
    # Snakemake runs a job again whose set of inputs changed.
    assert one.gate_files(named=()) == other.gate_files(named=())


def test_a_job_of_heads_describes_a_run_for_each_seed_by_its_own_inputs(plan: Plan) -> None:
    for job in (job for job in plan.jobs if job.rule == "head"):
        runs = list_head_runs(json.loads(job.params()["cfg"]))
        experiment, split = job.wildcards["experiment"], job.wildcards["split"]
        assert [run.seed for run in runs] == [run.seed for run in plan.seeds(experiment, split)]
        files = {*job.input_files("indexes"), *job.input_files("models")}
        read = [(run.motion, run.appearance, run.network, run.text) for run in runs]
        assert {str(path) for paths in read for path in paths if path} == files
        neighbors = list_neighbors(plan.settings, experiment=experiment, split=int(split), runs=runs)
        assert {run.seed for run in neighbors} <= {run.seed for run in runs}


def test_heads_of_few_shots_have_the_heads_of_all_videos_as_neighbors(tmp_path: Path) -> None:
    plan = build_plan(load_config("ucf101_5"), cache_dir=tmp_path)
    job = plan.job("head", experiment="few-shots-1", split=1)
    runs = list_head_runs(json.loads(job.params()["cfg"]))
    neighbors = list_neighbors(plan.settings, experiment="few-shots-1", split=1, runs=runs)
    # Of 14 experiments, two read other frames.
    assert len(neighbors) == 11 * len(runs)
    assert {run.shots for run in neighbors} == {0, 2, 4, 8, 16}
