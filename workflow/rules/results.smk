# The check of all results before the engine looks at them: docs/caching.md.
from snakemake.io import IOFile

from moclip.workflow.check import check_results, list_orphans, remove_outputs, reset_future_times

REASONS = {
    "edited": "changed after they were made",
    "other": "made for other settings or inputs",
    "unknown": "without a record of what they were made for",
    "forgotten": "of which Snakemake has no note",
}
CHECKED = []


def noted_params(file):
    """The params that Snakemake noted for an output, each as its representation, or None."""
    return workflow.persistence.params(IOFile(file))


def check_results_once():
    """Remove results that are not what they should be, once, when the first job is looked at and before any file is.

    Only a run removes files: no dry run, no `--touch`, no command that only lists, and no run in a locked folder.
    """
    if CHECKED or not workflow.is_main_process:
        return
    CHECKED.append(True)
    refuse_partial_runs(workflow.dag_settings)
    if workflow.executor_plugin is None or is_locked():
        return
    findings = check_results(plan, noted_params=noted_params)
    runs = not (workflow.dryrun or workflow.touch)
    for reason in dict.fromkeys(finding.reason for finding in findings):
        files = [finding.job.files[0] for finding in findings if finding.reason == reason]
        shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        done = "made again from the cache" if runs else "a run makes them again"
        print(f"note: results {REASONS[reason]}, {done}: {shown}", file=sys.stderr)
    if runs:
        remove_outputs(findings)
        reset_future_times(plan)
    orphans = list_orphans([plan])
    if orphans:
        print(
            f"note: {len(orphans)} files in {paths.results} belong to no experiment of this configuration, such as "
            f"{orphans[0]}; they are not read; `moclip cache --remove-unused` removes them",
            file=sys.stderr,
        )
