# Before and after a run: the check of all results (docs/caching.md), the lock of the folder, wrong targets, failed jobs,
# and the table of results.
import re

from snakemake.io import IOFile
from snakemake.logging import logger as snakemake_logger

from moclip.core.cache_folder import describe_cache
from moclip.core.job import name_job
from moclip.workflow import check
from moclip.workflow.failures import FailedJob, explain_failures, explain_lock, is_locked, note_run

CHECKED = []


def noted_params(file):
    """The params that Snakemake noted for an output, each as its representation, or None."""
    return workflow.persistence.params(IOFile(file))


def check_results_once():
    """Remove results that are not the expected ones, once, when the first job is looked at and before any file is.

    Only a run removes files: no dry run, no `--touch`, no command that only lists, and no run in a locked folder.
    """
    if CHECKED or not workflow.is_main_process:
        return
    CHECKED.append(True)
    refuse_partial_runs(workflow.dag_settings)
    notes = check.describe_profile(set(map(str, workflow.dag_settings.rerun_triggers)), home=HOME)
    if workflow.executor_plugin is None or is_locked():
        return
    runs = not (workflow.dryrun or workflow.touch)
    findings = check.check_results(plan, noted_params=noted_params)
    if runs:
        check.remove_outputs(findings)
        check.reset_future_times(plan)
    notes += check.describe_findings(findings, runs=runs)
    notes += describe_cache(Path(SETTINGS.cache_dir))
    notes += check.describe_orphans(check.list_orphans([plan]), results=paths.results)
    print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)


def refuse_partial_runs(settings):
    options = {
        "--until": settings.until,
        "--omit-from": settings.omit_from,
        "--batch": settings.batch,
        "--allowed-rules": settings.allowed_rules,
    }
    try:
        check.check_settings(options=options, triggers=set(map(str, settings.rerun_triggers)), results=paths.results)
    except MoclipError as error:
        stop(error)


def print_failures(run_logs):
    failed = [job for entry in workflow.scheduler.failed for job in (entry.jobs if entry.is_group() else [entry])]
    if failed:
        jobs = [
            FailedJob(
                name=name_job(job.rule.name, wildcards=job.wildcards_dict),
                log=str(job.log[0]),
                outputs=tuple(map(str, job.output)),
            )
            for job in failed
        ]
        print(explain_failures(jobs, run_logs=run_logs), file=sys.stderr)


def refuse_target(target):
    rules_of_workflow = [rule.name for rule in workflow.rules]
    stop(check.describe_target(target, plan=plan, rules=rules_of_workflow))


def print_results():
    """Print the table of results and the places of table and report, once, if this run was asked for them."""
    if "results" not in PRINTED and any(job.rule.name.endswith("summary") for job in workflow.dag.jobs):
        # Imported here: what it needs takes a part of a second of every start.
        from moclip.evaluation.summary import describe_results

        PRINTED.add("results")
        print(describe_results(Path(paths.results)), file=sys.stderr)


def follow_messages(record):
    """Add to what Snakemake says: it calls no hook for a wrong target, nor any hook of a module."""
    missing = re.search(r"No rule\s+to produce (.+?)(?: \(if you use |$)", str(record.msg))
    if missing and "target" not in PRINTED:
        PRINTED.add("target")
        rules_of_workflow = [rule.name for rule in workflow.rules]
        line = check.describe_target(missing[1], plan=plan, rules=rules_of_workflow)
        print(f"error: {line}", file=sys.stderr)
    is_done = getattr(record, "event", "") == "progress" and record.done == record.total
    if is_done and IS_MODULE:
        print_results()
    return True


PRINTED = set()
# While the rules of a module are read, that is what the modifier is of.
IS_MODULE = not workflow.modifier.is_main_snakefile()

if workflow.is_main_process:
    snakemake_logger.addFilter(follow_messages)

if workflow.is_main_process and explain_lock():
    print(explain_lock(), file=sys.stderr)
