from pathlib import Path

import pytest

from moclip.workflow.failures import FailedJob, explain_failures, explain_lock, is_locked, note_run


def test_a_failed_job_is_named_with_the_last_error_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "head.log"
    log.write_text("INFO starts\nerror: the first\nINFO retried\ninternal error: ValueError: the last\n")
    lines = explain_failures([FailedJob(name="head split=1", log=str(log))], run_logs=[]).splitlines()
    assert lines[1] == "1 jobs failed in their last attempt:"
    assert lines[2] == f"  head split=1: ValueError: the last (log: {log})"


def test_jobs_are_sorted_by_name_and_a_missing_log_is_no_error(tmp_path: Path) -> None:
    jobs = [FailedJob(name=name, log=str(tmp_path / f"{name}.log")) for name in ("b", "a")]
    lines = explain_failures(jobs, run_logs=[str(tmp_path / "nowhere.log")]).splitlines()
    assert [line.split(":")[0] for line in lines[2:4]] == ["  a", "  b"]
    assert "no reason given" in lines[2]


def test_slurm_explains_a_job_whose_own_log_has_no_error(tmp_path: Path) -> None:
    own, slurms, run_log = tmp_path / "text.log", tmp_path / "slurm.log", tmp_path / "run.log"
    own.write_text("INFO starts\n")
    slurms.write_text("slurmstepd-node: error: *** exceeded memory limit ***\nslurmstepd-node: error: later\n")
    run_log.write_text(f"[Thu] Error in rule text:\n    log: {own}, {slurms}\n[Thu] other\n")
    told = explain_failures([FailedJob(name="text", log=str(own))], run_logs=[str(run_log)])
    assert "  text: exceeded memory limit (log: " in told


ENGINES = """\
[Fri Nov 27 06:52:39 2026]
localrule c:
    output: c.txt
    log: c.log
Select jobs to execute...
RuleException:
CalledProcessError in file "Snakefile", line 14:
Command 'python exit7.py' returned non-zero exit status 7.
[Fri Nov 27 06:52:42 2026]
Error in rule c:
    message: None
    output: c.txt
    log: c.log (check log file(s) for error details)
MissingOutputException in rule b in file "Snakefile", line 7:
Job 2  completed successfully, but some output files are missing. Missing files after 1 seconds:
b.txt (missing locally, parent dir not present)
Execute 1 jobs...
RuleException:
CalledProcessError in file "Snakefile", line 6:
Command 'python kill.py' died with <Signals.SIGKILL: 9>.
[Fri Nov 27 06:52:43 2026]
Error in rule a:
    message: None
    output: a.txt
    log: a.log (check log file(s) for error details)
[Fri Nov 27 06:52:44 2026]
Error in rule d:
    message: SLURM-job '12' failed, SLURM status is: 'NODE_FAIL'
    output: d.txt
    log: d.log (check log file(s) for error details)
Exiting because a job execution failed.
"""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a", "killed by the signal SIGKILL; if memory was short, give it more"),
        ("b", "it ended without an error and without its output b.txt; give `--latency-wait 60`"),
        ("c", "it ended with exit code 7 and without a message"),
        ("d", "SLURM-job '12' failed, SLURM status is: 'NODE_FAIL'"),
    ],
)
def test_a_job_without_an_error_of_its_own_is_explained_by_the_engine(tmp_path: Path, name: str, reason: str) -> None:
    run_log = tmp_path / "run.log"
    run_log.write_text(ENGINES)
    failed = [FailedJob(name=name, log=f"{name}.log", outputs=(f"{name}.txt",))]
    assert f"  {name}: {reason} (log: {name}.log)" in explain_failures(failed, run_logs=[str(run_log)])


def test_a_run_without_failures_is_not_explained() -> None:
    assert explain_failures([], run_logs=[]) == ""


def test_a_lock_of_a_running_process_says_wait_and_of_a_killed_one_unlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (is_locked(), explain_lock()) == (False, "")
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    assert (is_locked(), explain_lock()) == (True, ""), "no note, no explanation"
    note_run()
    assert explain_lock().endswith("which still runs: wait for it")
    note = tmp_path / ".snakemake/moclip-run"
    host, process, _, boot = note.read_text().splitlines()
    note.write_text("\n".join([host, process, "1", boot]) + "\n")
    assert "--unlock" in explain_lock()
    note.write_text("\n".join(["elsewhere", process, "1", boot]) + "\n")
    assert "check there before you unlock" in explain_lock()
