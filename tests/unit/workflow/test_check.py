"""The check of results against the plan and their records."""

import os
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from moclip.core.records import read_record, record_path, store_record, write_record
from moclip.errors import ConfigError
from moclip.workflow.check import (
    check_results,
    check_settings,
    list_orphans,
    remove_orphans,
    remove_outputs,
    reset_future_times,
)
from moclip.workflow.jobs import Job
from moclip.workflow.plan import Plan
from tests.unit.workflow.test_plan import build_plan, wide_config

MANIFEST = "results/demo/manifest.tsv"


def noted(job: Job) -> list[str]:
    return [repr(value) for value in job.params().values()]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A project all of whose outputs exist, with records, as a run leaves them."""
    monkeypatch.chdir(tmp_path)
    config = wide_config()
    config["dataset"] |= {"generate": "none", "root": "videos"}
    plan = build_plan(config, cache_dir=tmp_path / "cache")
    for job in plan.jobs:
        for number, file in enumerate(job.files):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(f"{job.rule} {sorted(job.wildcards.items())} {number}")
    manifest = "video_id\tpath\tclass_name\tclass_index\tgroup\tfingerprint\tshard\tsplit_1\tsplit_2\n"
    Path(MANIFEST).write_text(f"{manifest}a/v\ta/v.avi\ta\t0\tg\t{'0' * 32}\t0\ttrain\ttest\n")
    record_all(plan)
    return plan


def record_all(plan: Plan) -> None:
    for job in plan.jobs:
        write_record(job.files, rule=job.rule, params=job.params(), reads=job.read_files())


def check(plan: Plan, *, forgotten: bool = False) -> dict[str, str]:
    params = {file: noted(job) for job in plan.jobs for file in job.files}

    def noted_params(file: str) -> Collection[str] | None:
        return None if forgotten else params[file]

    return {finding.job.files[0]: finding.reason for finding in check_results(plan, noted_params=noted_params)}


def test_results_that_match_their_records_stay(plan: Plan) -> None:
    assert check(plan) == {}
    assert check(plan, forgotten=True) == {}, "nothing runs, so nothing needs the notes of the engine"


@pytest.mark.parametrize("name", ["summary.tsv", "motion/original/index.json", "report.html"])
def test_an_edited_output_is_found_with_its_time_and_size_kept(plan: Plan, name: str) -> None:
    path = Path(f"results/demo/{name}")
    status = path.stat()
    content = path.read_text()
    path.write_text(content[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check(plan)[str(path)] == "edited"


def test_an_output_with_new_times_alone_stays_and_is_not_read_again(plan: Plan) -> None:
    path = Path("results/demo/summary.tsv")
    before = read_record([str(path)])
    os.utime(path)
    assert check(plan) == {}
    after = read_record([str(path)])
    assert before is not None
    assert after is not None
    assert before["outputs"] != after["outputs"]
    assert before["outputs"][str(path)][0] == after["outputs"][str(path)][0]


def test_an_output_without_a_record_or_with_a_damaged_one_is_found(plan: Plan) -> None:
    record_path("results/demo/summary.tsv").unlink()
    record_path("results/demo/costs.tsv").write_text("{")
    assert check(plan) == {"results/demo/summary.tsv": "unknown", "results/demo/costs.tsv": "unknown"}


def test_an_output_made_for_other_params_is_found_where_the_engine_would_miss_it(plan: Plan) -> None:
    path = Path("results/demo/summary.tsv")
    record = read_record([str(path)])
    assert record is not None
    record["params"]["cfg"] = "[]"
    store_record([str(path)], record)
    # The engine's note holds the params of today: it would take the file for the one that was asked for.
    assert check(plan) == {str(path): "other"}
    assert check(plan, forgotten=True)[str(path)] == "other"


def test_an_output_that_the_engine_makes_again_anyway_is_left_to_it(plan: Plan) -> None:
    params = {file: noted(job) for job in plan.jobs for file in job.files}
    dataset = plan.settings.dataset.model_copy(update={"rejected_test_videos": "leave_out"})
    plan.settings = plan.settings.model_copy(update={"dataset": dataset})
    found = check_results(plan, noted_params=lambda file: params[file])
    assert found == []


def test_without_the_notes_of_the_engine_all_below_a_change_is_made_again(plan: Plan) -> None:
    Path("results/demo/motion/original/shard-0.h5").unlink()
    found = check(plan, forgotten=True)
    assert found["results/demo/motion/original/index.json"] == "forgotten"
    assert "results/demo/report.html" in found
    assert MANIFEST not in found
    assert "results/demo/appearance/demo-clip/shard-0.h5" not in found


def test_removing_outputs_takes_their_records_too(plan: Plan) -> None:
    job = plan.job("comparisons")
    remove_outputs(check_results(plan, noted_params=lambda file: None))
    record_path(job.files[0]).unlink()
    remove_outputs(check_results(plan, noted_params=lambda file: None))
    assert not any(Path(file).exists() for file in job.files)
    assert Path("results/demo/summary.tsv").exists()


def test_results_from_the_future_get_the_time_of_now(plan: Plan) -> None:
    path = Path("results/demo/summary.tsv")
    os.utime(path, (time.time() + 1000, time.time() + 1000))
    reset_future_times(plan)
    assert path.stat().st_mtime <= time.time()


def test_files_of_no_job_are_orphans_and_notes_of_a_user_are_not(plan: Plan) -> None:
    assert list_orphans([plan]) == []
    for name in ("motion/original/shard-9.h5", "experiments/old/split-1/seed-0/metrics.json", "notes.txt"):
        path = Path("results/demo", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list_orphans([plan]) == [
        "results/demo/experiments/old/split-1/seed-0/metrics.json",
        "results/demo/motion/original/shard-9.h5",
    ]
    assert len(remove_orphans(list_orphans([plan]))) == 2
    assert list_orphans([plan]) == []
    assert not Path("results/demo/experiments/old").exists()
    assert Path("results/demo/notes.txt").exists()


def test_a_table_that_was_made_from_other_results_is_found(plan: Plan) -> None:
    run = plan.job("evaluate", experiment="fusion", split=1, seed=0)
    Path(run.outputs["metrics"]).write_text("other metrics")
    write_record(run.files, rule=run.rule, params=run.params())
    assert check(plan) == {"results/demo/summary.tsv": "other", "results/demo/report.html": "other"}


TRIGGERS = {"params", "mtime", "input", "software-env"}


@pytest.mark.parametrize("option", ["--until", "--omit-from", "--batch", "--allowed-rules"])
def test_a_run_of_a_part_of_the_graph_is_refused_by_the_name_of_its_option(option: str) -> None:
    options = dict.fromkeys(["--until", "--omit-from", "--batch", "--allowed-rules"])
    check_settings(options=options, triggers=TRIGGERS, results="results/toy")
    with pytest.raises(ConfigError, match=rf"^{option}: expected .* results/toy/rejects.tsv`$"):
        check_settings(options=options | {option: ["manifest"]}, triggers=TRIGGERS, results="results/toy")


def test_triggers_that_do_not_see_changes_are_refused() -> None:
    with pytest.raises(ConfigError, match="--rerun-triggers"):
        check_settings(options={}, triggers={"code", "mtime"}, results="results/toy")
