"""The plan of all jobs: for every shipped configuration, without the engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from moclip.config.validation import check_config
from moclip.workflow import rules
from moclip.workflow.jobs import GATES, Job
from moclip.workflow.plan import Plan
from moclip.workflow.run_rules import batch_rule

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS = sorted(path.stem for path in (REPOSITORY / "config").glob("*.yaml"))
# The comparison, summary, cost table and report read the results of several others; their names in the rules.
_CALL = re.compile(r'\*\*(inputs|params)\(\s*"(\w+)"((?:,\s*"\w+")*)')


def build_plan(config: dict[str, Any], *, cache_dir: Path) -> Plan:
    config = config | {"cache_dir": str(cache_dir)}
    return rules.build_plan(config, code=lambda rule: f"code:{rule}", listing=lambda: "sig:listing")


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
        expected = {above for above in ancestors(job) if above.rule in GATES}
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
        assert bool(reads) == (job.rule not in {"demo_dataset", "manifest", "summary"}), job.rule


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
        for name, pairs in job.inputs.items():
            named = name in calls.get(job.rule, [])
            assert named or all(above.rule in GATES for above, _ in pairs), f"{job.rule}: {name}"
        assert set(calls.get(job.rule, [])) <= {*job.inputs, "complete", "motion", "appearance", "network", "text"}


@pytest.mark.parametrize(("name", "value"), [("splits", [1]), ("seeds", [0])])
def test_a_run_does_not_depend_on_other_splits_and_seeds(name: str, value: list[int], tmp_path: Path) -> None:
    narrow = wide_config()
    narrow["experiments"]["fusion"][name] = value
    plans = [build_plan(config, cache_dir=tmp_path) for config in (wide_config(), narrow)]
    one, other = (plan.job("evaluate", experiment="fusion", split=1, seed=0).params() for plan in plans)
    assert one == other


def test_batches_whose_names_differ_in_a_sign_have_rules_of_different_names() -> None:
    names = {batch_rule(batch, "1") for batch in ("a-b", "a_b", "a+b")}
    assert len(names) == 3
    assert all(re.fullmatch(r"head_\w+_split_1", name) for name in names)
